//! Connecting to a cluster, so that whatever is wrong with the way there shows before any work starts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kube::client::{AuthError, ClientBuilder, DynBody};
use kube::config::{AuthInfo, Config, ExecConfig, KubeConfigOptions};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::util::MapResponseLayer;

use super::answer::{InFlight, bounded};
use super::gather::{PerCluster, gather};
use super::kubeconfig::{KubeSettings, Kubeconfig};
use super::member::{Connection, Member, Peer};
use super::request::{Cause, RequestError, auth_text};
use super::{proxy, retry};
use crate::hint::{self, Advice, Command, Hint, word};
use crate::mesh;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// How long the first request may take altogether, connecting included.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How many requests may wait for the connection pool; far more than are ever sent at once.
const QUEUE: usize = 1024;

/// Why there is no connection to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig has no such context.
    #[error("{}", missing_context(context, known))]
    MissingContext {
        /// The context that the mesh file names.
        context: String,
        /// The contexts that exist.
        known: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The context is there, and what it points to is not usable.
    #[error("context `{context}` of the kubeconfig is not usable: {reason}")]
    BrokenContext {
        /// The context.
        context: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The credential command of the kubeconfig is not installed.
    #[error("context `{context}` gets its credentials from `{command}`, which is not on the PATH")]
    CredentialCommandMissing {
        /// The context.
        context: String,
        /// The command.
        command: String,
        /// What the kubeconfig says about installing it.
        install_hint: Option<String>,
    },
    /// The credential command ran and failed.
    #[error("context `{context}` has no credentials: {reason}")]
    Credentials {
        /// The context.
        context: String,
        /// What the command said.
        reason: String,
        /// The command with its arguments.
        command: Option<String>,
    },
    /// The server does not accept the credentials.
    #[error("{server} does not accept the credentials of context `{context}`")]
    Unauthorized {
        /// The context.
        context: String,
        /// The server's address.
        server: String,
        /// What it said.
        source: RequestError,
    },
    /// There is no way to the server.
    #[error("cannot reach {server} of context `{context}`")]
    Unreachable {
        /// The context.
        context: String,
        /// The server's address.
        server: String,
        /// What went wrong; [`RequestError::cause`] tells refused, timeout, name resolution and TLS apart.
        source: RequestError,
    },
}

fn missing_context(context: &str, known: &[String]) -> String {
    match known {
        [] => format!("there is no context `{context}`: no kubeconfig file was found, or it has no contexts"),
        known => format!("there is no context `{context}` in the kubeconfig, only {}", known.join(", ")),
    }
}

impl Hint for ConnectError {
    fn hint(&self) -> Option<Advice> {
        Some(match self {
            Self::MissingContext { nearest: Some(nearest), .. } => {
                format!("did you mean `{nearest}`? Set it as `context` of the cluster in the mesh file")
                    .into()
            }
            Self::MissingContext { known, .. } if known.is_empty() => {
                "aws eks update-kubeconfig --name CLUSTER --alias CONTEXT, or set KUBECONFIG".into()
            }
            Self::MissingContext { .. } => Command::kubeconfig(["get-contexts"]).into(),
            Self::BrokenContext { context, .. } => {
                Command::kubeconfig(["view", "--minify"]).in_context(context).into()
            }
            Self::CredentialCommandMissing { install_hint: Some(hint), .. } => hint.trim().into(),
            Self::CredentialCommandMissing { command, .. } => {
                format!("install `{command}`, or add it to the PATH").into()
            }
            Self::Credentials { command: Some(command), .. } => {
                format!("run it by hand: {command} >/dev/null").into()
            }
            Self::Credentials { context, .. } | Self::Unauthorized { context, .. } => {
                Command::kubectl(["auth", "whoami"]).at(context).into()
            }
            Self::Unreachable { context, .. } => Command::kubectl(["version"]).at(context).into(),
        })
    }
}

impl Kubeconfig {
    /// Connects to all of the clusters at the same time.
    pub async fn connect_all(
        &self,
        clusters: &[mesh::Cluster],
        settings: &KubeSettings,
    ) -> PerCluster<Member, ConnectError> {
        gather(clusters.iter().map(|cluster| (cluster.place(), self.connect(cluster, settings)))).await
    }

    /// Connects to one cluster of a mesh, as [`Kubeconfig::connect_to`] does.
    ///
    /// # Errors
    /// [`ConnectError`], which names context and server and tells the causes apart.
    pub async fn connect(
        &self,
        cluster: &mesh::Cluster,
        settings: &KubeSettings,
    ) -> Result<Member, ConnectError> {
        let connection = self.connect_to(&cluster.name, &cluster.context, settings).await?;
        Ok(Member::new(cluster.clone(), connection))
    }

    /// Connects to the cluster of a context, under a name of the caller's, and asks for its version, so that a problem shows here.
    ///
    /// Waits 5 seconds for the connection (or `--request-timeout`, if that is shorter) and 10 for the answer. The
    /// credential command of the kubeconfig has no deadline: it may ask its user to log in.
    ///
    /// # Errors
    /// [`ConnectError`], which names context and server and tells the causes apart.
    pub async fn connect_to(
        &self,
        name: &str,
        context: &str,
        settings: &KubeSettings,
    ) -> Result<Connection, ConnectError> {
        let config = self.config(context, settings).await?;
        let peer = if config.accept_invalid_certs { Peer::Unchecked } else { Peer::Proven };
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let timeout =
            settings.request_timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(REQUEST_TIMEOUT);
        // Runs the credential command, which blocks.
        let built = tokio::task::spawn_blocking(move || client(config, timeout)).await;
        let kube = match built {
            Ok(client) => client.map_err(|error| self.no_client(context, &error))?,
            Err(panicked) => {
                let reason = format!("the client could not be built: {panicked}");
                return Err(ConnectError::BrokenContext { context: context.to_owned(), reason });
            }
        };
        let answer = tokio::time::timeout(FIRST_ANSWER.min(timeout), kube.apiserver_version()).await;
        let connected = |version: String| Connection {
            name: name.to_owned(),
            context: context.to_owned(),
            kube,
            server: server.clone(),
            version,
            peer,
        };
        let error = match answer {
            Ok(Ok(version)) => return Ok(connected(version.git_version)),
            Ok(Err(error)) => RequestError::from(error),
            Err(_) => RequestError::new(Cause::Timeout, "no answer in time"),
        };
        let context = context.to_owned();
        Err(match error.cause() {
            // Whoever may not ask for the version is somebody all the same; what else is missing, `access` tells.
            Cause::Forbidden => return Ok(connected("unknown".to_owned())),
            Cause::Unauthorized => ConnectError::Unauthorized { context, server, source: error },
            Cause::Credentials => self.no_credentials(&context, error.to_string()),
            _ => ConnectError::Unreachable { context, server, source: error },
        })
    }

    async fn config(&self, context: &str, settings: &KubeSettings) -> Result<Config, ConnectError> {
        let known = self.contexts();
        if !known.contains(&context) {
            return Err(ConnectError::MissingContext {
                context: context.to_owned(),
                nearest: nearest(context, &known),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
        let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
        if let Some(ended) = self.ended_token(context, Timestamp::now()) {
            let reason = format!(
                "the token of its auth-provider ended at {ended:.0}, and is not renewed here as kubectl does"
            );
            return Err(ConnectError::Credentials { context: context.to_owned(), reason, command: None });
        }
        let mut config =
            Config::from_custom_kubeconfig(self.file.clone(), &options).await.map_err(|error| {
                ConnectError::BrokenContext { context: context.to_owned(), reason: error.to_string() }
            })?;
        config.connect_timeout = Some(
            settings
                .request_timeout
                .filter(|t| !t.is_zero())
                .map_or(CONNECT_TIMEOUT, |t| t.min(CONNECT_TIMEOUT)),
        );
        // `retry` does it, and faster.
        config.default_retry = false;
        if let Some(user) = &settings.impersonate_user {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !settings.impersonate_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(settings.impersonate_groups.clone());
        }
        // Whoever acts as nobody acts as himself, as with kubectl: the API server refuses the rest alone.
        if config.auth_info.impersonate.as_ref().is_none_or(String::is_empty) {
            config.auth_info.impersonate = None;
            config.auth_info.impersonate_uid = None;
            config.auth_info.impersonate_user_extra = None;
            config.auth_info.impersonate_groups.take_if(|_| settings.impersonate_groups.is_empty());
        }
        if settings.insecure_skip_tls_verify {
            config.accept_invalid_certs = true;
            config.root_cert = None;
        }
        let no_proxy = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).ok();
        let host = config.cluster_url.host().unwrap_or_default();
        if !self.names_proxy(context) && proxy::is_direct(host, no_proxy.as_deref()) {
            config.proxy_url = None;
        }
        Ok(config)
    }

    fn names_proxy(&self, context: &str) -> bool {
        let context = self.file.contexts.iter().find(|named| named.name == context);
        let cluster = context.and_then(|named| Some(&named.context.as_ref()?.cluster));
        self.file.clusters.iter().any(|named| {
            Some(&named.name) == cluster
                && named
                    .cluster
                    .as_ref()
                    .and_then(|cluster| cluster.proxy_url.as_ref())
                    .is_some_and(|url| !url.is_empty())
        })
    }

    /// Finds the credential command of a context.
    fn credential_command(&self, context: &str) -> Option<&ExecConfig> {
        self.user(context)?.exec.as_ref()
    }

    fn user(&self, context: &str) -> Option<&AuthInfo> {
        let context = self.file.contexts.iter().find(|named| named.name == context)?;
        let user = context.context.as_ref()?.user.as_ref()?;
        self.file.auth_infos.iter().find(|named| named.name == *user)?.auth_info.as_ref()
    }

    /// Returns when the token of an auth-provider ended, where it has and nothing else takes its place: nobody renews it here.
    fn ended_token(&self, context: &str, at: Timestamp) -> Option<Timestamp> {
        let user = self.user(context)?;
        let is_alone = user.token.is_none() && user.token_file.is_none() && user.exec.is_none();
        let provider = user.auth_provider.as_ref().filter(|_| is_alone)?;
        end_of_token(provider.config.get("id-token")?).filter(|end| *end <= at)
    }

    fn no_client(&self, context: &str, error: &kube::Error) -> ConnectError {
        match error {
            kube::Error::Auth(AuthError::AuthExecStart(start))
                if start.kind() == std::io::ErrorKind::NotFound =>
            {
                let exec = self.credential_command(context);
                ConnectError::CredentialCommandMissing {
                    context: context.to_owned(),
                    command: exec.and_then(|exec| exec.command.clone()).unwrap_or_default(),
                    install_hint: exec
                        .and_then(|exec| exec.install_hint.clone())
                        .filter(|hint| !hint.is_empty()),
                }
            }
            kube::Error::Auth(error) => self.no_credentials(context, auth_text(error)),
            other => ConnectError::BrokenContext { context: context.to_owned(), reason: other.to_string() },
        }
    }

    fn no_credentials(&self, context: &str, reason: String) -> ConnectError {
        let command = self.credential_command(context).map(|exec| {
            let words = exec.command.iter().chain(exec.args.iter().flatten());
            words.map(|text| word(text)).collect::<Vec<_>>().join(" ")
        });
        ConnectError::Credentials { context: context.to_owned(), reason, command }
    }
}

/// Builds the client: connections are kept and shared, every attempt has a deadline for its answer to begin, what fails for a passing
/// reason is repeated, and no answer is without an end.
pub(super) fn client(config: Config, timeout: Duration) -> Result<kube::Client, kube::Error> {
    let in_flight = InFlight::default();
    let bound =
        move |response: http::Response<Box<DynBody>>| response.map(|body| bounded(body, timeout, &in_flight));
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&MapResponseLayer::new(bound))
        .with_layer(&BufferLayer::new(QUEUE))
        .with_layer(&TimeoutLayer::new(timeout))
        .with_layer(&RetryLayer::new(retry::Repeat::default()))
        .build())
}

/// Finds the context that ends in the wanted name, as the ARNs of EKS do, or is nearly called so.
fn nearest(wanted: &str, known: &[&str]) -> Option<String> {
    let tail = |name: &&str| name.rsplit(['/', '@', ':']).next() == Some(wanted);
    let ends_so = known.iter().copied().find(tail);
    ends_so.or_else(|| hint::nearest(wanted, known.iter().copied())).map(str::to_owned)
}

/// Returns when a token of `OpenID` Connect ends (RFC 7519, section 4.1.4), as far as it says. It is not verified.
fn end_of_token(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    Timestamp::from_second(serde_json::from_slice::<Claims>(&claims).ok()?.exp).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Cluster, ExistingSpire, Spire};

    fn kubeconfig(server: &str, user: &str) -> Kubeconfig {
        let text = format!(
            "clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: u, user: {user}}}]\n\
             contexts: [{{name: foo-eks, context: {{cluster: c, user: u}}}}]\n"
        );
        Kubeconfig { file: kube::config::Kubeconfig::from_yaml(&text).unwrap() }
    }

    async fn refusal(kubeconfig: &Kubeconfig, context: &str) -> ConnectError {
        refusal_within(Duration::from_secs(2), kubeconfig, context).await
    }

    async fn refusal_within(patience: Duration, kubeconfig: &Kubeconfig, context: &str) -> ConnectError {
        let cluster = Cluster {
            context: context.to_owned(),
            spire: Spire::Existing(ExistingSpire::default()),
            ..Cluster::example("foo", "foo.com")
        };
        let settings = KubeSettings { request_timeout: Some(patience), ..KubeSettings::default() };
        kubeconfig.connect(&cluster, &settings).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_missing_context_names_those_that_exist_and_the_nearest() {
        let error = refusal(&kubeconfig("https://127.0.0.1:1", "{}"), "foo-esk").await;
        insta::assert_snapshot!(error.to_string(), @"there is no context `foo-esk` in the kubeconfig, only foo-eks");
        insta::assert_snapshot!(error.hint().unwrap(), @"did you mean `foo-eks`? Set it as `context` of the cluster in the mesh file");
    }

    #[test]
    fn the_context_of_an_eks_cluster_is_found_by_the_end_of_its_arn() {
        let known = ["arn:aws:eks:eu-west-1:1:cluster/foo-eks-cluster", "minikube"];
        assert_eq!(nearest("foo-eks-cluster", &known).as_deref(), Some(known[0]));
        assert_eq!(nearest("production", &known), None);
    }

    #[tokio::test]
    async fn a_server_that_nobody_runs_is_refused() {
        let error = refusal(&kubeconfig("http://127.0.0.1:1", "{}"), "foo-eks").await;
        let ConnectError::Unreachable { ref source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.cause(), Cause::Refused);
        insta::assert_snapshot!(error.to_string(), @"cannot reach http://127.0.0.1:1 of context `foo-eks`");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_times_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let kubeconfig = kubeconfig(&server, "{}");
        let error = refusal_within(Duration::from_millis(50), &kubeconfig, "foo-eks").await;
        let ConnectError::Unreachable { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.cause(), Cause::Timeout);
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_told_apart() {
        let error = refusal(&kubeconfig("http://nowhere.invalid", "{}"), "foo-eks").await;
        let ConnectError::Unreachable { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(source.cause(), Cause::NameResolution | Cause::Timeout), "{source:?}");
    }

    #[tokio::test]
    async fn a_credential_command_that_is_not_installed_is_named() {
        let user = "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-aws, interactiveMode: Never}}";
        let error = refusal(&kubeconfig("https://127.0.0.1:1", user), "foo-eks").await;
        insta::assert_snapshot!(error.to_string(), @"context `foo-eks` gets its credentials from `no-such-aws`, which is not on the PATH");
    }

    /// Three contexts; the cluster of the last has a proxy, and its user a command.
    fn three() -> Kubeconfig {
        let text = "clusters:\n\
            - {name: one, cluster: {server: 'https://one.example'}}\n\
            - {name: two, cluster: {server: 'https://two.example', proxy-url: ''}}\n\
            - {name: three, cluster: {server: 'https://localhost:1', proxy-url: 'http://proxy.example:3128'}}\n\
            users:\n\
            - {name: u1, user: {token: t}}\n\
            - {name: u2, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: gcloud, interactiveMode: Never}}}\n\
            - {name: u3, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks, get-token], \
              installHint: ' see the manual ', interactiveMode: Never}}}\n\
            contexts:\n\
            - {name: foo, context: {cluster: one, user: u1}}\n\
            - {name: bar, context: {cluster: two, user: u2}}\n\
            - {name: baz, context: {cluster: three, user: u3}}\n";
        Kubeconfig { file: kube::config::Kubeconfig::from_yaml(text).unwrap() }
    }

    #[tokio::test]
    async fn settings_reach_the_client_and_patience_is_cut_for_connecting() {
        let config = async |settings: &KubeSettings| three().config("baz", settings).await.unwrap();
        let plain = config(&KubeSettings::default()).await;
        assert_eq!(plain.connect_timeout, Some(CONNECT_TIMEOUT));
        assert!(!plain.default_retry && !plain.accept_invalid_certs);
        assert_eq!((plain.auth_info.impersonate, plain.auth_info.impersonate_groups), (None, None));
        let given = KubeSettings {
            impersonate_user: Some("me".to_owned()),
            impersonate_groups: vec!["a".to_owned(), "b".to_owned()],
            request_timeout: Some(Duration::from_secs(2)),
            insecure_skip_tls_verify: true,
            ..KubeSettings::default()
        };
        let all = config(&given).await;
        assert_eq!(all.connect_timeout, Some(Duration::from_secs(2)));
        assert!(all.accept_invalid_certs && all.root_cert.is_none());
        assert_eq!(all.auth_info.impersonate.as_deref(), Some("me"));
        assert_eq!(all.auth_info.impersonate_groups.unwrap(), ["a", "b"]);
        for patience in [Duration::ZERO, Duration::from_mins(1)] {
            let patient = KubeSettings { request_timeout: Some(patience), ..KubeSettings::default() };
            assert_eq!(config(&patient).await.connect_timeout, Some(CONNECT_TIMEOUT), "{patience:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_the_kubeconfig_names_is_used_whatever_the_host() {
        let kubeconfig = three();
        let names = ["foo", "bar", "baz", "qux"].map(|context| kubeconfig.names_proxy(context));
        assert_eq!(names, [false, false, true, false]);
        let config = kubeconfig.config("baz", &KubeSettings::default()).await.unwrap();
        assert_eq!(config.proxy_url.unwrap().to_string(), "http://proxy.example:3128/");
    }

    #[test]
    fn credentials_come_from_the_command_of_the_contexts_own_user() {
        let kubeconfig = three();
        let command = |context: &str| kubeconfig.credential_command(context)?.command.clone();
        assert_eq!(command("foo"), None);
        assert_eq!(command("bar").as_deref(), Some("gcloud"));
        assert_eq!(command("baz").as_deref(), Some("aws"));
        let hint = |context: &str| kubeconfig.no_credentials(context, "expired".to_owned()).hint().unwrap();
        assert_eq!(hint("baz"), "run it by hand: aws eks get-token >/dev/null");
        assert_eq!(hint("bar"), "run it by hand: gcloud >/dev/null");
        assert_eq!(hint("foo"), "kubectl --context foo auth whoami");
    }

    #[test]
    fn a_client_that_cannot_be_made_is_told_by_what_is_missing() {
        let kubeconfig = three();
        let start = |kind: std::io::ErrorKind| kube::Error::Auth(AuthError::AuthExecStart(kind.into()));
        let told = |context: &str, error: &kube::Error| {
            let error = kubeconfig.no_client(context, error);
            format!("{error}; {}", error.hint().unwrap())
        };
        insta::assert_snapshot!(told("baz", &start(std::io::ErrorKind::NotFound)), @"context `baz` gets its credentials from `aws`, which is not on the PATH; see the manual");
        insta::assert_snapshot!(told("bar", &start(std::io::ErrorKind::NotFound)), @"context `bar` gets its credentials from `gcloud`, which is not on the PATH; install `gcloud`, or add it to the PATH");
        insta::assert_snapshot!(told("bar", &start(std::io::ErrorKind::PermissionDenied)), @"context `bar` has no credentials: the credential command did not start: permission denied; run it by hand: gcloud >/dev/null");
        let other = kube::Error::Api(kube::core::Status::failure("odd", "").boxed());
        let told = told("foo", &other);
        assert!(told.starts_with("context `foo` of the kubeconfig is not usable: "), "{told}");
        assert!(told.ends_with("; kubectl --context foo config view --minify"), "{told}");
    }

    #[test]
    fn every_refusal_has_a_next_step() {
        let source = || RequestError::new(Cause::Other, "why");
        let (context, server) = (|| "foo".to_owned(), || "https://foo".to_owned());
        let missing = |known: &[&str]| ConnectError::MissingContext {
            context: context(),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
            nearest: None,
        };
        let told = |error: ConnectError| format!("{error}; {}", error.hint().unwrap());
        insta::assert_snapshot!(told(missing(&[])), @"there is no context `foo`: no kubeconfig file was found, or it has no contexts; aws eks update-kubeconfig --name CLUSTER --alias CONTEXT, or set KUBECONFIG");
        insta::assert_snapshot!(told(missing(&["one", "two"])), @"there is no context `foo` in the kubeconfig, only one, two; kubectl config get-contexts");
        let unauthorized =
            ConnectError::Unauthorized { context: context(), server: server(), source: source() };
        insta::assert_snapshot!(told(unauthorized), @"https://foo does not accept the credentials of context `foo`; kubectl --context foo auth whoami");
        let unreachable =
            ConnectError::Unreachable { context: context(), server: server(), source: source() };
        insta::assert_snapshot!(told(unreachable), @"cannot reach https://foo of context `foo`; kubectl --context foo version");
        let broken = ConnectError::BrokenContext { context: context(), reason: "no user".to_owned() };
        insta::assert_snapshot!(told(broken), @"context `foo` of the kubeconfig is not usable: no user; kubectl --context foo config view --minify");
    }

    #[tokio::test]
    async fn whom_the_kubeconfig_acts_as_is_told_with_uid_and_extra_where_it_says_so() {
        let acts = async |user: &str, settings: KubeSettings| {
            let config = kubeconfig("https://127.0.0.1:1", user).config("foo-eks", &settings).await.unwrap();
            let user = config.auth_info;
            let extra = user.impersonate_user_extra.map(|extra| extra["scopes"].join(","));
            (user.impersonate, user.impersonate_uid, user.impersonate_groups, extra)
        };
        let text = |text: &str| Some(text.to_owned());
        let all = "as-uid: '42', as-groups: [team-a], as-user-extra: {scopes: [view, edit]}";
        let own = acts(&format!("{{as: someone, {all}}}"), KubeSettings::default()).await;
        let groups = Some(vec!["team-a".to_owned()]);
        assert_eq!(own, (text("someone"), text("42"), groups, text("view,edit")));
        for nobody in [format!("{{{all}}}"), format!("{{as: '', {all}}}")] {
            assert_eq!(acts(&nobody, KubeSettings::default()).await, (None, None, None, None));
        }
        let settings = KubeSettings { impersonate_user: text("other"), ..KubeSettings::default() };
        assert_eq!(acts(&format!("{{{all}}}"), settings).await.1, text("42"));
    }

    #[tokio::test]
    async fn headers_say_as_whom_with_uid_and_extra() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let user = "{as: someone, as-uid: '42', as-groups: [team-a], as-user-extra: {reason: [ticket-1]}}";
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                tokio::io::AsyncReadExt::read_buf(&mut stream, &mut request).await.unwrap();
            }
            String::from_utf8(request).unwrap()
        });
        drop(refusal(&kubeconfig(&server, user), "foo-eks").await);
        let heard = heard.await.unwrap();
        let mut headers: Vec<&str> = heard.lines().filter(|line| line.starts_with("impersonate-")).collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                "impersonate-extra-reason: ticket-1",
                "impersonate-group: team-a",
                "impersonate-uid: 42",
                "impersonate-user: someone",
            ]
        );
    }

    #[tokio::test]
    async fn a_token_of_an_auth_provider_that_ended_is_said_to_have() {
        let token = |exp: i64| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
        let user = |exp: i64, more: &str| {
            format!("{{auth-provider: {{name: oidc, config: {{id-token: {}}}}}{more}}}", token(exp))
        };
        let error = refusal(&kubeconfig("https://127.0.0.1:1", &user(1_000_000_000, "")), "foo-eks").await;
        insta::assert_snapshot!(error.to_string(), @"context `foo-eks` has no credentials: the token of its auth-provider ended at 2001-09-09T01:46:40Z, and is not renewed here as kubectl does");
        insta::assert_snapshot!(error.hint().unwrap(), @"kubectl --context foo-eks auth whoami");
        for fine in [user(100_000_000_000, ""), user(1_000_000_000, ", token: t")] {
            let error = refusal(&kubeconfig("http://127.0.0.1:1", &fine), "foo-eks").await;
            assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
        }
        for none in ["", "a", "a.b.c", "a.e30.c"] {
            assert_eq!(end_of_token(none), None, "{none}");
        }
    }

    #[test]
    fn the_nearest_context_is_the_most_similar_one_and_similar_enough() {
        let known = ["prod-eu", "foo-eks-clusters", "foo-eks-cluster2x", "staging"];
        assert_eq!(nearest("qux-eks-cluster", &known), None);
        assert_eq!(nearest("foo-eks-cluster", &known).as_deref(), Some("foo-eks-clusters"));
        assert_eq!(nearest("bar", &["me@bar", "bar2"]).as_deref(), Some("me@bar"));
        assert_eq!(nearest("bar", &["gke:bar"]).as_deref(), Some("gke:bar"));
        assert_eq!(nearest("zzz", &known), None);
        assert_eq!(nearest("zzz", &[]), None);
    }
}
