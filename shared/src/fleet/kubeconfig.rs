//! The kubeconfig, from one file or several, merged as kubectl merges them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{ExecInteractiveMode, Kubeconfig as KubeConfigFile};

use crate::hint::{Advice, Command, Hint, word};
use crate::report::escape;

/// What kubectl's own flags say about connecting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeSettings {
    /// `--kubeconfig`: the only file to read.
    pub kubeconfig: Option<PathBuf>,
    /// `--as`.
    pub impersonate_user: Option<String>,
    /// `--as-group`, repeated.
    pub impersonate_groups: Vec<String>,
    /// `--request-timeout`: how long to wait for the answer to one request. 40 seconds when absent: an admission
    /// webhook may take 30.
    pub request_timeout: Option<Duration>,
    /// `--insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: bool,
}

/// A kubeconfig, read and merged once.
#[derive(Clone)]
pub struct Kubeconfig {
    pub(super) file: KubeConfigFile,
}

/// Why there is no kubeconfig to work with.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file that `--kubeconfig` names does not exist.
    #[error("kubeconfig {} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read kubeconfig {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two contexts, clusters or users of one file have the same name, which kubectl refuses.
    #[error("kubeconfig {} has two {what} of the name `{}`", path.display(), escape(name))]
    Twice {
        /// The file.
        path: PathBuf,
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// The file is not a kubeconfig. Its text is not quoted: it may hold a token.
    #[error("kubeconfig {} is not a valid kubeconfig{place}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line and column where they are known, with a leading comma and space.
        place: String,
    },
}

impl Hint for KubeconfigError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Missing { .. } => Some("name an existing file, or leave --kubeconfig out".into()),
            Self::Unreadable { path, .. } => Some(format!("ls -l {}", word(&path.to_string_lossy())).into()),
            Self::Twice { path, .. } => Some(
                format!(
                    "give one of them another name in {}; kubectl, too, refuses it",
                    word(&path.to_string_lossy())
                )
                .into(),
            ),
            Self::Invalid { path, .. } => Some(Command::kubeconfig(["view"]).of_kubeconfig(path).into()),
        }
    }
}

impl Kubeconfig {
    /// Reads the file of `settings`, or those of `$KUBECONFIG`, or `~/.kube/config`.
    ///
    /// As with kubectl, files of `$KUBECONFIG` that do not exist are skipped, the first file that sets a value wins,
    /// and no file at all is an empty kubeconfig. Relative paths in a file start at its own directory.
    ///
    /// # Errors
    /// [`KubeconfigError`] naming the file that cannot be read or parsed.
    pub fn read(settings: &KubeSettings) -> Result<Self, KubeconfigError> {
        if let Some(path) = &settings.kubeconfig {
            let file = read_file(path)?.ok_or_else(|| KubeconfigError::Missing { path: path.clone() })?;
            return Ok(Self { file });
        }
        Self::merge(&default_paths(std::env::var_os("KUBECONFIG").as_deref(), std::env::home_dir()))
    }

    fn merge(paths: &[PathBuf]) -> Result<Self, KubeconfigError> {
        let mut merged = KubeConfigFile::default();
        for path in paths {
            let Some(file) = read_file(path)? else { continue };
            merged = merged.merge(file).map_err(|error| KubeconfigError::Invalid {
                path: path.clone(),
                place: format!(": {error}"),
            })?;
        }
        Ok(Self { file: merged })
    }

    /// Has credential commands ask nothing and write nothing to the terminal: for where nobody would see it.
    #[must_use]
    pub fn unattended(mut self) -> Self {
        let users = self.file.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut());
        for command in users.filter_map(|user| user.exec.as_mut()) {
            command.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        self
    }

    /// Lists the names of the contexts, in the order of the files.
    #[must_use]
    pub fn contexts(&self) -> Vec<&str> {
        self.file.contexts.iter().map(|context| context.name.as_str()).collect()
    }

    /// Returns the address of the API server that a context names.
    #[must_use]
    pub fn server(&self, context: &str) -> Option<&str> {
        let context = self.file.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
        let cluster = self.file.clusters.iter().find(|named| named.name == context.cluster)?;
        cluster.cluster.as_ref()?.server.as_deref()
    }

    /// Returns the namespace of a context, where it has one.
    #[must_use]
    pub fn namespace(&self, context: &str) -> Option<&str> {
        let context = self.file.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
        context.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    /// Returns the name of the current context.
    #[must_use]
    pub fn current_context(&self) -> Option<&str> {
        self.file.current_context.as_deref().filter(|name| !name.is_empty())
    }
}

fn default_paths(list: Option<&OsStr>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let listed: Vec<_> =
        list.into_iter().flat_map(std::env::split_paths).filter(|path| path != Path::new("")).collect();
    if listed.is_empty() { home.map(|home| home.join(".kube/config")).into_iter().collect() } else { listed }
}

/// Reads one file; `None` when it does not exist.
fn read_file(path: &Path) -> Result<Option<KubeConfigFile>, KubeconfigError> {
    use kube::config::KubeconfigError as Kube;
    let path = path.to_owned();
    if is_cut_utf16(&path) {
        return Err(KubeconfigError::Invalid {
            path,
            place: ": it is UTF-16 that ends within a character".to_owned(),
        });
    }
    match KubeConfigFile::read_from(&path) {
        Ok(file) => match twice(&file) {
            Some((what, name)) => Err(KubeconfigError::Twice { path, what, name }),
            None => Ok(Some(file)),
        },
        Err(Kube::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(Kube::ReadConfig(source, _)) => Err(KubeconfigError::Unreadable { path, source }),
        Err(Kube::Parse(error)) => {
            let place = error.location().map(|at| format!(", line {}, column {}", at.line(), at.column()));
            Err(KubeconfigError::Invalid { path, place: place.unwrap_or_default() })
        }
        Err(error) => Err(KubeconfigError::Invalid { path, place: format!(": {error}") }),
    }
}

/// Finds what one file has two of: nobody can tell which is meant. In several files the first is, as with kubectl.
fn twice(file: &KubeConfigFile) -> Option<(&'static str, String)> {
    fn again<'n>(mut names: impl Iterator<Item = &'n String>) -> Option<String> {
        let mut seen = BTreeSet::new();
        names.find(|name| !seen.insert(*name)).cloned()
    }
    let contexts = again(file.contexts.iter().map(|named| &named.name)).map(|name| ("contexts", name));
    let clusters = || again(file.clusters.iter().map(|named| &named.name)).map(|name| ("clusters", name));
    let users = || again(file.auth_infos.iter().map(|named| &named.name)).map(|name| ("users", name));
    contexts.or_else(clusters).or_else(users)
}

/// Tells whether a file begins as UTF-16 and has an odd number of bytes, at which kube panics (5.0.0, `read_path` in
/// `kube-client/src/config/file_config.rs`). What is wrong with it otherwise is left for kube to say.
fn is_cut_utf16(path: &Path) -> bool {
    let length = std::fs::metadata(path).ok().filter(Metadata::is_file).map_or(0, |metadata| metadata.len());
    let mut mark = [0; 2];
    length % 2 == 1
        && File::open(path).and_then(|mut file| file.read_exact(&mut mark)).is_ok()
        && matches!(mark, [0xff, 0xfe] | [0xfe, 0xff])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn context(name: &str, cluster: &str, current: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\ncontexts:\n\
             - {{name: {name}, context: {{cluster: {cluster}, user: u}}}}\n"
        )
    }

    #[test]
    fn files_are_merged_as_kubectl_merges_them() {
        let directory = tempfile::tempdir().unwrap();
        let first = file(&directory, "first", &context("foo", "one", "foo"));
        let second = file(
            &directory,
            "second",
            &(context("foo", "two", "bar") + "- {name: bar, context: {cluster: b}}\n"),
        );
        let missing = directory.path().join("missing");
        let merged = Kubeconfig::merge(&[missing, first, second]).unwrap();
        assert_eq!(merged.contexts(), ["foo", "bar"]);
        assert_eq!(merged.current_context(), Some("foo"));
        let foo = merged.file.contexts[0].context.as_ref().unwrap();
        assert_eq!(foo.cluster, "one", "the first file wins");
    }

    #[test]
    fn of_a_user_in_two_files_the_first_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let user = |name: &str, is: &str| {
            file(&directory, name, &format!("users: [{{name: me, user: {{username: {is}}}}}]\n"))
        };
        let merged = Kubeconfig::merge(&[user("first", "one"), user("second", "two")]).unwrap();
        let users = merged.file.auth_infos.iter().map(|named| named.auth_info.as_ref()?.username.as_deref());
        assert_eq!(users.collect::<Vec<_>>(), [Some("one")]);
    }

    #[test]
    fn what_is_twice_in_one_file_is_refused_as_kubectl_refuses_it() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            let error = Kubeconfig::merge(&[file(&directory, "config", text)]).err().unwrap();
            let text = format!("{error}; {}", error.hint().unwrap());
            text.replace(&directory.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(refused("contexts: [{name: prod, context: {cluster: a}}, {name: b, context: {cluster: a}}, {name: prod, context: {cluster: b}}]"), @"kubeconfig DIR/config has two contexts of the name `prod`; give one of them another name in DIR/config; kubectl, too, refuses it");
        assert!(
            refused("clusters: [{name: a, cluster: {server: x}}, {name: a, cluster: {server: y}}]")
                .contains("two clusters of the name `a`")
        );
        assert!(
            refused("users: [{name: me, user: {token: hunter2}}, {name: me, user: {token: hunter2}}]")
                .starts_with("kubeconfig DIR/config has two users of the name `me`;")
        );
    }

    #[test]
    fn a_context_has_the_server_of_its_own_cluster_and_a_namespace_where_it_names_one() {
        let directory = tempfile::tempdir().unwrap();
        let text = "clusters:\n\
                    - {name: one, cluster: {server: 'https://one'}}\n\
                    - {name: two, cluster: {server: 'https://two'}}\n\
                    - {name: three, cluster: {server: 'https://three'}}\n\
                    contexts:\n\
                    - {name: foo, context: {cluster: three, user: u, namespace: shop}}\n\
                    - {name: bar, context: {cluster: one, user: u, namespace: ''}}\n\
                    - {name: baz, context: {cluster: two, user: u}}\n\
                    - {name: qux, context: {cluster: four, user: u}}\n";
        let read = Kubeconfig::merge(&[file(&directory, "config", text)]).unwrap();
        let servers = ["foo", "bar", "baz", "qux", "quux"].map(|context| read.server(context));
        assert_eq!(servers, [Some("https://three"), Some("https://one"), Some("https://two"), None, None]);
        let namespaces = ["foo", "bar", "baz", "quux"].map(|context| read.namespace(context));
        assert_eq!(namespaces, [Some("shop"), None, None, None]);
        assert_eq!(read.contexts(), ["foo", "bar", "baz", "qux"]);
        assert_eq!(read.current_context(), None);
        let empty = file(&directory, "empty", "current-context: ''\n");
        assert_eq!(Kubeconfig::merge(&[empty]).unwrap().current_context(), None);
    }

    #[test]
    fn credential_commands_ask_nothing_where_nobody_would_see_it() {
        let directory = tempfile::tempdir().unwrap();
        let users = [("a", ""), ("b", ", interactiveMode: Always"), ("c", ", interactiveMode: IfAvailable")]
            .map(|(name, mode)| format!("- {{name: {name}, user: {{exec: {{command: aws{mode}}}}}}}\n"));
        let path = file(
            &directory,
            "config",
            &format!("users:\n- {{name: t, user: {{token: t}}}}\n{}", users.concat()),
        );
        let read = Kubeconfig::merge(&[path]).unwrap().unattended();
        let commands = read.file.auth_infos.iter().filter_map(|user| user.auth_info.as_ref()?.exec.as_ref());
        let modes: Vec<_> = commands.map(|command| command.interactive_mode.clone()).collect();
        assert_eq!(modes, [const { Some(ExecInteractiveMode::Never) }; 3]);
    }

    #[test]
    fn the_list_of_the_environment_comes_before_the_home_directory() {
        let home = Some(PathBuf::from("/home/me"));
        assert_eq!(default_paths(None, home.clone()), [Path::new("/home/me/.kube/config")]);
        assert_eq!(default_paths(Some(OsStr::new("")), home.clone()), [Path::new("/home/me/.kube/config")]);
        assert_eq!(default_paths(Some(OsStr::new("/a::/b")), home), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_named_without_quoting_it() {
        let directory = tempfile::tempdir().unwrap();
        let bad = file(&directory, "bad", "kind: Config\nusers: secret-token\n");
        let error = Kubeconfig::merge(&[bad]).err().unwrap();
        let text = error.to_string().replace(&directory.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @"kubeconfig DIR/bad is not a valid kubeconfig, line 2, column 8");
        assert!(!format!("{error:?}").contains("secret-token"));
    }

    #[test]
    fn utf16_that_ends_within_a_character_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut");
        for bytes in [&b"\xff\xfek\0i"[..], b"\xfe\xff\0", b"\xff\xfe\0"] {
            std::fs::write(&path, bytes).unwrap();
            let error = Kubeconfig::merge(std::slice::from_ref(&path)).err().unwrap();
            let text = error.to_string().replace(&directory.path().display().to_string(), "DIR");
            assert_eq!(
                text,
                "kubeconfig DIR/cut is not a valid kubeconfig: it is UTF-16 that ends within a character"
            );
        }
        std::fs::write(&path, b"\xff\xfe{\0}\0").unwrap();
        assert!(Kubeconfig::merge(&[path]).is_ok());
    }

    #[test]
    fn the_file_of_the_flag_has_to_exist() {
        let settings = KubeSettings { kubeconfig: Some("/nowhere/config".into()), ..KubeSettings::default() };
        assert!(matches!(Kubeconfig::read(&settings), Err(KubeconfigError::Missing { .. })));
    }

    #[test]
    fn each_error_has_a_next_step() {
        let path = PathBuf::from("/k");
        let hint = |error: KubeconfigError| error.hint().unwrap();
        let missing = hint(KubeconfigError::Missing { path: path.clone() });
        assert_eq!(missing, "name an existing file, or leave --kubeconfig out");
        let source = io::ErrorKind::PermissionDenied.into();
        assert_eq!(hint(KubeconfigError::Unreadable { path: path.clone(), source }), "ls -l /k");
        let invalid = hint(KubeconfigError::Invalid { path, place: String::new() });
        assert_eq!(invalid, "kubectl --kubeconfig /k config view");
    }

    #[test]
    fn what_cannot_be_read_is_told_from_what_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let unreadable = Kubeconfig::merge(&[directory.path().to_owned()]).err().unwrap();
        assert!(matches!(unreadable, KubeconfigError::Unreadable { .. }), "{unreadable:?}");
        let gone = Kubeconfig::merge(&[directory.path().join("gone")]).unwrap();
        assert_eq!(gone.contexts(), [""; 0]);
    }
}
