//! Assembling the images of the lab from the built programs and files of this machine, without Docker.

mod base;
mod catalog;
mod oci;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::catalog::{Base, Image};
use self::oci::Layout;
use super::Error;
use super::artifacts::{Binaries, Tool};
use super::cache::Cache;
use super::exec::Log;
use super::key::{Inputs, Key};
use super::versions::Versions;

/// The code that decides what is in an image; a change to it makes new images.
const CODE: [&str; 5] = [
    include_str!("mod.rs"),
    include_str!("base.rs"),
    include_str!("catalog.rs"),
    include_str!("oci.rs"),
    include_str!("tree.rs"),
];

/// What lies beside the file with the images and tells whether it is still right.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Names of the images, sorted.
    images: Vec<String>,
    /// All files of this machine that went in.
    sources: BTreeSet<Fingerprint>,
}

/// A file as it was: enough to see a package upgrade without reading the file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Fingerprint {
    path: PathBuf,
    size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    modified: i128,
}

impl Fingerprint {
    fn of(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(Error::io("inspect", path))?;
        let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Self { path: path.to_path_buf(), size: metadata.len(), modified })
    }

    fn holds(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

/// Key of the images that a set of programs gives.
pub(super) fn key<'a>(versions: &Versions, programs: impl Iterator<Item = &'a Key>) -> Key {
    let mut inputs = Inputs::default();
    for code in CODE {
        inputs.bytes("code", code.as_bytes());
    }
    for program in programs {
        inputs.value("program", program);
    }
    // Names of images hold versions, which are not part of every key of a program.
    inputs.value("versions", versions).key()
}

/// Names of the images if they are in the cache and nothing that they were made from has changed.
pub(super) fn cached(cache: &Cache, key: &Key) -> Option<Vec<String>> {
    let record: Record = serde_json::from_slice(&fs::read(cache.image_record(key)).ok()?).ok()?;
    let current = cache.images(key).is_file() && record.sources.iter().all(Fingerprint::holds);
    current.then_some(record.images)
}

/// Assembles all images into one file in the cache and returns their names.
pub(super) fn assemble(
    cache: &Cache,
    key: &Key,
    versions: &Versions,
    binaries: &Binaries,
) -> Result<Vec<String>, Error> {
    let mut log = Log::create("images", &cache.log("images"))?;
    let scratch = cache.scratch()?;
    let full = base::full(&[binaries.path(Tool::Envoy)], &mut log)?;
    let minimal = base::minimal();

    let mut layout = Layout::default();
    let mut record = Record { images: Vec::new(), sources: BTreeSet::new() };
    let tar = scratch.path().join("images.tar");
    for image in catalog::all(versions, binaries) {
        let layers = layers(&image, &minimal, &full);
        for source in layers.iter().flat_map(tree::Tree::sources) {
            record.sources.insert(Fingerprint::of(source)?);
        }
        layout.image(&image.name, layers, &image.start()).map_err(Error::io("read files for", &tar))?;
        record.images.push(image.name);
    }
    record.images.sort();
    layout.write(&tar)?;

    let record_file = scratch.path().join("images.json");
    let json = serde_json::to_vec_pretty(&record).map_err(|e| Error::io("write", &record_file)(e.into()))?;
    fs::write(&record_file, json).map_err(Error::io("write", &record_file))?;
    for (from, to) in [(tar, cache.images(key)), (record_file, cache.image_record(key))] {
        fs::rename(&from, &to).map_err(Error::io("move the finished images to", &to))?;
    }
    Ok(record.images)
}

fn layers(image: &Image, minimal: &tree::Tree, full: &tree::Tree) -> Vec<tree::Tree> {
    let base = match image.base {
        Base::Empty => None,
        Base::Minimal => Some(minimal),
        Base::Full => Some(full),
    };
    base.into_iter().chain(&image.layers).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_source_makes_the_images_stale() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let _lock = cache.lock(&|_| {}).unwrap();
        let key = Inputs::default().key();
        let source = root.path().join("libc.so");
        fs::write(&source, "1").unwrap();
        assert_eq!(cached(&cache, &key), None);

        let record = Record {
            images: vec!["example.org/one:1".to_owned()],
            sources: [Fingerprint::of(&source).unwrap()].into(),
        };
        fs::write(cache.images(&key), "").unwrap();
        fs::write(cache.image_record(&key), serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(cached(&cache, &key), Some(record.images));

        fs::write(&source, "22").unwrap();
        assert_eq!(cached(&cache, &key), None);
    }
}
