use std::fmt;

use crate::federation::FederationError;
use crate::hint::Hint;

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
    /// The server has no CA yet.
    #[error("the SPIRE server has no CA yet")]
    NoCa,
    /// How far it is could not be found out.
    #[error(transparent)]
    Federation(Box<FederationError>),
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
            Self::Upstream { .. } | Self::NoCa => false,
        }
    }
}

impl Hint for RotateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped { cluster, before, source } => {
                let state = match before {
                    Before::Prepare => "nothing was changed",
                    Before::Activate | Before::Taint | Before::Revoke => {
                        "both CAs are trusted, so that nothing is broken"
                    }
                    Before::End => "the rotation is done, and not everybody knows yet",
                };
                let cause = source.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
                Some(format!(
                    "{cause}{state}: find out what is wrong with `kubectl spire-federate verify`, then go on with `kubectl spire-federate rotate {cluster}`"
                ))
            }
            Self::Upstream { .. } => Some(
                "rotate the issuer that signs it; SPIRE asks for a new intermediate by itself, in time"
                    .to_owned(),
            ),
            Self::NoCa => Some("kubectl spire-federate verify".to_owned()),
            Self::Federation(error) => error.hint(),
        }
    }
}
