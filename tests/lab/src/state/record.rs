//! What was asked for, and what has to be put back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::dir::{StateDir, read_json, write_json};
use crate::error::{Error, Result};
use crate::topology::Shape;

/// How far a lab has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `up` has begun and not ended.
    Starting,
    /// `up` has ended well.
    Running,
}

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Clusters and nodes.
    pub shape: Shape,
    /// How far it has come.
    pub phase: Phase,
    /// Kernel settings of the host as they were before the lab, by path under `/proc/sys`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Directories of the host that the lab created as mount points.
    #[serde(default)]
    pub created: Vec<PathBuf>,
}

impl Record {
    /// A lab that begins.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, phase: Phase::Starting, sysctls: BTreeMap::new(), created: Vec::new() }
    }

    /// Reads the record of a lab, if there is one.
    pub fn read(state: &StateDir) -> Result<Option<Self>> {
        read_json(&state.path().join("state.json"))
    }

    /// Reads the record of a lab that must be there.
    pub fn require(state: &StateDir) -> Result<Self> {
        Self::read(state)?.ok_or_else(|| Error::NotRunning(state.path().to_path_buf()))
    }

    /// Writes the record.
    pub fn write(&self, state: &StateDir) -> Result<()> {
        write_json(&state.path().join("state.json"), self)
    }
}
