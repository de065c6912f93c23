//! The platforms that the plugins are built for.

use clap::ValueEnum;

/// Operating system and processor, called as cargo calls its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Platform {
    /// Linux on x86-64.
    #[value(name = "x86_64-unknown-linux-gnu")]
    LinuxAmd64,
    /// Linux on 64-bit ARM.
    #[value(name = "aarch64-unknown-linux-gnu")]
    LinuxArm64,
    /// macOS on Intel.
    #[value(name = "x86_64-apple-darwin")]
    DarwinAmd64,
    /// macOS on Apple silicon.
    #[value(name = "aarch64-apple-darwin")]
    DarwinArm64,
}

impl Platform {
    /// Every platform of a release, in the order of manifests.
    pub const ALL: [Self; 4] = [Self::LinuxAmd64, Self::LinuxArm64, Self::DarwinAmd64, Self::DarwinArm64];

    /// Returns that of this machine; `None` when releases have nothing for it.
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            _ => return None,
        };
        let system = if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS };
        Self::ALL
            .into_iter()
            .find(|platform| platform.system() == system && platform.architecture() == architecture)
    }

    /// Returns what cargo and rustup call it.
    #[must_use]
    pub fn triple(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "x86_64-unknown-linux-gnu",
            Self::LinuxArm64 => "aarch64-unknown-linux-gnu",
            Self::DarwinAmd64 => "x86_64-apple-darwin",
            Self::DarwinArm64 => "aarch64-apple-darwin",
        }
    }

    /// Returns the operating system, as Go and krew call it.
    #[must_use]
    pub fn system(self) -> &'static str {
        match self {
            Self::LinuxAmd64 | Self::LinuxArm64 => "linux",
            Self::DarwinAmd64 | Self::DarwinArm64 => "darwin",
        }
    }

    /// Returns the processor, as Go and krew call it.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::LinuxAmd64 | Self::DarwinAmd64 => "amd64",
            Self::LinuxArm64 | Self::DarwinArm64 => "arm64",
        }
    }

    /// Returns the linker that another Linux machine needs for it, as Debian and Ubuntu call it: gcc makes programs for one processor
    /// only, while that of macOS makes them for both.
    pub(super) fn cross_linker(self) -> Option<&'static str> {
        match self {
            _ if Self::of_this_machine() == Some(self) => None,
            Self::LinuxAmd64 => Some("x86_64-linux-gnu-gcc"),
            Self::LinuxArm64 => Some("aarch64-linux-gnu-gcc"),
            Self::DarwinAmd64 | Self::DarwinArm64 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_calls_platforms_as_cargo_does() {
        for platform in Platform::ALL {
            assert_eq!(Platform::from_str(platform.triple(), false), Ok(platform));
        }
        assert_eq!(Platform::value_variants(), Platform::ALL);
    }

    #[test]
    fn this_machine_needs_no_linker_for_itself() {
        let own = Platform::of_this_machine().expect("tests run where the plugins do");
        assert_eq!(own.cross_linker(), None);
    }
}
