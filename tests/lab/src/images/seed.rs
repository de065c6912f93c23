//! A containerd root directory with all images, made once per set of images and linked into every node.
//!
//! Importing takes ten seconds for each node; linking takes a tenth of one. Blobs and unpacked layers are never changed in
//! place by containerd: blobs are content-addressed, layers are the lower directories of overlay mounts. Its two databases
//! are changed, so those are copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::command::{self, command, run, wait_until};
use crate::error::{Error, Result};
use crate::state::{create, write};

/// Changes when seeds are made in another way, so that old ones are not used.
const FORMAT: &str = "1";

const NAMESPACE: &str = "k8s.io";
const IMPORT_LIMIT: Duration = Duration::from_mins(10);

/// An imported set of images.
#[derive(Debug, Clone)]
pub struct Seed(PathBuf);

impl Seed {
    /// Finds the seed for this archive of images, or makes it with a containerd that lives as long as that takes.
    pub fn ensure(images: &Path, cache: &Path, workspace: &Path) -> Result<Self> {
        let seeds = cache.join("seeds");
        let root = seeds.join(key(images)?);
        if !root.exists() {
            remove(&seeds)?;
            let draft = root.with_added_extension("new");
            import(images, &draft, workspace)?;
            fs::rename(&draft, &root).map_err(Error::io("write", &root))?;
        }
        Ok(Self(root))
    }

    /// Makes a node's containerd root out of the seed; nothing happens if there is one.
    pub fn plant(&self, root: &Path) -> Result<()> {
        if root.exists() {
            return Ok(());
        }
        let draft = root.with_added_extension("new");
        remove(&draft)?;
        let linked = run("cp", ["-a".as_ref(), "--link".as_ref(), self.0.as_os_str(), draft.as_os_str()]);
        if linked.is_err() {
            // Another file system: a real copy takes longer, but does as well.
            remove(&draft)?;
            run("cp", ["-a".as_ref(), "--reflink=auto".as_ref(), self.0.as_os_str(), draft.as_os_str()])?;
        }
        for database in databases(&draft)? {
            unshare(&database)?;
        }
        fs::rename(&draft, root).map_err(Error::io("write", root))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// The archive is itself made from what is in it: name, size and time tell one from another without reading it.
fn key(images: &Path) -> Result<String> {
    let about = fs::metadata(images).map_err(Error::io("read", images))?;
    let changed = about.modified().map_err(Error::io("read the time of", images))?;
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text = format!("{FORMAT} {} {} {changed}", images.display(), about.len());
    let digest = Sha256::digest(text);
    let (start, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    Ok(format!("{:016x}", u64::from_be_bytes(*start)))
}

/// Bolt databases in a containerd root: `<plugin>/*.db`.
fn databases(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for plugin in fs::read_dir(root).map_err(Error::io("read", root))?.flatten() {
        let files = fs::read_dir(plugin.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "db")));
    }
    Ok(found)
}

/// Replaces a hard link by a file of its own.
fn unshare(file: &Path) -> Result<()> {
    let copy = file.with_added_extension("copy");
    fs::copy(file, &copy).map_err(Error::io("copy", file))?;
    fs::rename(&copy, file).map_err(Error::io("replace", file))
}

fn import(images: &Path, root: &Path, workspace: &Path) -> Result<()> {
    remove(workspace)?;
    create(root)?;
    create(workspace)?;
    let (config, socket) = (workspace.join("containerd.toml"), workspace.join("containerd.sock"));
    write(
        &config,
        format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            root.display(),
            workspace.join("state").display(),
            socket.display(),
        ),
    )?;
    let daemon = Daemon::start(&config, &workspace.join("containerd.log"))?;
    wait_until(
        "the start of containerd for the import of images",
        &format!("see {}", workspace.join("containerd.log").display()),
        Duration::from_secs(30),
        Duration::from_millis(50),
        || Ok(socket.exists()),
    )?;
    let mut ctr = command("ctr");
    ctr.arg("--address")
        .arg(&socket)
        .args(["-n", NAMESPACE, "images", "import", "--all-platforms"])
        .arg(images);
    command::output(&mut ctr, None, IMPORT_LIMIT)?;
    drop(daemon);
    remove(workspace)
}

/// A containerd that ends when this is dropped, or when this program is killed.
struct Daemon(Child);

impl Daemon {
    fn start(config: &Path, log: &Path) -> Result<Self> {
        let out = fs::File::create(log).map_err(Error::io("create", log))?;
        let err = out.try_clone().map_err(Error::io("create", log))?;
        // Killed with us: setpriv passes that on to unshare, and unshare to the process 1 of the new namespace.
        let mut daemon = command("setpriv");
        daemon
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["containerd", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        daemon
            .spawn()
            .map(Self)
            .map_err(|source| Error::Start { program: command::describe(&daemon), source })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has written what it has to; if it is gone already, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_root_shares_blobs_and_owns_its_databases() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().expect("a directory");
        let seed = dir.path().join("seed");
        fs::create_dir_all(seed.join("bolt")).expect("created");
        fs::write(seed.join("bolt/meta.db"), "db").expect("written");
        fs::write(seed.join("blob"), "blob").expect("written");
        let root = dir.path().join("root");
        Seed(seed.clone()).plant(&root).expect("planted");
        let inode = |path: PathBuf| fs::metadata(path).expect("it exists").ino();
        assert_eq!(inode(seed.join("blob")), inode(root.join("blob")));
        assert_ne!(inode(seed.join("bolt/meta.db")), inode(root.join("bolt/meta.db")));
        Seed(seed).plant(&root).expect("nothing to do");
    }
}
