use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::inspected::Inspected;
use crate::trust::AuthorityDigest;

/// Something that changed between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// A proxy is seen for the first time.
    Appeared {
        /// Cluster, namespace and pod.
        proxy: String,
        /// Serial number of its leaf.
        serial: String,
        /// When its path ends.
        expires: Option<Timestamp>,
    },
    /// A proxy presents another certificate.
    NewCertificate {
        /// Cluster, namespace and pod.
        proxy: String,
        /// Serial number of the leaf before.
        before: String,
        /// Serial number of the leaf now.
        serial: String,
        /// When its path ends.
        expires: Option<Timestamp>,
    },
    /// A proxy trusts one more authority.
    AuthorityAdded {
        /// Cluster, namespace and pod.
        proxy: String,
        /// The trust domain.
        trust_domain: String,
        /// SHA-256 of its certificate.
        authority: AuthorityDigest,
    },
    /// A proxy does not trust an authority any more.
    AuthorityRemoved {
        /// Cluster, namespace and pod.
        proxy: String,
        /// The trust domain.
        trust_domain: String,
        /// SHA-256 of its certificate.
        authority: AuthorityDigest,
    },
    /// Every proxy that is watched trusts an authority that some did not trust before.
    EverybodyHas {
        /// The trust domain.
        trust_domain: String,
        /// SHA-256 of its certificate.
        authority: AuthorityDigest,
        /// How many proxies are watched.
        proxies: usize,
    },
    /// Every proxy that is watched has presented a new certificate since the first look, or since this was said last.
    EverybodyRenewed {
        /// How many proxies are watched.
        proxies: usize,
    },
    /// A proxy cannot be read.
    NotRead {
        /// Cluster, namespace and pod.
        proxy: String,
        /// Why.
        why: String,
    },
    /// A proxy is not there any more.
    Gone {
        /// Cluster, namespace and pod.
        proxy: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |expires: &Option<Timestamp>| match expires {
            Some(expires) => format!(", until {expires:.0}"),
            None => String::new(),
        };
        match self {
            Self::Appeared { proxy, serial, expires } => {
                write!(f, "{proxy}: certificate {serial}{}", until(expires))
            }
            Self::NewCertificate { proxy, before, serial, expires } => {
                write!(f, "{proxy}: new certificate {serial}{}, before it {before}", until(expires))
            }
            Self::AuthorityAdded { proxy, trust_domain, authority } => {
                write!(f, "{proxy}: trusts authority {} of {trust_domain} now", authority.short())
            }
            Self::AuthorityRemoved { proxy, trust_domain, authority } => {
                write!(f, "{proxy}: trusts authority {} of {trust_domain} no more", authority.short())
            }
            Self::EverybodyHas { trust_domain, authority, proxies } => {
                write!(f, "all {proxies} proxies trust authority {} of {trust_domain}", authority.short())
            }
            Self::EverybodyRenewed { proxies } => {
                write!(f, "all {proxies} proxies have a new certificate")
            }
            Self::NotRead { proxy, why } => write!(f, "{proxy}: not read: {why}"),
            Self::Gone { proxy } => write!(f, "{proxy}: gone"),
        }
    }
}

type Trusted = BTreeSet<(String, AuthorityDigest)>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Had {
    serial: Option<String>,
    trusted: Trusted,
    renewed: bool,
    unread: Option<String>,
}

/// What was seen of proxies so far.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    proxies: BTreeMap<String, Had>,
    /// Authorities that some proxy lacks, or that came while watching.
    awaited: Trusted,
}

impl Watched {
    /// Tells whether nothing was seen so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxies.is_empty()
    }

    /// Compares a look with the one before, and returns what changed, proxy by proxy, and what all of them have at last.
    pub fn look(&mut self, inspected: &[Inspected]) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut seen = BTreeSet::new();
        for one in inspected {
            let proxy = one.subject.to_string();
            seen.insert(proxy.clone());
            self.one(proxy, one, &mut changes);
        }
        let gone: Vec<String> = self.proxies.keys().filter(|proxy| !seen.contains(*proxy)).cloned().collect();
        for proxy in gone {
            self.proxies.remove(&proxy);
            changes.push(Change::Gone { proxy });
        }
        self.everybody(&mut changes);
        changes
    }

    fn one(&mut self, proxy: String, one: &Inspected, changes: &mut Vec<Change>) {
        let Some(leaf) = one.chain.first() else {
            let why = one.verdict.reasons.first().map(|reason| reason.message.clone()).unwrap_or_default();
            let had = self.proxies.entry(proxy.clone()).or_insert_with(|| Had {
                serial: None,
                trusted: Trusted::new(),
                renewed: false,
                unread: None,
            });
            if had.unread.as_ref() != Some(&why) {
                changes.push(Change::NotRead { proxy, why: why.clone() });
            }
            had.unread = Some(why);
            return;
        };
        let (serial, expires) = (leaf.0.serial.clone(), one.expires());
        let trusted = trusted(one);
        let before = self.proxies.get(&proxy).cloned();
        let mut renewed = false;
        match before.as_ref().map(|had| (had, &had.serial)) {
            None | Some((_, None)) => {
                changes.push(Change::Appeared { proxy: proxy.clone(), serial: serial.clone(), expires });
            }
            Some((had, Some(before))) => {
                renewed = had.renewed;
                if *before != serial {
                    renewed = true;
                    changes.push(Change::NewCertificate {
                        proxy: proxy.clone(),
                        before: before.clone(),
                        serial: serial.clone(),
                        expires,
                    });
                }
                for (trust_domain, authority) in trusted.difference(&had.trusted).cloned() {
                    self.awaited.insert((trust_domain.clone(), authority));
                    changes.push(Change::AuthorityAdded { proxy: proxy.clone(), trust_domain, authority });
                }
                for (trust_domain, authority) in had.trusted.difference(&trusted).cloned() {
                    changes.push(Change::AuthorityRemoved { proxy: proxy.clone(), trust_domain, authority });
                }
            }
        }
        self.proxies.insert(proxy, Had { serial: Some(serial), trusted, renewed, unread: None });
    }

    fn everybody(&mut self, changes: &mut Vec<Change>) {
        let count = self.proxies.len();
        if count == 0 {
            return;
        }
        let everybody: Vec<(String, AuthorityDigest)> = self
            .awaited
            .iter()
            .filter(|awaited| self.proxies.values().all(|had| had.trusted.contains(*awaited)))
            .cloned()
            .collect();
        for (trust_domain, authority) in everybody {
            self.awaited.remove(&(trust_domain.clone(), authority));
            changes.push(Change::EverybodyHas { trust_domain, authority, proxies: count });
        }
        if self.proxies.values().all(|had| had.renewed) {
            changes.push(Change::EverybodyRenewed { proxies: count });
            // The next round is another one.
            self.proxies.values_mut().for_each(|had| had.renewed = false);
        }
    }
}

fn trusted(one: &Inspected) -> Trusted {
    let of_bundle = |bundle: &super::inspected::BundleShown| {
        let domain = bundle.trust_domain.clone().unwrap_or_else(|| "everybody".to_owned());
        bundle
            .authorities
            .iter()
            .map(move |authority| (domain.clone(), authority.0.sha256))
            .collect::<Vec<_>>()
    };
    one.trust_bundles.iter().flat_map(of_bundle).collect()
}

#[cfg(test)]
mod tests {
    use super::super::judge::Expected;
    use super::super::judge::tests::{at, inspected};
    use super::*;
    use crate::envoy::Issuer;
    use crate::trustchain::{Standing, Verdict};

    /// What a proxy has; `only` leaves it the bundle of one trust domain.
    fn proxy(name: &str, serial: &str, only: Option<&str>) -> Inspected {
        let mut one = inspected(Expected::Anything, at(), |_| ());
        one.subject.pod = Some(name.to_owned());
        one.chain[0].0.serial = serial.to_owned();
        one.trust_bundles
            .retain(|bundle| only.is_none_or(|domain| bundle.trust_domain.as_deref() == Some(domain)));
        one
    }

    fn said(watched: &mut Watched, inspected: &[Inspected]) -> String {
        let lines: Vec<String> = watched.look(inspected).iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn a_rotation_is_told_proxy_by_proxy_and_then_for_all() {
        let mut watched = Watched::default();
        let both = |a: &str, b: &str| [proxy("a", a, None), proxy("b", b, None)];
        insta::assert_snapshot!(said(&mut watched, &both("1", "2")), @r"
        foo/sample/a: certificate 1, until 2026-11-25T21:46:53Z
        foo/sample/b: certificate 2, until 2026-11-25T21:46:53Z
        ");
        assert_eq!(said(&mut watched, &both("1", "2")), "");
        insta::assert_snapshot!(said(&mut watched, &both("3", "2")), @"foo/sample/a: new certificate 3, until 2026-11-25T21:46:53Z, before it 1");
        insta::assert_snapshot!(said(&mut watched, &both("3", "4")), @r"
        foo/sample/b: new certificate 4, until 2026-11-25T21:46:53Z, before it 2
        all 2 proxies have a new certificate
        ");
        // The next round is another one.
        assert!(!said(&mut watched, &both("5", "4")).contains("all 2"));
        assert!(said(&mut watched, &both("5", "6")).contains("all 2"));
    }

    #[test]
    fn an_authority_is_told_when_it_comes_when_all_have_it_and_when_it_goes() {
        let mut watched = Watched::default();
        let foo = Some("foo.com");
        said(&mut watched, &[proxy("a", "1", foo), proxy("b", "1", foo)]);
        let first = said(&mut watched, &[proxy("a", "1", None), proxy("b", "1", foo)]);
        assert!(first.contains("a: trusts authority") && first.contains("of bar.com now"), "{first}");
        assert!(!first.contains("all"), "{first}");
        let both = said(&mut watched, &[proxy("a", "1", None), proxy("b", "1", None)]);
        assert!(both.contains("all 2 proxies trust authority"), "{both}");
        let gone = said(&mut watched, &[proxy("a", "1", foo), proxy("b", "1", None)]);
        assert!(gone.contains("of bar.com no more"), "{gone}");
    }

    #[test]
    fn of_three_proxies_the_third_counts_as_well() {
        let mut watched = Watched::default();
        assert!(watched.is_empty());
        let foo = Some("foo.com");
        let look = |serials: [&str; 3], only: [Option<&str>; 3]| {
            let all = ["a", "b", "c"].into_iter().zip(serials).zip(only);
            all.map(|((name, serial), only)| proxy(name, serial, only)).collect::<Vec<_>>()
        };
        said(&mut watched, &look(["1", "2", "3"], [foo; 3]));
        assert!(!watched.is_empty());
        let two = said(&mut watched, &look(["4", "5", "3"], [None, None, foo]));
        assert_eq!(two.lines().count(), 4, "{two}");
        assert!(!two.contains("all "), "{two}");
        let three = said(&mut watched, &look(["4", "5", "6"], [None; 3]));
        assert!(three.contains("all 3 proxies trust authority") && three.contains("of bar.com"), "{three}");
        assert!(three.ends_with("all 3 proxies have a new certificate"), "{three}");
        assert_eq!(said(&mut watched, &look(["4", "5", "6"], [None; 3])), "", "each is said once");
        // Who goes is not waited for.
        said(&mut watched, &look(["7", "8", "6"], [None; 3]));
        let gone = said(&mut watched, &look(["7", "8", "6"], [None; 3])[..2]);
        assert_eq!(gone, "foo/sample/c: gone\nall 2 proxies have a new certificate");
    }

    #[test]
    fn one_pool_is_trusted_for_everybody() {
        let mut one = proxy("a", "1", Some("foo.com"));
        one.trust_bundles[0].trust_domain = None;
        let authority = one.trust_bundles[0].authorities[0].0.sha256;
        assert_eq!(trusted(&one), [("everybody".to_owned(), authority)].into());
    }

    #[test]
    fn what_cannot_be_read_is_said_once_and_what_is_gone_too() {
        let mut watched = Watched::default();
        let mut unread = proxy("a", "1", None);
        unread.chain.clear();
        unread.issued_by = Issuer::Unknown;
        unread.verdict = Verdict {
            status: Standing::Unknown,
            reasons: vec![super::super::Reason {
                id: "not-read",
                message: "refused".to_owned(),
                source: None,
                fix: None,
            }],
        };
        assert_eq!(said(&mut watched, std::slice::from_ref(&unread)), "foo/sample/a: not read: refused");
        assert_eq!(said(&mut watched, std::slice::from_ref(&unread)), "");
        unread.verdict.reasons[0].message = "timed out".to_owned();
        assert_eq!(said(&mut watched, &[unread]), "foo/sample/a: not read: timed out");
        assert!(said(&mut watched, &[proxy("a", "1", None)]).starts_with("foo/sample/a: certificate 1"));
        assert_eq!(said(&mut watched, &[]), "foo/sample/a: gone");
    }
}
