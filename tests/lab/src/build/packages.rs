//! The system packages that the lab needs: container runtime, network tools, compilers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::Error;
use super::exec::Log;

/// A Debian package and the file that tells on other distributions whether the same thing is installed.
struct Package {
    name: &'static str,
    /// A program in `PATH`, or an absolute path.
    provides: &'static str,
}

/// Everything needed on the host; nodes and images take their programs and libraries from here, too.
const PACKAGES: [Package; 21] = [
    package("containerd", "containerd"),
    package("runc", "runc"),
    package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    package("iptables", "xtables-nft-multi"),
    package("ipset", "ipset"),
    package("conntrack", "conntrack"),
    package("socat", "socat"),
    package("ethtool", "ethtool"),
    package("busybox-static", "busybox"),
    package("kmod", "modprobe"),
    package("iproute2", "ip"),
    package("procps", "sysctl"),
    package("util-linux", "nsenter"),
    package("curl", "curl"),
    package("openssl", "openssl"),
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
    package("netbase", "/etc/protocols"),
    package("python3-pip", "python3"),
    package("gcc", "gcc"),
    package("g++", "g++"),
    package("libc6-dev", "/usr/include/stdlib.h"),
];

/// Directories with programs that `PATH` of a normal user leaves out.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

const fn package(name: &'static str, provides: &'static str) -> Package {
    Package { name, provides }
}

/// Names of the packages that the lab needs, as Debian and Ubuntu spell them.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PACKAGES.iter().map(|package| package.name).collect()
}

/// Names of the packages that are missing on this machine. On distributions other than Debian and its descendants the
/// answer comes from looking for programs, and missing ones are an error at once.
pub fn missing() -> Result<Vec<&'static str>, Error> {
    if Path::new("/usr/bin/dpkg-query").exists() {
        let output = Command::new("/usr/bin/dpkg-query")
            .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
            .args(names())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Start {
                step: "packages".to_owned(),
                program: "dpkg-query".to_owned(),
                source,
            })?;
        // A status other than zero only says that some packages are unknown, which is the question.
        return Ok(not_installed(&String::from_utf8_lossy(&output.stdout)));
    }
    let programs = absent(&search_path());
    if programs.is_empty() { Ok(Vec::new()) } else { Err(Error::MissingPrograms { programs }) }
}

/// Installs packages with apt. Fails when not run by root, with what apt says about it.
pub(super) fn install(packages: &[&str], log: &mut Log) -> Result<(), Error> {
    log.run(apt().arg("update"))?;
    log.run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    if packages.contains(&"containerd") && Path::new("/run/systemd/system").exists() {
        // Every node runs a containerd of its own; the package starts one on the host that nobody asked for.
        log.run(Command::new("systemctl").args(["disable", "--now", "containerd.service"]))?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    command
}

/// The packages that a listing of `<name> <status>` lines does not show as installed.
fn not_installed(listing: &str) -> Vec<&'static str> {
    let installed: BTreeSet<&str> =
        listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    names().into_iter().filter(|name| !installed.contains(name)).collect()
}

/// What cannot be found, each with the Debian package that holds it.
fn absent(search_path: &[PathBuf]) -> Vec<String> {
    let found = |file: &str| search_path.iter().any(|dir| fs::exists(dir.join(file)).unwrap_or(false));
    PACKAGES
        .iter()
        .filter(|package| !found(package.provides))
        .map(|package| format!("{} (Debian: {})", package.provides, package.name))
        .collect()
}

fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(SYSTEM_DIRS.iter().map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_listing() {
        let listing: Vec<String> = names()
            .into_iter()
            .filter(|name| *name != "socat")
            .map(|name| format!("{name} {}", if name == "runc" { "config-files" } else { "installed" }))
            .collect();
        assert_eq!(not_installed(&listing.join("\n")), ["runc", "socat"]);
    }

    #[test]
    fn other_distributions_hear_what_to_look_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("runc"), "").unwrap();
        let programs = absent(&[dir.path().to_path_buf()]);
        assert!(programs.contains(&"containerd (Debian: containerd)".to_owned()));
        assert!(!programs.iter().any(|program| program.starts_with("runc")));
        let text = Error::MissingPrograms { programs }.to_string();
        assert!(text.contains("busybox (Debian: busybox-static)"), "{text}");
        assert!(text.contains("package manager of your distribution"), "{text}");
    }

    #[test]
    fn without_installation_the_command_is_named() {
        let text = Error::MissingPackages { packages: vec!["runc", "socat"] }.to_string();
        assert!(text.ends_with("apt-get install --no-install-recommends runc socat"), "{text}");
    }
}
