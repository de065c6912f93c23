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
        let gone: Vec<String> =
            self.proxies.keys().filter(|proxy| !seen.contains(*proxy)).cloned().collect();
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
