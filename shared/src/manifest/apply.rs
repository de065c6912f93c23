//! Applying objects in an order in which each finds what it needs.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::Patch;
use serde::Serialize;
use tokio::time::Instant;

use super::declared::{Declared, declared_text};
use super::ending::ending;
use super::kind::Kind;
use super::object::{Object, ObjectKey};
use super::owner::{Owner, stranger};
use super::plan::{AT_ONCE, Plan, PlanError, Verdict, apply_params, look, new_params, plan, refusal_hint};
use super::ready::custom_resource_established;
use super::wait::{self, Deadline, Poll, WaitError};
use super::webhook::UncalledWebhook;
use crate::fleet::{Cause, RequestError};
use crate::hint::{Advice, Command, Hint};

/// How long a missing namespace or kind may take to appear after it was made.
const APPEARS_WITHIN: Duration = Duration::from_secs(15);

/// How long a webhook may give no answer. Its pods are ready before objects are applied that need it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(45);
/// How many objects an error names where there are more.
const NAMED: usize = 4;

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It did not exist.
    Created,
    /// It was changed.
    Changed,
    /// It was as wanted already.
    Unchanged,
    /// A namespace of somebody else, left as it is.
    Kept,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
        })
    }
}

/// What was done with all objects, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One entry per object.
    pub objects: Vec<(ObjectKey, Change)>,
}

impl Applied {
    /// Counts the objects with which this was done.
    #[must_use]
    pub fn count(&self, change: Change) -> usize {
        self.objects.iter().filter(|(_, done)| *done == change).count()
    }

    /// Tells whether nothing was changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.count(Change::Created) + self.count(Change::Changed) == 0
    }
}

/// Why the objects are not all applied. Those before the failed one are; running again goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Objects of somebody else have the same names. None of these was changed.
    #[error("{}", foreign_text(objects))]
    Foreign {
        /// The objects, and whose they seem to be.
        objects: Vec<(ObjectKey, String)>,
        /// Who wants them.
        owner: Option<Owner>,
    },
    /// Somebody else declares fields of these objects with other values. None of these was changed.
    #[error("{}", declared_of(objects))]
    Declared {
        /// The objects, and who declares which of their fields.
        objects: Vec<(ObjectKey, Vec<Declared>)>,
        /// Who wants them.
        owner: Option<Owner>,
    },
    /// Somebody else is to have applied these objects, and has not.
    #[error("what `render` writes has not been applied: {} {} there", all_of(objects), if objects.len() == 1 { "is not" } else { "are not" })]
    Absent {
        /// The objects.
        objects: Vec<ObjectKey>,
        /// Whose they are to be.
        owner: Option<Owner>,
    },
    /// The API server refuses an object.
    #[error("the API server refuses {key}")]
    Refused {
        /// Which object.
        key: ObjectKey,
        /// Why.
        source: RequestError,
    },
    /// The API server does not reach a webhook that it has to ask about an object.
    #[error("the API server cannot apply {key}: it gets no answer from {webhook}")]
    Unanswered {
        /// Which object.
        key: ObjectKey,
        /// The webhook.
        webhook: UncalledWebhook,
    },
    /// It did not work before the deadline.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

fn foreign_text(objects: &[(ObjectKey, String)]) -> String {
    let names: Vec<_> = objects.iter().map(|(key, owner)| format!("{key} (of {owner})")).collect();
    format!("not ours and in the way: {}", names.join(", "))
}

fn declared_of(objects: &[(ObjectKey, Vec<Declared>)]) -> String {
    let texts: Vec<String> =
        objects.iter().map(|(key, by)| format!("{key} ({})", declared_text(by))).collect();
    format!("somebody else declares other values: {}", some_of(&texts))
}

fn all_of(objects: &[ObjectKey]) -> String {
    some_of(&objects.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Names the first few of many.
fn some_of(texts: &[String]) -> String {
    let named = texts[..texts.len().min(NAMED)].join(", ");
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl Hint for ApplyError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Foreign { objects, owner } => {
                let (key, _) = objects.first()?;
                let owner = owner.as_ref()?;
                let labels = owner.selector();
                let label =
                    Command::kubectl(["label", "--overwrite"]).and(key.kubectl()).and(labels.split(','));
                Some(Advice::from(format!("to hand an object over to the mesh {}: ", owner.mesh)).then(label))
            }
            Self::Declared { owner, .. } => {
                let manager = owner.as_ref()?.tool.name();
                let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager", manager, "-f", "FILE"];
                Some(
                    Advice::from(
                        "let whoever declares them apply what `render` writes now; or, where nobody will set them back, take them over with \
                         the file of this cluster that `render --to` writes: ",
                    )
                    .then(Command::kubectl(apply)),
                )
            }
            Self::Absent { owner, .. } => Some(
                Advice::from(
                    "wait until the file of this cluster that `render --to` writes has been applied, by kubectl, Argo CD or Flux; without them: ",
                )
                .then(owner.as_ref()?.tool.plugin().up()),
            ),
            Self::Refused { key, source } => refusal_hint(key, source),
            Self::Unanswered { webhook, .. } => Some(webhook.advice()),
            Self::Wait(error) => error.hint(),
        }
    }
}

/// Applies the objects that are not yet as wanted, and tells `on_applied` about every one when it is done.
///
/// Goes in waves: namespaces, custom resource definitions (and waits until they are served), settings, workloads, webhooks,
/// custom resources; within a wave 16 objects at a time. Conflicts, webhooks that do not answer yet and namespaces that
/// are still being deleted are tried again until the deadline.
///
/// # Errors
/// [`ApplyError`]. With [`ApplyError::Plan`] nothing was changed, nor with [`ApplyError::Foreign`] and [`ApplyError::Declared`] unless an object
/// was made by somebody else after the plan, which is left as it is.
pub async fn apply(
    client: &kube::Client,
    objects: &[Object],
    deadline: Deadline<'_>,
    on_applied: &(dyn Fn(&ObjectKey, Change) + Sync),
) -> Result<Applied, ApplyError> {
    let plan = plan(client, objects).await?;
    let foreign: Vec<_> =
        plan.foreign().into_iter().map(|(key, owner)| (key.clone(), owner.to_owned())).collect();
    let owner = objects.iter().find_map(Owner::of);
    if !foreign.is_empty() {
        return Err(ApplyError::Foreign { objects: foreign, owner });
    }
    let declared: Vec<_> = plan.declared().into_iter().map(|(key, by)| (key.clone(), by.to_vec())).collect();
    if !declared.is_empty() {
        return Err(ApplyError::Declared { objects: declared, owner });
    }
    let mut order: Vec<_> = (0..objects.len()).collect();
    order.sort_by_key(|index| objects[*index].key().kind.wave());
    let mut done: Vec<Option<Change>> = vec![None; objects.len()];
    for wave in order.chunk_by(|a, b| objects[*a].key().kind.wave() == objects[*b].key().kind.wave()) {
        let work = wave.iter().map(|index| async {
            let object = &objects[*index];
            let change = place(client, object, &plan, *index, deadline).await?;
            on_applied(object.key(), change);
            Ok::<_, ApplyError>((*index, change))
        });
        let results: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        let mut fresh = Vec::new();
        for result in results {
            let (index, change) = result?;
            done[index] = Some(change);
            let key = objects[index].key();
            if key.kind == Kind::CustomResourceDefinition
                && matches!(change, Change::Created | Change::Changed)
            {
                fresh.push(key.name.as_str());
            }
        }
        let established = fresh.into_iter().map(|name| custom_resource_established(client, name, deadline));
        futures::future::try_join_all(established).await?;
    }
    let done = objects.iter().zip(done).filter_map(|(object, change)| Some((object.key().clone(), change?)));
    Ok(Applied { objects: done.collect() })
}

/// Makes sure that somebody else has applied objects: they are there, not on their way out, and marked as their owner's. With which
/// values is not asked. Reads only.
///
/// # Errors
/// [`ApplyError::Absent`] and [`ApplyError::Foreign`] with every one that is not as it has to be, and [`ApplyError::Plan`] for the first that
/// cannot be read.
pub async fn expect_applied(client: &kube::Client, objects: &[Object]) -> Result<(), ApplyError> {
    let looks = objects.iter().map(|object| async move {
        let key = object.key();
        match key.api(client).get_opt(&key.name).await.map_err(RequestError::from) {
            Ok(live) => Ok((object, live.filter(|live| live.metadata.deletion_timestamp.is_none()))),
            Err(error) if error.is_not_found() => Ok((object, None)),
            Err(source) => Err(PlanError::Read { key: key.clone(), source }),
        }
    });
    let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let owner = objects.iter().find_map(Owner::of);
    let absent = found.iter().filter(|(_, live)| live.is_none()).map(|(object, _)| object.key().clone());
    let absent: Vec<ObjectKey> = absent.collect();
    if !absent.is_empty() {
        return Err(ApplyError::Absent { objects: absent, owner });
    }
    let foreign = found.iter().filter(|(object, _)| object.key().kind != Kind::Namespace);
    let foreign =
        foreign.filter_map(|(object, live)| Some((object.key().clone(), stranger(object, live.as_ref()?)?)));
    let foreign: Vec<(ObjectKey, String)> = foreign.collect();
    if foreign.is_empty() { Ok(()) } else { Err(ApplyError::Foreign { objects: foreign, owner }) }
}

async fn place(
    client: &kube::Client,
    object: &Object,
    plan: &Plan,
    index: usize,
    deadline: Deadline<'_>,
) -> Result<Change, ApplyError> {
    let change = match plan.objects.get(index).map(|planned| &planned.verdict) {
        Some(Verdict::Unchanged) => return Ok(Change::Unchanged),
        Some(Verdict::Kept) => return Ok(Change::Kept),
        Some(Verdict::Change { .. }) => Change::Changed,
        Some(Verdict::Create | Verdict::Foreign { .. } | Verdict::Declared { .. }) | None => Change::Created,
    };
    let key = object.key();
    let api = key.api(client);
    let start = Instant::now();
    let what = format!("{key} to be accepted");
    let is_there = AtomicBool::new(change != Change::Created);
    let accepted = wait::until(deadline, &what, || async {
        let params = if is_there.load(Relaxed) { apply_params(object) } else { new_params(object) };
        let error = match api.patch(&key.name, &params, &Patch::Apply(object.inner())).await {
            // The old one is still going away, and would take this one's place with it.
            Ok(live) if live.metadata.deletion_timestamp.is_some() => {
                return still(client, key, "the old one is still being deleted".to_owned()).await;
            }
            Ok(_) => return Poll::Ready(Ok(())),
            Err(error) => RequestError::from(error),
        };
        let passes = match error.cause() {
            Cause::NotFound => start.elapsed() < APPEARS_WITHIN,
            // Somebody has made one since the plan.
            Cause::Conflict if !is_there.load(Relaxed) => match look(client, object).await {
                Ok(Verdict::Foreign { owner }) => {
                    let objects = vec![(key.clone(), owner)];
                    return Poll::Ready(Err(ApplyError::Foreign { objects, owner: Owner::of(object) }));
                }
                Ok(Verdict::Declared { by }) => {
                    let objects = vec![(key.clone(), by)];
                    return Poll::Ready(Err(ApplyError::Declared { objects, owner: Owner::of(object) }));
                }
                Ok(Verdict::Change { .. } | Verdict::Unchanged) => {
                    is_there.store(true, Relaxed);
                    true
                }
                _ => true,
            },
            Cause::Conflict => true,
            Cause::Transient if start.elapsed() > ANSWERS_WITHIN => {
                match UncalledWebhook::of(&error.to_string()) {
                    Some(webhook) if webhook.is_unanswered() => {
                        return Poll::Ready(Err(ApplyError::Unanswered { key: key.clone(), webhook }));
                    }
                    _ => true,
                }
            }
            Cause::Terminating => return still(client, key, error.to_string()).await,
            _ => error.is_transient(),
        };
        if passes {
            Poll::Pending(error.to_string())
        } else {
            Poll::Ready(Err(ApplyError::Refused { key: key.clone(), source: error }))
        }
    });
    accepted.await??;
    Ok(change)
}

/// Waits on for what is being deleted, unless it never ends: that shows only after the API server has tried to delete everything in the
/// namespace, which may be after the plan.
async fn still(client: &kube::Client, key: &ObjectKey, why: String) -> Poll<Result<(), ApplyError>> {
    let namespace = key.namespace.as_ref().unwrap_or(&key.name);
    match ending(client, namespace).await {
        Some(held) => Poll::Ready(Err(PlanError::Ending(Box::new(held)).into())),
        None => Poll::Pending(why),
    }
}
