//! What applying objects would do, found out by asking the API server to do it without keeping the result.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde::Serialize;

use super::declared::{Conflict, Declared};
use super::diff::{self, FieldChange};
use super::ending::{Ending, ending};
use super::kind::Kind;
use super::object::{Object, ObjectKey};
use super::owner::stranger;
use super::tool::Tool;
use crate::fleet::{Cause, RequestError};
use crate::hint::{Advice, Command, Hint};

/// How many objects are looked at or applied at the same time.
pub(super) const AT_ONCE: usize = 16;

/// What applying one object would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Verdict {
    /// It does not exist yet.
    Create,
    /// It exists, and these fields would change.
    Change {
        /// Not empty.
        fields: Vec<FieldChange>,
    },
    /// It exists as it is wanted.
    Unchanged,
    /// A namespace that somebody else made: used as it is, never changed, never deleted.
    Kept,
    /// It exists, and somebody else declares fields of it with other values. Applying is refused: the two would take turns.
    Declared {
        /// Who declares which fields. Not empty.
        by: Vec<Declared>,
    },
    /// Somebody else's object has the same name. Applying is refused.
    Foreign {
        /// Whose it seems to be.
        owner: String,
    },
}

/// One object of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// Which object.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// What applying it would do.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What applying a set of objects to one cluster would do, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// One entry per object.
    pub objects: Vec<Planned>,
}

impl Plan {
    /// Tells whether applying would change nothing.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.objects.iter().all(|planned| matches!(planned.verdict, Verdict::Unchanged | Verdict::Kept))
    }

    /// Lists the objects of which somebody else declares fields with other values.
    #[must_use]
    pub fn declared(&self) -> Vec<(&ObjectKey, &[Declared])> {
        let declared = self.objects.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Declared { by } => Some((&planned.key, by.as_slice())),
            _ => None,
        });
        declared.collect()
    }

    /// Lists the objects that belong to somebody else, with who that seems to be.
    #[must_use]
    pub fn foreign(&self) -> Vec<(&ObjectKey, &str)> {
        let foreign = self.objects.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Foreign { owner } => Some((&planned.key, owner.as_str())),
            _ => None,
        });
        foreign.collect()
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The object cannot be read.
    #[error("cannot read {key}")]
    Read {
        /// Which object.
        key: ObjectKey,
        /// Why.
        source: RequestError,
    },
    /// Its namespace is being deleted, and something holds it: nothing can be made there, and it does not end by itself.
    #[error("{0}")]
    Ending(Box<Ending>),
    /// The API server would refuse the object.
    #[error("the API server refuses {key}")]
    Refused {
        /// Which object.
        key: ObjectKey,
        /// Why.
        source: RequestError,
    },
}

impl Hint for PlanError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::Read { key, source } | Self::Refused { key, source } => refusal_hint(key, source),
            Self::Ending(ending) => Some(ending.advice()),
        }
    }
}

pub(super) fn refusal_hint(key: &ObjectKey, error: &RequestError) -> Option<Advice> {
    match error.cause() {
        Cause::Forbidden => {
            let namespace = key.namespace.iter().flat_map(|namespace| ["-n", namespace]);
            let patch = ["auth", "can-i", "patch", &key.kind.resource()];
            Some(Command::kubectl(namespace).and(patch).into())
        }
        Cause::Invalid
            if error.to_string().contains("immutable") || error.to_string().contains("orbidden: updates") =>
        {
            let delete = Command::kubectl(["delete"]).and(key.kubectl());
            Some(Advice::from("this field cannot be changed; to have it made anew: ").then(delete))
        }
        _ => None,
    }
}

/// Finds out what applying the objects would do. Changes nothing.
///
/// Reads each object and applies it with `dryRun=All`, 16 objects at a time: first without force, so that the API server names those who have
/// set the same fields to other values. What does not exist, or is of a kind that does not exist yet, is to be created. Where an admission webhook
/// keeps the server from answering, the wanted fields are compared with the live ones instead.
///
/// # Errors
/// [`PlanError`] for the first object that cannot be read or would be refused, and for a namespace that is held while it ends.
pub async fn plan(client: &kube::Client, objects: &[Object]) -> Result<Plan, PlanError> {
    let names = objects.iter().filter_map(|object| {
        let key = object.key();
        if key.kind == Kind::Namespace { Some(key.name.as_str()) } else { key.namespace.as_deref() }
    });
    let names: BTreeSet<&str> = names.collect();
    let ends = stream::iter(names.into_iter().map(|name| ending(client, name))).buffered(AT_ONCE);
    let ends: Vec<Option<Ending>> = ends.collect().await;
    if let Some(ending) = ends.into_iter().flatten().next() {
        return Err(PlanError::Ending(Box::new(ending)));
    }
    let looks = objects.iter().map(|object| async move {
        let verdict = look(client, object).await?;
        Ok(Planned { key: object.key().clone(), verdict })
    });
    let objects = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(Plan { objects })
}

/// Finds out what applying one object would do.
pub(super) async fn look(client: &kube::Client, object: &Object) -> Result<Verdict, PlanError> {
    let key = object.key();
    let api = key.api(client);
    let patch = Patch::Apply(object.inner());
    let dry_run = new_params(object).dry_run();
    let (live, applied) = tokio::join!(api.get_opt(&key.name), api.patch(&key.name, &dry_run, &patch));
    let conflict = applied.as_ref().err().and_then(Conflict::of);
    let applied = match conflict {
        Some(_) => api.patch(&key.name, &apply_params(object).dry_run(), &patch).await,
        None => applied,
    };
    let live = match live.map_err(RequestError::from) {
        Ok(live) => live,
        Err(error) if error.is_not_found() => None,
        Err(source) => return Err(PlanError::Read { key: key.clone(), source }),
    };
    let applied = applied.map_err(RequestError::from);
    let Some(live) = live else {
        return match applied {
            Err(source)
                if matches!(source.cause(), Cause::Invalid | Cause::Forbidden) && !is_webhook(&source) =>
            {
                Err(PlanError::Refused { key: key.clone(), source })
            }
            // Otherwise its namespace or kind is yet to come, or a webhook is.
            _ => Ok(Verdict::Create),
        };
    };
    let stranger = stranger(object, &live);
    if live.metadata.deletion_timestamp.is_some() && (stranger.is_none() || key.kind == Kind::Namespace) {
        return Ok(Verdict::Create);
    }
    if let Some(owner) = stranger {
        return Ok(if key.kind == Kind::Namespace { Verdict::Kept } else { Verdict::Foreign { owner } });
    }
    let fields = match applied {
        Ok(applied) => diff::compare(key.kind, &value(&live), &value(&applied)),
        Err(error) if is_webhook(&error) => diff::missing(key.kind, &object.to_value(), &value(&live)),
        Err(source) => return Err(PlanError::Refused { key: key.clone(), source }),
    };
    Ok(match conflict {
        _ if fields.is_empty() => Verdict::Unchanged,
        Some(Conflict { declared }) if !declared.is_empty() => Verdict::Declared { by: declared },
        _ => Verdict::Change { fields },
    })
}

/// Returns how an object is applied that is ours: with its plugin as field manager, which wins over others for the fields that it sets. Nobody
/// is overruled who would set them back: that is a [`Verdict::Declared`], which is not applied. What was changed by hand is set back.
pub(super) fn apply_params(object: &Object) -> PatchParams {
    new_params(object).force()
}

/// Returns how an object is applied that does not exist: it wins over nobody, so that one that somebody has made meanwhile is not overwritten.
pub(super) fn new_params(object: &Object) -> PatchParams {
    PatchParams::apply(Tool::of(object).name())
}

/// Tells whether an admission webhook did not answer, or cannot do a dry run.
fn is_webhook(error: &RequestError) -> bool {
    let text = error.to_string();
    text.contains("failed calling webhook") || text.contains("does not support dry run")
}

fn value(object: &DynamicObject) -> serde_json::Value {
    serde_json::to_value(object).expect("an object's keys are strings")
}
