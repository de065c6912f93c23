use futures::future::{join_all, try_join3};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::{
    CaFacts, CaLog, CaSecret, CaState, ROOT_CONFIG_MAP, SecretError, XDS_PORT, ca_log, ca_state,
    certificates, read_secret,
};
use crate::fleet::{Connection, Member, RequestError};
use crate::hint::{Advice, Hint};
use crate::istio::NAMESPACE;
use crate::istio::istiod::{Istiod, IstiodError};
use crate::spire::presented::{PresentedError, of_pod};
use crate::trust::svid::Certificate;

/// A cluster's CA as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCa {
    /// The Secret `cacerts`; `None` where there is none.
    pub secret: Option<CaSecret>,
    /// The roots in the `ConfigMap` that proxies verify istiod with.
    pub published: Vec<Certificate>,
    /// The pods of istiod.
    pub istiods: Vec<SeenIstiod>,
}

/// One pod of istiod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenIstiod {
    /// Name of the pod.
    pub pod: String,
    /// When it started.
    pub started: Option<Timestamp>,
    /// What it presents to proxies: its own certificate first, then that of its CA, then the roots.
    pub presented: Vec<Certificate>,
    /// What its log says.
    pub log: CaLog,
}

/// Why a cluster's CA is not known.
#[derive(Debug, thiserror::Error)]
pub enum CaUnread {
    /// The Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// istiod cannot be asked.
    #[error(transparent)]
    Istiod(#[from] IstiodError),
    /// It is not known what istiod presents.
    #[error("cannot see which certificate pod {pod} presents at port {XDS_PORT}")]
    Presented {
        /// The pod.
        pod: String,
        /// Why not.
        source: PresentedError,
    },
    /// Something could not be read from the API server.
    #[error("cannot read {what}")]
    Request {
        /// What was to be read.
        what: String,
        /// What the API server said.
        source: RequestError,
    },
}

impl CaUnread {
    /// Tells whether the same may work in a moment.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Secret(SecretError::Request(error)) | Self::Request { source: error, .. } => {
                error.is_transient()
            }
            Self::Secret(_) => false,
            Self::Istiod(_) | Self::Presented { .. } => true,
        }
    }
}

impl Hint for CaUnread {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Istiod(error) => error.hint(),
            Self::Secret(_) | Self::Presented { .. } | Self::Request { .. } => None,
        }
    }
}

impl SeenCa {
    /// Tells how istiod and the Secret go together.
    #[must_use]
    pub fn state(&self) -> CaState {
        let Self { secret, published, istiods } = self;
        ca_state(&CaFacts { secret: secret.as_ref(), published, istiods })
    }

    /// Tells whether proxies trust more than the one root that cert-manager gives: its root is on its way to another.
    #[must_use]
    pub fn is_between_roots(&self) -> bool {
        self.published.len() > 1 && self.secret.as_ref().is_some_and(|secret| secret.certificate.is_some())
    }
}

/// Looks at a cluster's CA: the Secret, the root that proxies have, and what every pod of istiod presents and says. Changes nothing.
///
/// # Errors
/// [`CaUnread`] when one of them cannot be looked at.
pub async fn observe(member: &Member) -> Result<SeenCa, CaUnread> {
    let secret = async { Ok::<_, CaUnread>(read_secret(member).await?) };
    let (secret, published, istiods) = try_join3(secret, published(member), istiods(member)).await?;
    Ok(SeenCa { secret, published, istiods })
}

/// What istiod presents to proxies, and the roots that they verify it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Name of the pod of istiod.
    pub pod: String,
    /// Its own certificate first.
    pub presented: Vec<Certificate>,
    /// The roots that istiod publishes.
    pub published: Vec<Certificate>,
}

/// Looks at what the first pod of istiod presents.
///
/// # Errors
/// [`CaUnread`] when there is none, or it cannot be looked at.
pub async fn served(connection: &Connection) -> Result<Served, CaUnread> {
    let istiod = async { Ok::<_, CaUnread>(Istiod::find(connection).await?.swap_remove(0)) };
    let (istiod, published) = futures::future::try_join(istiod, published(connection)).await?;
    let pod = istiod.pod().to_owned();
    let presented = presented(connection, &pod).await?;
    Ok(Served { pod, presented, published })
}

async fn presented(connection: &Connection, pod: &str) -> Result<Vec<Certificate>, CaUnread> {
    let presented = of_pod(connection, NAMESPACE, pod, XDS_PORT)
        .await
        .map_err(|source| CaUnread::Presented { pod: pod.to_owned(), source })?;
    Ok(presented.certificates().iter().filter_map(|der| Certificate::from_der(der.clone()).ok()).collect())
}

/// Reads the roots that proxies of Istio's own namespace verify istiod with. Those of other namespaces are copies.
async fn published(connection: &Connection) -> Result<Vec<Certificate>, CaUnread> {
    let maps: Api<ConfigMap> = Api::namespaced(connection.client().clone(), NAMESPACE);
    let map = maps.get_opt(ROOT_CONFIG_MAP).await.map_err(|error| CaUnread::Request {
        what: format!("ConfigMap {NAMESPACE}/{ROOT_CONFIG_MAP}"),
        source: error.into(),
    })?;
    Ok(map.as_ref().map(published_roots).unwrap_or_default())
}

/// Returns the roots in a `ConfigMap` that istiod gives to a namespace.
pub(crate) fn published_roots(map: &ConfigMap) -> Vec<Certificate> {
    let text = map.data.as_ref().and_then(|data| data.get("root-cert.pem"));
    text.map(|text| certificates(text.as_bytes())).unwrap_or_default()
}

async fn istiods(member: &Member) -> Result<Vec<SeenIstiod>, CaUnread> {
    let found = Istiod::find(member).await?;
    join_all(found.iter().map(|istiod| look(member, istiod))).await.into_iter().collect()
}

async fn look(member: &Member, istiod: &Istiod<'_>) -> Result<SeenIstiod, CaUnread> {
    let pod = istiod.pod().to_owned();
    let presented = presented(member, &pod).await?;
    let log = ca_log(member, &pod)
        .await
        .map_err(|source| CaUnread::Request { what: format!("the log of pod {NAMESPACE}/{pod}"), source })?;
    Ok(SeenIstiod { pod, started: istiod.started, presented, log })
}
