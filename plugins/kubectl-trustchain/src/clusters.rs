//! Which clusters are looked at, and the pods in them.

use futures::future::join_all;
use spire_mesh::entry::Failure;
use spire_mesh::fleet::{Connection, KubeSettings, Kubeconfig};
use spire_mesh::hint::{Advice, Command, Place, Plugin};
use spire_mesh::mesh::{self, Mesh};
use spire_mesh::report::Printer;
use spire_mesh::trust::TrustDomain;
use spire_mesh::workload::{
    Candidate, FindError, Placed, ProxyState, Scope, WorkloadName, WorkloadPod, WorkloadRef, find, list,
};

use crate::cli::Cli;

/// A cluster that can be asked.
pub(crate) struct Reached {
    pub(crate) connection: Connection,
    /// What the mesh file says about it, where there is one and it does.
    pub(crate) cluster: Option<mesh::Cluster>,
}

impl Reached {
    /// Tells whether a name is that of the cluster, or of its context.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.connection.name() == name || self.connection.context() == name
    }

    pub(crate) fn trust_domain(&self) -> Option<&TrustDomain> {
        self.cluster.as_ref().map(|cluster| &cluster.trust_domain)
    }
}

/// What is known before any cluster is asked.
pub(crate) struct Known {
    kubeconfig: Kubeconfig,
    settings: KubeSettings,
    mesh: Option<Mesh>,
    context: Option<String>,
}

/// Pods of one cluster.
pub(crate) type Found<'r> = Vec<(&'r Reached, WorkloadPod)>;

impl Known {
    /// Reads kubeconfig and mesh file.
    pub(crate) fn read(cli: &Cli) -> Result<Self, Failure> {
        let settings = cli.kube.settings();
        let kubeconfig = Kubeconfig::read(&settings)?;
        let mesh = mesh::load_if_any(cli.mesh.as_deref())?;
        Ok(Self { kubeconfig, settings, mesh, context: cli.context.clone() })
    }

    /// Connects to the clusters that were asked for; warns of those that cannot be reached, as long as one can.
    pub(crate) async fn reach(&self, cli: &Cli, printer: &Printer) -> Result<Vec<Reached>, Failure> {
        let mut wanted = if cli.all_clusters { self.all()? } else { vec![self.one()?] };
        // Other clusters that are named in the arguments.
        for text in cli.subject.iter().chain(&cli.accepts) {
            if let Some(name) = place_in(text)
                && let Some(cluster) = self.named(name)
                && !wanted.iter().any(|(known, _, _)| *known == cluster.0)
            {
                wanted.push(cluster);
            }
        }
        let connected = wanted.into_iter().map(|(name, context, cluster)| async move {
            let connection = self.kubeconfig.connect_to(&name, &context, &self.settings).await;
            (Place::new(name, context), connection.map(|connection| Reached { connection, cluster }))
        });
        let (mut reached, mut failed) = (Vec::new(), Vec::new());
        let connected = join_all(connected).await;
        let total = connected.len();
        for (place, result) in connected {
            match result {
                Ok(one) => reached.push(one),
                Err(error) => failed.push((place, Failure::from(error))),
            }
        }
        if reached.is_empty() {
            return Err(Failure::clusters(total, failed));
        }
        for (Place { cluster, .. }, failure) in failed {
            printer.warn(&format!("{cluster}: {}", failure.one_line()));
        }
        Ok(reached)
    }

    fn all(&self) -> Result<Vec<(String, String, Option<mesh::Cluster>)>, Failure> {
        let mesh = self.mesh.as_ref().ok_or_else(|| {
            Failure::from(anyhow::anyhow!("--all-clusters needs a mesh file, and there is none here"))
                .with_hint("name it with --mesh, or one cluster with --context")
        })?;
        let named =
            |cluster: &mesh::Cluster| (cluster.name.clone(), cluster.context.clone(), Some(cluster.clone()));
        Ok(mesh.clusters.iter().map(named).collect())
    }

    fn one(&self) -> Result<(String, String, Option<mesh::Cluster>), Failure> {
        let current = self.context.as_deref().or_else(|| self.kubeconfig.current_context());
        let context = current.ok_or_else(|| {
            Failure::from(anyhow::anyhow!("the kubeconfig has no current context")).with_hint(
                Advice::from(Command::kubeconfig(["get-contexts"])).then(", then name one with --context"),
            )
        })?;
        let clusters = self.mesh.iter().flat_map(|mesh| &mesh.clusters);
        let cluster = clusters.into_iter().find(|cluster| cluster.context == context).cloned();
        let name = cluster.as_ref().map_or(context, |cluster| cluster.name.as_str());
        Ok((name.to_owned(), context.to_owned(), cluster))
    }

    /// Finds a cluster by its name in the mesh file, else by its context.
    fn named(&self, name: &str) -> Option<(String, String, Option<mesh::Cluster>)> {
        let clusters = || self.mesh.iter().flat_map(|mesh| &mesh.clusters);
        let of_context = || clusters().find(|cluster| cluster.context == name);
        let cluster = clusters().find(|cluster| cluster.name == name).or_else(of_context);
        if let Some(cluster) = cluster {
            return Some((cluster.name.clone(), cluster.context.clone(), Some(cluster.clone())));
        }
        let known = self.kubeconfig.contexts().contains(&name);
        known.then(|| (name.to_owned(), name.to_owned(), None))
    }

    /// Returns the namespace that a name without one means first.
    fn namespace_of(&self, reached: &Reached) -> String {
        self.kubeconfig.namespace(reached.connection.context()).unwrap_or("default").to_owned()
    }

    /// Lists the pods of a scope in every cluster.
    pub(crate) async fn pods<'r>(&self, reached: &'r [Reached], scope: &Scope) -> Result<Found<'r>, Failure> {
        let listed = join_all(reached.iter().map(|one| list(&one.connection, scope))).await;
        let mut found = Vec::new();
        let mut failed = Vec::new();
        for (one, pods) in reached.iter().zip(listed) {
            match pods {
                Ok(pods) => found.extend(pods.into_iter().map(|pod| (one, pod))),
                Err(error) => failed.push((one.connection.place(), cannot_list(one, &error))),
            }
        }
        if failed.is_empty() { Ok(found) } else { Err(Failure::clusters(reached.len(), failed)) }
    }

    /// Finds the pods of the one workload that a text names. Without a namespace, that of the context comes first, then all.
    pub(crate) async fn workload<'r>(
        &self,
        cli: &Cli,
        reached: &'r [Reached],
        text: &str,
    ) -> Result<Found<'r>, Failure> {
        let name: WorkloadRef = text.parse().map_err(|error| Failure::usage(anyhow::Error::from(error)))?;
        if let Some((cluster, namespace)) = &name.place {
            let one = reached.iter().find(|one| one.is_called(cluster)).ok_or_else(|| {
                let cluster = spire_mesh::report::one_line(cluster);
                Failure::usage(anyhow::anyhow!(
                    "there is no cluster `{cluster}` in the mesh file or kubeconfig"
                ))
                .with_hint(
                    Advice::from("those of the kubeconfig: ").then(Command::kubeconfig(["get-contexts"])),
                )
            })?;
            let scope = Scope { namespace: Some(namespace.clone()), selector: None };
            let pods = list(&one.connection, &scope).await.map_err(|error| cannot_list(one, &error))?;
            let found =
                find(&pods, &name.name).map_err(|error| not_found(text, Some(namespace), error, &[one]))?;
            return Ok(found.into_iter().cloned().map(|pod| (one, pod)).collect());
        }
        // A name without a place means the first cluster: the others are there for what names them.
        let own: Vec<&Reached> =
            if cli.all_clusters { reached.iter().collect() } else { reached.iter().take(1).collect() };
        if let Some(namespace) = &cli.namespace {
            return found_in(&own, text, &name, Some(namespace)).await;
        }
        let first = self.namespace_of(own[0]);
        if let Ok(found) = found_in(&own, text, &name, Some(&first)).await {
            return Ok(found);
        }
        let error = match found_in(&own, text, &name, None).await {
            Err(error) => error,
            found => return found,
        };
        // As istioctl has it: POD.NAMESPACE. A name may have a dot of its own, so this comes last.
        let Some((pod, namespace)) = name.name.name.rsplit_once('.') else { return Err(error) };
        let kind = name.name.kind;
        let dotted = WorkloadRef { place: None, name: WorkloadName { kind, name: pod.to_owned() } };
        found_in(&own, text, &dotted, Some(namespace)).await.map_err(|_| error)
    }

    /// Finds the pods of the one workload, or one pod of each workload behind a service, that a text names.
    pub(crate) async fn subject<'r>(
        &self,
        cli: &Cli,
        reached: &'r [Reached],
        text: &str,
    ) -> Result<Found<'r>, Failure> {
        match self.service(cli, reached, text).await? {
            Some(found) => Ok(found),
            None => self.workload(cli, reached, text).await,
        }
    }
}

/// Returns the cluster that a text names before a namespace.
pub(crate) fn place_in(text: &str) -> Option<&str> {
    Placed::parse(text).ok()?.place.map(|(cluster, _)| cluster)
}

impl Known {
    /// Finds one pod of every workload behind `service/NAME`, in every cluster in reach, with or without a place before it. `None` where
    /// the text names no service.
    pub(crate) async fn service<'r>(
        &self,
        cli: &Cli,
        reached: &'r [Reached],
        text: &str,
    ) -> Result<Option<Found<'r>>, Failure> {
        let Some((place, name)) = service_in(text) else { return Ok(None) };
        let (cluster, namespace) = place.unzip();
        let mut found = Found::new();
        let mut places = Vec::new();
        for one in reached.iter().filter(|one| cluster.is_none_or(|name| one.is_called(name))) {
            let own = self.namespace_of(one);
            let namespace = namespace.or(cli.namespace.as_deref()).unwrap_or(&own);
            places.push(format!("namespace {namespace} of {}", one.connection.name()));
            let pods = spire_mesh::workload::behind(&one.connection, namespace, name)
                .await
                .map_err(|error| cannot_list(one, &error))?;
            for pod in pods {
                let known = |(of, other): &(&Reached, WorkloadPod)| {
                    std::ptr::eq(*of, one) && other.workload == pod.workload
                };
                if !found.iter().any(known) {
                    found.push((one, pod));
                }
            }
        }
        if found.is_empty() {
            let error = anyhow::anyhow!("no pod is behind a service `{name}` in {}", places.join(", "));
            return Err(
                Failure::from(error).with_hint(format!("name its place: CLUSTER/NAMESPACE/service/{name}"))
            );
        }
        Ok(Some(found))
    }
}

/// Returns the place, where one was named, and the name of the service that a text names.
pub(crate) fn service_in(text: &str) -> Option<(Option<(&str, &str)>, &str)> {
    let Placed { place, kind, name } = Placed::parse(text).ok()?;
    kind.filter(|kind| matches!(*kind, "service" | "services" | "svc")).map(|_| (place, name))
}

async fn found_in<'r>(
    reached: &[&'r Reached],
    text: &str,
    name: &WorkloadRef,
    namespace: Option<&str>,
) -> Result<Found<'r>, Failure> {
    let scope = Scope { namespace: namespace.map(str::to_owned), selector: None };
    let mut fitting: Vec<Found<'r>> = Vec::new();
    let mut missing = None;
    let listed = join_all(reached.iter().map(|one| list(&one.connection, &scope))).await;
    for (one, pods) in reached.iter().zip(listed) {
        let pods = pods.map_err(|error| cannot_list(one, &error))?;
        match find(&pods, &name.name) {
            Ok(found) => fitting.push(found.into_iter().cloned().map(|pod| (*one, pod)).collect()),
            Err(error @ FindError::Several(_)) => return Err(not_found(text, namespace, error, &[one])),
            Err(error @ FindError::None { .. }) => missing = missing.or(Some(error)),
        }
    }
    match (fitting.len(), missing) {
        (0, missing) => {
            let error = missing.unwrap_or(FindError::None { nearest: None });
            Err(not_found(text, namespace, error, reached))
        }
        (1, _) => Ok(fitting.remove(0)),
        _ => {
            let places: Vec<String> = fitting
                .iter()
                .filter_map(|found| found.first())
                .map(|(one, pod)| format!("{}/{}/{}", one.connection.name(), pod.namespace, pod.workload))
                .collect();
            Err(Failure::usage(anyhow::anyhow!("`{text}` is in several clusters: {}", places.join(", ")))
                .with_hint(Plugin::Trustchain.command([&places[0]])))
        }
    }
}

fn cannot_list(one: &Reached, error: &spire_mesh::fleet::RequestError) -> Failure {
    let can = Command::kubectl(["auth", "can-i", "list", "pods", "-A"]);
    Failure::from(anyhow::anyhow!("{}: cannot list pods: {error}", one.connection.name()))
        .with_hint(can.at(one.connection.context()))
}

fn not_found(text: &str, namespace: Option<&str>, error: FindError, reached: &[&Reached]) -> Failure {
    let clusters: Vec<&str> = reached.iter().map(|one| one.connection.name()).collect();
    let place = match namespace {
        Some(namespace) => format!("namespace {namespace} of {}", clusters.join(", ")),
        None => clusters.join(", "),
    };
    match error {
        FindError::Several(several) => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            let hint = hint_for(reached[0], &several[0]);
            Failure::usage(anyhow::anyhow!("`{text}` may be one of several: {}", names.join(", ")))
                .with_hint(hint)
        }
        FindError::None { nearest: Some(nearest) } => {
            let command = hint_for(reached[0], &nearest);
            Failure::from(anyhow::anyhow!("no workload `{text}` with pods in {place}"))
                .with_hint(Advice::from(format!("did you mean {nearest}? ")).then(command))
        }
        FindError::None { nearest: None } => {
            Failure::from(anyhow::anyhow!("no workload `{text}` with pods in {place}"))
                .with_hint(all_in(reached))
        }
    }
}

/// Returns the command that looks at something else in the cluster that was looked in.
fn hint_for(one: &Reached, candidate: &Candidate) -> Command {
    let words = ["-n", &candidate.namespace, &candidate.workload.to_string()];
    Plugin::Trustchain.command(words).in_context(one.connection.context())
}

/// Says how to see all that there is where was looked, and more.
fn all_in(reached: &[&Reached]) -> Advice {
    let all = Advice::from("see all that there are: ");
    match reached {
        [one] => all
            .then(Plugin::Trustchain.command(["-A"]).in_context(one.connection.context()))
            .then(", in other clusters with --all-clusters"),
        _ => all.then(Plugin::Trustchain.command(["-A", "--all-clusters"])),
    }
}

/// Takes the pod that stands for a workload: the first that is ready, else the first with a proxy that runs.
pub(crate) fn representative<'r, 'f>(found: &'f Found<'r>) -> &'f (&'r Reached, WorkloadPod) {
    let ready = |(_, pod): &&(&Reached, WorkloadPod)| pod.trouble.is_none() && pod.proxy == ProxyState::Runs;
    let runs = |(_, pod): &&(&Reached, WorkloadPod)| pod.proxy == ProxyState::Runs;
    found.iter().find(ready).or_else(|| found.iter().find(runs)).unwrap_or(&found[0])
}
