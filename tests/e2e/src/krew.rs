//! The real krew with folders of its own, and a place on this machine that releases are downloaded from.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use spire_mesh_lab::build::{self, Options, Tool};
use spire_mesh_lab::command;
use tempfile::TempDir;

use crate::Ran;

/// A machine on which nothing is installed but kubectl, git and krew, as far as its programs can tell.
pub struct Krew {
    work: TempDir,
}

impl Krew {
    /// Builds krew if that was not done yet, and makes the folders.
    ///
    /// # Panics
    /// When krew does not build, or there is no kubectl or git.
    pub fn build() -> Self {
        let options = Options::from_env().expect("the lab's cache");
        let binaries = build::only(Tool::Krew, &options, &|_| ()).expect("krew builds: it needs Go");
        let kubectl = Some(binaries.path(Tool::Kubectl)).filter(|path| path.is_file());
        let kubectl = kubectl.or_else(|| command::find("kubectl")).expect("kubectl: `cargo lab build`");
        let programs = [
            ("kubectl", kubectl),
            ("kubectl-krew", binaries.path(Tool::Krew)),
            ("validate-krew-manifest", binaries.path(Tool::ValidateKrewManifest)),
            ("git", command::find("git").expect("git")),
        ];
        let krew = Self { work: TempDir::new().expect("a folder") };
        for folder in [krew.programs(), krew.index().join("plugins"), krew.downloads(), krew.home()] {
            fs::create_dir_all(folder).expect("a folder");
        }
        for (name, program) in programs {
            symlink(program, krew.programs().join(name)).expect("a link");
        }
        krew.run("git", &["init", "--quiet", "--initial-branch=main"], &krew.index()).succeeded();
        krew.commit();
        // Without an index krew removes nothing.
        krew.kubectl(&["krew", "update"]).succeeded();
        krew
    }

    /// Returns the folder that [`serve`] may serve.
    pub fn downloads(&self) -> PathBuf {
        self.work.path().join("downloads")
    }

    /// Runs kubectl with these arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.run("kubectl", arguments, &self.home())
    }

    /// Runs the check of krew's own index on a manifest.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn validate(&self, arguments: &[&str]) -> Ran {
        self.run("validate-krew-manifest", arguments, &self.home())
    }

    /// Puts manifests into the index that krew knows, in place of those of an older version.
    ///
    /// # Panics
    /// When that fails.
    pub fn publish(&self, manifests: &[PathBuf]) {
        let index = self.index();
        for manifest in manifests {
            let name = manifest.file_name().expect("a name");
            fs::copy(manifest, index.join("plugins").join(name)).expect("the index can be written");
        }
        self.commit();
    }

    fn commit(&self) {
        let author = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let commit = ["commit", "--quiet", "--allow-empty", "--message", "a release"];
        self.run("git", &["add", "--all"], &self.index()).succeeded();
        self.run("git", &[&author[..], &commit[..]].concat(), &self.index()).succeeded();
    }

    /// Returns what krew holds of plugins: links, programs and receipts.
    pub fn held(&self) -> Vec<String> {
        let folders = ["bin", "store", "receipts"].map(|name| self.root().join(name));
        let mut names: Vec<String> = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .map(|entry| {
                entry.path().strip_prefix(self.root()).unwrap_or(&entry.path()).display().to_string()
            })
            .collect();
        names.sort();
        names
    }

    /// Returns the versions of a plugin whose files are there.
    pub fn versions(&self, plugin: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root().join("store").join(plugin)).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    fn run(&self, program: &str, arguments: &[&str], folder: &Path) -> Ran {
        let path = std::env::join_paths([self.programs(), self.root().join("bin")]).expect("a PATH");
        let output = Command::new(self.programs().join(program))
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("KREW_ROOT", self.root())
            .env("KREW_DEFAULT_INDEX_URI", self.index())
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")])
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        Ran::of(&output)
    }

    fn programs(&self) -> PathBuf {
        self.work.path().join("programs")
    }

    fn index(&self) -> PathBuf {
        self.work.path().join("index")
    }

    fn home(&self) -> PathBuf {
        self.work.path().join("home")
    }

    fn root(&self) -> PathBuf {
        self.work.path().join("krew")
    }
}

/// Serves the files of a folder over HTTP on this machine until the program ends, and returns the address.
///
/// # Panics
/// When there is no port.
pub fn serve(folder: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // krew says what it did not get.
            let _ = answer(connection, &folder);
        }
    });
    address
}

/// Answers one request, `GET /v1.2.3/NAME HTTP/1.1`.
fn answer(mut connection: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(&connection).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let content = fs::read(folder.join(path));
    let status = if content.is_ok() { "200 OK" } else { "404 Not Found" };
    let content = content.unwrap_or_default();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    )?;
    connection.write_all(&content)
}
