//! Commands in containers, over the API server.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::member::Connection;
use super::request::RequestError;
use crate::hint::{Advice, Command, Hint};

/// The most that a command may write to one stream, in bytes.
const MOST_OUTPUT: u64 = 64 << 20;
/// How much of a stream is held between the connection and its reader, in bytes.
const BUFFER: usize = 256 << 10;
/// How much of a stream is handed on at once, in bytes.
const PIECE: usize = 16 << 10;
/// How long the streams may take to end after the command did.
const DRAIN: Duration = Duration::from_secs(1);

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecTarget {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

impl fmt::Display for ExecTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} of pod {} in namespace {}", self.container, self.pod, self.namespace)
    }
}

/// What a command wrote and how it ended. Debug shows sizes only: the output may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: Vec<u8>,
    /// The exit code.
    pub exit: i32,
}

impl fmt::Debug for ExecOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stdout, stderr, exit } = self;
        write!(
            f,
            "ExecOutput {{ exit: {exit}, stdout: {} bytes, stderr: {} bytes }}",
            stdout.len(),
            stderr.len()
        )
    }
}

/// One of the two streams that a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}

/// A command that did not run to its end. A command that ran and failed is an [`ExecOutput`].
#[derive(Debug, thiserror::Error)]
#[error("cannot run `{program}` in {at}")]
pub struct ExecError {
    /// Where.
    pub at: ExecTarget,
    /// The first word of the command.
    pub program: String,
    /// The kubeconfig context.
    pub context: String,
    /// What went wrong.
    #[source]
    pub problem: ExecProblem,
}

/// What stopped a command.
#[derive(Debug, thiserror::Error)]
pub enum ExecProblem {
    /// The API server refused, or has no such pod.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The container's runtime did not start the command.
    #[error("{0}")]
    NotStarted(String),
    /// The connection ended before the command did.
    #[error("the connection ended before the command: {0}")]
    Broken(String),
    /// More than 64 MiB of output.
    #[error("it wrote more than {} MiB", MOST_OUTPUT >> 20)]
    TooMuch,
    /// The deadline passed.
    #[error("it did not end within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

impl ExecProblem {
    /// Tells whether the same command may work in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request(error) => error.is_transient(),
            Self::Broken(_) | Self::Timeout(_) => true,
            Self::NotStarted(_) | Self::TooMuch => false,
        }
    }
}

impl Hint for ExecError {
    fn hint(&self) -> Option<Advice> {
        let Self { at, context, .. } = self;
        match &self.problem {
            ExecProblem::TooMuch => None,
            ExecProblem::Request(error) if error.cause() == super::Cause::Forbidden => {
                let can = Command::kubectl([
                    "-n",
                    &at.namespace,
                    "auth",
                    "can-i",
                    "get",
                    "pods",
                    "--subresource=exec",
                ]);
                Some(can.at(context).into())
            }
            _ => {
                let describe = Command::kubectl(["-n", &at.namespace, "describe", "pod", &at.pod]);
                Some(describe.at(context).into())
            }
        }
    }
}

impl Connection {
    /// Runs a command in a container and waits for its end; `stdin` is written to it and closed.
    ///
    /// # Errors
    /// [`ExecError`] when the command does not start, does not end within `deadline`, or writes more than 64 MiB to a
    /// stream. An exit code other than 0 is no error.
    ///
    /// # Caveats
    /// When the deadline passes the command goes on in its container: Kubernetes has no way to stop it.
    pub async fn exec(
        &self,
        at: &ExecTarget,
        command: &[&str],
        stdin: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<ExecOutput, ExecError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let collect = |stream: Stream, bytes: &[u8]| {
            let into = if stream == Stream::Out { &mut stdout } else { &mut stderr };
            into.extend_from_slice(bytes);
            if into.len() as u64 > MOST_OUTPUT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let exit = self.exec_streaming(at, command, stdin, deadline, collect).await?;
        match exit {
            Some(exit) => Ok(ExecOutput { stdout, stderr, exit }),
            None => Err(self.exec_error(at, command, ExecProblem::TooMuch)),
        }
    }

    /// Runs a command as [`Connection::exec`] does, and hands on what it writes while it runs, piece by piece. Pieces of one stream are in
    /// order; nothing is kept, so there is no limit to how much it may be. `None` when `take` had enough: the connection is closed then,
    /// and the command meets a closed pipe when it writes next.
    ///
    /// # Errors
    /// [`ExecError`] when the command does not start, or does not end within `deadline`. An exit code other than 0 is no error.
    pub async fn exec_streaming(
        &self,
        at: &ExecTarget,
        command: &[&str],
        stdin: Option<&[u8]>,
        deadline: Duration,
        take: impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
    ) -> Result<Option<i32>, ExecError> {
        let result = match tokio::time::timeout(deadline, run(&self.kube, at, command, stdin, take)).await {
            Ok(result) => result,
            Err(_) => Err(ExecProblem::Timeout(deadline)),
        };
        result.map_err(|problem| self.exec_error(at, command, problem))
    }

    fn exec_error(&self, at: &ExecTarget, command: &[&str], problem: ExecProblem) -> ExecError {
        ExecError {
            at: at.clone(),
            program: command.first().copied().unwrap_or_default().to_owned(),
            context: self.context.clone(),
            problem,
        }
    }
}

async fn run(
    client: &kube::Client,
    at: &ExecTarget,
    command: &[&str],
    stdin: Option<&[u8]>,
    mut take: impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
) -> Result<Option<i32>, ExecProblem> {
    let pods = Api::<Pod>::namespaced(client.clone(), &at.namespace);
    let streams = AttachParams::default()
        .container(&at.container)
        .stdin(stdin.is_some())
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER);
    let mut process =
        pods.exec(&at.pod, command.iter().copied(), &streams).await.map_err(RequestError::from)?;

    let (stdin_writer, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let status = process.take_status();
    let feed = async {
        if let (Some(mut writer), Some(bytes)) = (stdin_writer, stdin) {
            // A command that ends without reading all of it closes the stream, which is its right.
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        }
        futures::future::pending::<()>().await;
    };
    let status = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    // The status may come before the streams were read to their end. Without a status the connection broke, and then
    // kube leaves the streams open: they are given up after a moment.
    let read = async {
        let streams = hand_on(stdout, stderr, &mut take);
        tokio::pin!(streams);
        tokio::pin!(status);
        tokio::select! {
            read = &mut streams => match read? {
                ControlFlow::Continue(()) => Ok::<_, ExecProblem>((Read::All, status.await)),
                ControlFlow::Break(()) => Ok((Read::Enough, None)),
            },
            status = &mut status => match tokio::time::timeout(DRAIN, streams).await {
                Ok(Ok(ControlFlow::Break(()))) => Ok((Read::Enough, status)),
                Ok(read) => read.map(|_| (Read::All, status)),
                Err(_) => Ok((Read::Part, status)),
            },
        }
    };
    let (output, status) = tokio::select! {
        result = read => result?,
        () = feed => unreachable!("feeding stdin never ends by itself"),
    };
    match (output, status) {
        (Read::Enough, _) => {
            process.abort();
            Ok(None)
        }
        (Read::All, Some(status)) => Ok(Some(exit_code(&status)?)),
        (Read::Part, Some(status)) => {
            exit_code(&status)?;
            Err(ExecProblem::Broken("its output is incomplete".to_owned()))
        }
        (_, None) => match process.join().await {
            Ok(()) => Err(ExecProblem::Broken("no exit code came".to_owned())),
            Err(error) => Err(ExecProblem::Broken(error.to_string())),
        },
    }
}

/// How much of a command's output was read.
enum Read {
    All,
    Part,
    /// As much as its reader wanted.
    Enough,
}

/// Reads both streams to their end, or until `take` has enough.
async fn hand_on(
    mut stdout: Option<impl AsyncRead + Unpin>,
    mut stderr: Option<impl AsyncRead + Unpin>,
    take: &mut impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ExecProblem> {
    let (mut of_stdout, mut of_stderr) = (vec![0; PIECE], vec![0; PIECE]);
    while stdout.is_some() || stderr.is_some() {
        let (stream, piece) = tokio::select! {
            read = read_piece(&mut stdout, &mut of_stdout), if stdout.is_some() => (Stream::Out, read?),
            read = read_piece(&mut stderr, &mut of_stderr), if stderr.is_some() => (Stream::Err, read?),
        };
        let bytes = if stream == Stream::Out { &of_stdout[..piece] } else { &of_stderr[..piece] };
        if piece > 0 && take(stream, bytes).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match stream {
            Stream::Out if piece == 0 => stdout = None,
            Stream::Err if piece == 0 => stderr = None,
            _ => {}
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Reads what there is, 0 bytes at the end.
async fn read_piece(
    stream: &mut Option<impl AsyncRead + Unpin>,
    into: &mut [u8],
) -> Result<usize, ExecProblem> {
    match stream {
        Some(stream) => stream.read(into).await.map_err(|error| ExecProblem::Broken(error.to_string())),
        None => Ok(0),
    }
}

/// Reads the exit code from the status that ends the connection (`v4.channel.k8s.io` and later).
fn exit_code(status: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Status) -> Result<i32, ExecProblem> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_deref()?.parse().ok());
    code.ok_or_else(|| {
        ExecProblem::NotStarted(status.message.clone().unwrap_or_else(|| "no reason was given".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

    use super::*;

    fn status(json: serde_json::Value) -> Status {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_exit_code_comes_from_the_status_channel() {
        assert_eq!(exit_code(&status(serde_json::json!({"status": "Success"}))).unwrap(), 0);
        let failed = serde_json::json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
        });
        assert_eq!(exit_code(&status(failed)).unwrap(), 7);
    }

    #[test]
    fn a_command_that_does_not_exist_was_not_started() {
        let missing = serde_json::json!({
            "status": "Failure", "reason": "InternalError", "message": "exec: \"curl\": executable file not found",
        });
        let problem = exit_code(&status(missing)).unwrap_err();
        insta::assert_snapshot!(problem.to_string(), @r#"exec: "curl": executable file not found"#);
    }

    #[tokio::test]
    async fn both_streams_are_handed_on_to_their_ends() {
        let mut seen = (Vec::new(), Vec::new());
        let long = vec![7_u8; 3 * PIECE];
        let mut take = |stream, bytes: &[u8]| {
            let into = if stream == Stream::Out { &mut seen.0 } else { &mut seen.1 };
            into.extend_from_slice(bytes);
            ControlFlow::Continue(())
        };
        let ended = hand_on(Some(&long[..]), Some(&b"complaint"[..]), &mut take).await.unwrap();
        assert_eq!(ended, ControlFlow::Continue(()));
        assert_eq!((seen.0, seen.1.as_slice()), (long, &b"complaint"[..]));
    }

    #[tokio::test]
    async fn an_endless_stream_ends_when_its_reader_has_enough() {
        let mut read = 0;
        let mut take = |_, bytes: &[u8]| {
            read += bytes.len();
            if read > 3 * PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = hand_on(Some(tokio::io::repeat(0)), None::<&[u8]>, &mut take).await.unwrap();
        assert_eq!((ended, read), (ControlFlow::Break(()), 4 * PIECE));
    }

    #[test]
    fn output_never_shows_in_debug_text() {
        let output = ExecOutput { stdout: b"secret".to_vec(), stderr: Vec::new(), exit: 0 };
        assert_eq!(format!("{output:?}"), "ExecOutput { exit: 0, stdout: 6 bytes, stderr: 0 bytes }");
    }

    #[test]
    fn the_exit_code_is_told_from_other_causes_and_a_success_needs_none() {
        let causes = serde_json::json!([
            {"reason": "Other", "message": "5"}, {"reason": "ExitCode", "message": "x"},
            {"reason": "ExitCode", "message": "126"},
        ]);
        let failed = |details| serde_json::json!({"status": "Failure", "message": "why", "details": details});
        assert_eq!(exit_code(&status(failed(serde_json::json!({"causes": causes})))).unwrap(), 126);
        let other = failed(serde_json::json!({"causes": [{"reason": "Other", "message": "5"}]}));
        assert_eq!(exit_code(&status(other)).unwrap_err().to_string(), "why");
        let nothing = exit_code(&status(serde_json::json!({"status": "Failure"}))).unwrap_err();
        assert_eq!(nothing.to_string(), "no reason was given");
    }

    fn error(problem: ExecProblem) -> ExecError {
        let at = ExecTarget {
            namespace: "spire".to_owned(),
            pod: "spire-server-0".to_owned(),
            container: "server".to_owned(),
        };
        ExecError { at, program: "spire-server".to_owned(), context: "foo".to_owned(), problem }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let request = |cause| ExecProblem::Request(RequestError::new(cause, "why"));
        assert!(request(super::super::Cause::Transient).is_transient());
        assert!(!request(super::super::Cause::Forbidden).is_transient());
        assert!(ExecProblem::Broken(String::new()).is_transient());
        assert!(ExecProblem::Timeout(DRAIN).is_transient());
        assert!(!ExecProblem::NotStarted(String::new()).is_transient());
        assert!(!ExecProblem::TooMuch.is_transient());
    }

    #[test]
    fn a_command_that_did_not_run_is_named_with_the_next_step() {
        let late = error(ExecProblem::Timeout(DRAIN));
        insta::assert_snapshot!(late.to_string(), @"cannot run `spire-server` in container server of pod spire-server-0 in namespace spire");
        insta::assert_snapshot!(late.problem.to_string(), @"it did not end within 1s");
        insta::assert_snapshot!(late.hint().unwrap(), @"kubectl --context foo -n spire describe pod spire-server-0");
        let forbidden = error(RequestError::new(super::super::Cause::Forbidden, "no").into());
        insta::assert_snapshot!(forbidden.hint().unwrap(), @"kubectl --context foo -n spire auth can-i get pods --subresource=exec");
        let gone = error(RequestError::new(super::super::Cause::NotFound, "no").into());
        assert_eq!(gone.hint(), late.hint());
        let much = error(ExecProblem::TooMuch);
        assert_eq!((much.hint(), much.problem.to_string()), (None, "it wrote more than 64 MiB".to_owned()));
    }

    #[tokio::test]
    async fn a_stream_that_is_not_there_ends_at_once() {
        let mut seen = Vec::new();
        let mut take = |stream, bytes: &[u8]| {
            seen.push((stream, bytes.to_vec()));
            ControlFlow::Continue(())
        };
        let ended = hand_on(None::<&[u8]>, Some(&b"complaint"[..]), &mut take).await.unwrap();
        assert_eq!(ended, ControlFlow::Continue(()));
        assert_eq!(seen, [(Stream::Err, b"complaint".to_vec())], "and its end is nothing to hand on");
    }
}
