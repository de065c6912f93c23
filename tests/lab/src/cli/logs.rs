//! `lab logs`

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::write;
use crate::error::{Error, Result};
use crate::state::{Record, StateDir};

/// Show the logs of a node's services: kube-apiserver, kubelet, etcd, containerd…
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Cluster (its first node) or node
    cluster: String,
    /// One service; all of them if it is not named, in the order of time
    service: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
}

/// A log, and how far it has been shown.
struct Log {
    service: String,
    path: PathBuf,
    shown: u64,
}

impl Logs {
    pub(super) fn run(self) -> Result<()> {
        let state = StateDir::from_env();
        let shape = Record::require(&state)?.shape;
        let node = match shape.node(&self.cluster) {
            Ok(node) => node,
            Err(_) => shape.cluster(&self.cluster)?.first_node(),
        };
        let mut logs = find(&state.node(node).logs(), self.service.as_deref())?;
        let names = logs.len() > 1;
        loop {
            let mut lines = Vec::new();
            for log in &mut logs {
                let prefix = if names { format!("{} ", log.service) } else { String::new() };
                lines.extend(log.new_lines()?.into_iter().map(|line| (line, prefix.clone())));
            }
            // Every line begins with its time.
            lines.sort_by(|(a, _), (b, _)| a.split(' ').next().cmp(&b.split(' ').next()));
            let text: Vec<String> =
                lines.into_iter().flat_map(|(line, prefix)| [prefix, line, "\n".to_owned()]).collect();
            write(&text.concat())?;
            if !self.follow {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn find(dir: &Path, service: Option<&str>) -> Result<Vec<Log>> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let all = paths.into_iter().filter_map(|path| {
        let service = path.file_stem()?.to_str()?.to_owned();
        Some(Log { service, path, shown: 0 })
    });
    let (found, others): (Vec<Log>, Vec<Log>) =
        all.partition(|log| service.is_none_or(|name| name == log.service));
    match service {
        Some(name) if found.is_empty() => Err(Error::Unknown {
            kind: "service with a log",
            name: name.to_owned(),
            known: others.into_iter().map(|log| log.service).collect::<Vec<_>>().join(", "),
        }),
        _ => Ok(found),
    }
}

impl Log {
    /// Complete lines that have not been shown.
    fn new_lines(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.shown))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.shown += u64::try_from(complete).unwrap_or(u64::MAX);
        Ok(String::from_utf8_lossy(&bytes[..complete]).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_once_and_only_when_it_is_complete() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("etcd.log");
        fs::write(&path, "one\ntw").expect("written");
        let mut logs = find(dir.path(), Some("etcd")).expect("it is there");
        assert_eq!(logs[0].new_lines().expect("readable"), ["one"]);
        fs::write(&path, "one\ntwo\n").expect("written");
        assert_eq!(logs[0].new_lines().expect("readable"), ["two"]);
        let text = find(dir.path(), Some("x")).err().expect("not there").to_string();
        assert_eq!(text, "there is no service with a log \"x\"; there is etcd");
    }
}
