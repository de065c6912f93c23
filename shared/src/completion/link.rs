//! The link by which kubectl finds the completer of a plugin. krew links the plugin alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ValueHint};

use crate::hint::{Advice, Hint, word};
use crate::report::escape;

/// How a completer's name begins; the rest is the plugin's.
pub(super) const COMPLETER: &str = "kubectl_complete-";
const FLAG: &str = "install-completion";

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The plugin was run by a name that is not on the PATH.
    #[error("`{}` is not on the PATH, where kubectl looks for it", escape(&program.to_string_lossy()))]
    NotOnPath {
        /// How it was run.
        program: OsString,
    },
    /// Something else has the name.
    #[error("`{}` is there already, and no link to this plugin", escape(&path.to_string_lossy()))]
    InTheWay {
        /// Where the link belongs.
        path: PathBuf,
    },
    /// The link cannot be made.
    #[error("cannot make the link `{}`", escape(&path.to_string_lossy()))]
    Make {
        /// Where it belongs.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Hint for LinkError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::NotOnPath { .. } => "put the plugin into a folder of the PATH".into(),
            Self::InTheWay { path } => format!("ls -l {}", word(&path.to_string_lossy())).into(),
            Self::Make { .. } => format!("name another folder of the PATH: --{FLAG}=FOLDER").into(),
        })
    }
}

/// A link by which kubectl finds a completer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) path: PathBuf,
    /// Whether it was not there before.
    pub(crate) is_new: bool,
    /// Whether kubectl looks where it is.
    pub(crate) is_on_path: bool,
}

/// Returns the flag that asks for the link. It stands alone: see [`asked`].
pub(crate) fn flag() -> Arg {
    Arg::new(FLAG)
        .long(FLAG)
        .value_name("FOLDER")
        .num_args(0..=1)
        .require_equals(true)
        .exclusive(true)
        .value_parser(ValueParser::path_buf())
        .value_hint(ValueHint::DirPath)
        // Not below that of the arguments before it.
        .help_heading(None)
        .help("Have kubectl complete the words of this command, by a link beside it or in FOLDER")
}

/// Where the link shall be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside the plugin.
    Beside,
    /// In this folder.
    In(PathBuf),
}

/// Returns where the link shall be, where the arguments ask for it and nothing else.
///
/// It is asked before the arguments are parsed, as others are required there.
pub(crate) fn asked(arguments: &[OsString]) -> Option<Place> {
    let [_, argument] = arguments else { return None };
    let rest = argument.to_str()?.strip_prefix("--")?.strip_prefix(FLAG)?;
    match rest.strip_prefix('=') {
        Some(folder) => (!folder.is_empty()).then(|| Place::In(folder.into())),
        None => rest.is_empty().then_some(Place::Beside),
    }
}

/// Makes the link for a plugin that was run as `program`, where it shall be. `name` is how kubectl wants its file to be
/// called: `kubectl-spire_federate`.
///
/// # Errors
/// [`LinkError`]; nothing was changed then.
pub(crate) fn link(name: &str, program: &OsStr, place: &Place) -> Result<Link, LinkError> {
    let folder = match place {
        Place::Beside => None,
        Place::In(folder) => Some(folder.as_path()),
    };
    let path = env::var_os("PATH").unwrap_or_default();
    link_on(&env::split_paths(&path).collect::<Vec<_>>(), name, program, folder)
}

fn link_on(
    folders: &[PathBuf],
    name: &str,
    program: &OsStr,
    folder: Option<&Path>,
) -> Result<Link, LinkError> {
    let own = find(folders, program).ok_or_else(|| LinkError::NotOnPath { program: program.to_owned() })?;
    let (beside, file) = match (own.parent(), own.file_name()) {
        (Some(beside), Some(file)) => (beside, Path::new(file)),
        _ => return Err(LinkError::NotOnPath { program: program.to_owned() }),
    };
    // What krew has there is a link itself, to this version: beside it, ours goes on working with the next one.
    let (folder, target) = match folder {
        Some(folder) if folder != beside => (folder, own.as_path()),
        _ => (beside, file),
    };
    let path = folder.join(format!("{COMPLETER}{}", name.strip_prefix("kubectl-").unwrap_or(name)));
    let make = |source| LinkError::Make { path: path.clone(), source };
    let is_new = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(make(error)),
        Ok(_) => match fs::read_link(&path) {
            Ok(there) if there == target => false,
            // Of a plugin that was somewhere else before.
            Ok(there) if there.file_name() == Some(file.as_os_str()) => {
                fs::remove_file(&path).map_err(make)?;
                true
            }
            _ => return Err(LinkError::InTheWay { path }),
        },
    };
    if is_new {
        symlink(target, &path).map_err(make)?;
    }
    let is_on_path = folders.iter().any(|known| is_same(known, folder));
    Ok(Link { path, is_new, is_on_path })
}

/// Finds the file that was run, without following links: kubectl runs a plugin by its path, a shell by its name.
fn find(folders: &[PathBuf], program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return std::path::absolute(program).ok();
    }
    let files = folders.iter().map(|folder| folder.join(program));
    files.filter(|file| file.is_file()).find_map(|file| std::path::absolute(file).ok())
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    a == b || real(a) == real(b)
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(all(test, unix))]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const NAME: &str = "kubectl-spire_federate";

    /// A folder with a plugin.
    fn installed() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(NAME);
        fs::write(&program, "a plugin").expect("it can be written");
        (folder, program)
    }

    fn link_beside(program: &Path) -> Result<Link, LinkError> {
        link_on(&[program.parent().expect("a folder").to_owned()], NAME, program.as_os_str(), None)
    }

    #[test]
    fn the_link_is_beside_the_plugin_and_follows_it() {
        let (folder, program) = installed();
        let path = folder.path().join("kubectl_complete-spire_federate");
        let made = |is_new| Link { path: path.clone(), is_new, is_on_path: true };
        assert_eq!(link_beside(&program).unwrap(), made(true));
        assert_eq!(link_beside(&program).unwrap(), made(false));
        fs::remove_file(&program).unwrap();
        fs::write(&program, "its next version").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "its next version");
    }

    #[test]
    fn a_plugin_that_was_run_by_its_name_is_found_on_the_path() {
        let (folder, _) = installed();
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        let link = link_on(&folders, NAME, OsStr::new(NAME), None).unwrap();
        assert_eq!(link.path.parent(), Some(folder.path()));
        let error = link_on(&folders[..1], NAME, OsStr::new(NAME), None).unwrap_err();
        insta::assert_snapshot!(error, @"`kubectl-spire_federate` is not on the PATH, where kubectl looks for it");
    }

    #[test]
    fn another_folder_is_named_and_may_be_one_in_which_nobody_looks() {
        let (folder, program) = installed();
        let other = tempfile::tempdir().unwrap();
        let link = |other: &TempDir| {
            link_on(&[folder.path().to_owned()], NAME, program.as_os_str(), Some(other.path())).unwrap()
        };
        let made = link(&other);
        assert!(made.is_new && !made.is_on_path);
        assert_eq!(fs::read_link(&made.path).unwrap(), program);
        assert_eq!(link(&folder).path.parent(), Some(folder.path()));
    }

    #[test]
    fn a_link_of_an_older_place_is_replaced_and_what_is_no_link_of_ours_is_left_alone() {
        let (folder, program) = installed();
        let path = folder.path().join("kubectl_complete-spire_federate");
        symlink(Path::new("/gone/kubectl-spire_federate"), &path).unwrap();
        assert!(link_beside(&program).unwrap().is_new);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new(NAME));
        for make in [
            |path: &Path| fs::write(path, "a script").unwrap(),
            |path: &Path| {
                symlink(Path::new("/bin/true"), path).unwrap();
            },
        ] {
            fs::remove_file(&path).unwrap();
            make(&path);
            let error = link_beside(&program).unwrap_err();
            assert!(matches!(error, LinkError::InTheWay { .. }), "{error}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let (folder, program) = installed();
        let none = folder.path().join("none");
        let error = link_on(&[], NAME, program.as_os_str(), Some(&none)).unwrap_err();
        assert!(matches!(&error, LinkError::Make { path, .. } if path.starts_with(&none)), "{error}");
    }

    #[test]
    fn the_flag_stands_alone() {
        let asked = |arguments: &[&str]| asked(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(asked(&["p", "--install-completion"]), Some(Place::Beside));
        assert_eq!(asked(&["p", "--install-completion=/a"]), Some(Place::In("/a".into())));
        for other in [
            &["p"] as &[&str],
            &["p", "--install-completion="],
            &["p", "--install-completions"],
            &["p", "up", "--install-completion"],
        ] {
            assert_eq!(asked(other), None, "{other:?}");
        }
    }
}
