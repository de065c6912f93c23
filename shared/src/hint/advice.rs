use std::fmt;

use serde::{Serialize, Serializer};

use super::command::Command;
use super::given::Given;

/// What to do next: sentences, and commands that can be pasted.
///
/// An error often does not know in which cluster it happened. Whoever does binds its commands to that cluster with [`Advice::at`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Command(Box<Command>),
}

impl Advice {
    /// Adds text, or a command, as it is.
    #[must_use]
    pub fn then(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// Binds the commands that have no cluster yet to that of a context.
    #[must_use]
    pub fn at(self, context: &str) -> Self {
        let bind = |piece| match piece {
            Piece::Command(command) => Piece::Command(Box::new(command.at(context))),
            text @ Piece::Text(_) => text,
        };
        Self(self.0.into_iter().map(bind).collect())
    }

    /// Joins several with a text between them; `None` where there is none.
    pub(crate) fn joined(all: impl IntoIterator<Item = Self>, between: &str) -> Option<Self> {
        all.into_iter().reduce(|first, next| first.then(between).then(next))
    }

    /// Returns its text where `given` was given.
    fn text(&self, given: &Given) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Command(command) => command.text(given),
        };
        self.0.iter().map(piece).collect()
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Given::of_process()))
    }
}

impl Serialize for Advice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
impl PartialEq<&str> for Advice {
    fn eq(&self, text: &&str) -> bool {
        self.to_string().as_str() == *text
    }
}

impl From<String> for Advice {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<&str> for Advice {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Command> for Advice {
    fn from(command: Command) -> Self {
        Self(vec![Piece::Command(Box::new(command))])
    }
}

impl From<Advice> for String {
    fn from(advice: Advice) -> Self {
        advice.to_string()
    }
}

impl From<Command> for String {
    fn from(command: Command) -> Self {
        command.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Plugin;

    #[test]
    fn commands_without_a_cluster_are_bound_to_the_first_that_is_named() {
        let pods = || Command::kubectl(["get", "pods"]);
        let advice = Advice::from("here: ").then(pods().at("foo")).then(", and there: ").then(pods());
        assert_eq!(
            advice.to_string(),
            "here: kubectl --context foo get pods, and there: kubectl --context CONTEXT get pods"
        );
        assert_eq!(
            advice.at("bar").at("baz").to_string(),
            "here: kubectl --context foo get pods, and there: kubectl --context bar get pods"
        );
    }

    #[test]
    fn every_command_of_an_advice_has_the_flags_that_were_given() {
        let given = Given { kubeconfig: Some("k".into()), mesh: Some("m".into()), ..Given::default() };
        let both = [Plugin::MeshInstall.command(["verify"]), Command::kubectl(["get", "nodes"])];
        let advice = Advice::joined(both.map(Advice::from), "; ").unwrap().at("foo");
        assert_eq!(
            advice.text(&given),
            "kubectl mesh-install verify --mesh m --kubeconfig k; kubectl --kubeconfig k --context foo get nodes"
        );
        assert_eq!(Advice::joined([], "; "), None);
    }
}
