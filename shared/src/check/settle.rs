//! Taking checks again after something was changed, until nothing is under way any more.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Course;
use super::result::{CheckId, CheckResult, Scope, Status, Verification};

/// Whether what fails may pass by itself when it is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// What was changed takes effect in a moment.
    Some,
    /// Something could not be changed, so what fails will go on failing.
    None,
}

/// What fails in looks that follow on each other, and since when.
#[derive(Debug)]
pub(crate) struct Settling {
    failing: BTreeMap<(CheckId, Scope), Instant>,
    within: fn(CheckId) -> Duration,
    now: Instant,
}

impl Settling {
    /// Begins. `within` says how long a check may go on failing until what was changed has taken effect.
    pub(crate) fn new(within: fn(CheckId) -> Duration) -> Self {
        Self { failing: BTreeMap::new(), within, now: Instant::now() }
    }

    /// Takes in a look that was made at `now`. What passes is forgotten: when it fails again, its time begins anew.
    pub(crate) fn look<R: Clone + fmt::Display>(&mut self, found: &Verification<R>, now: Instant) {
        let fails = |result: &&CheckResult| result.status == Status::Fail;
        let keys: Vec<(CheckId, Scope)> =
            found.results().iter().filter(fails).map(|result| (result.id, result.scope.clone())).collect();
        self.failing.retain(|key, _| keys.contains(key));
        for key in keys {
            self.failing.entry(key).or_insert(now);
        }
        self.now = now;
    }

    /// Gives everything its time anew, because something was changed once more.
    pub(crate) fn restart(&mut self) {
        self.failing.clear();
    }

    /// Tells whether something failed in the last look, and may still pass by itself.
    pub(crate) fn is_under_way(&self, result: &CheckResult) -> bool {
        let since = self.failing.get(&(result.id, result.scope.clone()));
        let is_in_time = |since: &Instant| self.now.duration_since(*since) < (self.within)(result.id);
        since.is_some_and(|since| result.course == Course::UnderWay || is_in_time(since))
    }

    /// Returns the first cause in a cluster that may still pass by itself, or in any cluster.
    pub(crate) fn under_way<'v, R: Clone + fmt::Display>(
        &self,
        found: &'v Verification<R>,
        cluster: Option<&str>,
    ) -> Option<&'v CheckResult> {
        let concerns = |result: &&CheckResult| cluster.is_none_or(|name| result.scope.begins_in(name));
        found.results().iter().filter(concerns).find(|result| self.is_under_way(result))
    }

    /// Says of each cluster what is under way there: its cause, or nothing.
    pub(crate) fn tell<'c, R: Clone + fmt::Display>(
        &self,
        found: &Verification<R>,
        clusters: impl IntoIterator<Item = &'c str>,
        tell: impl Fn(&str, Option<String>),
    ) {
        for cluster in clusters {
            let cause = self.under_way(found, Some(cluster)).and_then(|result| result.cause.clone());
            tell(cluster, cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Fault, Finding, run};

    const SLOW: CheckId = CheckId("slow");
    const QUICK: CheckId = CheckId("quick");
    const NEVER: CheckId = CheckId("never");

    fn patience(id: CheckId) -> Duration {
        match id {
            SLOW => Duration::from_mins(2),
            QUICK => Duration::from_secs(40),
            _ => Duration::ZERO,
        }
    }

    /// A look in which these checks fail in cluster baz.
    fn found(fails: &[CheckId]) -> Verification<String> {
        fn of(world: &[CheckId], id: CheckId) -> Vec<Finding<String>> {
            let scope = || Scope::pair("baz", "foo");
            let mut all = vec![Finding::pass(Scope::pair("foo", "baz"), "it is so")];
            all.push(if world.contains(&id) {
                Finding::fail(scope(), Fault::new(format!("{id} fails"), ""))
            } else {
                Finding::pass(scope(), "it is so")
            });
            all
        }
        let catalogue: [Check<Vec<CheckId>, String>; 3] = [
            Check { id: NEVER, title: "", needs: &[], run: |world| of(world, NEVER) },
            Check { id: SLOW, title: "", needs: &[], run: |world| of(world, SLOW) },
            Check { id: QUICK, title: "", needs: &[], run: |world| of(world, QUICK) },
        ];
        run(&catalogue, &fails.to_vec())
    }

    /// What is under way when the same has failed for a time.
    fn after(seconds: u64, cluster: Option<&str>) -> Option<CheckId> {
        let (mut settling, start) = (Settling::new(patience), Instant::now());
        let found = found(&[SLOW, QUICK, NEVER]);
        settling.look(&found, start);
        settling.look(&found, start + Duration::from_secs(seconds));
        let quick = found.results().iter().find(|result| result.id == QUICK && result.status == Status::Fail);
        assert_eq!(settling.is_under_way(quick.unwrap()), seconds < 40);
        settling.under_way(&found, cluster).map(|result| result.id)
    }

    #[test]
    fn what_fails_has_its_time_and_what_does_not_pass_by_itself_has_none() {
        assert_eq!(after(0, None), Some(SLOW));
        assert_eq!(after(39, Some("baz")), Some(SLOW));
        assert_eq!(after(119, None), Some(SLOW));
        assert_eq!(after(120, None), None);
        assert_eq!(after(0, Some("foo")), None, "it is another cluster's");
    }

    #[test]
    fn what_is_still_being_made_is_waited_for_however_long_it_fails() {
        let catalogue: [Check<(), String>; 1] = [Check {
            id: NEVER,
            title: "",
            needs: &[],
            run: |()| vec![Finding::fail(Scope::Mesh, Fault::new("it is being made", "wait").under_way())],
        }];
        let found = run(&catalogue, &());
        let (mut settling, start) = (Settling::new(patience), Instant::now());
        settling.look(&found, start);
        settling.look(&found, start + Duration::from_mins(14));
        assert_eq!(settling.under_way(&found, None).map(|result| result.id), Some(NEVER));
    }

    #[test]
    fn time_begins_anew_when_something_passed_in_between_or_was_changed_once_more() {
        let (mut settling, start) = (Settling::new(patience), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        settling.look(&found(&[QUICK]), start);
        settling.look(&found(&[]), at(30));
        settling.look(&found(&[QUICK]), at(60));
        settling.look(&found(&[QUICK]), at(99));
        assert!(settling.under_way(&found(&[QUICK]), None).is_some());
        settling.look(&found(&[QUICK]), at(100));
        assert!(settling.under_way(&found(&[QUICK]), None).is_none());
        settling.restart();
        settling.look(&found(&[QUICK]), at(101));
        assert!(settling.under_way(&found(&[QUICK]), None).is_some());
    }
}
