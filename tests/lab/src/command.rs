//! Running programs: arguments as a list, never through a shell, and errors that name the whole command.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Proxy settings of the person who runs the lab would send requests for the clusters to somewhere else.
const PROXY: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// How long a program may take if nothing else is said.
const LIMIT: Duration = Duration::from_mins(1);

/// A command that does not inherit proxy settings.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for variable in PROXY {
        command.env_remove(variable);
    }
    command
}

/// Runs a program with these arguments and returns what it printed.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Result<String> {
    output(command(program).args(args), None, LIMIT)
}

/// Runs a command, gives it `input`, and returns what it printed; it is killed when `limit` is over.
pub fn output(command: &mut Command, input: Option<&str>, limit: Duration) -> Result<String> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::Start { program: describe(command), source })?;
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends without reading says why itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    let Some(status) = wait(&mut child, limit)? else {
        return Err(Error::CommandTimeout { command: describe(command), limit });
    };
    let (out, err) = (join(out), join(err));
    if status.success() {
        return Ok(out);
    }
    let said = if err.trim().is_empty() { out } else { err };
    Err(Error::Command { command: describe(command), status: status.to_string(), output: tail(&said) })
}

fn collect<R: Read + Send + 'static>(stream: Option<R>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What could be read is what there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(thread: thread::JoinHandle<String>) -> String {
    thread.join().unwrap_or_default()
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(Error::system("wait for a program"))? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            // It may have ended in this moment; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Where a program of the system is; also in the directories for administrators, which not everybody has on `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Program and arguments on one line, for messages.
#[must_use]
pub fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Asks again and again until `check` says yes; `what` and `next` are for the error.
pub fn wait_until(
    what: &str,
    next: &str,
    limit: Duration,
    every: Duration,
    mut check: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        if check()? {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::Timeout { what: what.to_owned(), limit, next: next.to_owned() });
        }
        thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_arguments_and_last_words() {
        let error = run("ls", ["/this/does/not/exist"]).expect_err("no such file");
        let text = error.to_string();
        assert!(text.starts_with("`ls /this/does/not/exist` failed (exit status: 2): "), "{text}");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let begin = Instant::now();
        let error =
            output(command("sleep").arg("30"), None, Duration::from_millis(50)).expect_err("too slow");
        assert!(matches!(error, Error::CommandTimeout { .. }));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(output(&mut command("cat"), Some("hello"), LIMIT).expect("cat works"), "hello");
    }
}
