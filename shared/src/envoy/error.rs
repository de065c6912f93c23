use super::json::AnswerError;
use crate::fleet::ExecError;
use crate::hint::Hint;

/// Why a proxy's admin interface gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It could not be asked.
    #[error("cannot ask the proxy of pod {namespace}/{pod}")]
    Exec {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What went wrong.
        source: Box<ExecError>,
    },
    /// It was asked and refused.
    #[error(
        "cluster {cluster}: the proxy of pod {namespace}/{pod} did not answer `{request}` (exit code {exit}): {stderr}"
    )]
    Failed {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What was asked for.
        request: String,
        /// Exit code of `pilot-agent`.
        exit: i32,
        /// What it wrote to stderr, as one line.
        stderr: String,
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
            Self::Exec { source, .. } => source.problem.is_transient(),
            Self::Failed { stderr, .. } => {
                stderr.contains("connection refused") || stderr.contains("deadline exceeded")
            }
            Self::Answer { .. } => false,
        }
    }
}

impl Hint for ProxyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exec { source, .. } => source.hint(),
            Self::Failed { namespace, pod, .. } => {
                Some(format!("see the proxy's log: kubectl -n {namespace} logs {pod} -c istio-proxy"))
            }
            Self::Answer { .. } => {
                Some("an Envoy from Istio 1.27 on is expected; this one may be another".to_owned())
            }
        }
    }
}
