//! Faults: what can go wrong between and in clusters, done on purpose, recorded, and undone.
//!
//! What is not here: another time in one cluster. A time namespace shifts the monotonic clock and the time since boot, not
//! the time of day that certificates are compared with; the components are static Go programs that read the clock
//! through the vDSO, past every library that could be put in front of them; and setting the machine's clock moves it for
//! every cluster at once, and for everything else on the machine. What stands in for it is the other side of the
//! comparison: certificates and bundles with a short life (`ca_ttl`, `default_x509_svid_ttl`), so that the time until
//! they expire passes within a test.

mod container;
mod delay;
mod node;
mod port;
mod record;
mod traffic;
mod volume;

use std::str::FromStr;

pub use delay::run as run_delay;
pub use record::{Active, Fault, Traffic};
pub use traffic::{Action, Destination};

use crate::error::{Error, Result};
use crate::state::{Lock, Record, StateDir, read_json, write_json};

/// The faults of a lab.
#[derive(Debug, Clone)]
pub struct Faults {
    state: StateDir,
}

impl Faults {
    /// The faults of the lab in this state directory.
    #[must_use]
    pub fn new(state: StateDir) -> Self {
        Self { state }
    }

    /// The active faults, oldest first.
    pub fn list(&self) -> Result<Vec<Active>> {
        Ok(read_json(&self.state.faults())?.unwrap_or_default())
    }

    /// Makes a fault happen; it stays until it is cleared.
    pub fn inject(&self, fault: Fault) -> Result<Active> {
        let shape = Record::require(&self.state)?.shape;
        let _lock = Lock::wait(&self.state, "faults.lock")?;
        let mut all = self.list()?;
        let id = all.iter().map(|active| active.id).max().unwrap_or(0) + 1;
        let active = Active { id, fault };
        // Recorded first: what is half done can be undone.
        all.push(active.clone());
        self.write(&all)?;
        if let Err(e) = record::apply(&self.state, shape, &active) {
            // The reason why it failed matters more than what is left of it.
            let _ = record::undo(&self.state, shape, &active);
            all.pop();
            self.write(&all)?;
            return Err(e);
        }
        Ok(active)
    }

    /// As [`Faults::inject`], until the guard is dropped.
    pub fn during(&self, fault: Fault) -> Result<Guard> {
        Ok(Guard { faults: self.clone(), id: Some(self.inject(fault)?.id) })
    }

    /// Undoes one fault.
    pub fn clear(&self, id: u16) -> Result<Active> {
        let shape = Record::require(&self.state)?.shape;
        let _lock = Lock::wait(&self.state, "faults.lock")?;
        let mut all = self.list()?;
        let Some(index) = all.iter().position(|active| active.id == id) else {
            let known: Vec<String> = all.iter().map(|active| active.id.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::Unknown { kind: "fault", name: id.to_string(), known });
        };
        record::undo(&self.state, shape, &all[index])?;
        let cleared = all.remove(index);
        self.write(&all)?;
        Ok(cleared)
    }

    /// Undoes all faults, the last one first.
    pub fn clear_all(&self) -> Result<Vec<Active>> {
        self.list()?.iter().rev().map(|active| self.clear(active.id)).collect()
    }

    /// Empties a persistent volume, by its claim, as if the disk had been replaced by a new one: pods that use it are
    /// deleted, and find nothing when their controller makes them again. This cannot be undone.
    pub fn lose_volume(&self, cluster: &str, claim: &Namespaced) -> Result<()> {
        let shape = Record::require(&self.state)?.shape;
        volume::lose(&self.state, shape.cluster(cluster)?, claim)
    }

    fn write(&self, all: &[Active]) -> Result<()> {
        write_json(&self.state.faults(), &all)
    }
}

/// A fault that is undone when this is dropped.
#[derive(Debug)]
#[must_use = "the fault is undone when the guard is dropped"]
pub struct Guard {
    faults: Faults,
    id: Option<u16>,
}

impl Guard {
    /// Undoes the fault now, and says if that fails.
    pub fn clear(mut self) -> Result<()> {
        self.id.take().map_or(Ok(()), |id| self.faults.clear(id).map(drop))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // There is nobody left to tell; `lab fault list` still shows it.
            let _ = self.faults.clear(id);
        }
    }
}

/// `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaced {
    /// Namespace.
    pub namespace: String,
    /// Name in it.
    pub name: String,
}

impl FromStr for Namespaced {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(Error::Invalid {
                what: "name",
                value: text.to_owned(),
                why: "expected NAMESPACE/NAME".to_owned(),
            }),
        }
    }
}
