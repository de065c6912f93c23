//! Commands in containers, over the API server.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::member::Connection;
use super::request::RequestError;
use crate::hint::Hint;

/// The most that a command may write to one stream, in bytes.
const MOST_OUTPUT: u64 = 64 << 20;
/// How much of a stream is held between the connection and its reader, in bytes.
const BUFFER: usize = 256 << 10;
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
    fn hint(&self) -> Option<String> {
        let Self { at, context, .. } = self;
        match &self.problem {
            ExecProblem::TooMuch => None,
            ExecProblem::Request(error) if error.cause() == super::Cause::Forbidden => {
                Some(format!("kubectl --context {context} -n {} auth can-i create pods/exec", at.namespace))
            }
            _ => Some(format!("kubectl --context {context} -n {} describe pod {}", at.namespace, at.pod)),
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
        let result = match tokio::time::timeout(deadline, run(&self.kube, at, command, stdin)).await {
            Ok(result) => result,
            Err(_) => Err(ExecProblem::Timeout(deadline)),
        };
        result.map_err(|problem| ExecError {
            at: at.clone(),
            program: command.first().copied().unwrap_or_default().to_owned(),
            context: self.context.clone(),
            problem,
        })
    }
}

async fn run(
    client: &kube::Client,
    at: &ExecTarget,
    command: &[&str],
    stdin: Option<&[u8]>,
) -> Result<ExecOutput, ExecProblem> {
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
        let streams = async { tokio::try_join!(read_all(stdout), read_all(stderr)) };
        tokio::pin!(streams);
        tokio::pin!(status);
        tokio::select! {
            read = &mut streams => Ok::<_, ExecProblem>((Some(read?), status.await)),
            status = &mut status => match tokio::time::timeout(DRAIN, streams).await {
                Ok(read) => Ok((Some(read?), status)),
                Err(_) => Ok((None, status)),
            },
        }
    };
    let (output, status) = tokio::select! {
        result = read => result?,
        () = feed => unreachable!("feeding stdin never ends by itself"),
    };
    match (output, status) {
        (Some((stdout, stderr)), Some(status)) => {
            Ok(ExecOutput { stdout, stderr, exit: exit_code(&status)? })
        }
        (None, Some(status)) => {
            exit_code(&status)?;
            Err(ExecProblem::Broken("its output is incomplete".to_owned()))
        }
        (_, None) => match process.join().await {
            Ok(()) => Err(ExecProblem::Broken("no exit code came".to_owned())),
            Err(error) => Err(ExecProblem::Broken(error.to_string())),
        },
    }
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ExecProblem> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let read = stream.take(MOST_OUTPUT + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| ExecProblem::Broken(error.to_string()))?;
    }
    if bytes.len() as u64 > MOST_OUTPUT { Err(ExecProblem::TooMuch) } else { Ok(bytes) }
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

    #[test]
    fn output_never_shows_in_debug_text() {
        let output = ExecOutput { stdout: b"secret".to_vec(), stderr: Vec::new(), exit: 0 };
        assert_eq!(format!("{output:?}"), "ExecOutput { exit: 0, stdout: 6 bytes, stderr: 0 bytes }");
    }
}
