mod algorithms;
mod names;
mod paths;
mod policies;
mod signatures;
mod times;
mod twins;
mod usages;

use crate::Case;

/// Makes all chains. It takes seconds: some keys are RSA.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        algorithms::cases(),
        names::cases(),
        paths::cases(),
        policies::cases(),
        signatures::cases(),
        times::cases(),
        twins::cases(),
        usages::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
