//! One task on every cluster at the same time, and all of their results.

use std::error::Error;
use std::fmt;

use futures::future::join_all;

use super::Member;
use crate::hint::{Advice, Hint, Place};

/// Runs one task per member at the same time and gathers every result, in the order of the members.
///
/// A task that fails does not stop the others. There is no deadline: the tasks bring their own.
pub async fn each<'m, T, E, F, R>(members: &'m [Member], task: F) -> PerCluster<T, E>
where
    F: Fn(&'m Member) -> R,
    R: Future<Output = Result<T, E>>,
{
    gather(members.iter().map(|member| (member.place(), task(member)))).await
}

/// Waits for the tasks of all of these clusters together.
pub(super) async fn gather<T, E, R>(tasks: impl IntoIterator<Item = (Place, R)>) -> PerCluster<T, E>
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
    results: Vec<(Place, Result<T, E>)>,
}

impl<T, E> PerCluster<T, E> {
    /// Goes through the results by the cluster's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&T, &E>)> {
        self.results.iter().map(|(place, result)| (place.cluster.as_str(), result.as_ref()))
    }

    /// Returns the value of every cluster, in the order of the mesh.
    ///
    /// # Errors
    /// [`ClusterErrors`] with every cluster that failed, when at least one did.
    pub fn into_all(self) -> Result<Vec<T>, ClusterErrors<E>> {
        let mut values = Vec::with_capacity(self.results.len());
        let mut errors = Vec::new();
        for (place, result) in self.results {
            match result {
                Ok(value) => values.push(value),
                Err(error) => errors.push((place, error)),
            }
        }
        if errors.is_empty() { Ok(values) } else { Err(ClusterErrors { errors }) }
    }
}

impl<T, E> IntoIterator for PerCluster<T, E> {
    type Item = (Place, Result<T, E>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.results.into_iter()
    }
}

/// Every cluster whose task failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterErrors<E> {
    /// Not empty, in the order of the mesh.
    errors: Vec<(Place, E)>,
}

impl<E> ClusterErrors<E> {
    /// Goes through the failed clusters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &E)> {
        self.errors.iter().map(|(place, error)| (place.cluster.as_str(), error))
    }
}

impl<E> IntoIterator for ClusterErrors<E> {
    type Item = (Place, E);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl<E: Error> fmt::Display for ClusterErrors<E> {
    /// Writes one line per cluster, each with its causes: several errors have no one source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (Place { cluster, .. }, error)) in self.errors.iter().enumerate() {
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
    /// Returns every different hint, one per line, each with its commands for the cluster that failed.
    fn hint(&self) -> Option<Advice> {
        let mut hints: Vec<Advice> = Vec::new();
        for hint in self.errors.iter().filter_map(|(place, error)| Some(error.hint()?.at(&place.context))) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        Advice::joined(hints, "\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hint::Command;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot count")]
    struct Lost(#[source] std::io::Error);

    impl Hint for Lost {
        fn hint(&self) -> Option<Advice> {
            Some("count again".into())
        }
    }

    fn place(name: &str) -> Place {
        Place::new(name, format!("{name}-context"))
    }

    fn tasks(results: Vec<(&str, u64, bool)>) -> Vec<(Place, impl Future<Output = Result<u64, Lost>>)> {
        let task = |delay: u64, works: bool| async move {
            tokio::time::sleep(Duration::from_secs(delay)).await;
            if works { Ok(delay) } else { Err(Lost(std::io::Error::other("no fingers"))) }
        };
        results.into_iter().map(|(name, delay, works)| (place(name), task(delay, works))).collect()
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
        assert_eq!(errors.hint(), Some("count again".into()));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    struct Hinted(Option<&'static str>);
    impl Hint for Hinted {
        fn hint(&self) -> Option<Advice> {
            self.0.map(Advice::from)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_gone_through_by_cluster_and_hints_are_said_once_each() {
        let gathered = gather(tasks(vec![("foo", 1, false), ("bar", 2, true), ("baz", 3, false)])).await;
        let told: Vec<_> = gathered.iter().map(|(cluster, result)| (cluster, result.ok().copied())).collect();
        assert_eq!(told, [("foo", None), ("bar", Some(2)), ("baz", None)]);
        let names: Vec<String> = gathered.into_iter().map(|(place, _)| place.cluster).collect();
        assert_eq!(names, ["foo", "bar", "baz"]);

        let errors = |hints: [Option<&'static str>; 3]| ClusterErrors {
            errors: ["foo", "bar", "baz"].map(place).into_iter().zip(hints.map(Hinted)).collect(),
        };
        assert_eq!(errors([Some("b"), Some("a"), Some("b")]).hint().unwrap().to_string(), "b\na");
        assert_eq!(errors([None, Some("a"), None]).hint().unwrap().to_string(), "a");
        assert_eq!(errors([None; 3]).hint(), None);
        let both = errors([None; 3]);
        assert_eq!(both.iter().map(|(cluster, _)| cluster).collect::<Vec<_>>(), ["foo", "bar", "baz"]);
        assert_eq!(
            both.into_iter().map(|(place, _)| place.cluster).collect::<Vec<_>>(),
            ["foo", "bar", "baz"]
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("it does not start")]
    struct Unstarted;
    impl Hint for Unstarted {
        fn hint(&self) -> Option<Advice> {
            Some(Command::kubectl(["-n", "spire", "logs", "spire-server-0"]).into())
        }
    }

    #[test]
    fn what_to_do_about_each_cluster_is_a_command_for_that_cluster() {
        let errors =
            ClusterErrors { errors: vec![(place("foo"), Unstarted), (place("the other"), Unstarted)] };
        insta::assert_snapshot!(errors.hint().unwrap(), @r"
        kubectl --context foo-context -n spire logs spire-server-0
        kubectl --context 'the other-context' -n spire logs spire-server-0
        ");
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
        let told =
            |texts: &[&'static str]| ClusterErrors { errors: vec![(place("foo"), chain(texts))] }.to_string();
        assert_eq!(told(&["a: b", "b", "c"]), "foo: a: b: c");
        assert_eq!(told(&["a", "b"]), "foo: a: b");
    }
}
