use std::time::Duration;

use jiff::Timestamp;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A certificate that cert-manager keeps issued, as far as it is read here (cert-manager, `pkg/apis/certmanager/v1`).
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    plural = "certificates",
    root = "CertificateV1",
    namespaced,
    status = "CertificateStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// The Secret that it fills.
    pub secret_name: String,
    /// How long it is valid; 90 days without it.
    pub duration: Option<String>,
    /// How long before its end it is renewed; a third of its life without it.
    pub renew_before: Option<String>,
    /// Who signs it.
    pub issuer_ref: CertificateIssuer,
}

/// The issuer that a certificate is of. Without kind and group it is an `Issuer` of cert-manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateIssuer {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Option<String>,
    /// Its API group.
    pub group: Option<String>,
}

/// How far a certificate is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// How often it has been issued.
    pub revision: Option<i64>,
    /// How often issuing has failed, since it last did not.
    pub failed_issuance_attempts: Option<i64>,
    /// `Ready` and `Issuing`.
    pub conditions: Vec<CertificateCondition>,
}

/// One condition of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Of which generation of the certificate it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when it is so, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
}

impl CertificateV1 {
    fn condition(&self, kind: &str) -> Option<&CertificateCondition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Returns for how long it is issued, where that can be read. Kubernetes writes `1440h0m0s`.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        humantime::parse_duration(self.spec.duration.as_deref()?).ok()
    }

    /// Returns how often it has been issued.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.status.as_ref().and_then(|status| status.revision).unwrap_or_default()
    }

    /// Returns how often issuing has failed since it last did not.
    #[must_use]
    pub fn failures(&self) -> i64 {
        self.status.as_ref().and_then(|status| status.failed_issuance_attempts).unwrap_or_default()
    }

    /// Tells whether a new one is being issued.
    #[must_use]
    pub fn is_issuing(&self) -> bool {
        self.condition("Issuing").is_some_and(|issuing| issuing.status == "True")
    }

    /// Tells whether it is issued as its specification has it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = self.metadata.generation;
        self.condition("Ready").is_some_and(|ready| {
            ready.status == "True"
                && (ready.observed_generation.is_none() || ready.observed_generation == now)
        })
    }

    /// Says in words why it is not issued.
    #[must_use]
    pub fn says(&self) -> String {
        let said = |condition: &CertificateCondition| match condition.message.as_str() {
            "" => condition.reason.clone(),
            message => message.to_owned(),
        };
        let not_ready = self.condition("Ready").filter(|ready| ready.status != "True");
        match self.condition("Issuing").or(not_ready) {
            Some(condition) => crate::report::one_line(&said(condition)),
            None if self.is_ready() => "it is as it was".to_owned(),
            None => "cert-manager has not looked at it yet".to_owned(),
        }
    }

    /// Returns the patch of its status that makes cert-manager issue it anew, which is what `cmctl renew` does (cert-manager,
    /// `cmd/ctl/pkg/renew`). It is refused where the certificate has changed meanwhile.
    #[must_use]
    pub fn renewal(&self, now: Timestamp) -> Value {
        let others = self.status.iter().flat_map(|status| &status.conditions);
        let mut conditions: Vec<CertificateCondition> =
            others.filter(|condition| condition.kind != "Issuing").cloned().collect();
        conditions.push(CertificateCondition {
            kind: "Issuing".to_owned(),
            status: "True".to_owned(),
            reason: "ManuallyTriggered".to_owned(),
            message: "Certificate re-issuance manually triggered".to_owned(),
            observed_generation: self.metadata.generation,
            last_transition_time: Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        });
        json!({
            "metadata": { "resourceVersion": self.metadata.resource_version },
            "status": { "conditions": conditions },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(status: &Value) -> CertificateV1 {
        serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": "cacerts", "namespace": "istio-system", "generation": 2, "resourceVersion": "7"},
            "spec": {"secretName": "cacerts", "duration": "1440h", "issuerRef": {"name": "istio-ca"}, "isCA": true},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_certificate_is_ready_when_its_present_specification_is_issued() {
        let ready = |generation: i64| json!({"revision": 1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": generation}]});
        assert!(certificate(&ready(2)).is_ready());
        assert!(!certificate(&ready(1)).is_ready());
        assert_eq!(certificate(&ready(2)).says(), "it is as it was");
        assert_eq!(certificate(&json!({})).says(), "cert-manager has not looked at it yet");
    }

    #[test]
    fn a_duration_is_read_as_a_time() {
        assert_eq!(certificate(&json!({})).duration(), Some(Duration::from_hours(1440)));
        let mut without = certificate(&json!({}));
        without.spec.duration = None;
        assert_eq!(without.duration(), None);
    }

    #[test]
    fn a_renewal_keeps_the_other_conditions_and_the_version() {
        let status = json!({"revision": 1, "conditions": [
            {"type": "Issuing", "status": "False", "reason": "Failed", "message": "no"},
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "up to date", "observedGeneration": 2},
        ]});
        let certificate = certificate(&status);
        assert_eq!(certificate.says(), "no");
        let now = "2026-11-25T10:00:00.5Z".parse().unwrap();
        insta::assert_json_snapshot!(certificate.renewal(now));
    }

    #[test]
    fn what_keeps_a_certificate_from_being_issued_is_said_in_words() {
        let says = |conditions: Value| certificate(&json!({"conditions": conditions})).says();
        let ready = |status: &str, reason: &str, message: &str| json!({"type": "Ready", "status": status, "reason": reason, "message": message});
        let issuing = json!({"type": "Issuing", "status": "True", "reason": "DoesNotExist", "message": ""});
        assert_eq!(says(json!([ready("False", "DoesNotExist", "there is no Secret")])), "there is no Secret");
        assert_eq!(says(json!([ready("False", "DoesNotExist", "")])), "DoesNotExist");
        assert_eq!(says(json!([ready("False", "a", "b"), issuing])), "DoesNotExist");
        assert_eq!(says(json!([ready("True", "Ready", "up to date")])), "it is as it was");
    }

    #[test]
    fn counts_and_conditions_are_read_from_the_status() {
        let of = |status: Value| {
            let certificate = certificate(&status);
            (certificate.revision(), certificate.failures(), certificate.is_issuing(), certificate.is_ready())
        };
        assert_eq!(of(Value::Null), (0, 0, false, false));
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        assert_eq!(
            of(
                json!({"revision": 3, "failedIssuanceAttempts": 2, "conditions": [condition("Issuing", "True"), condition("Ready", "True")]})
            ),
            (3, 2, true, true)
        );
        assert_eq!(
            of(json!({"conditions": [condition("Issuing", "False"), condition("Ready", "False")]})),
            (0, 0, false, false)
        );
    }
}
