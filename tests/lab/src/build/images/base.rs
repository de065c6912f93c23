//! The layers at the bottom of the images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Error;
use super::super::exec::Log;
use super::tree::Tree;

/// Name of the directory in which Debian keeps the libraries of this architecture.
const MULTIARCH: &str = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };

/// Programs of this machine that the full base holds, besides busybox.
const PROGRAMS: [&str; 4] =
    ["/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi", "/usr/bin/curl", "/usr/bin/openssl"];

/// Libraries that glibc loads at run time, so that no program names them. Newer releases have only some of them.
const RUNTIME_LIBRARIES: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// What static programs need around them: certificates, users, places to write. No shell, like the published images.
pub(super) fn minimal() -> Tree {
    let mut tree = Tree::default();
    tree.directory("tmp", 0o1777, 0);
    tree.directory("run", 0o755, 0);
    common_files(&mut tree);
    tree
}

/// A small Debian: shell and tools (busybox), curl, openssl, iptables of both kinds with all extensions, and the
/// libraries for those and for the programs in `also`.
pub(super) fn full(also: &[PathBuf], log: &mut Log) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    for (path, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        tree.directory(path, mode, 0);
    }
    for path in ["run", "proc", "sys", "dev", "etc"] {
        tree.directory(path, 0o755, 0);
    }
    // Istio's agent looks for SPIRE's socket below /var/run, and the volume with it is mounted below /run.
    tree.link("var/run", "/run");
    for dir in ["bin", "sbin", "lib", "lib64"] {
        tree.link(dir, &format!("usr/{dir}"));
    }
    tree.directory("usr/lib64", 0o755, 0);
    common_files(&mut tree);
    for path in ["/etc/protocols", "/etc/services", "/etc/ssl/openssl.cnf"] {
        tree.file(path, Path::new(path), 0o644, 0);
    }
    iptables(&mut tree)?;
    libraries(&mut tree, also, log)?;
    busybox(&mut tree, log)?;
    Ok(tree)
}

/// Files that every image has.
fn common_files(tree: &mut Tree) {
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    tree.file(certificates, Path::new(certificates), 0o644, 0);
    tree.text(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         spire:x:1000:1000::/nonexistent:/bin/false\n\
         istio-proxy:x:1337:1337::/:/bin/sh\n\
         nobody:x:65534:65534::/:/bin/false\n",
    );
    tree.text("etc/group", "root:x:0:\nspire:x:1000:\nistio-proxy:x:1337:\nnogroup:x:65534:\n");
    tree.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
}

/// Programs and extensions of iptables; the plain names mean the nftables kind, as on Debian.
fn iptables(tree: &mut Tree) -> Result<(), Error> {
    for program in PROGRAMS {
        tree.file(program, Path::new(program), 0o755, 0);
    }
    for (program, suffix) in
        ["iptables", "ip6tables"].into_iter().flat_map(|p| ["", "-save", "-restore"].map(|s| (p, s)))
    {
        for kind in ["nft", "legacy"] {
            tree.link(&format!("usr/sbin/{program}-{kind}{suffix}"), &format!("xtables-{kind}-multi"));
        }
        tree.link(&format!("usr/sbin/{program}{suffix}"), "xtables-nft-multi");
    }
    let dir = extensions_dir();
    for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
        let path = entry.map_err(Error::io("list", &dir))?.path();
        let name = path.to_string_lossy().into_owned();
        if path.is_symlink() {
            let target = fs::read_link(&path).map_err(Error::io("read", &path))?;
            tree.link(&name, &target.to_string_lossy());
        } else {
            tree.file(&name, &path, 0o644, 0);
        }
    }
    Ok(())
}

fn extensions_dir() -> PathBuf {
    Path::new("/usr/lib").join(MULTIARCH).join("xtables")
}

/// The shared libraries of all programs in the tree so far, of the iptables extensions and of `also`.
fn libraries(tree: &mut Tree, also: &[PathBuf], log: &mut Log) -> Result<(), Error> {
    let extensions: Vec<PathBuf> =
        tree.sources().filter(|path| path.starts_with(extensions_dir())).map(Path::to_path_buf).collect();
    let mut ldd = Command::new("ldd");
    ldd.args(PROGRAMS).args(extensions).args(also);
    let mut libraries = needed(&log.read(&mut ldd)?);
    let runtime = RUNTIME_LIBRARIES.map(|name| format!("/usr/lib/{MULTIARCH}/{name}"));
    libraries.extend(runtime.into_iter().filter(|path| Path::new(path).exists()));
    for library in libraries {
        // The image has /lib and /lib64 as links into /usr; a file below them would replace the link.
        let path = if library.starts_with("/usr/") { library.clone() } else { format!("/usr{library}") };
        tree.file(&path, Path::new(&library), 0o755, 0);
    }
    Ok(())
}

/// The files that the output of `ldd` names: `libc.so.6 => /lib/.../libc.so.6 (0x...)`, or just a path.
fn needed(ldd: &str) -> Vec<String> {
    let mut files: Vec<String> = ldd
        .lines()
        // A line without leading white space is the name of a program.
        .filter(|line| line.starts_with(char::is_whitespace))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    files
}

/// busybox, and a link for each of its tools that nothing better provides.
fn busybox(tree: &mut Tree, log: &mut Log) -> Result<(), Error> {
    let program = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new);
    let program = program.into_iter().find(|path| path.exists()).unwrap_or(program[0]);
    for tool in log.read(Command::new(program).arg("--list"))?.split_whitespace() {
        let path = format!("usr/bin/{tool}");
        if !tree.contains(&path) && !tree.contains(&format!("usr/sbin/{tool}")) {
            tree.link(&path, "busybox");
        }
    }
    tree.file("usr/bin/busybox", program, 0o755, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_output() {
        let output = "/usr/bin/curl:\n\
            \tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\
            /usr/bin/openssl:\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            /usr/bin/static:\n\tstatically linked\n";
        assert_eq!(needed(output), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn minimal_base_has_no_programs() {
        let tree = minimal();
        assert!(tree.contains("etc/ssl/certs/ca-certificates.crt") && tree.contains("tmp"));
        assert!(!tree.contains("bin") && !tree.contains("usr"));
    }
}
