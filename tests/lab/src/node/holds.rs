//! What a node's init must keep from running: the control file between the faults and init.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::state::{read_json, write_json};

/// The content of a node's `holds.json`; init looks at it several times a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Services that stay stopped.
    #[serde(default)]
    pub services: Vec<String>,
    /// Containers that are killed whenever they run.
    #[serde(default)]
    pub containers: Vec<ContainerName>,
}

/// A container, by the names that Kubernetes has for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container in it.
    pub container: String,
}

impl Holds {
    /// Reads a node's holds; none if there is no file.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(read_json(path)?.unwrap_or_default())
    }

    /// Changes a node's holds.
    pub fn update(path: &Path, change: impl FnOnce(&mut Self)) -> Result<()> {
        let mut holds = Self::read(path)?;
        change(&mut holds);
        write_json(path, &holds)
    }
}
