//! Starting a lab, or what is missing of it.

use std::path::Path;
use std::thread;
use std::time::{Instant, SystemTime};

use super::kubeconfig::Kubeconfig;
use super::layout::{self, Programs};
use super::{bootstrap, down, health};
use crate::build::Artifacts;
use crate::error::{Error, Result};
use crate::faults::Faults;
use crate::images::Seed;
use crate::network::{firewall, host, sysctl, taken};
use crate::node::start;
use crate::pki::{self, ADMIN};
use crate::preflight;
use crate::state::{Lock, Phase, Record, StateDir};
use crate::steps::Steps;
use crate::topology::{Cluster, Node, Shape};

/// What `up` found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was a healthy lab of this shape.
    AlreadyRunning(Shape),
    /// There was none.
    Started(Shape),
    /// There was one, and something was wrong with it.
    Repaired(Shape),
}

/// What a start needs besides its shape.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// State directory.
    pub state: &'a StateDir,
    /// Where imported images are kept.
    pub cache: &'a Path,
}

/// Brings a lab up: starts it, repairs it, or finds that there is nothing to do.
///
/// `asked` is the wanted shape, if one was named. `build` is called only if something has to be started.
pub fn up(
    inputs: &Inputs<'_>,
    asked: Option<Shape>,
    steps: &Steps<'_>,
    build: impl FnOnce() -> Result<Artifacts>,
) -> Result<Outcome> {
    let state = inputs.state;
    let _lock = Lock::take(state)?;
    let Some(record) = Record::read(state)? else {
        let shape = asked.unwrap_or_default();
        let artifacts = build()?;
        fresh(inputs, shape, steps, &artifacts)?;
        return Ok(Outcome::Started(shape));
    };
    let shape = record.shape;
    if let Some(asked) = asked.filter(|asked| *asked != shape) {
        return Err(Error::OtherShape { running: shape.to_string(), asked: asked.to_string() });
    }
    for fault in Faults::new(state.clone()).clear_all()? {
        steps.say(&format!("fault cleared: {fault}"));
    }
    let problems = match record.phase {
        Phase::Running => health::problems(state, shape)?,
        Phase::Starting => vec!["the last `up` did not end".to_owned()],
    };
    if problems.is_empty() {
        return Ok(Outcome::AlreadyRunning(shape));
    }
    for problem in &problems {
        steps.say(&format!("problem: {problem}"));
    }
    let artifacts = build()?;
    if let Err(e) = start_all(inputs, record, steps, &artifacts) {
        steps.say(&format!("cannot be repaired: {e}"));
        steps.say("rebuilding from nothing");
        down::remove(state, steps)?;
        fresh(inputs, shape, steps, &artifacts)?;
    }
    Ok(Outcome::Repaired(shape))
}

fn fresh(inputs: &Inputs<'_>, shape: Shape, steps: &Steps<'_>, artifacts: &Artifacts) -> Result<()> {
    steps.time("machine checked", || {
        preflight::check(inputs.state)?;
        taken::check(shape)
    })?;
    let mut record = Record::new(shape);
    record.sysctls = sysctl::to_change()?;
    record.created = layout::missing_mount_points();
    start_all(inputs, record, steps, artifacts)
}

/// Every step finds what is there and makes what is not, so that this is both start and repair.
fn start_all(
    inputs: &Inputs<'_>,
    mut record: Record,
    steps: &Steps<'_>,
    artifacts: &Artifacts,
) -> Result<()> {
    let (state, shape) = (inputs.state, record.shape);
    record.phase = Phase::Starting;
    // Before anything is changed: `down` after a sudden end must know what to put back.
    record.write(state)?;
    record.created.iter().try_for_each(|dir| crate::state::create(dir))?;
    let programs = Programs::install(state, artifacts)?;
    steps.time("host network", || {
        sysctl::raise()?;
        shape.clusters().try_for_each(host::bridge)?;
        firewall::ensure(shape)
    })?;
    let seed = steps.time("images imported", || {
        Seed::ensure(&artifacts.images, inputs.cache, &state.path().join("import"))
    })?;
    let work = Work { state, shape, programs: &programs, seed: &seed, steps };
    work.all_clusters()?;
    write_kubeconfig(state, shape)?;
    record.phase = Phase::Running;
    record.write(state)
}

fn write_kubeconfig(state: &StateDir, shape: Shape) -> Result<()> {
    let files = shape.clusters().map(|cluster| Kubeconfig::read(&state.cluster(cluster).kubeconfig(ADMIN)));
    Kubeconfig::merge(files.collect::<Result<Vec<_>>>()?).write(&state.kubeconfig())
}

/// What the clusters' threads share.
struct Work<'a> {
    state: &'a StateDir,
    shape: Shape,
    programs: &'a Programs,
    seed: &'a Seed,
    steps: &'a Steps<'a>,
}

impl Work<'_> {
    fn all_clusters(&self) -> Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.shape.clusters().map(|c| (c, scope.spawn(move || self.cluster(c)))).collect();
            let results: Vec<Result<()>> = threads
                .into_iter()
                .map(|(c, thread)| {
                    let result = thread.join().unwrap_or_else(|_| {
                        Err(Error::Invalid {
                            what: "thread of cluster",
                            value: c.name().to_owned(),
                            why: "it broke off".to_owned(),
                        })
                    });
                    result.map_err(|e| e.in_cluster(c.name()))
                })
                .collect();
            results.into_iter().collect()
        })
    }

    fn cluster(&self, cluster: Cluster) -> Result<()> {
        let (state, name) = (self.state, cluster.name());
        let step = |what: &str, since: Instant| self.steps.done(&format!("{name}: {what}"), since);
        let begin = Instant::now();
        pki::ensure(state, cluster)?;
        let started = SystemTime::now();
        let nodes: Vec<Node> = cluster.nodes().collect();
        let new: Vec<bool> = nodes.iter().map(|node| self.node(*node)).collect::<Result<_>>()?;
        step("nodes started", begin);
        let begin = Instant::now();
        bootstrap::wait_for_api(state, cluster)?;
        step("API server ready", begin);
        let begin = Instant::now();
        bootstrap::apply(state, self.shape, cluster)?;
        for (node, new) in nodes.into_iter().zip(new) {
            bootstrap::wait_for_node(state, node, new.then_some(started))?;
        }
        step("nodes ready", begin);
        let begin = Instant::now();
        bootstrap::wait_for_dns(state, cluster)?;
        step("DNS answers", begin);
        Ok(())
    }

    /// Starts a node that does not run, or that has lost its network for good; says whether it did.
    fn node(&self, node: Node) -> Result<bool> {
        layout::write_node(self.state, self.programs, self.shape, node)?;
        self.seed.plant(&self.state.node(node).containerd())?;
        if start::start(self.state, node)? {
            return Ok(true);
        }
        if host::replug(node)? {
            return Ok(false);
        }
        start::stop(self.state, node)?;
        start::start(self.state, node)
    }
}
