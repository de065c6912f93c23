//! Archives that hold nothing of the machine or the moment that they were made on.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

use crate::build::hex;
use crate::error::{Error, Result};

/// The time of every file, in seconds since 1970: the beginning of 2026. Zero would make tar warn.
const TIME: u64 = 1_767_225_600;
/// What gzip writes when the operating system is unknown.
const NO_SYSTEM: u8 = 255;

/// How small archives become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As quickly as possible, for tests.
    Quick,
    /// As small as possible, for releases.
    Small,
}

/// A file in an archive.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Its name there.
    pub(super) name: &'a str,
    /// Where its content comes from.
    pub(super) source: &'a Path,
    /// Its permissions.
    pub(super) mode: u32,
}

/// Writes a `.tar.gz` with these files, in the order of their names. The same content gives the same bytes. It appears whole, or not
/// at all.
pub(super) fn write(path: &Path, mut entries: Vec<Entry<'_>>, effort: Effort) -> Result<()> {
    entries.sort_by_key(|entry| entry.name);
    let level = match effort {
        Effort::Quick => Compression::fast(),
        Effort::Small => Compression::best(),
    };
    whole(path, |file| {
        let stream = GzBuilder::new().mtime(0).operating_system(NO_SYSTEM).write(BufWriter::new(file), level);
        let mut archive = Builder::new(stream);
        for entry in &entries {
            let content = File::open(entry.source).map_err(Error::io("read", entry.source))?;
            let length = content.metadata().map_err(Error::io("read", entry.source))?.len();
            let added = append(&mut archive, entry, length, content);
            added.map_err(Error::io("put into an archive", entry.source))?;
        }
        let ended = archive.into_inner().and_then(flate2::write::GzEncoder::finish);
        ended
            .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error).map(drop))
            .map_err(Error::io("write", path))
    })
}

fn append<W: io::Write>(
    archive: &mut Builder<W>,
    entry: &Entry<'_>,
    length: u64,
    content: File,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(entry.name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(length);
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_cksum();
    archive.append(&header, BufReader::new(content))
}

/// Writes a file as everybody may read it, from the beginning or not at all.
fn whole(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    let file = NamedTempFile::new_in(folder).map_err(Error::io("write in", folder))?;
    write(file.as_file())?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o644)).map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    Ok(())
}

/// Writes a text as [`write`] writes archives.
pub(super) fn write_text(path: &Path, text: &str) -> Result<PathBuf> {
    whole(path, |mut file| {
        io::Write::write_all(&mut file, text.as_bytes()).map_err(Error::io("write", path))
    })?;
    Ok(path.to_path_buf())
}

/// Returns the SHA-256 of a file in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::{Duration, SystemTime};

    use flate2::read::GzDecoder;

    use super::*;

    /// Two files with other times and permissions, in another order, in another folder.
    fn archive(folder: &Path, mode: u32, age: Duration, reversed: bool) -> Vec<u8> {
        let mut entries = Vec::new();
        let files = ["LICENSE", "kubectl-trustchain"].map(|name| (name, folder.join(name)));
        for (name, path) in &files {
            fs::write(path, format!("content of {name}\n")).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            File::options().append(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            let mode = if *name == "LICENSE" { 0o644 } else { 0o755 };
            entries.push(Entry { name, source: path, mode });
        }
        if reversed {
            entries.reverse();
        }
        let path = folder.join("one.tar.gz");
        write(&path, entries, Effort::Small).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes_whatever_their_times_permissions_and_order() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = archive(folders[0].path(), 0o600, Duration::ZERO, false);
        let second = archive(folders[1].path(), 0o755, Duration::from_hours(5), true);
        assert_eq!(first, second);
        // No flags, no time, no operating system.
        assert_eq!((&first[3..8], first[9]), (&[0; 5][..], 255));
    }

    #[test]
    fn programs_can_be_run_and_belong_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = archive(folder.path(), 0o600, Duration::ZERO, true);
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!(header.mtime().unwrap(), TIME);
                (header.path().unwrap().display().to_string(), header.mode().unwrap(), text)
            })
            .collect();
        let expected = [("LICENSE", 0o644), ("kubectl-trustchain", 0o755)]
            .map(|(name, mode)| (name.to_owned(), mode, format!("content of {name}\n")));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_text(&folder.path().join("abc"), "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn nothing_is_left_of_an_archive_whose_file_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let entries = vec![Entry { name: "missing", source: &missing, mode: 0o755 }];
        let error = write(&folder.path().join("one.tar.gz"), entries, Effort::Small).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}", missing.display())), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
