//! Running a program until it ends, and not a moment longer: [`crate::command::output`] looks every few milliseconds, and that adds up
//! over many short programs.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::describe;
use crate::error::{Error, Result};

/// Runs a command, gives it `input`, and returns what it printed; it is killed when `limit` is over.
///
/// # Errors
/// When it cannot be started, fails, or does not end in time.
pub(super) fn output(command: &mut Command, input: Option<&str>, limit: Duration) -> Result<String> {
    let end = Instant::now() + limit;
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::Start { program: describe(command), source })?;
    let (done, ended) = channel();
    let out = collect(child.stdout.take(), done.clone());
    let err = collect(child.stderr.take(), done);
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends without reading says why itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    // Both streams end when the program does.
    if !(ends(&ended, end) && ends(&ended, end)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::CommandTimeout { command: describe(command), limit });
    }
    let status = child.wait().map_err(Error::system("wait for a program"))?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    // What a verb found is in one of the two, why it failed in the other.
    let said = [err.trim(), out.trim()].join("\n");
    Err(Error::Command {
        command: describe(command),
        status: status.to_string(),
        output: said.trim().to_owned(),
    })
}

fn ends(ended: &Receiver<()>, end: Instant) -> bool {
    ended.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
}

fn collect<R: Read + Send + 'static>(stream: Option<R>, done: Sender<()>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What could be read is what there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        // Nobody waits any more after a timeout.
        let _ = done.send(());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::command;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_a_program_prints_is_returned_and_what_it_is_given_reaches_it() {
        assert_eq!(output(&mut command("cat"), Some("hello"), LONG).expect("cat works"), "hello");
        let error = output(command("ls").arg("/this/does/not/exist"), None, LONG).expect_err("no such file");
        assert!(error.to_string().starts_with("`ls /this/does/not/exist` failed"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let error =
            output(command("sleep").arg("30"), None, Duration::from_millis(50)).expect_err("too slow");
        assert!(matches!(error, Error::CommandTimeout { .. }), "{error}");
    }
}
