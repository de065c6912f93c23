//! What a release is made of, in one folder:
//!
//! ```text
//! kubectl-spire-federate_0.1.0_linux_amd64.tar.gz   for each plugin and platform: the program, and LICENSE
//! spire-federate.yaml                               for each plugin: a manifest for krew
//! kubectl-spire-federate_0.1.0.cdx.json             for each plugin: what it is built from (the release workflow makes these)
//! release-notes.md                                  for a whole release: what the changelog says about it
//! checksums.txt                                     SHA-256 of all but the notes, as `sha256sum --check` reads it
//! ```
//!
//! The same sources give the same bytes with the same compilers, in whatever folder and at whatever time: programs hold no path of the
//! machine that built them, archives no time, owner or order of it.

mod archive;
mod compile;
mod error;
mod manifest;
mod notes;
mod platform;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use semver::Version;

pub use archive::Effort;
pub use error::Error;
pub use platform::Platform;

use archive::Entry;
use manifest::Template;

use crate::error::{Error as LabError, Result};
use crate::plugins::{Plugin, target_folder, workspace};
use crate::steps::{Say, mebibytes};

/// Name of the file with all digests.
const CHECKSUMS: &str = "checksums.txt";
/// Name of the file with what the changelog says.
const NOTES: &str = "release-notes.md";
const LICENSE: &str = "LICENSE";

/// A version of the plugins, and the place that it is downloaded from.
#[derive(Debug, Clone)]
pub struct Release {
    version: Version,
    downloads: String,
}

impl Release {
    /// Returns the version in Cargo.toml, downloaded from the release of that repository on GitHub.
    ///
    /// # Errors
    /// Never in fact: cargo would not have taken the version.
    pub fn of_this_checkout() -> Result<Self> {
        const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        Self::new(VERSION, format!("{REPOSITORY}/releases/download/v{VERSION}"))
    }

    /// Makes one that is downloaded from somewhere else: `downloads` is the URL of the folder with its archives.
    ///
    /// # Errors
    /// When the version is none.
    pub fn new(version: &str, downloads: impl Into<String>) -> Result<Self> {
        let parsed = version.parse();
        let version = parsed.map_err(|source| Error::Version { text: version.to_owned(), source })?;
        Ok(Self { version, downloads: downloads.into() })
    }

    /// Returns its tag in the repository, which is also how krew writes the version: `v0.1.0`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Returns the name of an archive: `kubectl-spire-federate_0.1.0_linux_amd64.tar.gz`.
    #[must_use]
    pub fn archive(&self, plugin: Plugin, platform: Platform) -> String {
        let (package, version) = (plugin.package(), &self.version);
        format!("{package}_{version}_{}_{}.tar.gz", platform.system(), platform.architecture())
    }

    /// Returns the name of a manifest: `spire-federate.yaml`. krew wants exactly that.
    #[must_use]
    pub fn manifest(plugin: Plugin) -> String {
        format!("{}.yaml", plugin.name())
    }

    fn bill_of_materials(&self, plugin: Plugin) -> String {
        format!("{}_{}.cdx.json", plugin.package(), self.version)
    }

    fn address(&self, file: &str) -> String {
        format!("{}/{file}", self.downloads)
    }

    /// Builds the plugins for a platform and writes their archives into the folder.
    ///
    /// # Errors
    /// When they do not build, or cannot be written.
    pub fn build(&self, platform: Platform, folder: &Path) -> Result<Vec<PathBuf>> {
        let programs = compile::compile(platform)?;
        Plugin::all()
            .map(|plugin| {
                self.pack(plugin, platform, &programs.join(plugin.package()), folder, Effort::Small)
            })
            .collect()
    }

    /// Writes the archive of a plugin with this program into the folder.
    ///
    /// # Errors
    /// When the program cannot be read, or the archive not be written.
    pub fn pack(
        &self,
        plugin: Plugin,
        platform: Platform,
        program: &Path,
        folder: &Path,
        effort: Effort,
    ) -> Result<PathBuf> {
        let license = workspace().join(LICENSE);
        let entries = vec![
            Entry { name: LICENSE, source: &license, mode: 0o644 },
            Entry { name: plugin.program(), source: program, mode: 0o755 },
        ];
        let path = folder.join(self.archive(plugin, platform));
        archive::write(&path, entries, effort)?;
        Ok(path)
    }

    /// Writes manifests and checksums for the archives that are in the folder, and returns their paths.
    ///
    /// # Errors
    /// When a template is none, or a file cannot be read or written.
    pub fn describe(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        for plugin in Plugin::all() {
            let name = Self::manifest(plugin);
            let template = Template::read(&workspace().join("krew").join(&name), plugin)?;
            if let Some(manifest) = template.fill(self, plugin, folder)? {
                written.push(archive::write_text(&folder.join(name), &manifest.yaml(plugin)?)?);
            }
        }
        let mut checksums = String::new();
        for name in self.files() {
            let path = folder.join(&name);
            if path.is_file() {
                // Writing to a String cannot fail.
                let _ = writeln!(checksums, "{}  {name}", archive::sha256(&path)?);
            }
        }
        written.push(archive::write_text(&folder.join(CHECKSUMS), &checksums)?);
        Ok(written)
    }

    /// Completes a release from the archives in the folder: manifests, checksums and notes. Returns the paths of what it wrote.
    ///
    /// # Errors
    /// When the tag is that of another version, an archive is missing, or the changelog says nothing about the version.
    pub fn complete(&self, tag: &str, changelog: &str, folder: &Path) -> Result<Vec<PathBuf>> {
        let expected = self.tag();
        if tag != expected {
            return Err(Error::Tag { tag: tag.to_owned(), expected }.into());
        }
        let notes = notes::section(changelog, &self.version);
        let notes = notes.ok_or_else(|| Error::NoNotes { version: self.version.clone() })?;
        let missing: Vec<String> = self.archives().filter(|name| !folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(Error::Incomplete { folder: folder.to_path_buf(), names: missing }.into());
        }
        let mut written = self.describe(folder)?;
        written.push(archive::write_text(&folder.join(NOTES), &format!("{notes}\n"))?);
        Ok(written)
    }

    fn archives(&self) -> impl Iterator<Item = String> {
        Plugin::all().flat_map(move |plugin| Platform::ALL.map(|platform| self.archive(plugin, platform)))
    }

    /// Names of all files that checksums are written for, sorted.
    fn files(&self) -> Vec<String> {
        let others =
            Plugin::all().flat_map(|plugin| [Self::manifest(plugin), self.bill_of_materials(plugin)]);
        let mut names: Vec<String> = self.archives().chain(others).collect();
        names.sort();
        names
    }
}

/// Builds archives for these platforms (this machine's if there are none), and writes manifests and checksums beside them.
///
/// # Errors
/// When the plugins do not build, or something cannot be written.
pub fn build(platforms: &[Platform], folder: Option<PathBuf>, say: Say<'_>) -> Result<()> {
    let own = [Platform::of_this_machine()];
    let platforms: Vec<Platform> = match platforms {
        [] => own.into_iter().map(|own| own.ok_or(Error::UnknownMachine)).collect::<Result<_, _>>()?,
        named => named.to_vec(),
    };
    let (release, folder) = (Release::of_this_checkout()?, chosen(folder)?);
    for platform in platforms {
        for path in release.build(platform, &folder)? {
            let length = fs::metadata(&path).map_err(LabError::io("read", &path))?.len();
            say(&format!("{} ({})", path.display(), mebibytes(length)));
        }
    }
    list(&release.describe(&folder)?, say);
    Ok(())
}

/// Completes the release of a tag from the archives in the folder.
///
/// # Errors
/// Like [`Release::complete`].
pub fn complete(tag: &str, folder: Option<PathBuf>, say: Say<'_>) -> Result<()> {
    let path = workspace().join("CHANGELOG.md");
    let changelog = fs::read_to_string(&path).map_err(LabError::io("read", &path))?;
    list(&Release::of_this_checkout()?.complete(tag, &changelog, &chosen(folder)?)?, say);
    Ok(())
}

fn list(paths: &[PathBuf], say: Say<'_>) {
    for path in paths {
        say(&path.display().to_string());
    }
}

fn chosen(folder: Option<PathBuf>) -> Result<PathBuf> {
    folder.map_or_else(|| Ok(target_folder()?.join("package")), Ok)
}

#[cfg(test)]
mod tests;
