//! Delaying packets. A program of ours takes them from the kernel's queue and gives them back later: that works with
//! every kernel that has a firewall, while `netem` is left out of many.

use std::process::Stdio;
use std::time::Duration;

use crate::command::{self, wait_until};
use crate::error::{Error, Result};
use crate::node::process::{self, DELAY, Process};
use crate::state::StateDir;

/// Number of the kernel's queue for a fault; apart from those that others may use.
pub(super) fn queue(id: u16) -> u16 {
    7000 + id % 1000
}

fn running(state: &StateDir, id: u16) -> Result<Option<Process>> {
    let number = queue(id).to_string();
    Ok(process::hidden(state, DELAY)?.into_iter().find(|p| p.args.get(1) == Some(&number)))
}

/// Starts the program for one fault, and waits until the kernel knows it.
pub(super) fn start(state: &StateDir, id: u16, milliseconds: u32) -> Result<()> {
    let mut program = command::command(state.program());
    program
        .args([DELAY, &queue(id).to_string(), &milliseconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child =
        program.spawn().map_err(|source| Error::Start { program: command::describe(&program), source })?;
    let number = queue(id).to_string();
    wait_until(
        "the start of the program that delays packets",
        "the kernel may lack queues (CONFIG_NETFILTER_NETLINK_QUEUE)",
        Duration::from_secs(5),
        Duration::from_millis(20),
        || {
            let ended = child.try_wait().map_err(Error::system("look after a program"))?;
            if let Some(status) = ended {
                return Err(Error::Command {
                    command: command::describe(&program),
                    status: status.to_string(),
                    output: "the kernel may lack queues (CONFIG_NETFILTER_NETLINK_QUEUE)".to_owned(),
                });
            }
            let queues = std::fs::read_to_string("/proc/net/netfilter/nfnetlink_queue").unwrap_or_default();
            Ok(queues.lines().any(|line| line.split_whitespace().next() == Some(&number)))
        },
    )
}

/// Ends the program of a fault, if there is one.
pub(super) fn stop(state: &StateDir, id: u16) -> Result<()> {
    running(state, id)?.map_or(Ok(()), |process| process.kill())
}

/// `lab fault-delay`: holds every packet of a queue back for a while, until it is killed.
#[cfg(target_os = "linux")]
pub fn run(queue: u16, delay: Duration) -> Result<()> {
    use std::collections::VecDeque;
    use std::time::Instant;

    use crate::sys;

    const TICK: Duration = Duration::from_millis(1);
    let failed = || Error::system(format!("take packets from queue {queue}"));

    // The terminal that the fault was made in may close.
    sys::new_session().map_err(Error::system("start a session"))?;
    let mut packets = nfq::Queue::open().map_err(failed())?;
    packets.bind(queue).map_err(failed())?;
    packets.set_queue_max_len(queue, 65_536).map_err(failed())?;
    // The packets' content is not needed.
    packets.set_copy_range(queue, 0).map_err(failed())?;
    packets.set_nonblocking(true);
    let mut held = VecDeque::new();
    loop {
        match packets.recv() {
            Ok(packet) => {
                held.push_back((Instant::now() + delay, packet));
                continue;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(failed()(e)),
        }
        while let Some((_, mut packet)) = held.pop_front_if(|(due, _)| *due <= Instant::now()) {
            packet.set_verdict(nfq::Verdict::Accept);
            packets.verdict(packet).map_err(failed())?;
        }
        std::thread::sleep(TICK);
    }
}

/// Elsewhere there are no such queues.
#[cfg(not(target_os = "linux"))]
pub fn run(_queue: u16, _delay: Duration) -> Result<()> {
    crate::preflight::require_root()
}
