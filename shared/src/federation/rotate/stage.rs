//! How far the rotation of a server's CA is. Derived from what the server says; the record only tells whose rotation it is.

use jiff::Timestamp;
use serde::Serialize;

use super::record::{Record, Tainted};
use crate::federation::status::text;
use crate::spire::server::{LocalAuthorities, LocalAuthority};
use crate::trust::TrustBundle;

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was begun: a new CA is prepared.
    Prepare {
        /// The CA that signs, and is to go.
        from: String,
    },
    /// A new CA is in the bundle and signs nothing yet.
    Activate { from: String, to: String },
    /// The new CA signs; what the old one has signed is still in use.
    Taint { from: String, to: String },
    /// What the old CA has signed is being replaced.
    Revoke { from: String, to: String, tainted: Tainted },
    /// The old CA is out of the bundle; perhaps not everybody knows.
    Finish { from: String, to: String },
}

/// A CA of an earlier rotation that the server trusts and can no longer taint or revoke: it keeps one CA besides the one that signs, and
/// has prepared the next one in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StillTrusted {
    /// ID of the CA.
    pub id: String,
    /// End of its validity, when SPIRE takes it out of the bundle: RFC 3339, UTC.
    pub until: String,
}

impl StillTrusted {
    /// Finds what a rotation was to take away, and what no step can any more.
    pub(super) fn of(
        authorities: &LocalAuthorities,
        bundle: &TrustBundle,
        record: Option<&Record>,
    ) -> Option<Self> {
        let id = &record?.from;
        let is = |slot: &Option<LocalAuthority>| slot.as_ref().is_some_and(|authority| authority.id == *id);
        if is(&authorities.active) || is(&authorities.old) {
            return None;
        }
        Some(Self { id: id.clone(), until: trusted_until(bundle, id)? })
    }
}

/// Returns when a CA ends; `None` where it is not in the bundle.
pub(super) fn trusted_until(bundle: &TrustBundle, id: &str) -> Option<String> {
    let (_, authority) = bundle.with_key_id(id)?;
    Timestamp::from_second(authority.not_after()).ok().map(text)
}

/// The next step of a rotation, for people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextStep {
    /// A new CA is prepared.
    Prepare,
    /// The prepared CA is activated, once everybody has it.
    Activate,
    /// The old CA is tainted, so that everything that it signed is replaced.
    Taint,
    /// The old CA is revoked, once nothing that it signed is in use.
    Revoke,
    /// Everybody forgets the old CA.
    Finish,
}

impl NextStep {
    /// Returns the word for tables, which is also the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Revoke => "revoke",
            Self::Finish => "finish",
        }
    }
}

impl Stage {
    /// Derives the stage. `None` while the server has no CA. A record that does not fit what the server says is of a rotation that
    /// SPIRE has overtaken, and counts for nothing: see [`StillTrusted`].
    pub(super) fn of(
        authorities: &LocalAuthorities,
        bundle: &TrustBundle,
        record: Option<&Record>,
    ) -> Option<Self> {
        let active = &authorities.active.as_ref()?.id;
        if let Some(Record { from, to, tainted }) = record.filter(|record| record.to == *active) {
            let is_kept = authorities.old.as_ref().is_some_and(|old| old.id == *from);
            let (from, to) = (from.clone(), to.clone());
            match tainted {
                _ if bundle.with_key_id(&from).is_none() => return Some(Self::Finish { from, to }),
                Some(tainted) if is_kept => {
                    return Some(Self::Revoke { from, to, tainted: tainted.clone() });
                }
                None if is_kept => return Some(Self::Taint { from, to }),
                _ => {}
            }
        }
        let from = active.clone();
        Some(match &authorities.prepared {
            // SPIRE prepares one itself after half of the CA's life; it is as good as one of ours.
            Some(prepared) => Self::Activate { from, to: prepared.id.clone() },
            None => Self::Prepare { from },
        })
    }

    /// Returns the step without its details.
    pub(super) fn next(&self) -> NextStep {
        match self {
            Self::Prepare { .. } => NextStep::Prepare,
            Self::Activate { .. } => NextStep::Activate,
            Self::Taint { .. } => NextStep::Taint,
            Self::Revoke { .. } => NextStep::Revoke,
            Self::Finish { .. } => NextStep::Finish,
        }
    }

    /// Returns the ID of the CA that is to go.
    pub(super) fn from(&self) -> &str {
        match self {
            Self::Prepare { from }
            | Self::Activate { from, .. }
            | Self::Taint { from, .. }
            | Self::Revoke { from, .. }
            | Self::Finish { from, .. } => from,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyIdMethod, KeyPair};

    use super::*;

    const OLD: &[u8] = &[0x0a];
    const NEW: &[u8] = &[0x0b];

    fn bundle(ids: &[&[u8]]) -> TrustBundle {
        let certificates: Vec<String> = ids
            .iter()
            .map(|id| {
                let mut params = CertificateParams::default();
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_identifier_method = KeyIdMethod::PreSpecified(id.to_vec());
                STANDARD.encode(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
            })
            .collect();
        let texts = certificates.iter().map(String::as_str);
        TrustBundle::from_base64_der("foo.com".parse().unwrap(), texts).unwrap()
    }

    fn authorities(active: &str, prepared: Option<&str>) -> LocalAuthorities {
        let authority =
            |id: &str| LocalAuthority { id: id.to_owned(), expires_at: 0, upstream_id: String::new() };
        LocalAuthorities { active: Some(authority(active)), prepared: prepared.map(authority), old: None }
    }

    /// The new CA signs, and the server keeps the old one, until it prepares the next.
    fn activated() -> LocalAuthorities {
        LocalAuthorities { old: authorities("0a", None).active, ..authorities("0b", None) }
    }

    fn record(tainted: Option<Tainted>) -> Record {
        Record { from: "0a".to_owned(), to: "0b".to_owned(), tainted }
    }

    #[test]
    fn a_rotation_goes_on_where_it_was_interrupted() {
        let next = |authorities: LocalAuthorities, ids: &[&[u8]], record: Option<&Record>| {
            let bundle = bundle(ids);
            assert_eq!(StillTrusted::of(&authorities, &bundle, record), None);
            Stage::of(&authorities, &bundle, record).unwrap().next()
        };
        assert_eq!(next(authorities("0a", None), &[OLD], None), NextStep::Prepare);
        let prepared = authorities("0a", Some("0b"));
        assert_eq!(next(prepared, &[OLD, NEW], Some(&record(None))), NextStep::Activate);
        assert_eq!(next(activated(), &[OLD, NEW], Some(&record(None))), NextStep::Taint);
        let tainted = record(Some(Tainted::default()));
        assert_eq!(next(activated(), &[OLD, NEW], Some(&tainted)), NextStep::Revoke);
        assert_eq!(next(authorities("0b", None), &[NEW], Some(&tainted)), NextStep::Finish);
    }

    #[test]
    fn a_ca_in_whose_place_the_next_one_was_prepared_stays_trusted_until_it_ends() {
        for tainted in [None, Some(Tainted::default())] {
            let (overtaken, record) = (authorities("0b", Some("0c")), record(tainted));
            let stage = Stage::of(&overtaken, &bundle(&[OLD, NEW]), Some(&record)).unwrap();
            assert_eq!(stage, Stage::Activate { from: "0b".to_owned(), to: "0c".to_owned() });
            let still = StillTrusted::of(&overtaken, &bundle(&[OLD, NEW]), Some(&record)).unwrap();
            assert_eq!((still.id.as_str(), still.until.as_str()), ("0a", "4096-01-01T00:00:00Z"));
            assert_eq!(StillTrusted::of(&overtaken, &bundle(&[NEW]), Some(&record)), None, "it is gone");
            assert_eq!(StillTrusted::of(&overtaken, &bundle(&[OLD, NEW]), None), None);
        }
    }

    #[test]
    fn a_ca_that_spire_has_prepared_itself_is_used() {
        let stage = Stage::of(&authorities("0a", Some("0b")), &bundle(&[OLD, NEW]), None).unwrap();
        assert_eq!(stage, Stage::Activate { from: "0a".to_owned(), to: "0b".to_owned() });
    }

    #[test]
    fn a_record_that_does_not_fit_the_server_counts_for_nothing() {
        let stage = Stage::of(&authorities("0c", None), &bundle(&[OLD, NEW]), Some(&record(None))).unwrap();
        assert_eq!(stage, Stage::Prepare { from: "0c".to_owned() });
        assert_eq!(Stage::of(&LocalAuthorities::default(), &bundle(&[]), None), None);
    }

    #[test]
    fn every_stage_names_the_ca_that_goes_and_its_step_a_word() {
        let (from, to, tainted) = ("0a".to_owned(), "0b".to_owned(), Tainted::default());
        let all = [
            Stage::Prepare { from: from.clone() },
            Stage::Activate { from: from.clone(), to: to.clone() },
            Stage::Taint { from: from.clone(), to: to.clone() },
            Stage::Revoke { from: from.clone(), to: to.clone(), tainted },
            Stage::Finish { from, to },
        ];
        assert!(all.iter().all(|stage| stage.from() == "0a"));
        let words = all.map(|stage| stage.next().as_str());
        assert_eq!(words, ["prepare", "activate", "taint", "revoke", "finish"]);
    }

    #[test]
    fn what_was_recorded_before_the_taint_is_kept() {
        let tainted = Tainted {
            agents: [("spiffe://foo.com/spire/agent/a".to_owned(), "7".to_owned())].into(),
            server_pod: Some("uid".to_owned()),
        };
        let stage = Stage::of(&activated(), &bundle(&[OLD, NEW]), Some(&record(Some(tainted.clone()))));
        assert_eq!(stage, Some(Stage::Revoke { from: "0a".to_owned(), to: "0b".to_owned(), tainted }));
    }
}
