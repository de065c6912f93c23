//! Requests from every cluster while a CA is rotated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

use super::report::Load;
use crate::fleet::{ExecTarget, Member};
use crate::istio::demo::Demo;
use crate::workload::{self, ProxyState, Scope};

/// How many requests one command sends, at [`RATE`].
const BATCH: &str = "20";
/// How often requests are sent.
const RATE: &str = "10/s";
/// How many seconds an answer may take.
const PATIENCE: &str = "5";
/// How long one command may take: every request without an answer.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long the last command is waited for.
const LAST: Duration = Duration::from_secs(15);
/// How long to wait after a command that could not be run.
const PAUSE: Duration = Duration::from_millis(500);

/// Pods that requests can be sent from, to helloworld, one of each cluster that has both demos.
pub(super) struct Senders<'m>(Vec<(&'m Member, ExecTarget)>);

impl<'m> Senders<'m> {
    /// Finds them. Where something cannot be read there is none.
    pub(super) async fn find(members: &'m [Member]) -> Self {
        let found =
            join_all(members.iter().map(|member| async move { Some((member, sender(member).await?)) }));
        Self(found.await.into_iter().flatten().collect())
    }

    /// Sends requests, a batch at a time, until `stop` is set. A command in a container cannot be stopped from outside, and one that ends by
    /// itself after two seconds need not be.
    pub(super) async fn send(&self, stop: &AtomicBool) -> Vec<Load> {
        let sent = self.0.iter().map(|(member, target)| async move {
            let mut load = Load { cluster: member.name().to_owned(), ..Load::default() };
            while !stop.load(Ordering::Relaxed) {
                let batch = batch(member, target);
                tokio::pin!(batch);
                let output = tokio::select! {
                    output = &mut batch => output,
                    () = stopped(stop) => tokio::time::timeout(LAST, batch).await.unwrap_or_default(),
                };
                if let Some(output) = output {
                    count(&mut load, &output);
                } else {
                    load.interruptions += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            load
        });
        join_all(sent).await
    }
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sender(member: &Member) -> Option<ExecTarget> {
    let services: Api<Service> = Api::namespaced(member.client().clone(), Demo::Helloworld.name());
    services.get_metadata_opt(Demo::Helloworld.name()).await.ok()??;
    let name = Demo::Sleep.name();
    let scope = Scope { namespace: Some(name.to_owned()), selector: Some(format!("app={name}")) };
    let pods = workload::list(member, &scope).await.ok()?;
    let pod = pods.into_iter().find(|pod| pod.proxy == ProxyState::Runs)?;
    Some(ExecTarget { namespace: name.to_owned(), pod: pod.name, container: name.to_owned() })
}

/// Sends one batch and returns what curl wrote: a status for each request. `None` when the command did not run.
async fn batch(member: &Member, target: &ExecTarget) -> Option<String> {
    let service = Demo::Helloworld.name();
    // curl counts the address up by itself, so that it takes no shell.
    let url = format!("http://{service}.{service}:5000/hello?[1-{BATCH}]");
    let command = [
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}\\n",
        "--rate",
        RATE,
        "--max-time",
        PATIENCE,
        &url,
    ];
    let output = member.exec(target, &command, None, DEADLINE).await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|text| !text.trim().is_empty())
}

fn count(load: &mut Load, output: &str) {
    for status in output.lines().map(str::trim).filter(|line| !line.is_empty()) {
        load.sent += 1;
        if status != "200" {
            load.failed += 1;
            *load.failures.entry(crate::report::one_line(status)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_counts_and_what_is_not_200_failed() {
        let mut load = Load { cluster: "foo".to_owned(), ..Load::default() };
        count(&mut load, "200\n200\n503\n000\n200\n");
        count(&mut load, "503\n");
        assert_eq!((load.sent, load.failed), (6, 3));
        assert_eq!(load.failures, [("000".to_owned(), 1), ("503".to_owned(), 2)].into());
    }
}
