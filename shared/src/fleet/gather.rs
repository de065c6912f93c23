//! One task on every cluster at the same time, and all of their results.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use futures::future::join_all;

use super::Member;
use crate::hint::Hint;

/// Runs one task per member at the same time and gathers every result, in the order of the members.
///
/// A task that fails does not stop the others. There is no deadline: the tasks bring their own.
pub async fn each<'m, T, E, F, R>(members: &'m [Member], task: F) -> PerCluster<T, E>
where
    F: Fn(&'m Member) -> R,
    R: Future<Output = Result<T, E>>,
{
    gather(members.iter().map(|member| (member.name().to_owned(), task(member)))).await
}

/// Waits for all of the named tasks together.
pub(super) async fn gather<T, E, R>(tasks: impl IntoIterator<Item = (String, R)>) -> PerCluster<T, E>
where
    R: Future<Output = Result<T, E>>,
{
    let tasks = tasks.into_iter().map(|(cluster, task)| async move { (cluster, task.await) });
    PerCluster { results: join_all(tasks).await }
}

/// What each cluster's task ended with, in the order of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PerCluster<T, E> {
    results: Vec<(String, Result<T, E>)>,
}

impl<T, E> PerCluster<T, E> {
    /// Goes through the results by the cluster's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&T, &E>)> {
        self.results.iter().map(|(cluster, result)| (cluster.as_str(), result.as_ref()))
    }

    /// Returns the value of every cluster, in the order of the mesh.
    ///
    /// # Errors
    /// [`ClusterErrors`] with every cluster that failed, when at least one did.
    pub fn into_all(self) -> Result<Vec<T>, ClusterErrors<E>> {
        let mut values = Vec::with_capacity(self.results.len());
        let mut errors = Vec::new();
        for (cluster, result) in self.results {
            match result {
                Ok(value) => values.push(value),
                Err(error) => errors.push((cluster, error)),
            }
        }
        if errors.is_empty() { Ok(values) } else { Err(ClusterErrors { errors }) }
    }
}

impl<T, E> IntoIterator for PerCluster<T, E> {
    type Item = (String, Result<T, E>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.results.into_iter()
    }
}

/// Every cluster whose task failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterErrors<E> {
    /// Not empty, in the order of the mesh.
    errors: Vec<(String, E)>,
}

impl<E> ClusterErrors<E> {
    /// Goes through the failed clusters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &E)> {
        self.errors.iter().map(|(cluster, error)| (cluster.as_str(), error))
    }
}

impl<E> IntoIterator for ClusterErrors<E> {
    type Item = (String, E);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl<E: Error> fmt::Display for ClusterErrors<E> {
    /// Writes one line per cluster, each with its causes: several errors have no one source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (cluster, error)) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{cluster}: {error}")?;
            let mut said = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                let text = cause.to_string();
                if !said.contains(&text) {
                    write!(f, ": {text}")?;
                    said = text;
                }
                next = cause.source();
            }
        }
        Ok(())
    }
}

impl<E: Error> Error for ClusterErrors<E> {}

impl<E: Hint> Hint for ClusterErrors<E> {
    /// Returns every different hint, one per line.
    fn hint(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let hints = self.errors.iter().filter_map(|(_, error)| error.hint());
        let hints: Vec<_> = hints.filter(|hint| seen.insert(hint.clone())).collect();
        (!hints.is_empty()).then(|| hints.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot count")]
    struct Lost(#[source] std::io::Error);

    impl Hint for Lost {
        fn hint(&self) -> Option<String> {
            Some("count again".to_owned())
        }
    }

    fn tasks(results: Vec<(&str, u64, bool)>) -> Vec<(String, impl Future<Output = Result<u64, Lost>>)> {
        let task = |delay: u64, works: bool| async move {
            tokio::time::sleep(Duration::from_secs(delay)).await;
            if works { Ok(delay) } else { Err(Lost(std::io::Error::other("no fingers"))) }
        };
        results.into_iter().map(|(name, delay, works)| (name.to_owned(), task(delay, works))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_clusters_run_at_the_same_time_and_answer_in_the_order_of_the_mesh() {
        let start = tokio::time::Instant::now();
        let all = gather(tasks(vec![("foo", 9, true), ("bar", 5, true)])).await.into_all().unwrap();
        assert_eq!(all, [9, 5]);
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn every_cluster_that_failed_is_named_on_its_own_line() {
        let gathered = gather(tasks(vec![("foo", 1, false), ("bar", 2, true), ("baz", 9, false)])).await;
        assert_eq!(gathered.iter().filter(|(_, result)| result.is_ok()).count(), 1);
        let errors = gathered.into_all().unwrap_err();
        insta::assert_snapshot!(errors.to_string(), @r"
        foo: cannot count: no fingers
        baz: cannot count: no fingers
        ");
        assert_eq!(errors.hint().as_deref(), Some("count again"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    struct Hinted(Option<&'static str>);
    impl Hint for Hinted {
        fn hint(&self) -> Option<String> {
            self.0.map(str::to_owned)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_gone_through_by_cluster_and_hints_are_said_once_each() {
        let gathered = gather(tasks(vec![("foo", 1, false), ("bar", 2, true), ("baz", 3, false)])).await;
        let told: Vec<_> = gathered.iter().map(|(cluster, result)| (cluster, result.ok().copied())).collect();
        assert_eq!(told, [("foo", None), ("bar", Some(2)), ("baz", None)]);
        let names: Vec<String> = gathered.into_iter().map(|(cluster, _)| cluster).collect();
        assert_eq!(names, ["foo", "bar", "baz"]);

        let errors = |hints: [Option<&'static str>; 3]| ClusterErrors {
            errors: ["foo", "bar", "baz"].map(str::to_owned).into_iter().zip(hints.map(Hinted)).collect(),
        };
        assert_eq!(errors([Some("b"), Some("a"), Some("b")]).hint().as_deref(), Some("b\na"));
        assert_eq!(errors([None, Some("a"), None]).hint().as_deref(), Some("a"));
        assert_eq!(errors([None; 3]).hint(), None);
        let both = errors([None; 3]);
        assert_eq!(both.iter().map(|(cluster, _)| cluster).collect::<Vec<_>>(), ["foo", "bar", "baz"]);
        assert_eq!(both.into_iter().map(|(cluster, _)| cluster).collect::<Vec<_>>(), ["foo", "bar", "baz"]);
    }

    #[test]
    fn a_cause_that_says_what_was_said_is_left_out_and_the_one_behind_it_is_not() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Chain(&'static str, #[source] Option<Box<Chain>>);
        let chain = |texts: &[&'static str]| {
            let next = |next, text: &&'static str| Some(Box::new(Chain(text, next)));
            *texts.iter().rev().fold(None, next).unwrap()
        };
        let told = |texts: &[&'static str]| {
            ClusterErrors { errors: vec![("foo".to_owned(), chain(texts))] }.to_string()
        };
        assert_eq!(told(&["a: b", "b", "c"]), "foo: a: b: c");
        assert_eq!(told(&["a", "b"]), "foo: a: b");
    }
}
