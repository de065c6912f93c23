//! Finding an owner's objects again by their labels, and deleting them.

use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{DeleteParams, DynamicObject, ListParams};
use serde::Serialize;

use super::kind::{Kind, Wave};
use super::object::ObjectKey;
use super::owner::Owner;
use super::plan::AT_ONCE;
use super::wait::{self, Deadline, Poll, WaitError};
use crate::fleet::{Cause, RequestError};
use crate::hint::{Advice, Command, Hint};

/// Lists the objects in the cluster that carry the owner's labels, in the order in which they are applied.
///
/// # Errors
/// [`DeleteError::List`] when a kind cannot be listed. A kind that does not exist has no objects.
pub async fn owned(client: &kube::Client, owner: &Owner) -> Result<Vec<ObjectKey>, DeleteError> {
    selected(client, owner.tool.kinds(), &owner.selector()).await
}

/// Lists those of the owner's objects that also carry this label with this value.
///
/// # Errors
/// As [`owned`].
pub async fn owned_with(
    client: &kube::Client,
    owner: &Owner,
    label: &str,
    value: &str,
) -> Result<Vec<ObjectKey>, DeleteError> {
    selected(client, owner.tool.kinds(), &format!("{},{label}={value}", owner.selector())).await
}

/// Lists those of the owner's objects that are of these kinds and do not carry this label.
///
/// # Errors
/// As [`owned`].
pub async fn owned_without(
    client: &kube::Client,
    owner: &Owner,
    kinds: impl Iterator<Item = Kind>,
    label: &str,
) -> Result<Vec<ObjectKey>, DeleteError> {
    selected(client, kinds, &format!("{},!{label}", owner.selector())).await
}

async fn selected(
    client: &kube::Client,
    kinds: impl Iterator<Item = Kind>,
    selector: &str,
) -> Result<Vec<ObjectKey>, DeleteError> {
    let params = ListParams::default().labels(selector);
    let lists = kinds.map(|kind| {
        let (api, params) = (kind.api(client, None), params.clone());
        async move {
            let list = match api.list_metadata(&params).await.map_err(RequestError::from) {
                Ok(list) => list.items,
                Err(error) if error.is_not_found() => Vec::new(),
                Err(source) => return Err(DeleteError::List { kind, source }),
            };
            let keys = list.into_iter().filter_map(|object| {
                let name = object.metadata.name?;
                Some(ObjectKey { kind, namespace: object.metadata.namespace, name })
            });
            Ok(keys.collect::<Vec<_>>())
        }
    });
    let mut keys: Vec<_> =
        stream::iter(lists).buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    keys.sort();
    Ok(keys)
}

/// How an object went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// It was deleted.
    Deleted,
    /// It was gone already.
    Absent,
}

/// Why objects are left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// A kind cannot be listed.
    #[error("cannot list {}", kind.resource())]
    List {
        /// The kind.
        kind: Kind,
        /// Why.
        source: RequestError,
    },
    /// It cannot be found out what others have in what is to be deleted.
    #[error("cannot find out what others would lose: cannot list {what}")]
    ListOthers {
        /// What cannot be listed.
        what: String,
        /// Why.
        source: RequestError,
    },
    /// The API server refuses to delete an object.
    #[error("the API server refuses to delete {key}")]
    Refused {
        /// Which object.
        key: ObjectKey,
        /// Why.
        source: RequestError,
    },
    /// It is not gone before the deadline.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

impl Hint for DeleteError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::List { kind, source } if source.cause() == Cause::Forbidden => {
                Some(Command::kubectl(["auth", "can-i", "list", &kind.resource(), "-A"]).into())
            }
            Self::Refused { key, source } if source.cause() == Cause::Forbidden => {
                let namespace = key.namespace.iter().flat_map(|namespace| ["-n", namespace]);
                let delete = ["auth", "can-i", "delete", &key.kind.resource()];
                Some(Command::kubectl(namespace).and(delete).into())
            }
            Self::List { .. } | Self::ListOthers { .. } | Self::Refused { .. } => None,
            Self::Wait(error) => error.hint(),
        }
    }
}

/// Deletes the objects, in the opposite order of applying, and waits until each is gone. Tells `on_deleted` about
/// every one. With a workload go its pods, with a namespace all that is in it.
///
/// # Errors
/// [`DeleteError`] for the first object that stays; those of later waves are then not touched.
pub async fn delete(
    client: &kube::Client,
    keys: &[ObjectKey],
    deadline: Deadline<'_>,
    on_deleted: &(dyn Fn(&ObjectKey, Deletion) + Sync),
) -> Result<(), DeleteError> {
    let mut order: Vec<_> = keys.iter().collect();
    order.sort_by(|a, b| b.kind.wave().cmp(&a.kind.wave()).then_with(|| a.cmp(b)));
    for wave in order.chunk_by(|a, b| a.kind.wave() == b.kind.wave()) {
        let work = wave.iter().map(|key| async move {
            let deletion = remove(client, key, deadline).await?;
            on_deleted(key, deletion);
            Ok::<_, DeleteError>(())
        });
        let results: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

async fn remove(
    client: &kube::Client,
    key: &ObjectKey,
    deadline: Deadline<'_>,
) -> Result<Deletion, DeleteError> {
    let api = key.api(client);
    // In the foreground a workload stays until its pods are gone.
    let params = match key.kind.wave() {
        Wave::Workloads => DeleteParams::foreground(),
        _ => DeleteParams::background(),
    };
    let what = format!("{key} to be gone");
    let asked = wait::until(deadline, &what, || async {
        match api.delete(&key.name, &params).await.map_err(RequestError::from) {
            Ok(_) => Poll::Ready(Ok(Deletion::Deleted)),
            Err(error) if error.is_not_found() => Poll::Ready(Ok(Deletion::Absent)),
            // A namespace that is being deleted already answers so.
            Err(error) if error.cause() == Cause::Conflict => Poll::Ready(Ok(Deletion::Deleted)),
            Err(error) if error.is_transient() => Poll::Pending(error.to_string()),
            Err(error) => Poll::Ready(Err(error)),
        }
    });
    let deletion = asked.await?.map_err(|source| DeleteError::Refused { key: key.clone(), source })?;
    if deletion == Deletion::Absent {
        return Ok(deletion);
    }
    wait::until(deadline, &what, || async {
        match api.get_opt(&key.name).await.map_err(RequestError::from) {
            Ok(None) => Poll::Ready(()),
            // Somebody made a new one.
            Ok(Some(live)) if live.metadata.deletion_timestamp.is_none() => Poll::Ready(()),
            Ok(Some(live)) => Poll::Pending(what_holds(&live)),
            Err(error) if error.is_not_found() => Poll::Ready(()),
            Err(error) => error.into(),
        }
    })
    .await?;
    Ok(deletion)
}

/// Says what keeps an object that is being deleted: for a namespace what is left in it, otherwise its finalizers.
fn what_holds(live: &DynamicObject) -> String {
    let conditions = live.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let left: Vec<_> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .collect();
    if live.types.as_ref().is_some_and(|types| types.kind == "Namespace") && !left.is_empty() {
        return left.join("; ");
    }
    match live.metadata.finalizers.as_deref() {
        Some([]) | None => "being deleted".to_owned(),
        Some(finalizers) => format!("being deleted, held by finalizers {}", finalizers.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_a_namespace_is_told_in_its_own_words() {
        let live = |value| serde_json::from_value::<DynamicObject>(value).unwrap();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "finalizers": []}, "status": {
        "conditions": [
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "x.io/f in 1 resource instances"},
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"},
        ]}});
        assert_eq!(what_holds(&live(namespace)), "x.io/f in 1 resource instances");
        let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "finalizers": ["x.io/f"]}});
        assert_eq!(what_holds(&live(other)), "being deleted, held by finalizers x.io/f");
        let free = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "finalizers": []}});
        assert_eq!(what_holds(&live(free)), "being deleted");
        let condition = json!({"conditions": [{"type": "a", "status": "True", "message": "of its own"}]});
        let talks =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "status": condition});
        assert_eq!(what_holds(&live(talks)), "being deleted", "only a namespace says what is left in it");
        let empty = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "finalizers": ["f"]}, "status": {}});
        assert_eq!(what_holds(&live(empty)), "being deleted, held by finalizers f");
    }
}
