use kube::api::{Api, DynamicObject};
use kube::core::discovery::Scope;
use kube::discovery;
use kube::error::DiscoveryError;
use serde_json::Value;

use super::IssuerRef;
use crate::fleet::{Member, ReadError};

/// An issuer as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenIssuer {
    /// How it is.
    pub state: IssuerState,
    /// It signs what is requested in any namespace.
    pub is_cluster_wide: bool,
}

/// How an issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerState {
    /// The API server does not know its kind: cert-manager, or the project that it is of, is not installed.
    UnknownKind,
    /// There is none of its name.
    Absent,
    /// Its condition `Ready` is not true; with what it says of itself.
    NotReady(String),
    /// It signs.
    Ready,
}

/// Looks at an issuer.
///
/// # Errors
/// [`ReadError`] when it cannot be read.
pub async fn issuer(member: &Member, wanted: &IssuerRef) -> Result<SeenIssuer, ReadError> {
    let client = member.client();
    let unread =
        |error: &kube::Error| ReadError::new(member.name(), wanted.to_string(), wanted.need(), error);
    let known = match discovery::group(client, &wanted.group).await {
        Ok(group) => group.recommended_kind(&wanted.kind),
        Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => None,
        Err(error) => return Err(unread(&error)),
    };
    let Some((resource, capabilities)) = known else {
        return Ok(SeenIssuer { state: IssuerState::UnknownKind, is_cluster_wide: false });
    };
    let is_cluster_wide = capabilities.scope == Scope::Cluster;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), &wanted.namespace, &resource),
    };
    let found = api.get_opt(&wanted.name).await.map_err(|error| unread(&error))?;
    let state = found.map_or(IssuerState::Absent, |issuer| state(&issuer.data));
    Ok(SeenIssuer { state, is_cluster_wide })
}

/// Reads the condition `Ready`, without which cert-manager asks an issuer for nothing (cert-manager,
/// `pkg/controller/certificaterequests/sync.go`).
fn state(issuer: &Value) -> IssuerState {
    let conditions = issuer.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    match ready {
        None => IssuerState::NotReady("it has no condition Ready".to_owned()),
        Some(condition) if condition["status"] == "True" => IssuerState::Ready,
        Some(condition) => {
            let words = ["reason", "message"].map(|key| condition[key].as_str().unwrap_or_default());
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            IssuerState::NotReady(words.join(": "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issuer_is_ready_when_it_says_so() {
        let with = |conditions: Value| state(&json!({"status": {"conditions": conditions}}));
        assert_eq!(with(json!([{"type": "Ready", "status": "True"}])), IssuerState::Ready);
        let not = json!([{"type": "Ready", "status": "False", "reason": "ErrGetKeyPair", "message": "secret \"x\" not found"}]);
        assert_eq!(with(not), IssuerState::NotReady("ErrGetKeyPair: secret \"x\" not found".to_owned()));
        for conditions in [json!([]), json!([{"type": "Other", "status": "True"}]), json!("x")] {
            assert!(matches!(with(conditions), IssuerState::NotReady(_)));
        }
        assert!(matches!(state(&json!({})), IssuerState::NotReady(_)));
    }
}
