//! From what was asked for to a mesh and connections to its clusters.

use std::path::{Path, PathBuf};

use crate::cli::GlobalArgs;
use crate::entry::{Context, Failure};
use crate::fleet::{KubeSettings, Kubeconfig, Member};
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
    /// The plugin, as it is typed: `kubectl spire-federate`.
    pub plugin: &'static str,
}

/// A mesh, and the clusters of it that can be reached.
pub struct Reached {
    /// The mesh.
    pub mesh: Mesh,
    /// The clusters that can be reached.
    pub members: Vec<Member>,
    /// Why the others cannot be reached, in the order of the mesh.
    pub unreachable: Vec<(String, Failure)>,
}

impl Asked {
    /// Puts together what `plugin` was asked for.
    #[must_use]
    pub fn new(plugin: &'static str, global: GlobalArgs, context: Context) -> Self {
        let GlobalArgs { mesh, kube, output: _, verbosity: _ } = global;
        Self { mesh: mesh.mesh, kube: kube.settings(), printer: context.printer, plugin }
    }

    /// Refuses flags of `up` that stand before another verb: they would do nothing there.
    #[must_use]
    pub fn refuse_flags_before_a_verb(&self) -> Failure {
        let error = anyhow::anyhow!("--yes, --dry-run and --timeout belong behind the verb");
        Failure::usage(error).with_hint(format!("{} up --yes", self.plugin))
    }

    /// Reads the mesh file.
    pub fn load(&self) -> Result<Mesh, Failure> {
        Ok(mesh::load(self.mesh.as_deref())?.0)
    }

    /// Reads the mesh file to edit it.
    pub fn text(&self) -> Result<MeshText, Failure> {
        Ok(MeshText::read(self.mesh.as_deref())?)
    }

    /// Returns this plugin's command with the flag that names the mesh file, where one was named, for a hint.
    #[must_use]
    pub fn command(&self, verb: &str) -> String {
        let named = |path: &Path| format!(" --mesh {}", path.display());
        let verb = if verb.is_empty() { String::new() } else { format!(" {verb}") };
        format!("{}{verb}{}", self.plugin, self.mesh.as_deref().map(named).unwrap_or_default())
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
        for (cluster, result) in kubeconfig.connect_all(&mesh.clusters, &self.kube).await {
            match result {
                Ok(member) => members.push(member),
                Err(error) => unreachable.push((cluster, Failure::from(error))),
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

/// Returns the cluster with this name.
pub fn named<'m>(members: &'m [Member], name: &str) -> Result<&'m Member, Failure> {
    members.iter().find(|member| member.name() == name).ok_or_else(|| {
        let names: Vec<&str> = members.iter().map(|member| member.name()).collect();
        let error =
            anyhow::anyhow!("cluster `{name}` is not in the mesh file; there is {}", names.join(", "));
        Failure::usage(error)
    })
}
