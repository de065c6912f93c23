//! moto: installed once for its pinned versions, started once for all tests, and gone with them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::{env, fs, process, thread};

const REQUIREMENTS: &str = include_str!("../requirements.txt");
const SERVE: &str = include_str!("../serve.py");

/// Returns the address of moto.
pub(crate) fn address() -> &'static str {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    &MOTO.get_or_init(|| start(&installed())).address
}

struct Moto {
    address: String,
    /// moto leaves when its standard input ends, and that ends with this process, however that ends.
    _child: Mutex<Child>,
}

fn start(packages: &Path) -> Moto {
    let mut child = python()
        .args(["-c", SERVE])
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 can be started");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let address = lines.find_map(|line| {
        let address = line.split_once("Running on ").map(|(_, address)| address.trim().to_owned());
        said.push(line);
        address
    });
    let Some(address) = address else { panic!("moto did not start: {}", said.join("\n")) };
    // A full pipe would stop it.
    thread::spawn(move || lines.for_each(drop));
    Moto { address, _child: Mutex::new(child) }
}

/// Installs moto where it is not installed yet, and returns where it is.
fn installed() -> PathBuf {
    let folder = cache().join(key());
    if folder.is_dir() {
        return folder;
    }
    let parent = folder.parent().unwrap();
    fs::create_dir_all(parent).unwrap();
    // Another run may do the same at this moment; whole folders only are moved to where they are looked for.
    let unfinished = parent.join(format!("unfinished-{}", process::id()));
    fs::create_dir_all(&unfinished).unwrap();
    let requirements = unfinished.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).unwrap();
    let output = python()
        .args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"])
        .args(["--quiet", "--progress-bar=off", "--requirement"])
        .arg(&requirements)
        .arg("--target")
        .arg(&unfinished)
        .output()
        .expect("python3 can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3 -m pip cannot install moto: {said}");
    if fs::rename(&unfinished, &folder).is_err() {
        fs::remove_dir_all(&unfinished).unwrap();
    }
    assert!(folder.is_dir());
    folder
}

/// Names what is installed: the versions, and the Python for which some of it is compiled.
fn key() -> String {
    let version = python().args(["-c", "import sys; print(sys.version, sys.platform)"]).output();
    let version = version.expect("these tests need python3, with pip").stdout;
    let mut hasher = DefaultHasher::new();
    (REQUIREMENTS, version, env::consts::ARCH).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn cache() -> PathBuf {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("spire-mesh-lab/moto")
}

fn python() -> Command {
    let mut command = Command::new("python3");
    // AWS is asked with what the tests give, not with what their user has.
    let own = env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("AWS_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command
}
