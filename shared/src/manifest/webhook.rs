//! An admission webhook that an API server could not call.

use std::fmt;

use crate::hint::{Advice, Command};
use crate::report::{cut, one_line};

/// The longest text of an API server that is repeated, in characters.
const LONGEST: usize = 300;

/// A webhook that an API server could not call, with what it says of it:
/// `failed calling webhook "x.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/x?timeout=10s": context deadline exceeded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncalledWebhook {
    /// Its name: `namespace.sidecar-injector.istio.io`.
    pub name: String,
    /// Namespace and name of the Service that it leads to; nothing where it leads out of the cluster.
    pub service: Option<(String, String)>,
    /// What came instead of an answer.
    pub reason: String,
}

impl UncalledWebhook {
    /// Finds it in what an API server says of a request that it did not take.
    #[must_use]
    pub fn of(said: &str) -> Option<Self> {
        let (_, rest) = said.split_once("failed calling webhook \"")?;
        let (name, rest) = rest.split_once('"')?;
        let (url, reason) = match rest.split_once("Post \"").and_then(|(_, rest)| rest.split_once("\": ")) {
            Some((url, reason)) => (Some(url), reason),
            None => (None, rest.trim_start_matches(": ")),
        };
        let host = url.and_then(|url| url.strip_prefix("https://")?.split([':', '/']).next());
        let service = host.and_then(|host| {
            let (service, namespace) = host.strip_suffix(".svc")?.split_once('.')?;
            Some((namespace.to_owned(), service.to_owned()))
        });
        let bounded = |text: &str| cut(one_line(text), LONGEST);
        Some(Self { name: bounded(name), service, reason: bounded(reason) })
    }

    /// Tells whether nothing came back: something between the API server and the webhook's pods drops the packets.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        ["context deadline exceeded", "i/o timeout", "Client.Timeout", "no route to host"]
            .iter()
            .any(|text| self.reason.contains(text))
    }

    /// Says what to do where nothing came back.
    #[must_use]
    pub fn advice(&self) -> Advice {
        let Some((namespace, service)) = &self.service else {
            return "let the API server reach the address of the webhook".into();
        };
        Advice::from(format!(
            "let the API server reach the pods of Service {namespace}/{service} at its TargetPort (on EKS: a rule of the nodes' security group \
             that lets the cluster's security group in); that port is shown by: "
        ))
        .then(Command::kubectl(["-n", namespace, "describe", "service", service]))
    }
}

impl fmt::Display for UncalledWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "webhook {}", self.name)?;
        if let Some((namespace, service)) = &self.service {
            write!(f, " of Service {namespace}/{service}")?;
        }
        write!(f, " ({})", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_could_not_be_called_is_found_with_its_service_and_the_reason() {
        let found = |text: &str| UncalledWebhook::of(text);
        let said = "Internal error occurred: failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \
                    \"https://istiod.istio-system.svc:443/validate?timeout=10s\": context deadline exceeded";
        let webhook = found(said).unwrap();
        assert_eq!(
            webhook.to_string(),
            "webhook rev.validation.istio.io of Service istio-system/istiod (context deadline exceeded)"
        );
        assert!(webhook.is_unanswered());
        insta::assert_snapshot!(webhook.advice().to_string(), @"let the API server reach the pods of Service istio-system/istiod at its TargetPort (on EKS: a rule of the nodes' security group that lets the cluster's security group in); that port is shown by: kubectl --context CONTEXT -n istio-system describe service istiod");
        let refused = found(
            &said.replace("context deadline exceeded", "dial tcp 10.22.0.9:443: connect: connection refused"),
        );
        assert!(!refused.unwrap().is_unanswered(), "it may still be starting");
        let none = found("failed calling webhook \"x\": no endpoints available for service \"x\"").unwrap();
        assert_eq!((none.service, none.reason.as_str()), (None, "no endpoints available for service \"x\""));
        let outside = found(
            "failed calling webhook \"x\": failed to call webhook: Post \"https://x.example.com/a\": EOF",
        )
        .unwrap();
        assert_eq!(outside.service, None);
        assert_eq!(found("admission webhook \"x\" denied the request"), None);
    }
}
