//! Whether the SPIRE of the mesh file may follow the one that runs.

use semver::Version;

use super::PreflightError;
use crate::mesh::ManagedSpire;
use crate::spire::discovery::{FoundSpire, image_version};

/// Refuses what SPIRE does not support (its `doc/upgrading.md`): a step of more than one minor version, and agents that are newer than their
/// server. A version that an image's tag does not tell is not judged.
pub(super) fn may_follow(found: Option<&FoundSpire>, spire: &ManagedSpire) -> Result<(), PreflightError> {
    let server = image_version(&spire.images.server);
    if let (Some(server), Some(agent)) = (&server, image_version(&spire.images.agent))
        && minor(&agent) > minor(server)
    {
        return Err(PreflightError::AgentsNewer { server: server.clone(), agent });
    }
    let running = found.and_then(|found| image_version(&found.image));
    match (running, server) {
        (Some(running), Some(wanted)) if !is_step(&running, &wanted) => {
            Err(PreflightError::Leap { running, wanted })
        }
        _ => Ok(()),
    }
}

fn minor(version: &Version) -> (u64, u64) {
    (version.major, version.minor)
}

fn is_step(from: &Version, to: &Version) -> bool {
    from.major == to.major && from.minor.abs_diff(to.minor) <= 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mesh, told};
    use super::*;
    use crate::mesh::Spire;
    use crate::spire::discovery::sample::foreign;

    fn judged(running: Option<&str>, server: &str, agent: &str) -> String {
        let Spire::Managed(mut spire) = mesh().clusters[0].spire.clone() else { panic!("it is managed") };
        spire.images.server = format!("mirror.example:5000/spire-server{server}");
        spire.images.agent = format!("ghcr.io/spiffe/spire-agent{agent}");
        let found = running.map(|tag| FoundSpire { image: format!("x/spire-server{tag}"), ..foreign() });
        may_follow(found.as_ref(), &spire).map_or_else(|error| told(&error), |()| "fine".to_owned())
    }

    #[test]
    fn spire_goes_by_one_minor_version_at_a_time() {
        for running in [":1.14.0", ":1.15.9", ":v1.16.0", ":latest", "", "@sha256:00"] {
            assert_eq!(judged(Some(running), ":1.15.3", ":1.15.3"), "fine", "{running}");
        }
        assert_eq!(judged(None, ":1.15.3", ":1.15.3"), "fine");
        assert_eq!(judged(Some(":1.13.3"), ":nightly", ":1.15.3"), "fine", "the version is not known");
        insta::assert_snapshot!(judged(Some(":1.13.3"), ":1.15.3", ":1.15.3"), @r"
        error: its SPIRE server is of version 1.13.3, and that of the mesh file of 1.15.3: SPIRE goes by one minor version at a time
        hint: set spire.images.server and spire.images.agent in the mesh file to images of 1.14 first
        ");
        insta::assert_snapshot!(judged(Some(":1.17.0"), ":1.15.3", ":1.15.3"), @r"
        error: its SPIRE server is of version 1.17.0, and that of the mesh file of 1.15.3: SPIRE goes by one minor version at a time
        hint: set spire.images.server and spire.images.agent in the mesh file to images of 1.16 first
        ");
        assert_ne!(judged(Some(":2.15.3"), ":1.15.3", ":1.15.3"), "fine");
    }

    #[test]
    fn agents_are_not_newer_than_their_server() {
        assert_eq!(judged(None, ":1.15.3", ":1.14.0"), "fine");
        assert_eq!(judged(None, ":1.15.3", ":1.15.9"), "fine", "a patch is no difference");
        insta::assert_snapshot!(judged(None, ":1.15.3", ":1.16.0"), @r"
        error: the mesh file has agents of version 1.16.0, and a server of 1.15.3: agents may not be newer than their server
        hint: set spire.images.agent in the mesh file to an image of 1.15.3
        ");
    }
}
