use std::fmt;
use std::path::{Path, PathBuf};

use super::given::Given;
use super::word::word;

/// A cluster: as reports call it, and as commands reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its name in the mesh file, or the context where there is none.
    pub cluster: String,
    /// Its context in the kubeconfig.
    pub context: String,
}

impl Place {
    /// Names a cluster and its context.
    pub fn new(cluster: impl Into<String>, context: impl Into<String>) -> Self {
        Self { cluster: cluster.into(), context: context.into() }
    }
}

/// One of the plugins. Shows as it is typed: `kubectl spire-federate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// SPIRE.
    SpireFederate,
    /// Istio.
    MeshInstall,
    /// Certificate chains.
    Trustchain,
    /// Requests.
    XclusterCurl,
}

impl Plugin {
    /// Returns the command of its default verb, which brings everything up.
    #[must_use]
    pub fn up(self) -> Command {
        self.command([""; 0])
    }

    /// Returns the plugin's command with these words.
    pub fn command<W: Into<String>>(self, words: impl IntoIterator<Item = W>) -> Command {
        Command::new(Program::Plugin(self), Reach::Nobody, words)
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SpireFederate => "kubectl spire-federate",
            Self::MeshInstall => "kubectl mesh-install",
            Self::Trustchain => "kubectl trustchain",
            Self::XclusterCurl => "kubectl xcluster-curl",
        })
    }
}

/// A command to paste into a shell. Shows with the flags that lead it to the right cluster, each word quoted where it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: Program,
    reach: Reach,
    words: Vec<String>,
    kubeconfig: Option<PathBuf>,
    mesh: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Kubectl,
    Istioctl,
    Plugin(Plugin),
}

/// Which cluster a command reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// None, or all of the mesh file.
    Nobody,
    /// One that nobody has named yet.
    Somebody,
    /// That of this context.
    Context(String),
}

impl Command {
    /// Makes a command of kubectl for one cluster, which [`Command::at`] names.
    pub fn kubectl<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::new(Program::Kubectl, Reach::Somebody, words)
    }

    /// Makes a command of kubectl that asks no cluster.
    pub fn local<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::new(Program::Kubectl, Reach::Nobody, words)
    }

    /// Makes a command of kubectl about the kubeconfig.
    pub fn kubeconfig<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::local(["config"]).and(words)
    }

    /// Makes a command of istioctl for one cluster, which [`Command::at`] names.
    pub fn istioctl<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::new(Program::Istioctl, Reach::Somebody, words)
    }

    fn new<W: Into<String>>(program: Program, reach: Reach, words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        Self { program, reach, words, kubeconfig: None, mesh: None }
    }

    /// Adds words.
    #[must_use]
    pub fn and<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Names the context, where it is not known yet.
    #[must_use]
    pub fn at(mut self, context: &str) -> Self {
        if self.reach == Reach::Somebody {
            self.reach = Reach::Context(context.to_owned());
        }
        self
    }

    /// Names the context of a command that begins without: only some plugins and `kubectl config` take either.
    #[must_use]
    pub fn in_context(mut self, context: &str) -> Self {
        self.reach = Reach::Context(context.to_owned());
        self
    }

    /// Names another mesh file than the one that was given.
    #[must_use]
    pub fn mesh(mut self, file: impl AsRef<Path>) -> Self {
        self.mesh = Some(file.as_ref().to_owned());
        self
    }

    /// Names another kubeconfig than the one that was given.
    #[must_use]
    pub fn of_kubeconfig(mut self, file: impl AsRef<Path>) -> Self {
        self.kubeconfig = Some(file.as_ref().to_owned());
        self
    }

    /// Returns the flags that every program takes, and the context.
    fn reaching(&self, given: &Given) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        if let Some(file) = self.kubeconfig.as_ref().or(given.kubeconfig.as_ref()) {
            add("--kubeconfig", text(file));
        }
        match &self.reach {
            Reach::Nobody => {}
            // Without the flag it would reach whichever cluster is the current one.
            Reach::Somebody => add("--context", "CONTEXT".to_owned()),
            Reach::Context(context) => add("--context", context.clone()),
        }
        if self.program != Program::Istioctl {
            given.user.iter().for_each(|user| add("--as", user.clone()));
            given.groups.iter().for_each(|group| add("--as-group", group.clone()));
        }
        flags
    }

    /// Returns its text where `given` was given.
    pub(super) fn text(&self, given: &Given) -> String {
        let reaching = self.reaching(given);
        let words = self.words.iter();
        let (program, words) = match self.program {
            Program::Kubectl => ("kubectl".to_owned(), reaching.iter().chain(words).cloned().collect()),
            Program::Istioctl => ("istioctl".to_owned(), reaching.iter().chain(words).cloned().collect()),
            Program::Plugin(plugin) => {
                let mut all: Vec<String> = words.cloned().collect();
                if let Some(file) = self.mesh.as_ref().or(given.mesh.as_ref()) {
                    all.extend(["--mesh".to_owned(), file.to_string_lossy().into_owned()]);
                }
                all.extend(reaching);
                (plugin.to_string(), all)
            }
        };
        words.iter().fold(program, |text, next| text + " " + &word(next))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Given::of_process()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given {
        Given {
            kubeconfig: Some("my clusters.yaml".into()),
            mesh: Some("prod.yaml".into()),
            user: Some("ada".to_owned()),
            groups: vec!["ops".to_owned(), "sre team".to_owned()],
        }
    }

    fn logs() -> Command {
        Command::kubectl(["-n", "spire", "logs", "spire-server-0"])
    }

    #[test]
    fn a_command_for_a_cluster_names_its_context_and_one_for_an_unknown_cluster_says_that_one_is_missing() {
        let arn = "arn:aws:eks:eu-west-1:111122223333:cluster/foo";
        assert_eq!(
            logs().at(arn).to_string(),
            format!("kubectl --context {arn} -n spire logs spire-server-0")
        );
        assert_eq!(
            logs().at("the first").to_string(),
            "kubectl --context 'the first' -n spire logs spire-server-0"
        );
        assert_eq!(logs().to_string(), "kubectl --context CONTEXT -n spire logs spire-server-0");
        assert_eq!(logs().at("foo").at("bar"), logs().at("foo"));
        let uninstall = Command::istioctl(["uninstall", "--purge"]).at("foo");
        assert_eq!(uninstall.to_string(), "istioctl --context foo uninstall --purge");
    }

    #[test]
    fn what_asks_no_cluster_has_no_context_unless_it_is_about_one() {
        let contexts = Command::kubeconfig(["get-contexts"]);
        assert_eq!(contexts.clone().at("foo").to_string(), "kubectl config get-contexts");
        assert_eq!(contexts.in_context("foo").to_string(), "kubectl --context foo config get-contexts");
        let up = Plugin::SpireFederate.up();
        assert_eq!(up.at("foo").to_string(), "kubectl spire-federate");
    }

    #[test]
    fn the_flags_that_were_given_are_passed_on_to_the_programs_that_take_them() {
        let text = |command: Command| command.text(&given());
        insta::assert_snapshot!(text(logs().at("foo")), @"kubectl --kubeconfig 'my clusters.yaml' --context foo --as ada --as-group ops --as-group 'sre team' -n spire logs spire-server-0");
        insta::assert_snapshot!(text(Command::istioctl(["uninstall"]).at("foo")), @"istioctl --kubeconfig 'my clusters.yaml' --context foo uninstall");
        let rotate = Plugin::SpireFederate.command(["rotate", "foo"]);
        insta::assert_snapshot!(text(rotate.clone()), @"kubectl spire-federate rotate foo --mesh prod.yaml --kubeconfig 'my clusters.yaml' --as ada --as-group ops --as-group 'sre team'");
        let theirs = rotate.mesh("ITS_FILE").of_kubeconfig("k");
        insta::assert_snapshot!(text(theirs), @"kubectl spire-federate rotate foo --mesh ITS_FILE --kubeconfig k --as ada --as-group ops --as-group 'sre team'");
    }
}
