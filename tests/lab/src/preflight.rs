//! Whether this machine can run a lab; if not, everything that is missing at once, each with what to do.

use std::fs;
use std::path::Path;
use std::thread;

use crate::cgroups::Cgroups;
use crate::command::{find, run};
use crate::error::{Error, Result};
use crate::state::{StateDir, create};
use crate::steps::mebibytes;
use crate::sys;

/// Programs of the system, and the Debian package of each.
const PROGRAMS: [(&str, &str); 11] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// What kube-proxy, the CNI plugins and the lab use of the firewall, as rules to try in an empty network namespace.
const RULES: [(&str, &str); 5] = [
    ("-t nat -A POSTROUTING -m comment --comment x -j MASQUERADE", "NAT (CONFIG_IP_NF_TARGET_MASQUERADE)"),
    (
        "-t nat -A PREROUTING -m statistic --mode random --probability 0.5 -j ACCEPT",
        "random choice (CONFIG_NETFILTER_XT_MATCH_STATISTIC)",
    ),
    (
        "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j ACCEPT",
        "address types (CONFIG_NETFILTER_XT_MATCH_ADDRTYPE)",
    ),
    (
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "connection tracking (CONFIG_NETFILTER_XT_MATCH_CONNTRACK)",
    ),
    ("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset", "rejecting (CONFIG_IP_NF_TARGET_REJECT)"),
];

/// What three clusters write, with room to spare: images as the nodes unpack them, etcd, volumes, logs.
const ROOM: u64 = 4 * 1024 * 1024 * 1024;

/// The first question, before anything is touched.
pub fn require_root() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Error::Unsuitable(vec![
            "it is not Linux, and the clusters are made of Linux namespaces; use a Linux machine, or point the \
             tests at clusters that exist with --contexts"
                .to_owned(),
        ]));
    }
    if sys::is_root() {
        return Ok(());
    }
    Err(Error::Unsuitable(vec![
        "you are not root, and namespaces, bridges and control groups need that; run it with sudo, or point the \
         tests at clusters that exist with --contexts"
            .to_owned(),
    ]))
}

/// Tries everything that a lab needs.
pub fn check(state: &StateDir) -> Result<()> {
    let mut missing = programs();
    missing.extend(control_groups()?);
    missing.extend(bridge_filter());
    missing.extend(overlay(state)?);
    missing.extend(room(state)?);
    missing.extend(network()?);
    if missing.is_empty() { Ok(()) } else { Err(Error::Unsuitable(missing)) }
}

fn programs() -> Vec<String> {
    PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(program, package)| format!("the program {program} is missing; install the package {package}"))
        .collect()
}

fn control_groups() -> Result<Option<String>> {
    let missing = Cgroups::detect()?.missing();
    Ok((!missing.is_empty()).then(|| {
        format!(
            "no control groups for {} under /sys/fs/cgroup; boot with them, or give the container this runs in its \
             own (--cgroupns=private --privileged)",
            missing.join(", ")
        )
    }))
}

/// Loads a kernel module if that is possible; whether it worked shows when the feature is used.
fn load(module: &str) {
    if find("modprobe").is_some() {
        let _ = run("modprobe", ["--quiet", module]);
    }
}

fn bridge_filter() -> Option<String> {
    let setting = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if !setting.exists() {
        load("br_netfilter");
    }
    (!setting.exists()).then(|| {
        "the kernel does not filter bridged packets; `modprobe br_netfilter`, or a kernel with \
         CONFIG_BRIDGE_NETFILTER"
            .to_owned()
    })
}

/// Mounts an overlay in namespaces as a node has them, on the file system that the nodes will use.
fn overlay(state: &StateDir) -> Result<Option<String>> {
    load("overlay");
    let base = state.path().join("import");
    let dirs = ["lower", "upper", "work", "merged"].map(|name| base.join(name));
    dirs.iter().try_for_each(|dir| create(dir))?;
    let [lower, upper, work, merged] = dirs.map(|dir| dir.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let namespaces = "--mount --uts --ipc --pid --net --fork mount -t overlay overlay -o";
    let tried = run("unshare", namespaces.split(' ').chain([options.as_str(), merged.as_str()]));
    fs::remove_dir_all(&base).map_err(Error::io("remove", &base))?;
    Ok(tried.err().map(|e| {
        format!(
            "no overlay mount in new namespaces on {} ({e}); it needs CONFIG_OVERLAY_FS, CONFIG_NAMESPACES, \
             CAP_SYS_ADMIN and a state directory (SPIRE_MESH_LAB_STATE) that is not itself an overlay",
            state.path().display()
        )
    }))
}

/// Nodes of a lab never evict for want of disk, so that there is some is asked here.
fn room(state: &StateDir) -> Result<Option<String>> {
    let path = state.path();
    create(path)?;
    let free = sys::free_space(path).map_err(Error::io("read the free space of", path))?;
    Ok((free < ROOM).then(|| {
        format!(
            "{} of disk are free at {}, and a lab needs {}; make room, or set SPIRE_MESH_LAB_STATE to a directory on \
             another file system",
            mebibytes(free),
            path.display(),
            mebibytes(ROOM)
        )
    }))
}

/// Tries bridges, cables and firewall rules in a network namespace that is gone afterwards.
fn network() -> Result<Vec<String>> {
    // Only this thread, and what it starts, is in the new namespace.
    let thread = thread::spawn(|| -> Result<Vec<String>> {
        sys::unshare_network()
            .map_err(Error::system("make a network namespace (CONFIG_NET_NS, CAP_SYS_ADMIN)"))?;
        let mut missing = Vec::new();
        for (kind, option) in [("bridge", "CONFIG_BRIDGE"), ("veth", "CONFIG_VETH")] {
            if let Err(e) = run("ip", ["link", "add", "probe", "type", kind]) {
                missing.push(format!(
                    "no {kind} interfaces ({e}); `modprobe {kind}`, or a kernel with {option}"
                ));
            } else {
                run("ip", ["link", "delete", "probe"])?;
            }
        }
        for (rule, what) in RULES {
            if let Err(e) = run("iptables", ["-w"].into_iter().chain(rule.split(' '))) {
                missing.push(format!("the firewall lacks {what} ({e})"));
            }
        }
        Ok(missing)
    });
    thread.join().unwrap_or_else(|_| Ok(vec!["the check of the network itself broke".to_owned()]))
}
