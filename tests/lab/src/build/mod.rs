//! Building the components of the lab from source, and assembling their images.
//!
//! Everything ends up in a cache whose keys cover all inputs: what is there is right, and is not built again.
//!
//! ```text
//! <cache>/bin/<component>-<key>/   programs of a component, and files taken over from its sources
//! <cache>/images/<key>.tar         all images, one OCI layout; beside it <key>.json says what they were made from
//! <cache>/logs/<step>.log          full output of the last run of a step
//! ```

mod artifacts;
mod cache;
pub mod components;
mod error;
mod exec;
mod images;
mod key;
pub mod packages;
mod plan;
mod progress;
pub mod versions;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use artifacts::{Artifacts, Binaries, Resource, Tool};
pub use error::Error;
pub(crate) use key::hex;
pub use progress::{Progress, StepTime};

use components::Prefetch;
use exec::Log;
use plan::{Plan, Step};
use versions::IstioRelease;

/// Where a build reads from and writes to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Root of the cache.
    pub cache: PathBuf,
    /// The directory with one subdirectory per component (`tests/lab/components`).
    pub components: PathBuf,
    /// Which Istio.
    pub istio: IstioRelease,
    /// Install missing system packages; without it, missing packages are an error that names them.
    pub install_packages: bool,
}

impl Options {
    /// The options that the environment asks for: the cache is `$SPIRE_MESH_LAB_CACHE`, else
    /// `$XDG_CACHE_HOME/spire-mesh-lab`, else `~/.cache/spire-mesh-lab`; Istio is `$SPIRE_MESH_LAB_ISTIO`, else the newest;
    /// packages are installed.
    pub fn from_env() -> Result<Self, Error> {
        Ok(Self {
            cache: cache_dir(|name| env::var_os(name)).ok_or(Error::NoCacheDir)?,
            components: Path::new(env!("CARGO_MANIFEST_DIR")).join("components"),
            istio: IstioRelease::of(env::var("SPIRE_MESH_LAB_ISTIO").ok().as_deref())?,
            install_packages: true,
        })
    }
}

/// Builds everything that is not in the cache yet. Takes tens of minutes the first time and well below a second
/// afterwards. `progress` hears of every step, also of those that the cache saves.
///
/// Only one build runs on a cache at a time; others wait. A build that is killed leaves nothing half done.
pub fn everything(options: &Options, progress: &dyn Fn(&Progress<'_>)) -> Result<Artifacts, Error> {
    let plan = Plan::new(options)?;
    let _lock = plan.cache.lock(progress)?;
    let mut steps = Steps { progress, times: Vec::new() };

    let missing = packages::missing()?;
    if !missing.is_empty() && !options.install_packages {
        return Err(Error::MissingPackages { packages: missing });
    }
    steps.take("packages", missing.is_empty(), || {
        packages::install(&missing, &mut Log::create("packages", &plan.cache.log("packages"))?)
    })?;

    let missing = plan.steps.iter().filter(|step| !step.entry.is_dir()).map(|step| &step.component);
    let downloads = Prefetch::start(missing, &options.components);
    for step in &plan.steps {
        steps.take(step.component.name, step.entry.is_dir(), || compile(step, &plan, options))?;
    }

    drop(downloads);

    let binaries = plan.binaries();
    let cached = images::cached(&plan.cache, &plan.images);
    let mut image_names = cached.clone().unwrap_or_default();
    steps.take("images", cached.is_some(), || {
        image_names = images::assemble(&plan.cache, &plan.images, &plan.versions, &binaries)?;
        plan.cache.prune_images(&plan.images)
    })?;
    Ok(Artifacts { binaries, images: plan.cache.images(&plan.images), image_names, steps: steps.times })
}

/// Builds only the component that a program belongs to, if it is not in the cache yet, and installs no packages. Other programs of the
/// answer may not be there.
pub fn only(tool: Tool, options: &Options, progress: &dyn Fn(&Progress<'_>)) -> Result<Binaries, Error> {
    let plan = Plan::new(options)?;
    let _lock = plan.cache.lock(progress)?;
    let mut steps = Steps { progress, times: Vec::new() };
    let (component, _) = tool.place();
    for step in plan.steps.iter().filter(|step| step.component.name == component) {
        steps.take(component, step.entry.is_dir(), || compile(step, &plan, options))?;
    }
    Ok(plan.binaries())
}

fn compile(step: &Step, plan: &Plan, options: &Options) -> Result<(), Error> {
    components::compile(&step.component, &options.components, &plan.cache, &step.entry)?;
    plan.cache.prune_entries(step.component.name, &step.key)
}

/// Reports and times the steps of a build.
struct Steps<'a> {
    progress: &'a dyn Fn(&Progress<'_>),
    times: Vec<StepTime>,
}

impl Steps<'_> {
    fn take(
        &mut self,
        step: &str,
        cached: bool,
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut took = None;
        if cached {
            (self.progress)(&Progress::Cached { step });
        } else {
            (self.progress)(&Progress::Started { step });
            let start = Instant::now();
            work()?;
            let elapsed = start.elapsed();
            (self.progress)(&Progress::Done { step, took: elapsed });
            took = Some(elapsed);
        }
        self.times.push(StepTime { step: step.to_owned(), took });
        Ok(())
    }
}

fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // An empty variable counts as unset, and a relative path would mean another cache in every directory.
    let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    path("SPIRE_MESH_LAB_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|dir| dir.join("spire-mesh-lab")))
        .or_else(|| path("HOME").map(|dir| dir.join(".cache").join("spire-mesh-lab")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_names_the_cache() {
        let dir = |set: &[(&str, &str)]| {
            cache_dir(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let home = ("HOME", "/home/me");
        assert_eq!(dir(&[home]), Some("/home/me/.cache/spire-mesh-lab".into()));
        assert_eq!(dir(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c/spire-mesh-lab".into()));
        assert_eq!(dir(&[home, ("SPIRE_MESH_LAB_CACHE", "/lab")]), Some("/lab".into()));
        assert_eq!(dir(&[home, ("SPIRE_MESH_LAB_CACHE", "")]), Some("/home/me/.cache/spire-mesh-lab".into()));
        assert_eq!(dir(&[]), None);
    }
}
