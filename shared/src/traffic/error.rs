use super::load::RateError;
use super::request::RequestPartError;
use crate::fleet::{Cause, ExecError, Need, RequestError};
use crate::hint::{Advice, Command, Hint, Plugin};
use crate::manifest::RecordError;

/// Why requests could not be sent, or what was to be done around them could not.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// What was asked for is no request.
    #[error(transparent)]
    Part(#[from] RequestPartError),
    /// What was asked for is no rate.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// `--from` is none.
    #[error(
        "`{0}` cannot send requests; write CLUSTER, CLUSTER/NAMESPACE/WORKLOAD, CLUSTER/NAMESPACE/KIND/WORKLOAD, all or here"
    )]
    From(String),
    /// What is to go away is no name.
    #[error("`{0}` is no name of a workload; write NAME or CLUSTER/NAMESPACE/NAME")]
    Victim(String),
    /// There is no such cluster.
    #[error("cluster `{}` is not in the mesh file; there is {}", crate::report::one_line(name), known.join(", "))]
    NoCluster {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There is no pod to send from.
    #[error("no pod of {namespace}/{workload} in {cluster} is ready to send requests")]
    NoClient {
        /// Name of the cluster.
        cluster: String,
        /// Its kubeconfig context.
        context: String,
        /// Namespace of the workload.
        namespace: String,
        /// Its name.
        workload: String,
    },
    /// The pod has no curl.
    #[error("container {container} of pod {namespace}/{pod} in {cluster} has no curl")]
    NoCurl {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
    },
    /// curl sent nothing.
    #[error("curl in pod {namespace}/{pod} of {cluster} sent nothing: {said}")]
    Nothing {
        /// Name of the cluster.
        cluster: String,
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// What it said instead.
        said: String,
    },
    /// There is no curl on this machine, or it does not start.
    #[error("cannot start curl on this machine")]
    Here(#[source] std::io::Error),
    /// curl did not run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// Something cannot be read, or written.
    #[error("cannot {need} in {cluster}")]
    Request {
        /// Name of the cluster.
        cluster: String,
        /// What it takes.
        need: Box<Need>,
        /// What the API server said.
        source: RequestError,
    },
    /// An earlier failover left a record that is not understood.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is nothing that could be taken away.
    #[error("{0}")]
    NoFailover(String),
    /// Something is not ready in time.
    #[error("{0}")]
    NotReady(String),
    /// A gateway has no address.
    #[error("the ingress gateway of {cluster} has no address that can be reached: {why}")]
    NoIngress {
        /// Name of the cluster.
        cluster: String,
        /// Why.
        why: String,
    },
}

impl TrafficError {
    pub(super) fn request(cluster: &str, need: Need, error: kube::Error) -> Self {
        Self::Request { cluster: cluster.to_owned(), need: Box::new(need), source: RequestError::from(error) }
    }

    /// Tells whether what was asked for is wrong, rather than what was found.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Part(_) | Self::Rate(_) | Self::From(_) | Self::Victim(_) | Self::NoCluster { .. }
        )
    }
}

impl From<ExecError> for TrafficError {
    fn from(error: ExecError) -> Self {
        Self::Exec(Box::new(error))
    }
}

impl Hint for TrafficError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Part(_) => {
                Some(Plugin::XclusterCurl.command(["http://helloworld.helloworld:5000/hello"]).into())
            },
            Self::NoCluster { .. } => Some("name a cluster of the mesh file".into()),
            Self::NoClient { namespace, .. } if namespace == "sleep" => {
                let demo = Advice::from(Plugin::MeshInstall.command(["demo", "sleep"]));
                Some(demo.then(", or name a workload with --from, or add --deploy-client"))
            }
            Self::NoClient { context, namespace, .. } => {
                Some(Command::kubectl(["-n", namespace, "get", "pods"]).at(context).into())
            }
            Self::NoCurl { .. } => {
                Some("add --ephemeral to put a container with curl into this pod, or --deploy-client for a pod of its own".into())
            }
            Self::Here(_) => Some("install curl, or send from a pod: leave out `--from here`".into()),
            Self::Nothing { .. } => Some("its curl has to be 7.76 or newer".into()),
            Self::Exec(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Request { need, source, .. } => {
                matches!(source.cause(), Cause::Forbidden).then(|| format!("ask for the right to {need}").into())
            }
            Self::Rate(_) | Self::From(_) | Self::Victim(_) | Self::NoFailover(_) | Self::NotReady(_) => None,
            Self::NoIngress { .. } => Some(Plugin::MeshInstall.command(["status"]).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_is_wrong_what_to_do_and_whose_fault_it_is() {
        let text = str::to_owned;
        let request = |code: u16| {
            let status = kube::core::Status { code, reason: String::new(), ..kube::core::Status::default() };
            TrafficError::request(
                "baz",
                Need::new("list", "", "pods", Some("shop")),
                kube::Error::Api(Box::new(status)),
            )
        };
        let client = |namespace: &str| TrafficError::NoClient {
            cluster: text("baz"),
            context: text("baz-eks"),
            namespace: text(namespace),
            workload: text("sleep"),
        };
        let errors = [
            "ftp://a/".parse::<crate::traffic::request::Url>().unwrap_err().into(),
            TrafficError::Rate(RateError::Form),
            TrafficError::From(text("x y")),
            TrafficError::Victim(text("A")),
            TrafficError::NoCluster { name: text("qux"), known: vec![text("foo"), text("bar")] },
            client("sleep"),
            client("shop"),
            TrafficError::NoCurl {
                cluster: text("baz"),
                namespace: text("shop"),
                pod: text("cart-0"),
                container: text("app"),
            },
            TrafficError::Nothing {
                cluster: text("baz"),
                namespace: text("shop"),
                pod: text("cart-0"),
                said: text("nothing"),
            },
            TrafficError::Here(std::io::Error::other("no")),
            request(403),
            request(404),
            TrafficError::NoFailover(text("nothing could go away")),
            TrafficError::NotReady(text("it does not get ready")),
            TrafficError::NoIngress { cluster: text("baz"), why: text("it waits") },
        ];
        let told = errors.each_ref().map(|error| {
            let whose = if error.is_usage() { "usage" } else { "found" };
            format!("{whose}: {error}\n  hint: {}", error.hint().unwrap_or_default())
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
