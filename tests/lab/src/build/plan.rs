//! What a build would do: every component with its key and place, computed without building anything.

use std::path::PathBuf;

use super::artifacts::Binaries;
use super::cache::Cache;
use super::components::{self, Component, GOFLAGS, Toolchain};
use super::key::{Inputs, Key};
use super::versions::Versions;
use super::{Error, Options, images};

/// A component on its way into the cache.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) component: Component,
    pub(super) key: Key,
    /// Directory of the cache entry; the component is built when it exists.
    pub(super) entry: PathBuf,
}

/// All steps of a build.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) cache: Cache,
    pub(super) versions: Versions,
    pub(super) steps: Vec<Step>,
    /// Key of the images.
    pub(super) images: Key,
}

impl Plan {
    /// Computes the keys from the components' files and the installed Go toolchain.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let cache = Cache::new(&options.cache);
        let versions = Versions::read(&options.components, options.istio)?;
        let toolchain = Toolchain::detect()?;
        let mut steps = Vec::new();
        for component in components::all(&versions) {
            let mut inputs = Inputs::default();
            inputs.value("component", &component);
            inputs.bytes("toolchain", toolchain.version.as_bytes()).bytes("flags", GOFLAGS.as_bytes());
            let key = inputs.directory(&options.components.join(component.folder))?.key();
            let entry = cache.entry(component.name, &key);
            steps.push(Step { component, key, entry });
        }
        let images = images::key(&versions, steps.iter().map(|step| &step.key));
        Ok(Self { cache, versions, steps, images })
    }

    /// Where the programs are once all steps are done.
    pub(super) fn binaries(&self) -> Binaries {
        Binaries {
            entries: self.steps.iter().map(|step| (step.component.name, step.entry.clone())).collect(),
        }
    }
}
