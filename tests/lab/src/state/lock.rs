//! One change at a time.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dir::{StateDir, create};
use crate::error::{Error, Result};

/// The right to change a lab, held until it is dropped. The kernel gives it back when the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of `up` and `down`, or says who has it.
    pub fn take(state: &StateDir) -> Result<Self> {
        let path = state.path().join("lock");
        loop {
            let mut file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(state, &mut file)),
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            // The holder before us may have removed the file: then our lock is one on nothing.
            if is_current(&file, &path) {
                let mut lock = Self { file, path };
                lock.sign()?;
                return Ok(lock);
            }
        }
    }

    /// Takes the short lock for changes of the faults; waits for it.
    pub(crate) fn wait(state: &StateDir, name: &str) -> Result<Self> {
        let path = state.path().join(name);
        let file = open(&path)?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(Self { file, path })
    }

    fn sign(&mut self) -> Result<()> {
        let text = std::process::id().to_string();
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(Error::io("write", &self.path))
    }

    /// Removes the lock's file while it is held, as the last act of `down`.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))
}

fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

fn held(state: &StateDir, file: &mut File) -> Error {
    let mut holder = String::new();
    // Only for the message.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
    let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
    Error::Locked { state: state.path().to_path_buf(), holder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_has_the_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(dir.path());
        let lock = Lock::take(&state).expect("free");
        let text = Lock::take(&state).expect_err("held").to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(lock);
        Lock::take(&state).expect("free again");
    }

    #[test]
    fn a_removed_lock_can_be_taken_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(dir.path());
        Lock::take(&state).expect("free").remove().expect("removable");
        Lock::take(&state).expect("free again");
    }
}
