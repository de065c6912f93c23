//! Speed, side by side in one run: the plugin's verbs against the steps that a person runs by hand, or a mesh of two clusters against
//! a larger one.
//!
//! Both sides run on the same clusters, in turn, so that whatever else the machine does meets both. Nothing is judged by a time
//! here: what was aimed at stands beside what was measured.

mod chain_by_hand;
mod exact;
mod hand;
mod istio_by_hand;
mod memory;
mod parts;
mod plugin;
mod report;
mod requests_by_hand;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

pub use memory::Memory;
pub(crate) use memory::{MEASURE, run_measured};
pub use report::{Report, Row, Timing};

use crate::error::{Error, Result};
use crate::plugins::{Plugins, Profile};
use crate::proof::Member;
use crate::steps::Say;
use crate::target::{Lab, Target};
use chain_by_hand::{ChainByHand, MANY};
use hand::Hand;
use istio_by_hand::IstioByHand;
use plugin::{Mesh, Plugin};
use requests_by_hand::RequestsByHand;

/// How many clusters are measured when nothing else is asked for, and what a larger mesh is compared with.
const TWO: u8 = 2;
/// `status` shall take at most this much of the time of the same steps by hand.
const STATUS_TO_HAND: f64 = 0.5;
/// `kubectl mesh-install` shall take at most this much of the time of `istioctl install` and what goes with it.
const INSTALL_TO_HAND: f64 = 0.7;
/// `kubectl trustchain` of one workload shall take at most this much of the time of `istioctl | jq | base64 | openssl`.
const CHAIN_TO_HAND: f64 = 0.4;
/// `kubectl trustchain` of many sidecars shall take at most this much of the time of that pipe for each of them.
const CHAINS_TO_HAND: f64 = 0.05;
/// `kubectl xcluster-curl` shall take at most this much of the time of as many `kubectl exec … curl`.
const REQUESTS_TO_HAND: f64 = 0.05;
/// `status` of six clusters shall take at most this much of the time of two.
const STATUS_SIX_TO_TWO: f64 = 1.5;
/// How many clusters that is.
const SIX: u8 = 6;
/// How long a run may take whose memory is measured.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Install and federate clusters on which there is nothing.
    Up,
    /// Show how they are.
    Status,
    /// Find out what is wrong.
    Verify,
    /// Install Istio on clusters that have a federated SPIRE and nothing else.
    Install,
    /// Show the certificate chain of one workload.
    Chain,
    /// Show the certificate chains of fifty sidecars.
    Chains,
    /// Send two hundred requests and count who answers.
    Requests,
}

impl Verb {
    /// All verbs, in the order in which they are measured.
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Status, Self::Verify, Self::Install, Self::Chain, Self::Chains, Self::Requests];

    /// Tells whether it makes a difference to it how many clusters there are.
    #[must_use]
    pub fn grows_with_the_mesh(self) -> bool {
        !matches!(self, Self::Chain | Self::Chains | Self::Requests)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Status => "status",
            Self::Verify => "verify",
            Self::Install => "install",
            Self::Chain => "chain",
            Self::Chains => "chains",
            Self::Requests => "requests",
        })
    }
}

/// What is measured, and against what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The verbs.
    pub verbs: Vec<Verb>,
    /// How often each side is run; at least once.
    pub rounds: u8,
    /// Against what.
    pub against: Against,
}

/// What the plugin is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The steps by hand, on two clusters.
    Hand,
    /// Itself: a mesh of two clusters and one of this many.
    Size(u8),
}

impl Against {
    fn clusters(self) -> u8 {
        match self {
            Self::Hand => TWO,
            Self::Size(clusters) => clusters,
        }
    }

    /// What the two sides are called, the one that is compared with first.
    fn sides(self) -> [String; 2] {
        match self {
            Self::Hand => ["by hand".to_owned(), "plugin".to_owned()],
            Self::Size(clusters) => [TWO, clusters].map(|count| format!("{count} clusters")),
        }
    }

    /// The largest ratio that is aimed at.
    fn target(self, verb: Verb) -> Option<f64> {
        match (self, verb) {
            (Self::Hand, Verb::Status) => Some(STATUS_TO_HAND),
            (Self::Hand, Verb::Install) => Some(INSTALL_TO_HAND),
            (Self::Hand, Verb::Chain) => Some(CHAIN_TO_HAND),
            (Self::Hand, Verb::Chains) => Some(CHAINS_TO_HAND),
            (Self::Hand, Verb::Requests) => Some(REQUESTS_TO_HAND),
            (Self::Size(SIX), Verb::Status) => Some(STATUS_SIX_TO_TWO),
            _ => None,
        }
    }
}

/// Measures on the clusters of a running lab, and tells `say` how far it is.
///
/// What is installed on these clusters is taken down before `up` is measured; at the end a mesh is up.
///
/// # Errors
/// When the lab has too few clusters, the plugin does not build, or a step of either side fails.
pub fn run(lab: &Lab, plan: &Plan, say: Say<'_>) -> Result<Report> {
    let clusters = members(lab, plan.against)?;
    say("building the plugins for release");
    let plugins = Plugins::build(Profile::Release)?;
    let work = lab.state().path().join("bench");
    fs::create_dir_all(&work).map_err(Error::io("make", &work))?;
    let plugin = Plugin::new(&plugins, lab.state())?;
    let all = plugin.mesh(work.join("all.yaml"), clusters)?;
    let bench = match plan.against {
        Against::Hand => {
            let target = || Target::Lab(lab.clone());
            let istio = IstioByHand::new(target(), &all.members, work.clone(), lab.state());
            let chain = ChainByHand::new(target(), &all.members[0], &plugins, lab.state())?;
            let hand = Hand::new(target(), &all.members, work.clone());
            let requests = RequestsByHand::new(&all.members[0], lab.state());
            let by_hand = ByHand { spire: hand, istio, chain, requests };
            Bench { plan, say, plugin, first: First::Hand(Box::new(by_hand)), all, work }
        }
        Against::Size(_) => {
            let two = all.members[..usize::from(TWO)].to_vec();
            let two = plugin.mesh(work.join("two.yaml"), two)?;
            Bench { plan, say, plugin, first: First::Smaller(two), all, work }
        }
    };
    // Before anything is changed, and has the clusters busy.
    let kubectl = bench.kubectl()?;
    let rows = plan.verbs.iter().map(|verb| bench.measure(*verb)).collect::<Result<_>>()?;
    let memory = bench.memory()?;
    let [first, second] = plan.against.sides();
    Ok(Report { first, second, rounds: plan.rounds, rows, kubectl, memory })
}

/// The lab's first clusters, as many as are needed.
fn members(lab: &Lab, against: Against) -> Result<Vec<Member>> {
    let needed = usize::from(against.clusters());
    let members: Vec<Member> = lab.members().collect();
    if members.len() < needed {
        return Err(Error::TooFewClusters { running: members.len(), needed });
    }
    Ok(members.into_iter().take(needed).collect())
}

/// What a measurement is taken with.
struct Bench<'b> {
    plan: &'b Plan,
    say: Say<'b>,
    plugin: Plugin,
    first: First,
    /// The mesh of all clusters that are measured.
    all: Mesh,
    work: PathBuf,
}

/// What is compared with.
enum First {
    Hand(Box<ByHand>),
    Smaller(Mesh),
}

/// The steps by hand, each for its own plugin.
struct ByHand {
    spire: Hand,
    istio: IstioByHand,
    chain: ChainByHand,
    requests: RequestsByHand,
}

/// One of the two that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

impl Bench<'_> {
    fn measure(&self, verb: Verb) -> Result<Row> {
        match verb {
            Verb::Up => self.render()?,
            Verb::Install => self.plugin.up(&self.all)?,
            Verb::Chain | Verb::Chains | Verb::Requests => self.with_sidecars(verb)?,
            Verb::Status | Verb::Verify => {
                self.plugin.up(&self.all)?;
                // Once for nothing: programs and pages have to be read from the disk first.
                for side in [Side::First, Side::Second] {
                    self.once(verb, side)?;
                }
            }
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for round in 0..self.plan.rounds {
            for side in order(round) {
                let took = self.once(verb, side)?;
                match side {
                    Side::First => first.push(took),
                    Side::Second => second.push(took),
                }
            }
            let [own, other] = self.plan.against.sides();
            let last = |times: &[Duration]| times.last().map_or(0.0, Duration::as_secs_f64);
            (self.say)(&format!(
                "{verb}, {} of {}: {own} {:.2} s, {other} {:.2} s",
                round + 1,
                self.plan.rounds,
                last(&first),
                last(&second)
            ));
        }
        self.take_down(verb)?;
        if let (Verb::Chains, First::Hand(hand)) = (verb, &self.first) {
            hand.chain.tidy()?;
        }
        Ok(Row::new(verb, Timing::new(&first), Timing::new(&second), self.plan.against.target(verb)))
    }

    /// How long kubectl takes to start a plugin that has nothing to do.
    fn kubectl(&self) -> Result<Timing> {
        let once = |_| {
            let since = Instant::now();
            self.plugin.nothing(&self.all)?;
            Ok(since.elapsed())
        };
        Ok(Timing::new(&(0..self.plan.rounds).map(once).collect::<Result<Vec<_>>>()?))
    }

    /// What showing one chain takes of memory, where that is measured.
    fn memory(&self) -> Result<Option<Memory>> {
        match &self.first {
            First::Hand(hand) if self.plan.verbs.contains(&Verb::Chain) => {
                self.with_sidecars(Verb::Chain)?;
                let (by_hand, plugin) = (hand.chain.first()?, self.plugin.chain(&self.all));
                Memory::measure(&by_hand, &plugin, PATIENCE).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Has a mesh with the demos, and as many sidecars as are asked.
    fn with_sidecars(&self, verb: Verb) -> Result<()> {
        self.plugin.up(&self.all)?;
        let demos = [["demo", "sleep", "--yes"], ["demo", "helloworld", "--yes"]];
        self.plugin.mesh_install(&self.all, &["up", "--yes"])?;
        demos.iter().try_for_each(|words| self.plugin.mesh_install(&self.all, words))?;
        if let First::Hand(hand) = &self.first {
            hand.chain.prepare(if verb == Verb::Chains { MANY } else { 1 })?;
        }
        // Once for nothing: programs and pages have to be read from the disk first.
        self.once(Verb::Chain, Side::First)?;
        self.once(verb, Side::Second).map(drop)
    }

    /// Writes what a person who installs by hand has before he begins: the manifests of each cluster.
    fn render(&self) -> Result<()> {
        self.plugin.down(&self.all)?;
        match &self.first {
            First::Hand(hand) => {
                let rendered = self.work.join("rendered");
                self.plugin.render(&self.all, &rendered)?;
                hand.spire.prepare(&rendered)
            }
            First::Smaller(_) => Ok(()),
        }
    }

    /// Takes away what a verb installs, whoever has installed it.
    fn take_down(&self, verb: Verb) -> Result<()> {
        match verb {
            Verb::Up => self.plugin.down(&self.all),
            Verb::Install => {
                self.plugin.mesh_install(&self.all, &["down", "--yes", "--force"])?;
                match &self.first {
                    First::Hand(hand) => hand.istio.down(),
                    First::Smaller(_) => Ok(()),
                }
            }
            Verb::Status | Verb::Verify | Verb::Chain | Verb::Chains | Verb::Requests => Ok(()),
        }
    }

    /// Runs one side once, and returns how long it took. What is there is taken down before `up`, outside of that time.
    fn once(&self, verb: Verb, side: Side) -> Result<Duration> {
        self.take_down(verb)?;
        let since = Instant::now();
        match (side, &self.first) {
            (Side::Second, _) => self.plugin.verb(verb, &self.all)?,
            (Side::First, First::Smaller(two)) => self.plugin.verb(verb, two)?,
            (Side::First, First::Hand(hand)) => match verb {
                Verb::Up => hand.spire.up()?,
                Verb::Status => hand.spire.status()?,
                Verb::Verify => hand.spire.verify()?,
                Verb::Install => hand.istio.up()?,
                Verb::Chain => hand.chain.run(1)?,
                Verb::Chains => hand.chain.run(MANY)?,
                Verb::Requests => hand.requests.run()?,
            },
        }
        Ok(since.elapsed())
    }
}

/// Which side goes first: each in turn, so that neither always comes after the other.
fn order(round: u8) -> [Side; 2] {
    if round.is_multiple_of(2) { [Side::First, Side::Second] } else { [Side::Second, Side::First] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_go_first_in_turn() {
        assert_eq!(order(0), [Side::First, Side::Second]);
        assert_eq!(order(1), [Side::Second, Side::First]);
    }

    #[test]
    fn what_is_aimed_at_is_known() {
        assert_eq!(Against::Hand.target(Verb::Status), Some(0.5));
        assert_eq!(Against::Hand.target(Verb::Install), Some(0.7));
        assert_eq!(Against::Hand.target(Verb::Chain), Some(0.4));
        assert_eq!(Against::Hand.target(Verb::Chains), Some(0.05));
        assert_eq!(Against::Hand.target(Verb::Requests), Some(0.05));
        assert_eq!(Against::Size(6).target(Verb::Status), Some(1.5));
        for (against, verb) in
            [(Against::Hand, Verb::Up), (Against::Size(4), Verb::Status), (Against::Size(6), Verb::Verify)]
        {
            assert_eq!(against.target(verb), None, "{against:?} {verb}");
        }
    }
}
