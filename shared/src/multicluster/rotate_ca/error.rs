use crate::fleet::{Need, RequestError};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::istio::ca::{CA_SECRET, CaState, CaUnread, SecretError};
use crate::istio::istiod::IstiodError;
use crate::istio::{MULTIROOT, NAMESPACE};
use crate::manifest::WaitError;
use crate::mesh::duration_text;
use crate::multicluster::ca::CaError;

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
    /// The mesh file names no issuer whose root could be the next.
    #[error("the mesh file names no issuer for istiod's CA in {cluster}, so there is no root to change to")]
    NoIssuer {
        /// Name of the cluster.
        cluster: String,
    },
    /// The issuer of the mesh file cannot sign.
    #[error(transparent)]
    Issuer(#[from] Box<CaError>),
    /// It is not known which root the issuer has.
    #[error(
        "which root {issuer} signs with cannot be read: only that of an issuer of cert-manager with a Secret of its own (`spec.ca`) can, \
         where you may read that Secret"
    )]
    UnknownRoot {
        /// Kind and name of the issuer.
        issuer: String,
    },
    /// istiod takes no further root.
    #[error("istiod runs without {MULTIROOT}, and so takes another root only with its next start")]
    MultirootOff,
    /// Proxies have certificates of istiod's.
    #[error(
        "{} with a certificate that istiod signed, and not SPIRE: {}; others would refuse it as soon as the old root is gone",
        counted(.proxies.len()), listed(.proxies)
    )]
    OfIstiod {
        /// `NAMESPACE/POD` of each.
        proxies: Vec<String>,
    },
    /// A change of the root is half done.
    #[error("proxies trust two roots: a change of the root was begun, and has not ended")]
    BetweenRoots {
        /// Name of the cluster.
        cluster: String,
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
        "{issuer} signs with the root {found} now, and proxies trust {trusted}: that is a change of the root"
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
    /// cert-manager has issued a CA of the old root while proxies were given both.
    #[error(
        "cert-manager has renewed the CA meanwhile, and with it the old root alone is in Secret {CA_SECRET} again: the change begins anew"
    )]
    RenewedMeanwhile {
        /// Name of the cluster.
        cluster: String,
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

/// How many proxies are named.
const NAMED: usize = 5;

fn counted(proxies: usize) -> String {
    format!(
        "there {} {proxies} {}",
        if proxies == 1 { "is" } else { "are" },
        if proxies == 1 { "proxy" } else { "proxies" }
    )
}

fn listed(proxies: &[String]) -> String {
    let more = proxies.len().saturating_sub(NAMED);
    let named = proxies[..proxies.len() - more].join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
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
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::MissingRights(needs) => {
                let need = needs.first()?;
                let everywhere = need.namespace.is_none().then_some("-A");
                Advice::from("ask for these rights; check with: ").then(need.can_i().and(everywhere))
            }
            Self::NoCertificate => {
                "istiod renews a root of its own by itself, in the last fifth of its ten years; for a CA of cert-manager set istio.ca in the \
                 mesh file before istiod is installed"
                    .into()
            }
            Self::NoIssuer { .. } => "set istio.ca.certManager.issuer in the mesh file to the one with the new root".into(),
            Self::Issuer(error) => return error.hint(),
            Self::UnknownRoot { .. } => {
                Advice::from(Command::kubectl(["auth", "can-i", "get", "secrets"]))
                    .then("; for issuers of another kind the root is changed by hand: docs/rotate-ca.md#by-hand")
            }
            Self::MultirootOff => Advice::from(Plugin::MeshInstall.up()).then(format!(
                " sets it for a CA of cert-manager, unless istio.values.pilot.env of the mesh file has {MULTIROOT}"
            )),
            Self::OfIstiod { .. } => {
                Advice::from("see why they have no identity from SPIRE: ")
                    .then(Plugin::MeshInstall.command(["verify"]))
                    .then("; or take the sidecars off them")
            }
            Self::BetweenRoots { cluster } | Self::RenewedMeanwhile { cluster } => {
                Plugin::MeshInstall.command(["rotate-ca", "--root", cluster]).into()
            }
            Self::NotIssued { context, .. } => {
                let words = ["-n", NAMESPACE, "describe", "certificates.cert-manager.io", CA_SECRET];
                Command::kubectl(words).at(context).into()
            }
            Self::Unfit { state, context } => return state.hint(context),
            Self::IssuerHasOtherRoot { .. } => {
                Advice::from("give the issuer its old root back; or change the root, in steps: ")
                    .then(Plugin::MeshInstall.command(["rotate-ca", "--root"]))
            }
            Self::TooShort { .. } => Advice::from("set istio.ca.duration and istio.ca.renewBefore in the mesh file, then: ")
                .then(Plugin::MeshInstall.up()),
            Self::RootChanged { context } => {
                let state = CaState::OtherRoot { pod: String::new(), refused: true };
                return state.hint(context);
            }
            Self::NotTaken { pod, context, .. } => {
                let logs = Command::kubectl(["-n", NAMESPACE, "logs", pod]).at(context);
                Advice::from("istiod goes on with the CA that it has; see: ").then(logs)
            }
            Self::Wait(error) => {
                error.hint()?.then("; a rotation that was interrupted goes on where it was, and nothing is broken meanwhile")
            }
            Self::Unread(error) => return error.hint(),
            Self::Request { .. } => return None,
        })
    }
}
