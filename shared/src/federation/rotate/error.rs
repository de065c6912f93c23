use std::fmt;

use crate::federation::FederationError;
use crate::hint::{Advice, Hint, Plugin};

/// The step before which a rotation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing was changed.
    Prepare,
    /// The new CA is in the bundle and signs nothing.
    Activate,
    /// The new CA signs; both are trusted.
    Taint,
    /// What the old CA has signed is being replaced; both are trusted.
    Revoke,
    /// The old CA is revoked.
    End,
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "before a new CA was prepared",
            Self::Activate => "before the new CA was activated",
            Self::Taint => "before the old CA was tainted",
            Self::Revoke => "before the old CA was revoked",
            Self::End => "after the old CA was revoked",
        })
    }
}

/// Why the CA of a server was not rotated, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// What the next step needs is not so.
    #[error("stopped {before}: {source}")]
    Stopped {
        /// Name of the cluster whose CA is rotated.
        cluster: String,
        /// The next step.
        before: Before,
        /// What is not so.
        source: Box<FederationError>,
    },
    /// An upstream authority signs the CA, so that rotating it changes nothing that peers see.
    #[error("its CA is signed by an upstream authority ({plugin}), which is what has to be rotated")]
    Upstream {
        /// Name of SPIRE's plugin.
        plugin: String,
    },
    /// The server has another CA now than the one that this rotation has put in place of the old one.
    #[error("the SPIRE server of {cluster} has gone on by itself, or somebody else rotates it: {}", overtaken(.from, .until.as_deref()))]
    Overtaken {
        /// Name of the cluster whose CA was rotated.
        cluster: String,
        /// ID of the CA that was to go.
        from: String,
        /// When it ends, RFC 3339; absent where it is not trusted any more.
        until: Option<String>,
    },
    /// The server has no CA yet.
    #[error("the SPIRE server has no CA yet")]
    NoCa,
    /// How far it is could not be found out.
    #[error(transparent)]
    Federation(Box<FederationError>),
}

fn overtaken(from: &str, until: Option<&str>) -> String {
    match until {
        Some(until) => {
            format!("the CA {from} can no longer be tainted or revoked, and stays trusted until {until}")
        }
        None => format!("the CA {from} is not trusted any more"),
    }
}

impl From<FederationError> for RotateError {
    fn from(error: FederationError) -> Self {
        Self::Federation(Box::new(error))
    }
}

impl RotateError {
    /// Tells whether time ran out, which has an exit code of its own.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Stopped { source, .. } => source.is_timeout(),
            Self::Federation(error) => error.is_timeout(),
            Self::Upstream { .. } | Self::Overtaken { .. } | Self::NoCa => false,
        }
    }
}

impl Hint for RotateError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Stopped { cluster, before, source } => {
                let state = match before {
                    Before::Prepare => "nothing was changed",
                    Before::Activate | Before::Taint | Before::Revoke => {
                        "both CAs are trusted, so that nothing is broken"
                    }
                    Before::End => "the rotation is done, and not everybody knows yet",
                };
                let (verify, go_on) = (["verify"], ["rotate", cluster]);
                let cause = source.hint().map(|hint| hint.then("; ")).unwrap_or_default();
                let next = cause
                    .then(format!("{state}: find out what is wrong with `"))
                    .then(Plugin::SpireFederate.command(verify))
                    .then("`, then go on with `")
                    .then(Plugin::SpireFederate.command(go_on))
                    .then("`");
                Some(next)
            }
            Self::Upstream { .. } => Some(
                "rotate the issuer that signs it; SPIRE asks for a new intermediate by itself, in time"
                    .into(),
            ),
            Self::Overtaken { cluster, .. } => {
                let rotate = Plugin::SpireFederate.command(["rotate", cluster]);
                let state = "nothing is broken, and SPIRE drops a CA that has ended by itself; to replace the CA that signs now: ";
                Some(Advice::from(state).then(rotate))
            }
            Self::NoCa => Some(Plugin::SpireFederate.command(["verify"]).into()),
            Self::Federation(error) => error.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::manifest::WaitError;

    fn stopped(before: Before, source: FederationError) -> RotateError {
        RotateError::Stopped { cluster: "baz".to_owned(), before, source: Box::new(source) }
    }

    fn timed_out() -> FederationError {
        let (what, last_seen) = ("the agents".to_owned(), "1 of 2".to_owned());
        FederationError::Wait(WaitError::TimedOut { what, last_seen, waited: Duration::from_secs(5) })
    }

    fn no_agents() -> FederationError {
        FederationError::NoAgents { cluster: "bar".to_owned() }
    }

    #[test]
    fn where_a_rotation_stopped_is_told_with_what_that_means() {
        let all = [Before::Prepare, Before::Activate, Before::Taint, Before::Revoke, Before::End];
        let told = all.map(|before| {
            let error = stopped(before, no_agents());
            format!("{error}\nhint: {}\n", error.hint().unwrap())
        });
        insta::assert_snapshot!(told.concat(), @r"
        stopped before a new CA was prepared: no SPIRE agents were found in bar
        hint: see what is there: kubectl spire-federate verify; nothing was changed: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate baz`
        stopped before the new CA was activated: no SPIRE agents were found in bar
        hint: see what is there: kubectl spire-federate verify; both CAs are trusted, so that nothing is broken: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate baz`
        stopped before the old CA was tainted: no SPIRE agents were found in bar
        hint: see what is there: kubectl spire-federate verify; both CAs are trusted, so that nothing is broken: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate baz`
        stopped before the old CA was revoked: no SPIRE agents were found in bar
        hint: see what is there: kubectl spire-federate verify; both CAs are trusted, so that nothing is broken: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate baz`
        stopped after the old CA was revoked: no SPIRE agents were found in bar
        hint: see what is there: kubectl spire-federate verify; the rotation is done, and not everybody knows yet: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate baz`
        ");
    }

    #[test]
    fn an_error_that_stopped_nothing_is_told_as_it_is() {
        let error = RotateError::from(no_agents());
        assert_eq!((error.to_string(), error.hint()), (no_agents().to_string(), no_agents().hint()));
        assert_eq!(RotateError::NoCa.hint().unwrap().to_string(), "kubectl spire-federate verify");
        let overtaken = |until: Option<&str>| RotateError::Overtaken {
            cluster: "baz".to_owned(),
            from: "0a1b".to_owned(),
            until: until.map(str::to_owned),
        };
        let still = overtaken(Some("2026-12-02T10:00:00Z"));
        insta::assert_snapshot!(still, @"the SPIRE server of baz has gone on by itself, or somebody else rotates it: the CA 0a1b can no longer be tainted or revoked, and stays trusted until 2026-12-02T10:00:00Z");
        insta::assert_snapshot!(still.hint().unwrap().to_string(), @"nothing is broken, and SPIRE drops a CA that has ended by itself; to replace the CA that signs now: kubectl spire-federate rotate baz");
        insta::assert_snapshot!(overtaken(None), @"the SPIRE server of baz has gone on by itself, or somebody else rotates it: the CA 0a1b is not trusted any more");
        let upstream = RotateError::Upstream { plugin: "disk".to_owned() };
        assert!(upstream.hint().unwrap().to_string().starts_with("rotate the issuer that signs it"));
    }

    #[test]
    fn only_time_that_ran_out_is_a_timeout() {
        assert!(stopped(Before::Taint, timed_out()).is_timeout());
        assert!(RotateError::from(timed_out()).is_timeout());
        assert!(!stopped(Before::Taint, no_agents()).is_timeout());
        assert!(!RotateError::from(no_agents()).is_timeout());
        assert!(!RotateError::NoCa.is_timeout());
    }
}
