use crate::fleet::{Need, RequestError};
use crate::hint::Hint;
use crate::istio::NAMESPACE;
use crate::istio::ca::{CA_SECRET, CaState, CaUnread, SecretError};
use crate::istio::istiod::IstiodError;
use crate::manifest::WaitError;
use crate::mesh::duration_text;

/// Why istiod's CA was not rotated, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateCaError {
    /// Rights are missing.
    #[error("you may not {}", crate::fleet::listed(.0))]
    MissingRights(Vec<Need>),
    /// istiod signs itself.
    #[error(
        "there is no Certificate {NAMESPACE}/{CA_SECRET}: cert-manager does not issue istiod's CA, and one that istiod or somebody else made \
         has no issuer to ask for the next"
    )]
    NoCertificate,
    /// The root itself is to be changed.
    #[error("the root cannot be changed while istiod runs: {}", root_reason(*.multiroot))]
    Root {
        /// `ISTIO_MULTIROOT_MESH` is on.
        multiroot: bool,
    },
    /// It has not been issued as it is.
    #[error("Certificate {NAMESPACE}/{CA_SECRET} is not issued: {why}")]
    NotIssued {
        /// What it says.
        why: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// istiod and the Secret do not go together.
    #[error("{state}")]
    Unfit {
        /// How they are.
        state: CaState,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// The issuer would sign with another root.
    #[error(
        "{issuer} signs with the root {found} now, and proxies trust {trusted}: that is a change of the root, which istiod refuses as long \
         as it runs and takes at its next start"
    )]
    IssuerHasOtherRoot {
        /// Kind and name of the issuer.
        issuer: String,
        /// Subject and serial number of its root.
        found: String,
        /// Subject and serial number of the root in force.
        trusted: String,
    },
    /// The asked duration does not go with the certificate.
    #[error("a duration of {} is not longer than renewBefore of the Certificate, which is {renew_before}", duration_text(*asked))]
    TooShort {
        /// What was asked for.
        asked: std::time::Duration,
        /// When it is renewed before its end.
        renew_before: String,
    },
    /// The new CA has another root.
    #[error("the new CA was signed with another root: istiod goes on with the old one, until its next start")]
    RootChanged {
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// istiod cannot use the new CA.
    #[error("pod {pod} does not take the new CA: {why}")]
    NotTaken {
        /// The pod.
        pod: String,
        /// Its words.
        why: String,
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// Something did not come.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The CA could not be looked at.
    #[error(transparent)]
    Unread(#[from] Box<CaUnread>),
    /// Something could not be read or changed.
    #[error("cannot {what}")]
    Request {
        /// What was to be done.
        what: String,
        /// What the API server said.
        source: RequestError,
    },
}

fn root_reason(multiroot: bool) -> &'static str {
    if multiroot {
        "its first step takes the old and the new root together in Secret cacerts, and cert-manager fills that with the one root that the \
         issuer signs with"
    } else {
        "ISTIO_MULTIROOT_MESH is off, and without it istiod takes no Secret cacerts whose roots differ from its own in a single byte"
    }
}

impl From<IstiodError> for RotateCaError {
    fn from(error: IstiodError) -> Self {
        Self::Unread(Box::new(error.into()))
    }
}

impl From<SecretError> for RotateCaError {
    fn from(error: SecretError) -> Self {
        Self::Unread(Box::new(error.into()))
    }
}

impl RotateCaError {
    /// Tells whether time ran out, which has an exit code of its own.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Wait(error) if error.is_timeout())
    }
}

impl Hint for RotateCaError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::MissingRights(needs) => {
                let need = needs.first()?;
                let group = if need.group.is_empty() { String::new() } else { format!(".{}", need.group) };
                let namespace = need.namespace.as_ref().map_or("-A".to_owned(), |name| format!("-n {name}"));
                format!("ask for these rights; check with: kubectl auth can-i {} {}{group} {namespace}", need.verb, need.resource)
            }
            Self::NoCertificate => {
                "istiod renews a root of its own by itself, in the last fifth of its ten years; for a CA of cert-manager set istio.ca in the \
                 mesh file before istiod is installed"
                    .to_owned()
            }
            Self::Root { .. } => {
                "old and new root together, then a CA of the new one, then the new root alone, each by hand in a Secret without a Certificate; \
                 or a planned restart of istiod: docs/rotate-ca.md#the-root"
                    .to_owned()
            }
            Self::NotIssued { context, .. } => {
                format!("kubectl --context {context} -n {NAMESPACE} describe certificates.cert-manager.io {CA_SECRET}")
            }
            Self::Unfit { state, context } => return state.hint(context),
            Self::IssuerHasOtherRoot { .. } => {
                "give the issuer its old root back, or change the root in three steps, which needs ISTIO_MULTIROOT_MESH and a CA without \
                 cert-manager meanwhile: docs/rotate-ca.md#the-root"
                    .to_owned()
            }
            Self::TooShort { .. } => "set istio.ca.duration and istio.ca.renewBefore in the mesh file, then: kubectl mesh-install up".to_owned(),
            Self::RootChanged { context } => {
                let state = CaState::OtherRoot { pod: String::new(), refused: true };
                return state.hint(context);
            }
            Self::NotTaken { pod, context, .. } => {
                format!("istiod goes on with the CA that it has; see: kubectl --context {context} -n {NAMESPACE} logs {pod}")
            }
            Self::Wait(error) => {
                let more = error.hint()?;
                format!("{more}; a rotation that was interrupted goes on where it was, and nothing is broken meanwhile")
            }
            Self::Unread(error) => return error.hint(),
            Self::Request { .. } => return None,
        })
    }
}
