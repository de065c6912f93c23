use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What owns pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `Deployment`, through its replica sets.
    Deployment,
    /// `StatefulSet`.
    StatefulSet,
    /// `DaemonSet`.
    DaemonSet,
    /// `ReplicaSet` that no deployment owns.
    ReplicaSet,
    /// `Job`.
    Job,
    /// A pod that is named itself.
    Pod,
}

impl WorkloadKind {
    const ALL: [Self; 6] =
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::ReplicaSet, Self::Job, Self::Pod];

    /// Returns the word that kubectl prints: `deployment`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
            Self::Job => "job",
            Self::Pod => "pod",
        }
    }

    /// Understands what kubectl understands: singular, plural, short name and group (`deploy`, `deployments.apps`).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        let word = word.split('.').next().unwrap_or_default();
        match word {
            "deploy" => Some(Self::Deployment),
            "sts" => Some(Self::StatefulSet),
            "ds" => Some(Self::DaemonSet),
            "rs" => Some(Self::ReplicaSet),
            "po" => Some(Self::Pod),
            _ => Self::ALL.into_iter().find(|kind| word.strip_suffix('s').unwrap_or(word) == kind.as_str()),
        }
    }
}

/// A workload of a cluster: its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Workload {
    /// Writes `deployment/productpage-v1`, as kubectl does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a user names a workload of a namespace: `productpage-v1`, `deploy/productpage-v1`, or the beginning of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadName {
    /// The kind, where one was named.
    pub kind: Option<WorkloadKind>,
    /// The name, or how it begins.
    pub name: String,
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}/{}", kind.as_str(), self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// How a user names a workload anywhere in the mesh: as in a namespace, or `CLUSTER/NAMESPACE/WORKLOAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Cluster and namespace, where they were named.
    pub place: Option<(String, String)>,
    /// The workload.
    pub name: WorkloadName,
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((cluster, namespace)) = &self.place {
            write!(f, "{cluster}/{namespace}/")?;
        }
        self.name.fmt(f)
    }
}

/// Why a text names no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadNameError {
    /// Too many slashes, or nothing between two of them.
    #[error(
        "expected WORKLOAD, KIND/WORKLOAD, CLUSTER/NAMESPACE/WORKLOAD or CLUSTER/NAMESPACE/KIND/WORKLOAD"
    )]
    Form,
    /// A kind that owns no pods, or none at all.
    #[error(
        "`{0}` is no kind of workload; there is deployment, statefulset, daemonset, replicaset, job and pod"
    )]
    Kind(String),
    /// No name that Kubernetes accepts.
    #[error("`{0}` is no name of Kubernetes: lower-case letters, digits, - and .")]
    Name(String),
}

/// The longest name that Kubernetes accepts, in bytes (RFC 1123, section 2.1).
const LONGEST_NAME: usize = 253;

/// What stands between the slashes of `[CLUSTER/NAMESPACE/][KIND/]NAME`, whatever kind it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'t> {
    /// Cluster and namespace, where they were named.
    pub place: Option<(&'t str, &'t str)>,
    /// The kind, where one was named.
    pub kind: Option<&'t str>,
    /// The name.
    pub name: &'t str,
}

impl<'t> Placed<'t> {
    /// Reads a text. The name of a cluster may be that of a context, which has slashes behind a colon: `arn:aws:eks:…:cluster/foo` for EKS,
    /// `default/api-foo:6443/me` for `OpenShift`.
    ///
    /// # Errors
    /// [`WorkloadNameError::Form`].
    pub fn parse(text: &'t str) -> Result<Self, WorkloadNameError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (place, kind, name) = match parts.as_slice() {
            // Read from its end: whatever stands before is the cluster's.
            _ if text.contains(':') => of_context(text, &parts).ok_or(WorkloadNameError::Form)?,
            [name] => (None, None, *name),
            [kind, name] => (None, Some(*kind), *name),
            [cluster, namespace, name] => (Some((*cluster, *namespace)), None, *name),
            [cluster, namespace, kind, name] => (Some((*cluster, *namespace)), Some(*kind), *name),
            _ => return Err(WorkloadNameError::Form),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(WorkloadNameError::Form);
        }
        Ok(Self { place, kind, name })
    }
}

/// The place, the kind and the name.
type Split<'t> = (Option<(&'t str, &'t str)>, Option<&'t str>, &'t str);

/// Divides what begins with the name of a context.
fn of_context<'t>(text: &'t str, parts: &[&'t str]) -> Option<Split<'t>> {
    let before = |rest: &[&str]| {
        let length: usize = rest.iter().map(|part| part.len() + 1).sum();
        let cluster = text.get(..text.len().checked_sub(length)?)?;
        // An ARN has one slash of its own.
        let is_whole = !cluster.is_empty() && (!cluster.starts_with("arn:") || cluster.contains('/'));
        is_whole.then_some(cluster)
    };
    if let [.., namespace, kind, name] = parts
        && is_word_of_kind(kind)
        && let Some(cluster) = before(&[namespace, kind, name])
    {
        return Some((Some((cluster, namespace)), Some(kind), name));
    }
    let [.., namespace, name] = parts else { return None };
    Some((Some((before(&[namespace, name])?, namespace)), None, name))
}

/// Tells whether a word stands before the name of something that has a place.
fn is_word_of_kind(word: &str) -> bool {
    WorkloadKind::parse(word).is_some()
        || matches!(word, "service" | "services" | "svc" | "secret" | "secrets")
}

impl FromStr for WorkloadRef {
    type Err = WorkloadNameError;

    fn from_str(text: &str) -> Result<Self, WorkloadNameError> {
        let Placed { place, kind, name } = Placed::parse(text)?;
        let kind = kind
            .map(|kind| {
                WorkloadKind::parse(kind)
                    .ok_or_else(|| WorkloadNameError::Kind(crate::report::escape(kind).into_owned()))
            })
            .transpose()?;
        // RFC 1123, as far as it matters here: nothing of it is a pattern, and nothing of it troubles a terminal.
        let in_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        for part in [name].into_iter().chain(place.map(|(_, namespace)| namespace)) {
            if part.len() > LONGEST_NAME || !part.chars().all(in_names) {
                let start: String = part.chars().take(LONGEST_NAME).collect();
                return Err(WorkloadNameError::Name(crate::report::escape(&start).into_owned()));
            }
        }
        let place = place.map(|(cluster, namespace)| (cluster.to_owned(), namespace.to_owned()));
        Ok(Self { place, name: WorkloadName { kind, name: name.to_owned() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<WorkloadRef>().map(|name| name.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_understood_as_kubectl_understands_them() {
        assert_eq!(read("productpage-v1").as_deref(), Ok("productpage-v1"));
        for kind in ["deploy", "deployment", "deployments", "Deployment.apps"] {
            assert_eq!(read(&format!("{kind}/a")).as_deref(), Ok("deployment/a"));
        }
        for (short, kind) in [
            ("sts", "statefulset"),
            ("ds", "daemonset"),
            ("rs", "replicaset"),
            ("po", "pod"),
            ("jobs.batch", "job"),
            ("Pods", "pod"),
            ("replicasets", "replicaset"),
        ] {
            assert_eq!(read(&format!("{short}/a")), Ok(format!("{kind}/a")));
        }
        assert_eq!(read("a-1.b").as_deref(), Ok("a-1.b"));
        assert_eq!(read("foo/sample/sleep").as_deref(), Ok("foo/sample/sleep"));
        assert_eq!(read("foo/sample/ds/sleep").as_deref(), Ok("foo/sample/daemonset/sleep"));
    }

    #[test]
    fn what_names_no_workload_is_refused_with_the_reason() {
        insta::assert_snapshot!(read("service/a").unwrap_err(), @"`service` is no kind of workload; there is deployment, statefulset, daemonset, replicaset, job and pod");
        insta::assert_snapshot!(read("a//b").unwrap_err(), @"expected WORKLOAD, KIND/WORKLOAD, CLUSTER/NAMESPACE/WORKLOAD or CLUSTER/NAMESPACE/KIND/WORKLOAD");
        insta::assert_snapshot!(read("a/b/c/d/e").unwrap_err(), @"expected WORKLOAD, KIND/WORKLOAD, CLUSTER/NAMESPACE/WORKLOAD or CLUSTER/NAMESPACE/KIND/WORKLOAD");
        insta::assert_snapshot!(read("Product\u{1b}[2J").unwrap_err(), @r"`Product\u{1b}[2J` is no name of Kubernetes: lower-case letters, digits, - and .");
        assert!(read("").is_err());
        for place in ["foo/Sample/a", "foo/a_b/a", "foo/sample/a*", "foo/sample/deploy/A"] {
            assert!(
                read(place)
                    .unwrap_err()
                    .ends_with("is no name of Kubernetes: lower-case letters, digits, - and ."),
                "{place}"
            );
        }
        for cluster in [
            "arn:aws:eks:eu-central-1:111122223333:cluster/foo",
            "default/api-foo:6443/me",
            "kind:foo",
            "a:b/c/d",
        ] {
            let placed = |rest: &str| {
                let text = format!("{cluster}/{rest}");
                let read = text.parse::<WorkloadRef>().unwrap();
                (read.place.unwrap().0, read.name.to_string())
            };
            assert_eq!(placed("sleep/sleep"), (cluster.to_owned(), "sleep".to_owned()));
            assert_eq!(placed("sleep/deploy/sleep"), (cluster.to_owned(), "deployment/sleep".to_owned()));
        }
        assert_eq!(read("arn:aws:eks:a:1:cluster/foo").unwrap_err(), WorkloadNameError::Form.to_string());
        // The name of a cluster is nobody's of Kubernetes.
        assert_eq!(read("Foo_1/sample/a").as_deref(), Ok("Foo_1/sample/a"));
    }

    #[test]
    fn a_workload_is_written_as_kubectl_writes_it() {
        let workload = Workload { kind: WorkloadKind::StatefulSet, name: "db".to_owned() };
        assert_eq!(workload.to_string(), "statefulset/db");
        assert_eq!(serde_json::to_value(&workload).unwrap(), "statefulset/db");
    }
}
