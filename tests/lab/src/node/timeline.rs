//! Lines with the time they were written at.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::SystemTime;

/// Copies lines to a log until the other side closes, each with its time in front.
pub(super) fn copy(from: impl Read, log: &Path) {
    let Ok(mut file) = File::options().create(true).append(true).open(log) else { return };
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let mut stamped = format!("{} ", now()).into_bytes();
        stamped.append(&mut line);
        if stamped.last() != Some(&b'\n') {
            stamped.push(b'\n');
        }
        // A full disk is no reason to stop the service that writes.
        let _ = file.write_all(&stamped);
    }
}

/// Writes one line of init's own into a log.
pub(super) fn note(log: &Path, text: &str) {
    copy(format!("lab: {text}").as_bytes(), log);
}

fn now() -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_begins_with_its_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("x.log");
        copy(&b"one\ntwo"[..], &log);
        note(&log, "three");
        let text = std::fs::read_to_string(&log).expect("readable");
        let rest: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(' ').map(|(_, rest)| rest)).collect();
        assert_eq!(rest, ["one", "two", "lab: three"]);
    }
}
