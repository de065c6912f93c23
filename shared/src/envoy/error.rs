use super::json::AnswerError;
use crate::fleet::ForwardError;
use crate::hint::{Advice, Command, Hint};

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
        /// The kubeconfig context.
        context: String,
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
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Unanswered { source, .. } => source.hint(),
            Self::Refused { context, namespace, pod, .. } => {
                let logs = Command::kubectl(["-n", namespace, "logs", pod, "-c", "istio-proxy"]);
                Some(Advice::from("see the proxy's log: ").then(logs.at(context)))
            }
            Self::Answer { .. } => {
                Some("an Envoy of Istio 1.29 or newer is expected; this one may be another".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{ForwardProblem, PodPort};

    fn refused(status: u16) -> ProxyError {
        let text = || "a".to_owned();
        let (cluster, context, namespace, pod) = (text(), text(), text(), text());
        ProxyError::Refused { cluster, context, namespace, pod, request: text(), status, said: text() }
    }

    fn answer() -> ProxyError {
        let text = || "a".to_owned();
        let (cluster, namespace, pod) = (text(), text(), text());
        ProxyError::Answer { cluster, namespace, pod, request: text(), source: AnswerError::TooLong(1) }
    }

    fn unanswered(problem: ForwardProblem) -> ProxyError {
        let text = || "a".to_owned();
        let at = PodPort { namespace: text(), pod: text(), port: 15000 };
        let source = Box::new(ForwardError { at, context: text(), problem });
        ProxyError::Unanswered { cluster: text(), namespace: text(), pod: text(), source }
    }

    #[test]
    fn waiting_helps_while_something_starts_and_not_where_envoy_has_answered() {
        assert!(refused(500).may_pass() && refused(503).may_pass());
        assert!(!refused(499).may_pass() && !refused(404).may_pass() && !answer().may_pass());
        assert!(unanswered(ForwardProblem::Broken("reset".to_owned())).may_pass());
        assert!(!unanswered(ForwardProblem::TooMuch).may_pass());
    }

    #[test]
    fn each_error_has_a_next_step() {
        let hint = |error: ProxyError| error.hint().unwrap();
        assert_eq!(hint(refused(404)), "see the proxy's log: kubectl --context a -n a logs a -c istio-proxy");
        assert_eq!(hint(answer()), "an Envoy of Istio 1.29 or newer is expected; this one may be another");
    }
}
