//! Keys of the build cache: a digest over everything that a result is made from.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::Error;

/// Number of hexadecimal digits in a key; 64 bits are plenty for a few entries per component.
const DIGITS: usize = 16;

/// Identity of a cache entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Key(String);

impl Key {
    /// Whether a text is another key, so that the entry named by it is not the current one.
    pub(super) fn replaces(&self, text: &str) -> bool {
        text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) && text != self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Collects the inputs of a key. Every input is written with its label and lengths, so that inputs cannot run together.
#[derive(Default)]
pub(super) struct Inputs(Sha256);

impl Inputs {
    /// Adds bytes under a label.
    pub(super) fn bytes(&mut self, label: &str, bytes: &[u8]) -> &mut Self {
        for part in [label.as_bytes(), bytes] {
            self.0.update(part.len().to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a value in its JSON form.
    pub(super) fn value(&mut self, label: &str, value: &impl Serialize) -> &mut Self {
        // Only maps with non-string keys fail to serialise; the inputs hold none, and `null` would still be stable.
        self.bytes(label, &serde_json::to_vec(value).unwrap_or_default())
    }

    /// Adds all files below a directory: their relative paths and contents.
    pub(super) fn directory(&mut self, dir: &Path) -> Result<&mut Self, Error> {
        for entry in WalkDir::new(dir).sort_by_file_name() {
            let entry = entry.map_err(|e| Error::io("list", dir)(e.into()))?;
            if entry.file_type().is_dir() {
                continue;
            }
            let content = fs::read(entry.path()).map_err(Error::io("read", entry.path()))?;
            let relative = entry.path().strip_prefix(dir).unwrap_or(entry.path());
            self.bytes(&relative.to_string_lossy(), &content);
        }
        Ok(self)
    }

    /// The key over everything added.
    pub(super) fn key(&self) -> Key {
        let mut digits = hex(&self.0.clone().finalize());
        digits.truncate(DIGITS);
        Key(digits)
    }
}

/// Lower-case hexadecimal digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(dir: &Path) -> Key {
        Inputs::default().directory(dir).unwrap().key()
    }

    #[test]
    fn follows_content_and_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let first = key_of(dir.path());
        assert_eq!(first, key_of(dir.path()));

        fs::write(dir.path().join("a"), "2").unwrap();
        let changed = key_of(dir.path());
        assert_ne!(first, changed);

        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_ne!(changed, key_of(dir.path()));
        assert!(first.replaces(&changed.to_string()) && !first.replaces(&first.to_string()));
        assert!(!first.replaces("controller-manager-0123456789abcdef"));
    }

    #[test]
    fn inputs_do_not_run_together() {
        let key =
            |a: &str, b: &str| Inputs::default().bytes("x", a.as_bytes()).bytes("x", b.as_bytes()).key();
        assert_ne!(key("ab", "c"), key("a", "bc"));
    }

    #[test]
    fn hex_digits() {
        assert_eq!(hex(&[0x0f, 0xa0]), "0fa0");
    }
}
