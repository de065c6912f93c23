//! A mesh file on a disk: read, edited and replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::edit::{EditError, with_cluster, without_cluster};
use super::error::MeshFileError;
use super::{DEFAULT_FILE, Mesh, NewCluster};
use crate::hint::{Advice, Hint};
use crate::report::{escape, one_line};

/// The largest file that is read, in bytes. A mesh of a thousand clusters is a tenth of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The text of a mesh file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshText {
    path: PathBuf,
    text: String,
}

/// Why a mesh file was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// It cannot be written.
    #[error("cannot write mesh file `{}`", escape(&path.to_string_lossy()))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is a pipe, a device or the like.
    #[error("`{}` is no regular file, so it cannot be changed", escape(&path.to_string_lossy()))]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else has changed it since it was read.
    #[error("mesh file `{}` was changed by somebody else meanwhile", escape(&path.to_string_lossy()))]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl Hint for ReplaceError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Write { .. } => None,
            Self::NoFile { .. } => Some("name a file: --mesh FILE".into()),
            Self::Changed { .. } => Some("look at the file, then run the same command again".into()),
        }
    }
}

impl MeshText {
    /// Reads the mesh file at `path`, or `spire-mesh.yaml` in the working directory.
    ///
    /// # Errors
    ///
    /// When the file is not there, cannot be read, is too large or is no text.
    pub fn read(path: Option<&Path>) -> Result<Self, MeshFileError> {
        let path = path.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(MeshFileError::Missing { path });
            }
            Err(source) => return Err(MeshFileError::Read { path, source }),
        };
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(MeshFileError::TooLarge { path, limit: LARGEST_FILE });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.split(|&byte| byte == b'\n').count();
                Err(MeshFileError::NotUtf8 { file: file_name(&path), line })
            }
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the text means.
    ///
    /// # Errors
    ///
    /// [`MeshFileError::Invalid`] with every problem of the text.
    pub fn mesh(&self) -> Result<Mesh, MeshFileError> {
        Mesh::parse(&self.text, &file_name(&self.path))
    }

    /// Returns the text with a cluster more. The file stays as it is.
    ///
    /// # Errors
    ///
    /// As [`with_cluster`]; and when it would be too large.
    pub fn with_cluster(&self, new: &NewCluster) -> Result<Self, EditError> {
        let text = with_cluster(&self.text, &file_name(&self.path), new)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(MeshFileError::TooLarge { path: self.path.clone(), limit: LARGEST_FILE }.into());
        }
        Ok(Self { path: self.path.clone(), text })
    }

    /// Returns the text with a cluster less. The file stays as it is.
    ///
    /// # Errors
    ///
    /// As [`without_cluster`].
    pub fn without_cluster(&self, name: &str) -> Result<Self, EditError> {
        let text = without_cluster(&self.text, &file_name(&self.path), name)?;
        Ok(Self { path: self.path.clone(), text })
    }

    /// Finds out whether the file can be replaced, and changes nothing.
    ///
    /// # Errors
    ///
    /// When it could not be.
    pub fn can_be_replaced(&self) -> Result<(), ReplaceError> {
        self.draft().map(drop)
    }

    /// Writes `new` in place of the text that was read. At every moment the path has the whole old or the whole new text, after
    /// a crash too. A symbolic link stays one, and the file that it leads to keeps its permissions.
    ///
    /// # Errors
    ///
    /// When somebody else has changed the file, or it cannot be written.
    pub fn replace_by(&self, new: &Self) -> Result<(), ReplaceError> {
        let failed = |source| ReplaceError::Write { path: self.path.clone(), source };
        let (target, mut draft) = self.draft()?;
        draft.write_all(new.text.as_bytes()).map_err(failed)?;
        draft.as_file().sync_all().map_err(failed)?;
        if fs::read(&target).map_err(failed)? != self.text.as_bytes() {
            return Err(ReplaceError::Changed { path: self.path.clone() });
        }
        draft.persist(&target).map_err(|error| failed(error.error))?;
        // Not every file system can do that for a folder; then a crash may bring the old text back, which is whole too.
        let _ = target.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
        Ok(())
    }

    /// Makes an empty file beside the one that is meant, with its owner and permissions. Returns where that one is.
    fn draft(&self) -> Result<(PathBuf, NamedTempFile), ReplaceError> {
        let failed = |source| ReplaceError::Write { path: self.path.clone(), source };
        let target = fs::canonicalize(&self.path).map_err(failed)?;
        let metadata = fs::metadata(&target).map_err(failed)?;
        let Some(folder) = target.parent().filter(|_| metadata.is_file()) else {
            return Err(ReplaceError::NoFile { path: self.path.clone() });
        };
        if metadata.permissions().readonly() {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        let draft = tempfile::Builder::new().prefix(".spire-mesh-").tempfile_in(folder).map_err(failed)?;
        keep_owner(draft.path(), &metadata);
        draft.as_file().set_permissions(metadata.permissions()).map_err(failed)?;
        Ok((target, draft))
    }
}

/// Gives a file the owner that another one has, where that is allowed: only root may give files away.
#[cfg(unix)]
fn keep_owner(path: &Path, like: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, chown};
    let _ = chown(path, Some(like.uid()), Some(like.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &fs::Metadata) {}

/// Reads a file, and one byte more than a mesh file may have at most.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a path as it is named in messages.
fn file_name(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n    \
                        - {name: foo, trustDomain: foo.com}\n    - {name: bar, trustDomain: bar.com}\n";

    fn with_baz(text: &MeshText) -> MeshText {
        text.with_cluster(&"baz=baz.com".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.yaml");
        fs::write(&path, TEXT).unwrap();
        let before = MeshText::read(Some(&path)).unwrap();
        before.can_be_replaced().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        before.replace_by(&with_baz(&before)).unwrap();
        let after = MeshText::read(Some(&path)).unwrap();
        assert_eq!(after, with_baz(&before));
        assert_eq!(after.mesh().unwrap().clusters.len(), 3);
        after.replace_by(&after.without_cluster("baz").unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_somebody_else_has_changed_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.yaml");
        fs::write(&path, TEXT).unwrap();
        let before = MeshText::read(Some(&path)).unwrap();
        let theirs = format!("# mine\n{TEXT}");
        fs::write(&path, &theirs).unwrap();
        let error = before.replace_by(&with_baz(&before)).unwrap_err();
        assert!(matches!(error, ReplaceError::Changed { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let text = MeshText { path: folder.path().to_owned(), text: TEXT.to_owned() };
        assert!(matches!(text.can_be_replaced(), Err(ReplaceError::NoFile { .. })));
        let text = MeshText { path: folder.path().join("gone"), text: TEXT.to_owned() };
        assert!(matches!(text.can_be_replaced(), Err(ReplaceError::Write { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, path) = (folder.path().join("link.yaml"), elsewhere.path().join("mesh.yaml"));
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let before = MeshText::read(Some(&link)).unwrap();
        before.replace_by(&with_baz(&before)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(MeshText::read(Some(&path)).unwrap().mesh().unwrap().clusters.len(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        let error = before.can_be_replaced().unwrap_err();
        assert!(matches!(error, ReplaceError::Write { .. }), "a file that may only be read: {error:?}");
    }

    /// The text of a mesh file that is this long, with a comment.
    fn long(length: u64) -> String {
        let rest = usize::try_from(length).unwrap() - TEXT.len();
        format!("{TEXT}#{}\n", "x".repeat(rest - 2))
    }

    #[test]
    fn a_file_may_be_as_large_as_the_limit_and_not_larger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.yaml");
        fs::write(&path, long(LARGEST_FILE)).unwrap();
        let largest = MeshText::read(Some(&path)).unwrap();
        assert_eq!(largest.path(), path);
        let error = largest.with_cluster(&"baz=baz.com".parse().unwrap()).unwrap_err();
        assert!(
            matches!(error, EditError::File(MeshFileError::TooLarge { limit: LARGEST_FILE, .. })),
            "{error:?}"
        );
        let added = with_baz(&MeshText { path: path.clone(), text: TEXT.to_owned() }).text.len() - TEXT.len();
        let room = MeshText { path: path.clone(), text: long(LARGEST_FILE - added as u64) };
        assert_eq!(with_baz(&room).text.len() as u64, LARGEST_FILE);
        fs::write(&path, long(LARGEST_FILE + 1)).unwrap();
        assert!(matches!(MeshText::read(Some(&path)), Err(MeshFileError::TooLarge { .. })));
    }

    #[test]
    fn what_was_not_replaced_says_what_to_do() {
        let path = || PathBuf::from("mesh.yaml");
        let hint = |error: ReplaceError| error.hint();
        assert_eq!(hint(ReplaceError::Write { path: path(), source: io::ErrorKind::Other.into() }), None);
        assert_eq!(hint(ReplaceError::NoFile { path: path() }).unwrap(), "name a file: --mesh FILE");
        let changed = hint(ReplaceError::Changed { path: path() }).unwrap();
        assert_eq!(changed, "look at the file, then run the same command again");
    }

    #[test]
    fn the_line_that_is_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.yaml");
        for (bytes, expected) in [(&b"\xff"[..], 1), (b"a\nb\n\xff", 3), (b"a\nb\xff\n", 2)] {
            fs::write(&path, bytes).unwrap();
            let Err(MeshFileError::NotUtf8 { line, file }) = MeshText::read(Some(&path)) else { panic!() };
            assert_eq!(line, expected);
            assert_eq!(Path::new(&file), path);
        }
    }
}
