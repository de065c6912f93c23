use std::fmt;

use serde::Serialize;

use super::x509::{same, within};
use super::{CA_SECRET, CaSecret, ROOT_CONFIG_MAP, SeenIstiod, is_signed_by};
use crate::hint::{Advice, Command, Plugin};
use crate::istio::{ISTIOD, NAMESPACE};
use crate::trust::svid::Certificate;

/// What to do where the root is another one.
fn other_root() -> Advice {
    let text = "do not restart istiod before you are ready for it: with its next start the root changes under all proxies at once. \
                Have the issuer sign with the old root again, then `";
    Advice::from(text)
        .then(Plugin::MeshInstall.command(["rotate-ca"]))
        .then("`; `rotate-ca --root` then changes the root in steps")
}

/// What is known of a cluster's CA.
#[derive(Clone, Copy, Debug)]
pub struct CaFacts<'f> {
    /// The Secret `cacerts`; `None` where there is none.
    pub secret: Option<&'f CaSecret>,
    /// The roots in the `ConfigMap` that proxies verify istiod with.
    pub published: &'f [Certificate],
    /// The pods of istiod.
    pub istiods: &'f [SeenIstiod],
}

/// How istiod and the Secret `cacerts` go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum CaState {
    /// There is no Secret: istiod signs with a CA that it made itself.
    SelfSigned,
    /// istiod signs with the CA in the Secret.
    InForce,
    /// istiod presents a certificate of an earlier CA of the same root, or gives proxies a root more or less than the Secret has. The kubelet
    /// passes a Secret on within two minutes.
    Behind {
        /// The pod.
        pod: String,
    },
    /// istiod started before the Secret was there: it signs with another CA until its next start, and then all at once with that of the
    /// Secret.
    StartedBefore {
        /// The pod.
        pod: String,
    },
    /// The Secret has another root than the one that istiod gives to proxies. istiod keeps the old one until its next start.
    OtherRoot {
        /// The pod.
        pod: String,
        /// istiod has said that it does not take it.
        refused: bool,
    },
}

impl CaState {
    /// Returns what to do about it; `context` is the kubeconfig context of the cluster.
    #[must_use]
    pub fn hint(&self, context: &str) -> Option<Advice> {
        let istiod = format!("deployment/{ISTIOD}");
        let of_istiod = |words: &[&str]| {
            let words = words.iter().copied();
            Command::kubectl(["-n", NAMESPACE]).and(words).and([istiod.as_str()]).at(context)
        };
        match self {
            Self::SelfSigned | Self::InForce => None,
            Self::Behind { .. } => Some(
                Advice::from("it takes up to two minutes; if it lasts, see why: ")
                    .then(of_istiod(&["logs"]))
                    .then(" | grep -i root-ca"),
            ),
            Self::StartedBefore { .. } => {
                Some(Advice::from(of_istiod(&["rollout", "restart"])).then(format!(
                    "; until their {ROOT_CONFIG_MAP} has come, within two minutes, proxies go on with the configuration that they \
                     have, and new pods wait"
                )))
            }
            Self::OtherRoot { .. } => Some(other_root()),
        }
    }
}

impl fmt::Display for CaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => write!(f, "istiod signs with a CA that it made itself"),
            Self::InForce => write!(f, "istiod signs with the CA in Secret {CA_SECRET}"),
            Self::Behind { pod } => {
                write!(f, "{pod} has not taken the CA in Secret {CA_SECRET} yet: it still has the one before")
            }
            Self::StartedBefore { pod } => {
                write!(
                    f,
                    "{pod} started before Secret {CA_SECRET} was there, and still signs with another CA"
                )
            }
            Self::OtherRoot { pod, refused: true } => {
                write!(f, "{pod} does not take the CA in Secret {CA_SECRET}: it has another root")
            }
            Self::OtherRoot { pod, refused: false } => {
                write!(
                    f,
                    "the CA in Secret {CA_SECRET} has another root than the one that {pod} gives to proxies"
                )
            }
        }
    }
}

/// Tells how istiod and the Secret go together; of several pods, the state of the first that is not as it should be.
#[must_use]
pub fn ca_state(facts: &CaFacts<'_>) -> CaState {
    let Some(secret) = facts.secret else { return CaState::SelfSigned };
    let states = facts.istiods.iter().map(|istiod| of(secret, facts.published, istiod));
    states.into_iter().find(|state| *state != CaState::InForce).unwrap_or(CaState::InForce)
}

fn of(secret: &CaSecret, published: &[Certificate], istiod: &SeenIstiod) -> CaState {
    let pod = istiod.pod.clone();
    // istiod sends its own certificate, then the file of the CA, then that of the roots.
    let of_ca = match istiod.presented.as_slice() {
        [_, ca, ..] => *ca == secret.ca,
        [leaf] => is_signed_by(leaf, &secret.ca),
        [] => false,
    };
    let root_is_given = published.is_empty() || same(published, &secret.roots);
    if of_ca && root_is_given {
        return CaState::InForce;
    }
    // What one has signed with the old root may still be presented; what it gives to proxies tells which root is in force.
    let root_is_presented = istiod.presented.iter().any(|certificate| secret.roots.contains(certificate));
    if root_is_given && (root_is_presented || !published.is_empty()) {
        return CaState::Behind { pod };
    }
    let refused = istiod.log.refused_root.is_some_and(|refused| Some(refused) > istiod.log.reloaded);
    // A root more or less, which istiod takes where it may have several.
    if !refused
        && !published.is_empty()
        && (within(published, &secret.roots) || within(&secret.roots, published))
    {
        return CaState::Behind { pod };
    }
    let is_older = match (istiod.started, secret.created) {
        (Some(started), Some(created)) => started < created,
        _ => false,
    };
    if is_older && !refused { CaState::StartedBefore { pod } } else { CaState::OtherRoot { pod, refused } }
}
