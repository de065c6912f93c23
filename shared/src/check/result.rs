use std::fmt;

use serde::{Serialize, Serializer};

use super::{Check, Course, Fault, Verdict};

/// Name of a check: lower-case words with dashes, which is its anchor in `docs/checks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CheckId(pub &'static str);

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a check is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The mesh as a whole.
    Mesh,
    /// One cluster.
    Cluster {
        /// Its name.
        cluster: String,
    },
    /// One cluster's trust in another.
    Pair {
        /// The one that trusts.
        from: String,
        /// The one that is trusted.
        to: String,
    },
    /// Something in a cluster.
    Object {
        /// Name of the cluster.
        cluster: String,
        /// What: `Pod default/sleep-1`, `ClusterSPIFFEID x`, `Node n`.
        object: String,
    },
}

impl Scope {
    /// Names a cluster.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::Cluster { cluster: name.into() }
    }

    /// Names a cluster's trust in another.
    pub fn pair(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Pair { from: from.into(), to: to.into() }
    }

    /// Names something in a cluster.
    pub fn object(cluster: impl Into<String>, object: impl Into<String>) -> Self {
        Self::Object { cluster: cluster.into(), object: object.into() }
    }

    /// Tells whether this is a cluster, something in it, or its trust in another one.
    #[must_use]
    pub fn begins_in(&self, name: &str) -> bool {
        match self {
            Self::Mesh => false,
            Self::Cluster { cluster } | Self::Object { cluster, .. } | Self::Pair { from: cluster, .. } => {
                cluster == name
            }
        }
    }

    /// Tells whether what is wrong with this is wrong with `other` too: a cluster covers its pairs and what is in it.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mesh, _) => true,
            (
                Self::Cluster { cluster },
                Self::Cluster { cluster: other } | Self::Object { cluster: other, .. },
            ) => cluster == other,
            (Self::Cluster { cluster }, Self::Pair { from, to }) => cluster == from || cluster == to,
            (own, other) => own == other,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Cluster { cluster } => f.write_str(cluster),
            Self::Pair { from, to } => write!(f, "{from}→{to}"),
            Self::Object { cluster, object } => write!(f, "{cluster}: {object}"),
        }
    }
}

impl Serialize for Scope {
    /// Writes the names that apply: `{}` for the mesh, `cluster`, `from` and `to`, or `cluster` and `object`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs: Vec<(&str, &str)> = match self {
            Self::Mesh => Vec::new(),
            Self::Cluster { cluster } => vec![("cluster", cluster)],
            Self::Pair { from, to } => vec![("from", from), ("to", to)],
            Self::Object { cluster, object } => vec![("cluster", cluster), ("object", object)],
        };
        serializer.collect_map(pairs)
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it has to be.
    Pass,
    /// Works, and will not for ever or not for everybody.
    Warn,
    /// Not as it has to be.
    Fail,
    /// Not looked at, because something that it stands on failed or could not be read.
    Skip,
}

impl Status {
    /// Returns the word for tables, which is also the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check came to about one thing. The shape of its JSON is a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Which check: `bundle-stored`. Has its section in `docs/checks.md`.
    pub id: CheckId,
    /// What is so when it passes.
    pub title: &'static str,
    /// What it is about.
    pub scope: Scope,
    /// What came of it.
    pub status: Status,
    /// The one cause, in words, or why it was skipped; null where it passed.
    pub cause: Option<String>,
    /// What was read, one line each: the reason to believe the status.
    pub evidence: Vec<String>,
    /// The next step: a sentence, or a command that can be pasted; null where it passed or was skipped.
    pub hint: Option<String>,
    /// What `--fix` would do about it; null where nothing can safely be done.
    pub fix: Option<String>,
    /// What comes of it where nobody does anything; for those who wait.
    #[serde(skip)]
    pub(super) course: Course,
}

#[cfg(test)]
impl CheckResult {
    /// Says what is printed of a finding.
    pub(crate) fn told(&self) -> String {
        let line = |word: &str, text: &str| format!("{word}: {text}\n");
        let cause = self.cause.as_deref().unwrap_or_default();
        let seen: String = self.evidence.iter().map(|text| line("seen", text)).collect();
        let next = self.hint.as_deref().map(|hint| line("next", hint)).unwrap_or_default();
        format!("{}: {cause}\n{seen}{next}", self.status)
    }
}

/// What all checks came to.
#[derive(Clone, Debug)]
pub struct Verification<R> {
    results: Vec<CheckResult>,
    repairs: Vec<R>,
}

impl<R: Clone + fmt::Display> Verification<R> {
    pub(super) fn new() -> Self {
        Self { results: Vec::new(), repairs: Vec::new() }
    }

    /// Says the repairs in the words of another catalogue.
    #[must_use]
    pub fn map_repairs<S>(self, map: impl Fn(R) -> S) -> Verification<S> {
        Verification { results: self.results, repairs: self.repairs.into_iter().map(map).collect() }
    }

    /// Returns every result, in the order of the catalogue.
    #[must_use]
    pub fn results(&self) -> &[CheckResult] {
        &self.results
    }

    /// Returns every repair that was found, in the order of the catalogue.
    #[must_use]
    pub fn repairs(&self) -> &[R] {
        &self.repairs
    }

    /// Tells whether nothing failed and nothing needs attention.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.results.iter().any(|result| matches!(result.status, Status::Fail | Status::Warn))
    }

    /// Returns what failed about a cluster, about something in it, and about its trust in another one, in the order of the catalogue.
    #[must_use]
    pub fn failed_in(&self, cluster: &str) -> Vec<&CheckResult> {
        let failed = |result: &&CheckResult| result.status == Status::Fail && result.scope.begins_in(cluster);
        self.results.iter().filter(failed).collect()
    }

    /// Counts the results of a status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.results.iter().filter(|result| result.status == status).count()
    }

    /// Returns why a check about `scope` cannot be answered: the first of what it needs that is not so.
    pub(super) fn blocking(&self, needs: &[CheckId], scope: &Scope) -> Option<String> {
        let is_broken = |result: &&CheckResult| matches!(result.status, Status::Fail | Status::Skip);
        self.results
            .iter()
            .filter(|result| needs.contains(&result.id) && result.scope.covers(scope))
            .find(is_broken)
            .map(|result| format!("{} of {} comes first", result.id, result.scope))
    }

    pub(super) fn add<W>(&mut self, check: &Check<W, R>, scope: Scope, verdict: Verdict<R>) {
        let (status, fault) = match verdict {
            Verdict::Pass(evidence) => (Status::Pass, Ok(evidence)),
            Verdict::Skip(reason) => (Status::Skip, Err(Fault::new(reason, String::new()))),
            Verdict::Warn(fault) => (Status::Warn, Err(fault)),
            Verdict::Fail(fault) => (Status::Fail, Err(fault)),
        };
        let mut result = CheckResult {
            id: check.id,
            title: check.title,
            scope,
            status,
            cause: None,
            evidence: Vec::new(),
            hint: None,
            fix: None,
            course: Course::default(),
        };
        match fault {
            Ok(evidence) => result.evidence = evidence,
            Err(Fault { cause, evidence, hint, repair, course }) => {
                result.course = course;
                result.cause = Some(cause);
                result.evidence = evidence;
                result.hint = Some(hint).filter(|hint| !hint.is_empty());
                result.fix = repair.as_ref().map(ToString::to_string);
                self.repairs.extend(repair);
            }
        }
        self.results.push(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Finding, run};

    #[test]
    fn what_failed_in_a_cluster_is_about_it_something_in_it_or_its_trust() {
        let catalogue: [Check<(), String>; 1] = [Check {
            id: CheckId("a"),
            title: "",
            needs: &[],
            run: |()| {
                let fail = |scope| Finding::fail(scope, Fault::new("it fails", ""));
                vec![
                    fail(Scope::cluster("baz")),
                    fail(Scope::pair("baz", "foo")),
                    fail(Scope::pair("foo", "baz")),
                    fail(Scope::object("baz", "Pod a/b")),
                    fail(Scope::Mesh),
                    Finding::warn(Scope::cluster("baz"), Fault::new("it will fail", "")),
                    Finding::pass(Scope::pair("baz", "bar"), "it is so"),
                ]
            },
        }];
        let found = run(&catalogue, &());
        let failed = |cluster: &str| -> Vec<String> {
            found.failed_in(cluster).iter().map(|result| result.scope.to_string()).collect()
        };
        assert_eq!(failed("baz"), ["baz", "baz→foo", "baz: Pod a/b"]);
        assert_eq!(failed("foo"), ["foo→baz"]);
        assert!(failed("bar").is_empty());
    }
}
