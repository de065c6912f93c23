//! From what was asked for to a mesh and connections to its clusters.

use std::path::PathBuf;

use crate::cli::GlobalArgs;
use crate::entry::{AtInterrupt, Context, Failure};
use crate::fleet::{KubeSettings, Kubeconfig, Member, Peer};
use crate::hint::{Place, Plugin};
use crate::mesh::{self, Mesh, MeshText};
use crate::report::Printer;

/// What every verb is given.
pub struct Asked {
    /// The mesh file that was named.
    pub mesh: Option<PathBuf>,
    /// How clusters are reached.
    pub kube: KubeSettings,
    /// Where results and messages go.
    pub printer: Printer,
    /// The plugin.
    pub plugin: Plugin,
    /// What has to be done even where the verb is interrupted.
    pub at_interrupt: AtInterrupt,
}

/// A mesh, and the clusters of it that can be reached.
pub struct Reached {
    /// The mesh.
    pub mesh: Mesh,
    /// The clusters that can be reached.
    pub members: Vec<Member>,
    /// Why the others cannot be reached, in the order of the mesh.
    pub unreachable: Vec<(Place, Failure)>,
}

impl Asked {
    /// Puts together what `plugin` was asked for.
    #[must_use]
    pub fn new(plugin: Plugin, global: GlobalArgs, context: Context) -> Self {
        let GlobalArgs { mesh, kube, output: _, verbosity: _ } = global;
        let Context { printer, at_interrupt } = context;
        Self { mesh: mesh.mesh, kube: kube.settings(), printer, plugin, at_interrupt }
    }

    /// Refuses flags of `up` that stand before another verb: they would do nothing there.
    #[must_use]
    pub fn refuse_flags_before_a_verb(&self) -> Failure {
        let error = anyhow::anyhow!("--yes, --dry-run, --break-lock and --timeout go after the verb");
        Failure::usage(error).with_hint(self.plugin.command(["up", "--yes"]))
    }

    /// Reads the mesh file.
    pub fn load(&self) -> Result<Mesh, Failure> {
        Ok(mesh::load(self.mesh.as_deref())?.0)
    }

    /// Reads the mesh file to edit it.
    pub fn text(&self) -> Result<MeshText, Failure> {
        Ok(MeshText::read(self.mesh.as_deref())?)
    }

    /// Reads mesh file and kubeconfig, and connects to all clusters at the same time.
    pub async fn reach(&self) -> Result<Reached, Failure> {
        self.reach_those_of(self.load()?).await
    }

    /// Reads the kubeconfig, and connects to all clusters of a mesh at the same time.
    pub async fn reach_those_of(&self, mesh: Mesh) -> Result<Reached, Failure> {
        let kubeconfig = Kubeconfig::read(&self.kube)?;
        let mut members = Vec::new();
        let mut unreachable = Vec::new();
        for (place, result) in kubeconfig.connect_all(&mesh.clusters, &self.kube).await {
            match result {
                Ok(member) => members.push(member),
                Err(error) => unreachable.push((place, Failure::from(error))),
            }
        }
        Ok(Reached { mesh, members, unreachable })
    }

    /// Connects as [`Asked::reach`] does, and fails unless every cluster can be reached. Says which ones can.
    pub async fn reach_all(&self) -> Result<(Mesh, Vec<Member>), Failure> {
        self.reach().await?.all(&self.printer)
    }
}

impl Reached {
    /// Fails unless every cluster can be reached, and says which ones can.
    pub fn all(self, printer: &Printer) -> Result<(Mesh, Vec<Member>), Failure> {
        let Self { mesh, members, unreachable } = self;
        if unreachable.is_empty() {
            return Ok((mesh, members));
        }
        for member in &members {
            printer.note(&format!("{}: reachable, Kubernetes {}", member.name(), member.version()));
        }
        Err(Failure::clusters(mesh.clusters.len(), unreachable)
            .with_hint("nothing was changed: every cluster has to be reachable"))
    }
}

/// Refuses to go on where nobody knows who one of these API servers is: what a verb carries from one cluster to the others, whose CA is trusted
/// and with which token a cluster is read, would be anybody's.
pub fn refuse_unchecked(members: &[Member]) -> Result<(), Failure> {
    let unchecked = members.iter().filter(|member| member.peer() == Peer::Unchecked).map(|member| {
        let error = anyhow::anyhow!("the certificate of its API server {} is not checked", member.server());
        (member.place(), Failure::usage(error))
    });
    let unchecked: Vec<_> = unchecked.collect();
    if unchecked.is_empty() {
        return Ok(());
    }
    Err(Failure::clusters(members.len(), unchecked).with_hint(
        "nothing was changed. This command copies trust or tokens between clusters, so every API server has to prove who it is: leave out --insecure-skip-tls-verify, and set the CA in the kubeconfig (`certificate-authority-data`, or `tls-server-name` for another name) instead of `insecure-skip-tls-verify`",
    ))
}

/// Returns the cluster with this name, or this context.
pub fn named<'m>(members: &'m [Member], name: &str) -> Result<&'m Member, Failure> {
    Member::named(members, name).ok_or_else(|| {
        let name = crate::report::one_line(name);
        let names: Vec<&str> = members.iter().map(|member| member.name()).collect();
        let error =
            anyhow::anyhow!("cluster `{name}` is not in the mesh file; there is {}", names.join(", "));
        Failure::usage(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{KubeArgs, MeshArgs};
    use crate::entry::Exit;
    use crate::fleet::Connection;
    use crate::mesh::Cluster;
    use crate::report::Format;

    const MESH: &str = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n  \
                        - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  \
                        - {name: baz, trustDomain: baz.com}\n";

    fn member(name: &str) -> Member {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>("nobody is asked")
        });
        let connection = Connection::of(name, kube::Client::new(service, "default"));
        Member::new(Cluster::example(name, &format!("{name}.com")), connection)
    }

    fn asked(mesh: Option<&str>) -> Asked {
        let kubeconfig = Some("/k".into());
        let global = GlobalArgs {
            mesh: MeshArgs { mesh: mesh.map(Into::into) },
            kube: KubeArgs { kubeconfig, ..KubeArgs::default() },
            ..GlobalArgs::default()
        };
        Asked::new(Plugin::SpireFederate, global, Context::new(Printer::captured(Format::Table).0))
    }

    #[test]
    fn flags_of_up_before_another_verb_are_refused() {
        assert_eq!(asked(None).kube.kubeconfig, Some("/k".into()));
        let refused = asked(None).refuse_flags_before_a_verb();
        assert_eq!(refused.exit(), Exit::Usage);
        let (printer, captured) = Printer::captured(Format::Table);
        refused.print(&printer);
        insta::assert_snapshot!(captured.stderr(), @r"
        error: --yes, --dry-run, --break-lock and --timeout go after the verb
        hint: kubectl spire-federate up --yes
        ");
    }

    #[tokio::test]
    async fn a_mesh_is_whole_only_when_every_cluster_was_reached() {
        let mesh = Mesh::parse(MESH, "m").unwrap();
        let failure = || Failure::from(anyhow::anyhow!("nobody listens"));
        let members = || vec![member("foo"), member("bar")];
        let reached = |unreachable: Vec<(Place, Failure)>| Reached {
            mesh: mesh.clone(),
            members: members(),
            unreachable,
        };
        let (printer, captured) = Printer::captured(Format::Table);
        assert_eq!(reached(Vec::new()).all(&printer).unwrap().1.len(), 2);
        assert_eq!(captured.stderr(), "");
        let lost = reached(vec![(Place::new("baz", "baz"), failure())]);
        let reasons: Vec<_> = lost.reasons().into_iter().collect();
        assert_eq!(reasons, [("baz".to_owned(), "nobody listens".to_owned())]);
        lost.all(&printer).err().unwrap().print(&printer);
        let said = captured.stderr().replace("Kubernetes \n", "Kubernetes [version]\n");
        insta::assert_snapshot!(said, @r"
        foo: reachable, Kubernetes [version]
        bar: reachable, Kubernetes [version]
        error: 1 of 3 clusters failed
          baz: nobody listens
        hint: nothing was changed: every cluster has to be reachable
        ");
    }

    #[tokio::test]
    async fn what_is_handed_from_cluster_to_cluster_has_to_come_from_a_proven_one() {
        let mut members = ["foo", "bar", "baz"].map(member);
        assert!(refuse_unchecked(&members).is_ok());
        members[2].connection = members[2].connection.clone().unchecked();
        let (printer, captured) = Printer::captured(Format::Table);
        refuse_unchecked(&members).unwrap_err().print(&printer);
        insta::assert_snapshot!(captured.stderr());
    }

    #[tokio::test]
    async fn a_cluster_is_found_by_its_name_and_the_others_are_named_where_it_is_not() {
        let members = ["foo", "bar", "baz"].map(member);
        assert_eq!(named(&members, "baz").unwrap().name(), "baz");
        let failure = named(&members, "ba").unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        let told = failure.one_line();
        assert_eq!(told, "cluster `ba` is not in the mesh file; there is foo, bar, baz");
    }
}
