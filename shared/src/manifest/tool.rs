//! The plugins that make objects.

use crate::hint::Plugin;

/// A plugin that makes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `kubectl spire-federate`.
    SpireFederate,
    /// `kubectl mesh-install`.
    MeshInstall,
}

impl Tool {
    const ALL: [Self; 2] = [Self::SpireFederate, Self::MeshInstall];

    /// Returns the plugin's name, which is the field manager of everything that it applies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SpireFederate => "spire-federate",
            Self::MeshInstall => "mesh-install",
        }
    }

    /// Returns the plugin as its users call it.
    #[must_use]
    pub fn plugin(self) -> Plugin {
        match self {
            Self::SpireFederate => Plugin::SpireFederate,
            Self::MeshInstall => Plugin::MeshInstall,
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}
