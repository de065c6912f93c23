//! Checks on rules that somebody may have written.

use super::{Findings, of_each, up};
use crate::check::{Fault, Finding};
use crate::istio::NAMESPACE;
use crate::multicluster::examined::{Examined, SeenPeerAuthentication};

/// Looks for plaintext: a mesh without a strict rule, and weaker rules of namespaces and workloads.
pub(super) fn mutual_tls(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let rules = match &own.seen.peer_authentications {
            Ok(rules) => rules,
            Err(unread) => return vec![Finding::skip(own.scope(), &unread.why)],
        };
        let of_mesh = rules.iter().find(|rule| rule.namespace == NAMESPACE && !rule.selects);
        let mut findings = vec![match of_mesh {
            Some(rule) if rule.mode == "STRICT" => {
                Finding::pass(own.scope(), format!("PeerAuthentication {NAMESPACE}/{} is STRICT", rule.name))
            }
            found => {
                let cause = "plaintext is accepted in the whole mesh, and the gateways between networks do not work without mutual TLS";
                let seen = match found {
                    Some(rule) => format!("PeerAuthentication {NAMESPACE}/{} is {}", rule.name, rule.mode),
                    None => format!("there is no PeerAuthentication in {NAMESPACE}"),
                };
                Finding::fail(own.scope(), Fault::new(cause, up()).seen(seen))
            }
        }];
        for rule in rules {
            let is_of_mesh = rule.namespace == NAMESPACE && !rule.selects;
            let weak = weaknesses(rule, is_of_mesh);
            if weak.is_empty() {
                continue;
            }
            let whom = if rule.selects { "by some workloads of namespace" } else { "in namespace" };
            let disabled = weak.iter().any(|weak| weak.ends_with("DISABLE"));
            let consequence = if disabled {
                "; other clusters do not reach it, because the way between networks is mutual TLS"
            } else {
                ""
            };
            let cause = format!("plaintext is accepted {whom} {}{consequence}", rule.namespace);
            let object = format!("PeerAuthentication {}/{}", rule.namespace, rule.name);
            let hint = format!(
                "{} -n {} delete peerauthentication {}, or set its mode to STRICT",
                own.kubectl(),
                rule.namespace,
                rule.name
            );
            let fault = Fault::new(cause, hint).seen(format!("{object}: {}", weak.join(", ")));
            findings.push(Finding::fail(own.object(object), fault));
        }
        findings
    })
}

/// Lists what a rule makes weaker.
fn weaknesses(rule: &SeenPeerAuthentication, is_of_mesh: bool) -> Vec<String> {
    let is_weak = |mode: &str| matches!(mode, "PERMISSIVE" | "DISABLE");
    let all = (!is_of_mesh && is_weak(&rule.mode)).then(|| format!("mode {}", rule.mode));
    let ports = rule.ports.iter().filter(|(_, mode)| is_weak(mode));
    all.into_iter().chain(ports.map(|(port, mode)| format!("port {port} {mode}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(mode: &str, ports: &[(&str, &str)]) -> SeenPeerAuthentication {
        SeenPeerAuthentication {
            namespace: "shop".to_owned(),
            name: "weak".to_owned(),
            selects: false,
            mode: mode.to_owned(),
            ports: ports.iter().map(|(port, mode)| ((*port).to_owned(), (*mode).to_owned())).collect(),
        }
    }

    #[test]
    fn only_modes_that_let_plaintext_in_are_weak() {
        assert_eq!(weaknesses(&rule("STRICT", &[]), false), [""; 0]);
        assert_eq!(weaknesses(&rule("UNSET", &[("8080", "STRICT")]), false), [""; 0]);
        assert_eq!(
            weaknesses(&rule("PERMISSIVE", &[("9000", "DISABLE")]), false),
            ["mode PERMISSIVE", "port 9000 DISABLE"]
        );
        // Of the rule for the whole mesh the mode is another finding.
        assert_eq!(weaknesses(&rule("PERMISSIVE", &[]), true), [""; 0]);
    }
}
