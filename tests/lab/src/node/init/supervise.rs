//! Keeping services running, and reaping every process of the node that ends.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::network::https;
use crate::node::{Gate, Holds, NodeSpec, Service, timeline};
use crate::sys;

const TICK: Duration = Duration::from_millis(100);
const PAUSE_BEFORE_RESTART: Duration = Duration::from_secs(1);

/// Where the programs of a node look for others. Debian has runc in `/usr/sbin`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who wants to know about the end of which process.
#[derive(Clone, Default)]
struct Children(Arc<Mutex<HashMap<u32, Sender<String>>>>);

impl Children {
    /// Starts a program. Under the lock, so that its end cannot be reported before anybody knows its number.
    fn start(&self, command: &mut Command) -> io::Result<(u32, Receiver<String>)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = command.spawn()?.id();
        let (sender, receiver) = mpsc::channel();
        waiting.insert(pid, sender);
        Ok((pid, receiver))
    }

    fn ended(&self, child: sys::Ended) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&child.pid);
        if let Some(sender) = waiting {
            // Nobody listens any more: then nobody needs to know.
            let _ = sender.send(child.how);
        }
    }
}

/// Starts everything, then reaps for ever.
pub(super) fn run(spec: &NodeSpec) -> Result<()> {
    let children = Children::default();
    for service in spec.services.clone() {
        let keeper = Keeper {
            log: spec.logs.join(&service.name).with_added_extension("log"),
            holds: spec.holds.clone(),
            children: children.clone(),
            service,
        };
        thread::spawn(move || keeper.keep());
    }
    loop {
        match sys::reap().map_err(Error::system("wait for processes"))? {
            Some(child) => children.ended(child),
            None => thread::sleep(TICK),
        }
    }
}

/// The one who looks after one service.
struct Keeper {
    service: Service,
    log: PathBuf,
    holds: PathBuf,
    children: Children,
}

impl Keeper {
    fn keep(&self) {
        loop {
            while self.is_held() || !self.gate_is_open() {
                thread::sleep(TICK);
            }
            timeline::note(&self.log, &format!("start {}", self.service.name));
            match self.run_once() {
                Ok(how) => timeline::note(&self.log, &format!("{} ended: {how}", self.service.name)),
                Err(e) => timeline::note(&self.log, &format!("cannot start {}: {e}", self.service.name)),
            }
            thread::sleep(PAUSE_BEFORE_RESTART);
        }
    }

    fn run_once(&self) -> io::Result<String> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.service.program);
        command
            .args(&self.service.args)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let (pid, end) = self.children.start(&mut command)?;
        // The command holds our ends of the pipe; without them the reader sees when the last writer is gone.
        drop(command);
        let log = self.log.clone();
        thread::spawn(move || timeline::copy(reader, &log));
        loop {
            match end.recv_timeout(TICK) {
                Ok(how) => return Ok(how),
                Err(RecvTimeoutError::Timeout) if self.is_held() => sys::kill(pid)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok("unknown".to_owned()),
            }
        }
    }

    fn is_held(&self) -> bool {
        Holds::read(&self.holds).is_ok_and(|holds| holds.services.contains(&self.service.name))
    }

    fn gate_is_open(&self) -> bool {
        match &self.service.after {
            None => true,
            Some(Gate::Socket(path)) => UnixStream::connect(path).is_ok(),
            Some(Gate::Api { address, authority }) => https::is_ready(*address, authority),
            Some(Gate::Port(address)) => TcpStream::connect_timeout(address, TICK).is_ok(),
        }
    }
}
