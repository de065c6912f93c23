//! `lab demo`

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;

use super::{down, say, up, write};
use crate::cert_manager::CertManager;
use crate::command::describe;
use crate::error::{Error, Result};
use crate::plugins::{Plugins, Profile};
use crate::proof::{self, Member};
use crate::state::StateDir;
use crate::steps::{Steps, seconds};
use crate::target::{Lab, Target};
use crate::with_mesh_keys;

/// What `kubectl xcluster-curl` is shown with.
const HELLO: &str = "http://helloworld.helloworld:5000/hello";

/// What a cluster's part of the mesh file says of istiod's CA.
const ISSUER: &str = "      istio: {ca: {certManager: {issuer: istio-ca}}}\n";

/// Bookinfo's page.
const PRODUCTS: &str = "http://productpage.bookinfo:9080/productpage";

/// Show the whole workflow on two clusters: federate SPIRE, install Istio, see both clusters answer, fail over, look at certificates,
/// rotate a CA, clean up.
///
/// Each step is printed as the command that a user types, with its real output. Starts the lab, or takes the one that runs, and takes
/// it down at the end.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Wait for the Enter key before each command
    #[arg(long)]
    step: bool,
    /// Leave the mesh and the lab running, instead of cleaning up
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        if self.step && !io::stdin().is_terminal() {
            return Err(Error::Unsuitable(vec![
                "--step waits for a key, and standard input is no terminal; leave --step out".to_owned(),
            ]));
        }
        let steps = Steps::new(&|_| ());
        up::Up::default().run()?;
        let plugins = Plugins::build(Profile::Debug)?;
        let state = StateDir::from_env();
        let lab = Lab::find(state.clone())?;
        let work = state.path().join("demo");
        fs::create_dir_all(&work).map_err(Error::io("make", &work))?;
        let members: Vec<Member> = lab.members().collect();
        let path = plugins.path(&state.bin())?;
        let shell = Shell { work, path, kubeconfig: state.kubeconfig(), waits: self.step };
        let target = Target::Lab(lab);
        let mut workflow = workflow(&members);
        if !self.keep {
            workflow.extend(clean_up());
        }
        for step in &workflow {
            match step {
                Step::Title(title) => say(&format!("\n## {title}"))?,
                Step::Kubectl(words) => shell.kubectl(words)?,
                Step::LabImages => shell.add_images()?,
                Step::CertManager { context } => {
                    say(
                        "(cert-manager, and with it an Issuer istio-ca in istio-system, which a root of its own belongs to)",
                    )?;
                    CertManager::install(&target, context)?.make_issuer_of_istiod(context)?;
                }
                Step::IstioCa { trust_domain } => shell.name_issuer(trust_domain)?,
                Step::Proof => proof::prove(&target, &members, &|text| drop(say(text)))?,
            }
        }
        say(&format!("\nThe whole workflow took {}.", seconds(steps.total())))?;
        if self.keep {
            say(&format!("It keeps running: export KUBECONFIG={}", shell.kubeconfig.display()))?;
            return say("cargo lab down ends it and removes everything");
        }
        down::Down::default().run()
    }
}

/// One step of the workflow.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// What comes next, in words.
    Title(&'static str),
    /// `kubectl`, with these words.
    Kubectl(Vec<String>),
    /// The lab's own images and sizes go into the mesh file. On clusters with a network of their own nobody needs that.
    LabImages,
    /// cert-manager is installed in a cluster, with an issuer for istiod's CA. On a cluster of their own users have done that.
    CertManager {
        /// Kubeconfig context of the cluster.
        context: String,
    },
    /// That issuer goes into the mesh file, for the cluster of this trust domain.
    IstioCa {
        /// Its trust domain.
        trust_domain: String,
    },
    /// SPIRE's own client proves that the clusters trust each other.
    Proof,
}

impl Step {
    fn kubectl(words: &str) -> Self {
        Self::Kubectl(words.split(' ').map(str::to_owned).collect())
    }
}

/// From empty clusters to a mesh in which a CA has been replaced.
fn workflow(members: &[Member]) -> Vec<Step> {
    let pairs = members.iter().map(|member| format!("{}={}", member.context, member.trust_domain));
    let init = ["spire-federate", "init", "--force"].map(str::to_owned).into_iter().chain(pairs);
    let first = members.first().map(|member| member.context.as_str()).unwrap_or_default();
    let last = members.last().map(|member| member.context.as_str()).unwrap_or_default();
    let kubectl = |words: String| Step::kubectl(&words);
    vec![
        Step::Title("SPIRE on every cluster, federated"),
        Step::Kubectl(init.collect()),
        Step::LabImages,
        Step::kubectl("spire-federate --yes"),
        Step::Title("Proof, without a line of ours: SPIRE's own client in a pod of each cluster"),
        Step::Proof,
        Step::Title("A root of cert-manager's for one cluster's istiod"),
        Step::CertManager { context: first.to_owned() },
        Step::IstioCa {
            trust_domain: members.first().map(|member| member.trust_domain.clone()).unwrap_or_default(),
        },
        Step::Title("Istio on top, every identity from SPIRE"),
        Step::kubectl("mesh-install --yes"),
        Step::kubectl("mesh-install demo helloworld --yes"),
        Step::kubectl("mesh-install demo sleep --yes"),
        Step::kubectl("mesh-install demo bookinfo --yes"),
        Step::Title("Every cluster answers"),
        kubectl(format!("xcluster-curl {HELLO} -n 100")),
        kubectl(format!("xcluster-curl {HELLO} -n 20 --from all")),
        Step::Title("Through an ingress gateway"),
        kubectl(format!("xcluster-curl {HELLO} -n 20 --via ingress {last}")),
        kubectl(format!("xcluster-curl {PRODUCTS} -n 5 --via ingress {first}")),
        Step::Title("Its pods go away, another cluster takes over, and they come back"),
        kubectl(format!("xcluster-curl {HELLO} --failover helloworld-v1 --yes")),
        Step::Title("The certificates of a workload, and who accepts it"),
        Step::kubectl("trustchain --namespace bookinfo productpage-v1"),
        kubectl(format!("trustchain {first}/sleep/sleep --accepts {last}/helloworld/service/helloworld")),
        Step::Title("CAs are replaced, SPIRE's and istiod's, and nobody is refused meanwhile"),
        kubectl(format!("spire-federate rotate {first} --yes")),
        kubectl(format!("mesh-install rotate-ca {first} --duration 720h --yes")),
        Step::Title("Is anything wrong?"),
        Step::kubectl("mesh-install verify"),
    ]
}

/// From there to clusters on which there is nothing.
fn clean_up() -> Vec<Step> {
    vec![
        Step::Title("Everything goes away"),
        Step::kubectl("mesh-install down --yes --force"),
        Step::kubectl("spire-federate down --yes --force --ca-volume delete"),
    ]
}

/// Runs commands as a user would, and shows them.
struct Shell {
    work: PathBuf,
    path: OsString,
    kubeconfig: PathBuf,
    /// Whether each command waits for a key.
    waits: bool,
}

impl Shell {
    fn kubectl(&self, words: &[String]) -> Result<()> {
        write(&format!("\n$ kubectl {}\n", words.join(" ")))?;
        self.wait()?;
        let mut kubectl = Command::new("kubectl");
        kubectl
            .args(words)
            .current_dir(&self.work)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("SPIRE_MESH_FILE")
            .stdin(Stdio::null());
        let since = Instant::now();
        let status =
            kubectl.status().map_err(|source| Error::Start { program: describe(&kubectl), source })?;
        if status.success() {
            return say(&format!("({})", seconds(since.elapsed())));
        }
        Err(Error::Command {
            command: describe(&kubectl),
            status: status.to_string(),
            output: "see above; the lab is still running".to_owned(),
        })
    }

    fn wait(&self) -> Result<()> {
        if self.waits {
            let read = io::stdin().lock().read_line(&mut String::new());
            read.map_err(Error::system("read standard input"))?;
        }
        Ok(())
    }

    fn add_images(&self) -> Result<()> {
        self.edit(with_mesh_keys)?;
        say(
            "(added to spire-mesh.yaml: the images that the lab has built, and sizes that fit on one machine)",
        )
    }

    fn name_issuer(&self, trust_domain: &str) -> Result<()> {
        self.edit(|text| with_issuer(text, trust_domain))?;
        say(&format!("(added to spire-mesh.yaml: {}, for {trust_domain})", ISSUER.trim()))
    }

    /// Changes the text of the mesh file.
    fn edit(&self, change: impl Fn(&str) -> String) -> Result<()> {
        let file = self.work.join("spire-mesh.yaml");
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        fs::write(&file, change(&text)).map_err(Error::io("write", &file))
    }
}

/// Names the issuer of istiod's CA for the cluster of a trust domain.
fn with_issuer(mesh_file: &str, trust_domain: &str) -> String {
    let line = format!("trustDomain: {trust_domain}\n");
    mesh_file.replacen(&line, &format!("{line}{ISSUER}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_named_for_one_cluster() {
        let text = with_issuer(
            "    - name: a\n      trustDomain: a.com\n    - name: b\n      trustDomain: b.com\n",
            "a.com",
        );
        insta::assert_snapshot!(text, @r"
            - name: a
              trustDomain: a.com
              istio: {ca: {certManager: {issuer: istio-ca}}}
            - name: b
              trustDomain: b.com
        ");
    }

    #[test]
    fn the_workflow_is_what_a_user_types() {
        let member = |name: &str| Member {
            context: format!("{name}-eks-cluster"),
            trust_domain: format!("{name}.com"),
            server: proof::ServerPod::managed(),
        };
        let steps = workflow(&["foo", "bar"].map(member)).into_iter().chain(clean_up());
        let lines = steps.map(|step| match step {
            Step::Title(title) => format!("## {title}\n"),
            Step::Kubectl(words) => format!("$ kubectl {}\n", words.join(" ")),
            Step::LabImages => "(the lab's images)\n".to_owned(),
            Step::CertManager { context } => format!("(cert-manager in {context})\n"),
            Step::IstioCa { trust_domain } => format!("(the issuer, for {trust_domain})\n"),
            Step::Proof => "(the proof)\n".to_owned(),
        });
        insta::assert_snapshot!(lines.collect::<String>());
    }
}
