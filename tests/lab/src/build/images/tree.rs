//! The files of one image layer, and the tar stream that they become: the same files give the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Files, directories and links by their path, which is relative to the root of the image. Files belong to root
/// unless said otherwise; all times are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tree(BTreeMap<String, Entry>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    content: Content,
    mode: u32,
    /// User and group.
    owner: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Directory,
    Link(String),
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Tree {
    /// Adds a directory, or sets mode and owner of one that is there already.
    pub(super) fn directory(&mut self, path: &str, mode: u32, owner: u64) {
        self.insert(path, Entry { content: Content::Directory, mode, owner });
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.insert(path, Entry { content: Content::Link(target.to_owned()), mode: 0o777, owner: 0 });
    }

    /// Adds a file with the given content, readable by all.
    pub(super) fn text(&mut self, path: &str, content: &str) {
        self.insert(
            path,
            Entry { content: Content::Bytes(content.as_bytes().to_vec()), mode: 0o644, owner: 0 },
        );
    }

    /// Adds a file of this machine; it is read when the layer is written.
    pub(super) fn file(&mut self, path: &str, source: &Path, mode: u32, owner: u64) {
        self.insert(path, Entry { content: Content::File(source.to_path_buf()), mode, owner });
    }

    /// Whether there is something at a path.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(trimmed(path))
    }

    /// The files of this machine that the tree is made from.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(|entry| match &entry.content {
            Content::File(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// Writes the tar stream.
    pub(super) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = Builder::new(out);
        for (path, entry) in &self.0 {
            let mut header = header(entry.mode, entry.owner);
            match &entry.content {
                Content::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
                Content::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::File(source) => {
                    let file = File::open(source).map_err(|e| at(source, &e))?;
                    header.set_size(file.metadata()?.len());
                    tar.append_data(&mut header, path, file)?;
                }
            }
        }
        tar.finish()
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = trimmed(path);
        for (end, _) in path.match_indices('/') {
            let parent = Entry { content: Content::Directory, mode: 0o755, owner: 0 };
            self.0.entry(path[..end].to_owned()).or_insert(parent);
        }
        self.0.insert(path.to_owned(), entry);
    }
}

/// A header for a file with all times zero.
pub(super) fn header(mode: u32, owner: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn trimmed(path: &str) -> &str {
    path.trim_matches('/')
}

/// An error that names the file.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        tree.write(&mut out).unwrap();
        out
    }

    fn sample(dir: &Path, order: [usize; 4]) -> Tree {
        let source = dir.join("program");
        std::fs::write(&source, "binary").unwrap();
        let mut tree = Tree::default();
        for step in order {
            match step {
                0 => tree.text("etc/passwd", "root"),
                1 => tree.link("var/run", "/run"),
                2 => tree.file("/usr/bin/program", &source, 0o755, 0),
                _ => tree.directory("tmp", 0o1777, 0),
            }
        }
        tree
    }

    #[test]
    fn same_files_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let first = bytes(&sample(dir.path(), [0, 1, 2, 3]));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(first, bytes(&sample(dir.path(), [3, 2, 1, 0])));
    }

    #[test]
    fn parents_come_first_and_modes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let stream = bytes(&sample(dir.path(), [0, 1, 2, 3]));
        let mut archive = tar::Archive::new(stream.as_slice());
        let listed: Vec<(String, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap()))
            .collect();
        let expected = [
            ("etc/", 0o755),
            ("etc/passwd", 0o644),
            ("tmp/", 0o1777),
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            ("usr/bin/program", 0o755),
            ("var/", 0o755),
            ("var/run", 0o777),
        ];
        assert_eq!(listed, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
