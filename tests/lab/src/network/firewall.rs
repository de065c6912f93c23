//! The lab's firewall rules on the host: two chains of its own and one jump to them.

use crate::command::run;
use crate::error::Result;
use crate::topology::Shape;

/// Lets traffic of the lab pass, whatever the host's policy for forwarding is.
pub const CHAIN: &str = "SPIRE-MESH-LAB";
/// Holds the rules of the active faults; looked at first.
pub const FAULTS: &str = "SPIRE-MESH-FAULT";

/// Runs `iptables` and waits for its lock if somebody else has it.
pub(crate) fn iptables<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<String> {
    run("iptables", ["-w", "10"].into_iter().chain(args))
}

fn chain_exists(chain: &str) -> bool {
    iptables(["-n", "-L", chain]).is_ok()
}

/// Makes the chains and the rules for clusters of this shape; what is there already stays.
pub fn ensure(shape: Shape) -> Result<()> {
    for chain in [FAULTS, CHAIN] {
        if !chain_exists(chain) {
            iptables(["-N", chain])?;
        }
    }
    iptables(["-F", CHAIN])?;
    // Also when there are no faults: connections are tracked from their beginning, so that their direction is known.
    iptables(["-A", CHAIN, "-m", "conntrack", "--ctdir", "ORIGINAL", "-j", FAULTS])?;
    for from in shape.clusters() {
        for to in shape.clusters() {
            iptables(["-A", CHAIN, "-i", &from.bridge(), "-o", &to.bridge(), "-j", "ACCEPT"])?;
        }
    }
    if iptables(["-C", "FORWARD", "-j", CHAIN]).is_err() {
        iptables(["-I", "FORWARD", "1", "-j", CHAIN])?;
    }
    Ok(())
}

/// Whether the rules are in place.
#[must_use]
pub fn is_in_place() -> bool {
    iptables(["-C", "FORWARD", "-j", CHAIN]).is_ok()
}

/// Removes everything that [`ensure`] made, and the rules of faults.
pub fn remove() -> Result<()> {
    while is_in_place() {
        iptables(["-D", "FORWARD", "-j", CHAIN])?;
    }
    for chain in [CHAIN, FAULTS] {
        if chain_exists(chain) {
            iptables(["-F", chain])?;
        }
    }
    for chain in [CHAIN, FAULTS] {
        if chain_exists(chain) {
            iptables(["-X", chain])?;
        }
    }
    Ok(())
}

/// Chains of the lab that exist.
#[must_use]
pub fn leftovers() -> Vec<String> {
    [CHAIN, FAULTS].into_iter().filter(|chain| chain_exists(chain)).map(str::to_owned).collect()
}
