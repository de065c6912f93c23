//! Running the programs that build things, with their output in a log file.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// Lines of output that an error shows.
const TAIL_LINES: usize = 20;

/// The output of one build step, kept in a file.
#[derive(Debug)]
pub(super) struct Log {
    step: String,
    path: PathBuf,
    file: File,
}

impl Log {
    /// Starts an empty log for a step.
    pub(super) fn create(step: &str, path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        Ok(Self { step: step.to_owned(), path: path.to_path_buf(), file })
    }

    /// Where the log is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the step.
    pub(super) fn step(&self) -> &str {
        &self.step
    }

    /// Runs a program to its end; its output goes to the log. A status other than zero is an error.
    pub(super) fn run(&mut self, command: &mut Command) -> Result<(), Error> {
        let line = command_line(command);
        writeln!(self.file, "$ {line}").map_err(Error::io("write", &self.path))?;
        let out = self.file.try_clone().map_err(Error::io("write", &self.path))?;
        let err = self.file.try_clone().map_err(Error::io("write", &self.path))?;
        let status = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .status()
            .map_err(|source| start_error(&self.step, command, source))?;
        if status.success() {
            return Ok(());
        }
        let tail = tail(&fs::read_to_string(&self.path).unwrap_or_default());
        Err(Error::Command {
            step: self.step.clone(),
            status: status.to_string(),
            command: line,
            tail,
            log: self.path.clone(),
        })
    }

    /// Runs a program to its end and returns what it printed to standard output; the rest goes to the log.
    pub(super) fn read(&mut self, command: &mut Command) -> Result<String, Error> {
        let line = command_line(command);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| start_error(&self.step, command, source))?;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        writeln!(self.file, "$ {line}\n{complaints}").map_err(Error::io("write", &self.path))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Command {
            step: self.step.clone(),
            status: output.status.to_string(),
            command: line,
            tail: tail(&complaints),
            log: self.path.clone(),
        })
    }
}

fn start_error(step: &str, command: &Command, source: std::io::Error) -> Error {
    Error::Start {
        step: step.to_owned(),
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}

/// The command as a person would type it.
fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| match word.to_string_lossy() {
            word if word.is_empty() || word.contains(char::is_whitespace) => format!("'{word}'"),
            word => word.into_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_step_command_output_and_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = Log::create("x", &path).unwrap();
        let error = log.run(Command::new("ls").arg("no such file")).unwrap_err().to_string();
        assert!(error.starts_with("x failed (exit status: 2): ls 'no such file'\n"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        assert!(error.ends_with(&format!("The full output is in {}", path.display())), "{error}");
    }

    #[test]
    fn missing_program_says_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create("x", &dir.path().join("x.log")).unwrap();
        let error = log.run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("cannot start no-such-program (needed for x)"), "{error}");
    }

    #[test]
    fn tail_keeps_the_end() {
        let text = (0..30).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert!(tail(&text).starts_with("10\n11\n"));
        assert!(tail(&text).ends_with("\n29"));
    }
}
