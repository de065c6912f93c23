//! The directory that keeps finished results. Entries appear whole (built elsewhere, then renamed) and never change.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use super::key::Key;
use super::{Error, Progress};

/// Entries of one component that stay besides the current one: clusters still up may run from them.
const KEPT_OLD_ENTRIES: usize = 1;

/// The build cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// Held while a build runs. The lock goes away with the process, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Cache {
    /// The cache in a directory, which need not exist yet.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// Directory of a component's entry.
    pub(super) fn entry(&self, component: &str, key: &Key) -> PathBuf {
        self.root.join("bin").join(format!("{component}-{key}"))
    }

    /// The tar file with the images of a key.
    pub(super) fn images(&self, key: &Key) -> PathBuf {
        self.root.join("images").join(format!("{key}.tar"))
    }

    /// The file beside [`Cache::images`] that says what the images were made from.
    pub(super) fn image_record(&self, key: &Key) -> PathBuf {
        self.images(key).with_extension("json")
    }

    /// The file for the output of a step.
    pub(super) fn log(&self, step: &str) -> PathBuf {
        self.root.join("logs").join(format!("{step}.log"))
    }

    /// Waits until no other build runs on this cache, and keeps others away until the lock is dropped.
    pub(super) fn lock(&self, progress: &dyn Fn(&Progress<'_>)) -> Result<Lock, Error> {
        let path = self.root.join("build.lock");
        for dir in ["bin", "images", "logs"] {
            create_dir(&self.root.join(dir))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress(&Progress::Waiting);
                file.lock().map_err(Error::io("lock", &path))?;
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        self.clear_scratch()?;
        Ok(Lock { _file: file })
    }

    /// An empty directory on the same file system as the entries. Call it with the lock held.
    pub(super) fn scratch(&self) -> Result<TempDir, Error> {
        let dir = self.scratch_dir();
        create_dir(&dir)?;
        TempDir::new_in(&dir).map_err(Error::io("create a directory in", &dir))
    }

    /// Removes old entries of a component, all but the most recent ones.
    pub(super) fn prune_entries(&self, component: &str, current: &Key) -> Result<(), Error> {
        let prefix = format!("{component}-");
        prune(&self.root.join("bin"), |name| {
            name.strip_prefix(&prefix).is_some_and(|key| current.replaces(key))
        })
    }

    /// Removes old image files, all but the most recent ones.
    pub(super) fn prune_images(&self, current: &Key) -> Result<(), Error> {
        for extension in [".tar", ".json"] {
            prune(&self.root.join("images"), |name| {
                name.strip_suffix(extension).is_some_and(|key| current.replaces(key))
            })?;
        }
        Ok(())
    }

    fn scratch_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Removes what builds that were killed left behind.
    fn clear_scratch(&self) -> Result<(), Error> {
        let dir = self.scratch_dir();
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &dir)(e)),
            _ => Ok(()),
        }
    }
}

/// Makes a scratch directory the entry of a component.
pub(super) fn publish(built: TempDir, entry: &Path) -> Result<(), Error> {
    let built = built.keep();
    fs::rename(&built, entry).map_err(Error::io("move the finished build to", entry))
}

/// Removes the entries of a directory that are stale by name, except the [`KEPT_OLD_ENTRIES`] newest of them.
fn prune(dir: &Path, stale: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut old: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if stale(&entry.file_name().to_string_lossy()) {
            let changed =
                entry.metadata().and_then(|m| m.modified()).map_err(Error::io("inspect", &entry.path()))?;
            old.push((changed, entry.path()));
        }
    }
    old.sort();
    old.truncate(old.len().saturating_sub(KEPT_OLD_ENTRIES));
    for (_, path) in old {
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// Creates a directory and its parents.
pub(super) fn create_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))
}

#[cfg(test)]
mod tests {
    use super::super::key::Inputs;
    use super::*;

    fn key(text: &str) -> Key {
        Inputs::default().bytes("", text.as_bytes()).key()
    }

    fn published(cache: &Cache, component: &str, text: &str) -> PathBuf {
        let entry = cache.entry(component, &key(text));
        publish(cache.scratch().unwrap(), &entry).unwrap();
        entry
    }

    #[test]
    fn prune_keeps_the_current_and_the_last_entry_and_other_components() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let _lock = cache.lock(&|_| {}).unwrap();
        let oldest = published(&cache, "spire", "1");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let older = published(&cache, "spire", "2");
        let current = published(&cache, "spire", "3");
        let other = published(&cache, "spire-controller-manager", "1");

        cache.prune_entries("spire", &key("3")).unwrap();
        assert!(!oldest.exists());
        assert!(older.exists() && current.exists() && other.exists());
    }

    #[test]
    fn leftovers_of_killed_builds_go_away() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let left = cache.scratch().unwrap().keep();
        let _lock = cache.lock(&|_| {}).unwrap();
        assert!(!left.exists());
    }
}
