//! Results that go to files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file, whole or not at all. A link at its place is replaced, not followed: somebody else may have put it there, in a folder that
/// others may write to.
///
/// # Errors
/// When the file cannot be written.
pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".spire-mesh-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Less what the umask takes away.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut draft = builder.tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a folder in one that is there. One that is there already is taken, a link to one is not.
///
/// # Errors
/// When it cannot be made, or something else is in its place.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() { Ok(()) } else { Err(error) }
        }
        made => made,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("chain.pem"), folder.path().join("other"));
        fs::write(&other, "somebody else's").unwrap();
        write_file(&file, "first").unwrap();
        write_file(&file, "second").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o444, 0o444 & !umask());

        fs::remove_file(&file).unwrap();
        symlink(&other, &file).unwrap();
        write_file(&file, "third").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "third");
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody else's");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
        assert!(write_file(&folder.path().join("none/chain.pem"), "").is_err());
    }

    /// What the umask takes from a new file.
    fn umask() -> u32 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new");
        fs::write(&file, "").unwrap();
        0o666 & !fs::metadata(&file).unwrap().permissions().mode()
    }

    #[test]
    fn a_folder_is_made_or_taken_and_a_link_to_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (own, link) = (folder.path().join("own"), folder.path().join("link"));
        make_folder(&own).unwrap();
        make_folder(&own).unwrap();
        symlink(&own, &link).unwrap();
        assert_eq!(make_folder(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(make_folder(&folder.path().join("a/b")).is_err());
    }
}
