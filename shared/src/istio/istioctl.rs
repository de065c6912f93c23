//! `istioctl`: it turns a configuration into manifests, and its version is the version of Istio.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::version::{IstioVersion, IstioVersionError, OLDEST};
use crate::hint::{Advice, Hint, word};
use crate::manifest::{Object, YamlError, parse_yaml};
use crate::report::one_line;

/// How long `istioctl` may take. It needs half a second, and asks no cluster.
const DEADLINE: Duration = Duration::from_mins(1);
/// How many lines of what it says about an error are repeated.
const MOST_LINES: usize = 5;

/// An `istioctl` that was found to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Istioctl {
    program: PathBuf,
    version: IstioVersion,
}

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub enum IstioctlError {
    /// It is not there.
    #[error("`{}` was not found{}", program.display(), on_path(program))]
    Missing {
        /// What was looked for.
        program: PathBuf,
    },
    /// It cannot be started.
    #[error("cannot run `{}`", program.display())]
    NotStarted {
        /// What was run.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ran, and failed.
    #[error("`{} {command}` failed: {said}", program.display())]
    Failed {
        /// What was run.
        program: PathBuf,
        /// Its first arguments.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// It does not end.
    #[error("`{} {command}` did not end within {} s", program.display(), DEADLINE.as_secs())]
    TimedOut {
        /// What was run.
        program: PathBuf,
        /// Its first arguments.
        command: &'static str,
    },
    /// It does not say which version it is.
    #[error("`{}` does not say which version it is: {reason}", program.display())]
    NoVersion {
        /// What was run.
        program: PathBuf,
        /// What is wrong with its answer.
        reason: VersionAnswerError,
    },
    /// It is too old.
    #[error("`{}` is of Istio {version}; {OLDEST} is the oldest that works", program.display())]
    TooOld {
        /// What was run.
        program: PathBuf,
        /// Its version.
        version: IstioVersion,
    },
    /// What it wrote are no manifests.
    #[error("`{} manifest generate` wrote something that cannot be applied", program.display())]
    Manifests {
        /// What was run.
        program: PathBuf,
        /// What is wrong with it.
        source: YamlError,
    },
}

/// Why an answer of `istioctl version` names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionAnswerError {
    /// Not JSON.
    #[error("its answer is not JSON")]
    Json,
    /// What it names is no version.
    #[error(transparent)]
    Version(#[from] IstioVersionError),
}

fn on_path(program: &Path) -> &'static str {
    if program.components().count() == 1 { " on the PATH" } else { "" }
}

impl Hint for IstioctlError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::TooOld { .. } => {
                "install a newer one from https://istio.io/latest/docs/setup/additional-setup/download-istio-release/, or set \
                 istio.istioctl in the mesh file to its path"
                    .into()
            }
            Self::Missing { .. } => {
                "install it from https://istio.io/latest/docs/setup/additional-setup/download-istio-release/, or set \
                 istio.istioctl in the mesh file to its path"
                    .into()
            }
            Self::NotStarted { program, .. } => format!("ls -l {}", word(&program.to_string_lossy())).into(),
            Self::Failed { command: "manifest generate", .. } => {
                "see istio.values, istio.meshConfig and istio.profile in the mesh file".into()
            }
            Self::NoVersion { program, .. } | Self::Failed { program, .. } | Self::TimedOut { program, .. } => {
                format!("{} version --remote=false", word(&program.to_string_lossy())).into()
            }
            Self::Manifests { .. } => {
                "use a profile and values without this kind of object; istio.profile and istio.values in the mesh file say which"
                    .into()
            }
        })
    }
}

impl Istioctl {
    /// Looks for `istioctl` and asks for its version.
    ///
    /// # Errors
    /// [`IstioctlError`] when it is missing, broken, or older than [`OLDEST`].
    pub async fn find(program: &Path) -> Result<Self, IstioctlError> {
        let output =
            run(program, "version", &["version", "--remote=false", "--output", "json"], None).await?;
        let version = parse_version(&output.stdout)
            .map_err(|reason| IstioctlError::NoVersion { program: program.to_owned(), reason })?;
        if version < OLDEST {
            return Err(IstioctlError::TooOld { program: program.to_owned(), version });
        }
        Ok(Self { program: program.to_owned(), version })
    }

    /// Returns its version, which is the version of Istio that it installs.
    #[must_use]
    pub fn version(&self) -> IstioVersion {
        self.version
    }

    /// Turns a configuration (an `IstioOperator`) into the objects that make it up. Asks no cluster.
    ///
    /// # Errors
    /// [`IstioctlError`] with what it says about the configuration.
    pub async fn generate(&self, configuration: &Value) -> Result<Vec<Object>, IstioctlError> {
        let arguments = ["manifest", "generate", "--filename", "-"];
        let text = configuration.to_string();
        let output = run(&self.program, "manifest generate", &arguments, Some(text.as_bytes())).await?;
        parse_yaml(&String::from_utf8_lossy(&output.stdout))
            .map_err(|source| IstioctlError::Manifests { program: self.program.clone(), source })
    }
}

/// Parses the answer to `istioctl version --remote=false --output json`.
///
/// # Errors
/// [`VersionAnswerError`] when it names no version.
pub fn parse_version(answer: &[u8]) -> Result<IstioVersion, VersionAnswerError> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| VersionAnswerError::Json)?;
    Ok(answer["clientVersion"]["version"].as_str().unwrap_or_default().parse()?)
}

async fn run(
    program: &Path,
    command: &'static str,
    arguments: &[&str],
    input: Option<&[u8]>,
) -> Result<Output, IstioctlError> {
    let not_started = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => IstioctlError::Missing { program: program.to_owned() },
        _ => IstioctlError::NotStarted { program: program.to_owned(), source },
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_started)?;
    let writer = child.stdin.take();
    let feed = async {
        if let (Some(mut writer), Some(input)) = (writer, input) {
            // A program that ends without reading all of it says why by itself.
            let _ = writer.write_all(input).await;
        }
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = match tokio::time::timeout(DEADLINE, ended).await {
        Ok(output) => output.map_err(not_started)?,
        Err(_) => return Err(IstioctlError::TimedOut { program: program.to_owned(), command }),
    };
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> =
        said.lines().map(str::trim).filter(|line| !line.is_empty()).take(MOST_LINES).map(one_line).collect();
    let said = if lines.is_empty() { output.status.to_string() } else { lines.join("; ") };
    Err(IstioctlError::Failed { program: program.to_owned(), command, said })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("istioctl");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a folder for the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a folder for the test");
        (folder, path)
    }

    async fn refused(text: &str) -> (String, String) {
        let (folder, path) = script(text);
        let error = Istioctl::find(&path).await.expect_err("it is wrong");
        let hide = |text: String| text.replace(&folder.path().display().to_string(), "DIR");
        (hide(error.to_string()), hide(error.hint().expect("a hint").to_string()))
    }

    #[tokio::test]
    async fn what_is_wrong_with_istioctl_is_told_apart() {
        let error = Istioctl::find(Path::new("no-such-istioctl")).await.unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"`no-such-istioctl` was not found on the PATH");
        let old = r#"echo '{"clientVersion": {"version": "1.28.4"}}'"#;
        insta::assert_snapshot!(refused(old).await.0, @"`DIR/istioctl` is of Istio 1.28.4; 1.29.0 is the oldest that works");
        insta::assert_snapshot!(refused("echo hello").await.0, @"`DIR/istioctl` does not say which version it is: its answer is not JSON");
        let failed = refused("printf 'Error: \\033[31mno\\n\\nmore\\n' >&2; exit 3").await;
        insta::assert_snapshot!(failed.0, @r"`DIR/istioctl version` failed: Error: \u{1b}[31mno; more");
        insta::assert_snapshot!(failed.1, @"DIR/istioctl version --remote=false");
        insta::assert_snapshot!(refused("exit 3").await.0, @"`DIR/istioctl version` failed: exit status: 3");
    }

    #[tokio::test]
    async fn a_configuration_goes_in_and_objects_come_out() {
        let (_folder, path) = script(
            r#"if [ "$1" = version ]; then echo '{"clientVersion": {"version": "1.31.0"}}'; exit; fi
grep -q '"profile":"default"' || exit 9
printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n'"#,
        );
        let istioctl = Istioctl::find(&path).await.unwrap();
        assert_eq!(istioctl.version().to_string(), "1.31.0");
        let objects = istioctl.generate(&serde_json::json!({"profile": "default"})).await.unwrap();
        assert_eq!(objects.len(), 1);
        let error = istioctl.generate(&serde_json::json!({})).await.unwrap_err();
        insta::assert_snapshot!(error.hint().unwrap(), @"see istio.values, istio.meshConfig and istio.profile in the mesh file");
    }

    #[test]
    fn every_error_says_what_to_do() {
        let program = || PathBuf::from("/opt/istioctl");
        let errors = [
            IstioctlError::Missing { program: program() },
            IstioctlError::Missing { program: "istioctl".into() },
            IstioctlError::NotStarted { program: program(), source: io::Error::other("no") },
            IstioctlError::Failed { program: program(), command: "version", said: "no".to_owned() },
            IstioctlError::Failed { program: program(), command: "manifest generate", said: "no".to_owned() },
            IstioctlError::TimedOut { program: program(), command: "version" },
            IstioctlError::NoVersion { program: program(), reason: VersionAnswerError::Json },
            IstioctlError::TooOld { program: program(), version: "1.26.0".parse().unwrap() },
            IstioctlError::Manifests { program: program(), source: parse_yaml("a: [").unwrap_err() },
        ];
        let told =
            errors.each_ref().map(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()));
        insta::assert_snapshot!(told.join("\n"));
    }

    #[tokio::test]
    async fn the_oldest_version_works_and_only_so_much_of_what_was_said_is_repeated() {
        let (_folder, path) = script(r#"echo '{"clientVersion": {"version": "1.29.0"}}'"#);
        assert_eq!(Istioctl::find(&path).await.unwrap().version(), OLDEST);
        let failed = refused("seq 1 9 >&2; exit 3").await;
        assert!(failed.0.ends_with("failed: 1; 2; 3; 4; 5"), "{}", failed.0);
        let unversioned = refused(r#"echo '{"clientVersion": {}}'"#).await;
        assert!(unversioned.0.contains("is not a version such as"), "{}", unversioned.0);
        let (folder, path) = script("exit 0");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Istioctl::find(&path).await.unwrap_err();
        assert!(matches!(error, IstioctlError::NotStarted { .. }), "{error}");
        drop(folder);
    }
}
