//! The check engine: what a check is, in which order checks are taken, and what comes of them.
//!
//! Knows nothing of SPIRE or Istio: the catalogues do, each beside what it checks. A check is a pure function of what was
//! read before, so it can be tried without a cluster. What stands on something that failed is skipped, not failed: the one
//! cause is reported alone.

mod result;
mod settle;

use std::fmt;

pub use result::{CheckId, CheckResult, Scope, Status, Verification};
pub use settle::Patience;
pub(crate) use settle::Settling;

/// One check of a catalogue: about `W`, what was read; with repairs of type `R`.
pub struct Check<W, R> {
    /// Its name.
    pub id: CheckId,
    /// What is so when it passes, in a few words: `every server answers`.
    pub title: &'static str,
    /// The checks that it stands on. They come earlier in the catalogue.
    pub needs: &'static [CheckId],
    /// Answers it: one finding for everything that it looked at.
    pub run: fn(&W) -> Vec<Finding<R>>,
}

/// What a check found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<R> {
    /// What it is about.
    pub scope: Scope,
    /// What came of it.
    pub verdict: Verdict<R>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<R> {
    /// As it has to be; with what was read.
    Pass(Vec<String>),
    /// It works, and will not for ever or not for everybody.
    Warn(Fault<R>),
    /// Not as it has to be.
    Fail(Fault<R>),
    /// It could not be looked at, for this reason.
    Skip(String),
}

/// What is wrong with something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault<R> {
    /// The one cause, in words.
    pub cause: String,
    /// What was read, one line each.
    pub evidence: Vec<String>,
    /// The next step: a sentence, or a command that can be pasted.
    pub hint: String,
    /// What can be done about it without asking anybody what he wants.
    pub repair: Option<R>,
    /// What comes of it where nobody does anything.
    pub course: Course,
}

/// What comes of a fault where nobody does anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// What the check says of all its faults: most stay.
    #[default]
    OfItsCheck,
    /// Something that was asked for is still being made, and this fault passes with it.
    UnderWay,
}

impl<R> Fault<R> {
    /// Makes a fault from its cause and the next step.
    pub fn new(cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            evidence: Vec::new(),
            hint: hint.into(),
            repair: None,
            course: Course::default(),
        }
    }

    /// Says that it passes when what was asked for is made.
    #[must_use]
    pub fn under_way(mut self) -> Self {
        self.course = Course::UnderWay;
        self
    }

    /// Adds what was read.
    #[must_use]
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Says how it can be repaired safely.
    #[must_use]
    pub fn repaired_by(mut self, repair: R) -> Self {
        self.repair = Some(repair);
        self
    }
}

impl<R> Finding<R> {
    /// Something is as it has to be.
    pub fn pass(scope: Scope, evidence: impl Into<String>) -> Self {
        Self { scope, verdict: Verdict::Pass(vec![evidence.into()]) }
    }

    /// Something works, and will not for ever or not for everybody.
    pub fn warn(scope: Scope, fault: Fault<R>) -> Self {
        Self { scope, verdict: Verdict::Warn(fault) }
    }

    /// Something is not as it has to be.
    pub fn fail(scope: Scope, fault: Fault<R>) -> Self {
        Self { scope, verdict: Verdict::Fail(fault) }
    }

    /// Something could not be looked at.
    pub fn skip(scope: Scope, reason: impl Into<String>) -> Self {
        Self { scope, verdict: Verdict::Skip(reason.into()) }
    }
}

/// Takes every check of a catalogue, in its order.
pub fn run<W, R: Clone + fmt::Display>(catalogue: &[Check<W, R>], world: &W) -> Verification<R> {
    run_on(Verification::new(), catalogue, world)
}

/// Takes every check of a catalogue after those of another one, on which they may stand.
#[must_use]
pub fn run_on<W, R: Clone + fmt::Display>(
    mut verification: Verification<R>,
    catalogue: &[Check<W, R>],
    world: &W,
) -> Verification<R> {
    for check in catalogue {
        for Finding { scope, verdict } in (check.run)(world) {
            let verdict = match verification.blocking(check.needs, &scope) {
                Some(reason) => Verdict::Skip(reason),
                None => verdict,
            };
            verification.add(check, scope, verdict);
        }
    }
    verification
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: CheckId = CheckId("server");
    const BUNDLE: CheckId = CheckId("bundle");
    const ENTRIES: CheckId = CheckId("entries");

    fn cluster(name: &str) -> Scope {
        Scope::cluster(name)
    }

    fn verdicts(fails: &[&str]) -> Vec<String> {
        let catalogue: [Check<Vec<&str>, String>; 3] = [
            Check {
                id: SERVER,
                title: "every server answers",
                needs: &[],
                run: |down| {
                    let find = |name: &str| {
                        if down.contains(&name) {
                            Finding::fail(cluster(name), Fault::new("it is down", "start it"))
                        } else {
                            Finding::pass(cluster(name), "it answers")
                        }
                    };
                    vec![find("foo"), find("bar"), find("baz")]
                },
            },
            Check {
                id: BUNDLE,
                title: "every bundle is stored",
                needs: &[SERVER],
                run: |_| {
                    let fail = |from, to| {
                        Finding::fail(Scope::pair(from, to), Fault::new("it is stale", "carry it"))
                    };
                    vec![fail("foo", "bar"), fail("foo", "baz"), fail("bar", "baz")]
                },
            },
            Check {
                id: ENTRIES,
                title: "every pod has one entry",
                needs: &[BUNDLE],
                run: |_| vec![Finding::pass(Scope::pair("foo", "bar"), "1")],
            },
        ];
        let verification = run(&catalogue, &fails.to_vec());
        let line = |result: &CheckResult| format!("{} {} {}", result.id, result.scope, result.status);
        verification.results().iter().map(line).collect()
    }

    #[test]
    fn what_stands_on_something_that_failed_is_skipped_and_the_rest_is_not() {
        insta::assert_snapshot!(verdicts(&["bar"]).join("\n"), @r"
        server foo pass
        server bar fail
        server baz pass
        bundle foo→bar skip
        bundle foo→baz fail
        bundle bar→baz skip
        entries foo→bar skip
        ");
    }

    /// What comes of findings about the mesh, its clusters and what is in them, the one of the second catalogue standing on those of
    /// the first.
    fn taken(first: fn(&()) -> Vec<Finding<String>>) -> Verification<String> {
        let first = [Check { id: SERVER, title: "every server answers", needs: &[], run: first }];
        let second = [Check {
            id: ENTRIES,
            title: "every pod has one entry",
            needs: &[BUNDLE, SERVER],
            run: |(): &()| {
                let scopes = [
                    Scope::Mesh,
                    cluster("foo"),
                    cluster("baz"),
                    Scope::pair("foo", "bar"),
                    Scope::pair("bar", "foo"),
                    Scope::pair("bar", "baz"),
                    Scope::object("foo", "Pod a/b"),
                    Scope::object("foo", "Pod a/c"),
                    Scope::object("baz", "Pod a/b"),
                ];
                scopes.map(|scope| Finding::pass(scope, "1")).into()
            },
        }];
        run_on(run(&first, &()), &second, &())
    }

    /// Which findings of the second catalogue are skipped.
    fn skipped(first: fn(&()) -> Vec<Finding<String>>) -> String {
        let verification = taken(first);
        let of_second = verification.results().iter().filter(|result| result.id == ENTRIES);
        let skipped = of_second.filter(|result| result.status == Status::Skip);
        skipped.map(|result| result.scope.to_string()).collect::<Vec<_>>().join(", ")
    }

    fn broken(scope: Scope) -> Finding<String> {
        Finding::fail(scope, Fault::new("it is down", "start it"))
    }

    #[test]
    fn what_fails_hides_what_is_within_it_and_nothing_else() {
        assert_eq!(
            skipped(|()| vec![broken(Scope::Mesh)]),
            "mesh, foo, baz, foo→bar, bar→foo, bar→baz, foo: Pod a/b, foo: Pod a/c, baz: Pod a/b"
        );
        assert_eq!(
            skipped(|()| vec![broken(cluster("foo"))]),
            "foo, foo→bar, bar→foo, foo: Pod a/b, foo: Pod a/c"
        );
        assert_eq!(skipped(|()| vec![broken(Scope::pair("foo", "bar"))]), "foo→bar");
        assert_eq!(skipped(|()| vec![broken(Scope::object("foo", "Pod a/b"))]), "foo: Pod a/b");
        assert_eq!(
            skipped(|()| vec![Finding::skip(cluster("baz"), "not read")]),
            "baz, bar→baz, baz: Pod a/b"
        );
        // What works for now hides nothing.
        assert_eq!(
            skipped(|()| vec![Finding::warn(Scope::Mesh, Fault::new("it ends soon", "renew it"))]),
            ""
        );
        assert_eq!(skipped(|()| vec![Finding::pass(Scope::Mesh, "it answers")]), "");
    }

    #[test]
    fn a_verification_says_what_was_found_and_what_can_be_done_about_it() {
        let verification = taken(|()| {
            vec![
                Finding::pass(cluster("foo"), "it answers"),
                Finding::warn(
                    cluster("bar"),
                    Fault::new("it ends soon", "renew it")
                        .seen("ends today")
                        .repaired_by("renewal".to_owned()),
                ),
                Finding::fail(cluster("baz"), Fault::new("it is down", "start it").seen("a").seen("b")),
                Finding::skip(Scope::Mesh, "not read"),
            ]
        });
        insta::assert_json_snapshot!(&verification.results()[..5]);
        let counts = [Status::Pass, Status::Warn, Status::Fail, Status::Skip];
        assert_eq!(counts.map(|status| verification.count(status)), [1, 1, 1, 10]);
        assert_eq!(verification.repairs(), ["renewal"]);
        let count = verification.results().len();
        let mapped = verification.map_repairs(|repair| format!("the {repair}"));
        assert_eq!((mapped.repairs(), mapped.results().len()), (&["the renewal".to_owned()][..], count));
    }

    #[test]
    fn a_mesh_is_healthy_while_nothing_fails_and_nothing_needs_attention() {
        assert!(
            taken(|()| vec![Finding::pass(cluster("foo"), "1"), Finding::skip(cluster("baz"), "2")])
                .is_healthy()
        );
        let warn = taken(|()| vec![Finding::warn(cluster("baz"), Fault::new("it ends soon", "renew it"))]);
        assert!(!warn.is_healthy());
        assert!(!taken(|()| vec![broken(cluster("baz"))]).is_healthy());
    }

    #[test]
    fn a_failed_pair_does_not_hide_another_pair() {
        let verdicts = verdicts(&[]);
        assert!(verdicts.contains(&"bundle bar→baz fail".to_owned()), "{verdicts:?}");
        assert!(verdicts.contains(&"entries foo→bar skip".to_owned()), "{verdicts:?}");
    }

    #[test]
    fn each_cluster_is_told_what_is_under_way_in_it_or_that_nothing_is() {
        let found = taken(|()| {
            vec![
                Finding::pass(cluster("foo"), "it answers"),
                Finding::fail(Scope::pair("bar", "foo"), Fault::new("it is stale", "wait")),
                broken(Scope::object("baz", "Pod a/b")),
            ]
        });
        let mut settling = Settling::new(|_| std::time::Duration::from_mins(1));
        settling.look(&found, tokio::time::Instant::now());
        let told = std::cell::RefCell::new(Vec::new());
        settling.tell(&found, ["foo", "bar", "baz"], |cluster, cause| {
            told.borrow_mut().push(format!("{cluster}: {}", cause.unwrap_or_else(|| "nothing".to_owned())));
        });
        assert_eq!(told.into_inner(), ["foo: nothing", "bar: it is stale", "baz: it is down"]);
    }
}
