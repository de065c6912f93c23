//! When a SPIRE server makes and uses its next CA certificate (SPIRE 1.15.3, `pkg/server/ca/manager/slot.go`).

use std::time::Duration;

use jiff::Timestamp;

use super::server::{LocalAuthorities, LocalAuthority};
use crate::trust::{Authority, TrustBundle};

/// The longest time before its end at which a CA certificate is replaced.
const LONGEST_ACTIVATION: Duration = Duration::from_hours(7 * 24);
/// The longest time before its end at which the next CA certificate is made.
const LONGEST_PREPARATION: Duration = Duration::from_hours(30 * 24);

/// Returns when the server stops to sign with a CA certificate and goes on with the next: a sixth of its life before its end, and a
/// week at most.
#[must_use]
pub fn replaced_at(authority: &Authority) -> Timestamp {
    before_end(authority, 6, LONGEST_ACTIVATION)
}

/// Returns when the server makes the next CA certificate and publishes it: in the middle of this one's life, and thirty days
/// before its end at most.
#[must_use]
pub fn prepared_at(authority: &Authority) -> Timestamp {
    before_end(authority, 2, LONGEST_PREPARATION)
}

fn before_end(authority: &Authority, part: i64, longest: Duration) -> Timestamp {
    let life = authority.not_after().saturating_sub(authority.not_before()).max(0);
    let ahead = (life / part).min(i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
    let at = authority.not_after().saturating_sub(ahead);
    Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
}

/// Returns the ID of the authority in the server's bundle by which what a CA certificate signs is verified: its own, or that of the
/// upstream authority that signed it. Where an intermediate of that one did, the bundle has no authority of this ID.
#[must_use]
pub fn anchor_id(authority: &LocalAuthority) -> &str {
    if authority.upstream_id.is_empty() { &authority.id } else { &authority.upstream_id }
}

/// Until when a peer that holds `stored` can verify what a server signs, if it never gets another bundle of it. `live` is the
/// server's own bundle.
///
/// Where an upstream authority signs the server's CA certificates, these come and go without a change of the bundle: what counts
/// is the end of that authority, and where that is not known, of the newest one that both sides hold. `None` where it cannot be told,
/// which is so for a server without a CA.
#[must_use]
pub fn locked_out_after(
    stored: &TrustBundle,
    live: &TrustBundle,
    authorities: &LocalAuthorities,
) -> Option<Timestamp> {
    let active = authorities.active.as_ref()?;
    if !active.upstream_id.is_empty() {
        if let Some((_, signer)) = live.with_key_id(&active.upstream_id) {
            // A peer without it is locked out; since when is not known, and not before that authority began.
            let until = stored.end_of(&active.upstream_id).unwrap_or(signer.not_before());
            return Timestamp::from_second(until).ok();
        }
        let both = live.authorities().iter().filter(|(digest, _)| stored.authorities().contains_key(digest));
        let end = both.map(|(_, authority)| authority.not_after()).max();
        return Timestamp::from_second(end.unwrap_or(0)).ok();
    }
    let known = |id: &str| {
        let (digest, authority) = live.with_key_id(id)?;
        stored.authorities().contains_key(digest).then_some(authority)
    };
    // The server signs with it now, so a peer without it is locked out since it began.
    let Some(active_authority) = known(&active.id) else {
        return live
            .with_key_id(&active.id)
            .and_then(|(_, authority)| Timestamp::from_second(authority.not_before()).ok());
    };
    let prepared = authorities.prepared.as_ref().and_then(|prepared| {
        if prepared.upstream_id.is_empty() {
            return known(&prepared.id).map(replaced_at);
        }
        Timestamp::from_second(stored.end_of(&prepared.upstream_id)?).ok()
    });
    Some(prepared.unwrap_or_else(|| replaced_at(active_authority)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;
    use crate::spire::server::LocalAuthority;
    use crate::trust::hex;

    struct Ca {
        der: String,
        id: String,
    }

    /// A CA certificate that is valid from the first day of a month of 2026, for 30 days.
    fn ca(month: u8) -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2026, month, 1);
        params.not_after = date_time_ymd(2026, month, 31);
        let id = params.key_identifier(&key);
        let certificate = params.self_signed(&key).unwrap();
        Ca { der: STANDARD.encode(certificate.der()), id: hex(&id) }
    }

    fn bundle(cas: &[&Ca]) -> TrustBundle {
        TrustBundle::from_base64_der("bar.com".parse().unwrap(), cas.iter().map(|ca| ca.der.as_str()))
            .unwrap()
    }

    fn local(ca: &Ca, upstream: &str) -> LocalAuthority {
        LocalAuthority { id: ca.id.clone(), expires_at: 0, upstream_id: upstream.to_owned() }
    }

    fn after(stored: &[&Ca], live: &[&Ca], authorities: &LocalAuthorities) -> String {
        locked_out_after(&bundle(stored), &bundle(live), authorities).unwrap().to_string()
    }

    #[test]
    fn a_peer_is_locked_out_when_the_first_authority_that_it_lacks_is_used() {
        let (first, second) = (ca(1), ca(3));
        let active = LocalAuthorities { active: Some(local(&first, "")), ..LocalAuthorities::default() };
        // Five days before the end: a sixth of thirty.
        assert_eq!(after(&[&first], &[&first], &active), "2026-01-26T00:00:00Z");
        let prepared = LocalAuthorities { prepared: Some(local(&second, "")), ..active };
        assert_eq!(after(&[&first], &[&first, &second], &prepared), "2026-01-26T00:00:00Z");
        assert_eq!(after(&[&first, &second], &[&first, &second], &prepared), "2026-03-26T00:00:00Z");
        let activated = LocalAuthorities { active: Some(local(&second, "")), ..LocalAuthorities::default() };
        assert_eq!(after(&[&first], &[&first, &second], &activated), "2026-03-01T00:00:00Z");
    }

    #[test]
    fn under_an_upstream_authority_only_that_one_counts() {
        let (root, intermediate) = (ca(5), ca(1));
        let active =
            LocalAuthorities { active: Some(local(&intermediate, "aa")), ..LocalAuthorities::default() };
        assert_eq!(after(&[&root], &[&root], &active), "2026-05-31T00:00:00Z");
    }

    #[test]
    fn a_peer_without_the_upstream_authority_that_signed_is_locked_out_whatever_else_both_hold() {
        let (old, new, intermediate) = (ca(1), ca(3), ca(5));
        let active =
            LocalAuthorities { active: Some(local(&intermediate, &new.id)), ..LocalAuthorities::default() };
        assert_eq!(after(&[&old], &[&old, &new], &active), "2026-03-01T00:00:00Z");
        assert_eq!(after(&[&old, &new], &[&old, &new], &active), "2026-03-31T00:00:00Z");
    }

    #[test]
    fn a_server_that_goes_over_to_an_upstream_authority_locks_nobody_out_who_holds_that() {
        let (own, root, intermediate) = (ca(1), ca(5), ca(3));
        let authorities = LocalAuthorities {
            active: Some(local(&own, "")),
            prepared: Some(local(&intermediate, &root.id)),
            ..LocalAuthorities::default()
        };
        assert_eq!(after(&[&own], &[&own, &root], &authorities), "2026-01-26T00:00:00Z");
        assert_eq!(after(&[&own, &root], &[&own, &root], &authorities), "2026-05-31T00:00:00Z");
    }

    #[test]
    fn the_next_authority_is_made_in_the_middle_of_the_life() {
        let ca = ca(1);
        let bundle = bundle(&[&ca]);
        let authority = bundle.authorities().values().next().unwrap();
        assert_eq!(prepared_at(authority).to_string(), "2026-01-16T00:00:00Z");
    }
}
