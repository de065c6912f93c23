use super::json::AnswerError;
use crate::fleet::ForwardError;
use crate::hint::Hint;

/// Why a proxy's admin interface gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It could not be asked.
    #[error("cannot ask the proxy of pod {namespace}/{pod}")]
    Unanswered {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What went wrong.
        source: Box<ForwardError>,
    },
    /// It was asked and refused.
    #[error(
        "cluster {cluster}: the proxy of pod {namespace}/{pod} did not answer `{request}` (status {status}): {said}"
    )]
    Refused {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What was asked for.
        request: String,
        /// Status of HTTP.
        status: u16,
        /// What it said, as one line.
        said: String,
    },
    /// It answered, and the answer is not one.
    #[error("the proxy of pod {namespace}/{pod} gave no usable answer to `{request}`")]
    Answer {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What was asked for.
        request: String,
        /// What is wrong with it.
        source: AnswerError,
    },
}

impl ProxyError {
    /// Tells whether waiting can help: the pod, the connection to it or Envoy in it may still be starting.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered { source, .. } => source.problem.is_transient(),
            Self::Refused { status, .. } => *status >= 500,
            Self::Answer { .. } => false,
        }
    }
}

impl Hint for ProxyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unanswered { source, .. } => source.hint(),
            Self::Refused { namespace, pod, .. } => {
                Some(format!("see the proxy's log: kubectl -n {namespace} logs {pod} -c istio-proxy"))
            }
            Self::Answer { .. } => {
                Some("an Envoy of Istio 1.29 or newer is expected; this one may be another".to_owned())
            }
        }
    }
}
