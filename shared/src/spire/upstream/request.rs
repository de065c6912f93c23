use jiff::Timestamp;
use kube::CustomResource;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::IssuerRef;
use crate::fleet::{Member, Need, ReadError};
use crate::trust::TrustDomain;

/// The label that SPIRE puts on its requests, with the trust domain.
const LABEL: &str = "cert-manager.spiffe.io/trust-domain";

/// A request for a certificate, as far as it is read here (cert-manager, `pkg/apis/certmanager/v1`).
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "CertificateRequest",
    plural = "certificaterequests",
    namespaced,
    status = "CertificateRequestStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CertificateRequestSpec {
    /// The issuer that is asked.
    pub issuer_ref: RequestedIssuer,
}

/// The issuer that a request is for. Without kind and group it is an `Issuer` of cert-manager.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RequestedIssuer {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Option<String>,
    /// Its API group.
    pub group: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CertificateRequestStatus {
    /// `Approved`, `Denied`, `InvalidRequest` and `Ready`.
    pub conditions: Vec<RequestCondition>,
}

/// One condition of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RequestCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word: `Pending`, `Failed`, `Issued`, `Denied`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A server's request for a CA certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What became of it.
    pub state: RequestState,
    /// What its conditions say.
    pub message: String,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody has answered it yet.
    Pending,
    /// It is signed.
    Signed,
    /// It is not allowed.
    Denied,
    /// The issuer could not sign it.
    Failed,
}

/// Lists what a server has requested of an issuer and what is still there, the newest first.
///
/// # Errors
/// [`ReadError`] when they cannot be listed.
pub async fn requests(
    member: &Member,
    issuer: &IssuerRef,
    trust_domain: &TrustDomain,
) -> Result<Vec<SeenRequest>, ReadError> {
    let api: Api<CertificateRequest> = Api::namespaced(member.client().clone(), &issuer.namespace);
    let params = ListParams::default().labels(&format!("{LABEL}={trust_domain}"));
    let list = api.list(&params).await.map_err(|error| {
        let need = Need::new("list", "cert-manager.io", "certificaterequests", Some(&issuer.namespace));
        let what = format!("certificate requests in namespace {}", issuer.namespace);
        ReadError::new(member.name(), what, need, &error)
    })?;
    Ok(of_issuer(list.items, issuer))
}

fn of_issuer(requests: Vec<CertificateRequest>, issuer: &IssuerRef) -> Vec<SeenRequest> {
    let is_for = |request: &CertificateRequest| {
        let RequestedIssuer { name, kind, group } = &request.spec.issuer_ref;
        *name == issuer.name
            && kind.as_deref().unwrap_or("Issuer") == issuer.kind
            && group.as_deref().unwrap_or("cert-manager.io") == issuer.group
    };
    let mut seen: Vec<SeenRequest> = requests.into_iter().filter(is_for).map(seen).collect();
    seen.sort_by(|a, b| (b.created, &b.name).cmp(&(a.created, &a.name)));
    seen
}

fn seen(request: CertificateRequest) -> SeenRequest {
    let conditions = request.status.unwrap_or_default().conditions;
    let (state, message) = settled(&conditions);
    SeenRequest {
        namespace: request.metadata.namespace.unwrap_or_default(),
        name: request.metadata.name.unwrap_or_default(),
        created: request.metadata.creation_timestamp.map(|time| time.0),
        state,
        message,
    }
}

/// Reads the conditions as SPIRE's plugin does (`cleanupStaleCertificateRequests`).
fn settled(conditions: &[RequestCondition]) -> (RequestState, String) {
    let find = |kind: &str| conditions.iter().find(|condition| condition.kind == kind);
    let said = |condition: &RequestCondition| match condition.message.as_str() {
        "" => condition.reason.clone(),
        message => message.to_owned(),
    };
    if let Some(denied) = find("Denied").filter(|condition| condition.status == "True") {
        return (RequestState::Denied, said(denied));
    }
    match find("Ready") {
        Some(ready) if ready.status == "True" => (RequestState::Signed, said(ready)),
        Some(ready) if ready.reason == "Failed" => (RequestState::Failed, said(ready)),
        Some(ready) => (RequestState::Pending, said(ready)),
        None if find("Approved").is_some() => {
            (RequestState::Pending, "the issuer has not answered".to_owned())
        }
        None => (RequestState::Pending, "nobody has approved it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(name: &str, created: &str, issuer: &Value, conditions: &Value) -> CertificateRequest {
        serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": "pki", "creationTimestamp": created},
            "spec": {"issuerRef": issuer, "request": "AAAA", "isCA": true},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn wanted() -> IssuerRef {
        IssuerRef {
            name: "spire-ca".to_owned(),
            kind: "Issuer".to_owned(),
            group: "cert-manager.io".to_owned(),
            namespace: "pki".to_owned(),
        }
    }

    #[test]
    fn the_newest_request_of_the_issuer_comes_first_and_those_of_another_are_left_out() {
        let ours = json!({"name": "spire-ca"});
        let requests = vec![
            request("old", "2026-11-24T10:00:00Z", &ours, &json!([])),
            request(
                "new",
                "2026-11-24T11:00:00Z",
                &json!({"name": "spire-ca", "kind": "Issuer", "group": "cert-manager.io"}),
                &json!([]),
            ),
            request(
                "other-kind",
                "2026-11-24T12:00:00Z",
                &json!({"name": "spire-ca", "kind": "ClusterIssuer"}),
                &json!([]),
            ),
            request("other-name", "2026-11-24T12:00:00Z", &json!({"name": "another"}), &json!([])),
        ];
        let names: Vec<String> = of_issuer(requests, &wanted()).into_iter().map(|seen| seen.name).collect();
        assert_eq!(names, ["new", "old"]);
    }

    #[test]
    fn what_became_of_a_request_is_read_as_spire_reads_it() {
        let of = |conditions: &Value| {
            let seen = seen(request("a", "2026-11-24T10:00:00Z", &json!({"name": "spire-ca"}), conditions));
            (seen.state, seen.message)
        };
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "said"});
        let said = |state| (state, "said".to_owned());
        assert_eq!(of(&json!([condition("Ready", "True", "Issued")])), said(RequestState::Signed));
        assert_eq!(of(&json!([condition("Ready", "False", "Failed")])), said(RequestState::Failed));
        assert_eq!(of(&json!([condition("Ready", "False", "Pending")])), said(RequestState::Pending));
        let denied = json!([condition("Ready", "False", "Denied"), condition("Denied", "True", "Policy")]);
        assert_eq!(of(&denied), said(RequestState::Denied));
        assert_eq!(of(&json!([])), (RequestState::Pending, "nobody has approved it".to_owned()));
        let approved = json!([condition("Approved", "True", "cert-manager.io")]);
        assert_eq!(of(&approved), (RequestState::Pending, "the issuer has not answered".to_owned()));
    }
}
