mod steps;

use serde_json::json;

use k8s_openapi::api::apps::v1::Deployment;

use super::look::{fits, has_multiroot};
use super::*;
use crate::hint::Hint;
use crate::istio::ca::{CaState, CertificateV1, SecretError};

fn told(error: &RotateCaError) -> String {
    format!("{error}\n  hint: {}", error.hint().unwrap_or_default())
}

fn certificate(duration: Option<&str>, renew_before: Option<&str>) -> CertificateV1 {
    serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "spec": {"secretName": "cacerts", "duration": duration, "renewBefore": renew_before, "issuerRef": {"name": "istio-ca"}},
    }))
    .unwrap()
}

#[test]
fn every_refusal_has_a_reason_and_says_what_to_do() {
    let context = || "foo".to_owned();
    let errors = [
        RotateCaError::MissingRights(vec![Need::new(
            "patch",
            "cert-manager.io",
            "certificates",
            Some(NAMESPACE),
        )]),
        RotateCaError::NoCertificate,
        RotateCaError::NoIssuer { cluster: "foo-eks-cluster".to_owned() },
        RotateCaError::UnknownRoot { issuer: "AWSPCAClusterIssuer root-ca".to_owned() },
        RotateCaError::MultirootOff,
        RotateCaError::OfIstiod { proxies: vec!["shop/cart-1".to_owned()] },
        RotateCaError::OfIstiod { proxies: (1..8).map(|n| format!("shop/cart-{n}")).collect() },
        RotateCaError::BetweenRoots { cluster: "foo-eks-cluster".to_owned() },
        RotateCaError::RenewedMeanwhile { cluster: "foo-eks-cluster".to_owned() },
        RotateCaError::NotIssued { why: "Issuing certificate".to_owned(), context: context() },
        RotateCaError::Unfit {
            state: CaState::StartedBefore { pod: "istiod-1".to_owned() },
            context: context(),
        },
        RotateCaError::IssuerHasOtherRoot {
            issuer: "Issuer istio-ca".to_owned(),
            found: "CN=root (02)".to_owned(),
            trusted: "CN=root (01)".to_owned(),
        },
        RotateCaError::TooShort { asked: Duration::from_hours(300), renew_before: "360h0m0s".to_owned() },
        RotateCaError::RootChanged { context: context() },
        RotateCaError::NotTaken {
            pod: "istiod-1".to_owned(),
            why: "Failed to update new Plug-in CA certs: x".to_owned(),
            context: context(),
        },
        SecretError::Incomplete("ca.crt").into(),
    ];
    insta::assert_snapshot!(errors.each_ref().map(told).join("\n"));
}

#[test]
fn a_duration_has_to_be_longer_than_the_renewal() {
    let hours = Duration::from_hours;
    let usual = certificate(Some("1440h0m0s"), Some("360h0m0s"));
    assert!(fits(&usual, hours(720)).is_ok() && fits(&usual, hours(360)).is_err());
    assert!(fits(&certificate(None, None), hours(2)).is_ok());
}

#[test]
fn multi_root_is_read_as_istiod_reads_it() {
    let with = |value: &str| {
        serde_json::from_value::<Deployment>(json!({"spec": {"selector": {}, "template": {"spec": {"containers": [
            {"name": "discovery", "env": [{"name": "A", "value": "true"}, {"name": "ISTIO_MULTIROOT_MESH", "value": value}]},
        ]}}}}))
        .unwrap()
    };
    assert!(has_multiroot(&with("true")) && has_multiroot(&with("1")));
    assert!(!has_multiroot(&with("false")) && !has_multiroot(&Deployment::default()));
}

#[test]
fn proxies_are_counted_and_no_more_than_five_are_named() {
    let of = |count: usize| {
        RotateCaError::OfIstiod { proxies: (1..=count).map(|n| format!("shop/cart-{n}")).collect() }
            .to_string()
    };
    let named = "shop/cart-1, shop/cart-2, shop/cart-3, shop/cart-4, shop/cart-5";
    assert!(of(1).contains("there is 1 proxy") && of(2).contains("there are 2 proxies"));
    assert!(of(5).contains(named) && !of(5).contains("more"));
    assert!(of(6).contains(&format!("{named} and 1 more")) && !of(6).contains("cart-6"));
}

#[test]
fn only_a_deadline_is_a_timeout() {
    use crate::manifest::WaitError;
    let timed_out = WaitError::TimedOut {
        what: "x".to_owned(),
        last_seen: "y".to_owned(),
        waited: Duration::from_secs(1),
    };
    let never = WaitError::Never { what: "x".to_owned(), reason: "y".to_owned() };
    let error = RotateCaError::Wait(timed_out);
    assert!(error.is_timeout() && error.hint().unwrap().to_string().contains("goes on where it was"));
    assert!(!RotateCaError::Wait(never).is_timeout() && !RotateCaError::NoCertificate.is_timeout());
}
