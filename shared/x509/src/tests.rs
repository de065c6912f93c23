//! What this crate adds to AWS-LC. What Envoy says of hundreds of chains is in `tests/chains`, and the library is held to it.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// 2026-06-15T12:00:00Z
const NOW: i64 = 1_781_524_800;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 6, 1), date_time_ymd(2026, 7, 1));
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// A root, a CA below it, and a leaf that this signed.
fn three() -> (Ca, Ca, Vec<u8>) {
    let root = CertifiedIssuer::self_signed(ca("root"), key()).unwrap();
    let issuing = CertifiedIssuer::signed_by(ca("issuing"), key(), &root).unwrap();
    let leaf = params("leaf").signed_by(&key(), &issuing).unwrap().der().to_vec();
    (root, issuing, leaf)
}

fn asked(leaf: &[u8], sent: &[&[u8]], authorities: &[&[u8]], at: i64) -> Result<Vec<Place>, Refusal> {
    path(&Question { leaf, sent, authorities, at })
}

#[test]
fn a_path_names_its_certificates_by_where_they_were_found() {
    let (root, issuing, leaf) = three();
    let (root, issuing): (&[u8], &[u8]) = (root.der(), issuing.der());
    let found = |sent: &[&[u8]], authorities: &[&[u8]]| asked(&leaf, sent, authorities, NOW).unwrap();
    assert_eq!(found(&[issuing], &[root]), [Place::Leaf, Place::Sent(0), Place::Authority(0)]);
    assert_eq!(found(&[&leaf, issuing], &[root]), [Place::Leaf, Place::Sent(1), Place::Authority(0)]);
    // An authority is taken before what was sent.
    let both = found(&[issuing, root], &[root, issuing]);
    assert_eq!(both, [Place::Leaf, Place::Authority(1), Place::Authority(0)]);
}

#[test]
fn a_refusal_names_the_certificate_and_how_far_the_path_came() {
    let (root, issuing, leaf) = three();
    let (root, issuing): (&[u8], &[u8]) = (root.der(), issuing.der());
    let refused = |sent: &[&[u8]], authorities: &[&[u8]], at| {
        let Refusal { fault, place, path } = asked(&leaf, sent, authorities, at).unwrap_err();
        (fault, place, path.len())
    };
    assert_eq!(refused(&[], &[root], NOW), (Fault::NoIssuer, Place::Leaf, 1));
    assert_eq!(refused(&[issuing], &[], NOW), (Fault::NoIssuer, Place::Sent(0), 2));
    assert_eq!(refused(&[], &[issuing], NOW), (Fault::NotARoot, Place::Authority(0), 2));
    assert_eq!(refused(&[issuing, root], &[&leaf], NOW), (Fault::SelfSigned, Place::Sent(1), 3));
    // The uppermost certificate is the first that is looked at.
    assert_eq!(refused(&[issuing], &[root], NOW + 20 * 86_400), (Fault::Ended, Place::Authority(0), 3));
    assert_eq!(refused(&[issuing], &[root], NOW - 20 * 86_400), (Fault::NotYet, Place::Authority(0), 3));
    let refusal = asked(&leaf, &[issuing], &[], NOW).unwrap_err();
    assert_eq!(refusal.to_string(), "certificate 2: nothing that was sent and no authority has signed it");
}

#[test]
fn bytes_that_are_no_certificate_are_refused_wherever_they_stand() {
    let (root, issuing, leaf) = three();
    let (root, issuing): (&[u8], &[u8]) = (root.der(), issuing.der());
    let longer = [issuing, &[0]].concat();
    for bad in [&b"no DER"[..], &[], &issuing[..100], &longer] {
        let refused = |result: Result<Vec<Place>, Refusal>| {
            let Refusal { fault, place, path } = result.unwrap_err();
            assert_eq!((fault, path.as_slice()), (Fault::Unreadable, &[][..]));
            place
        };
        assert_eq!(refused(asked(bad, &[], &[root], NOW)), Place::Leaf);
        assert_eq!(refused(asked(&leaf, &[issuing, bad], &[root], NOW)), Place::Sent(1));
        assert_eq!(refused(asked(&leaf, &[issuing], &[bad], NOW)), Place::Authority(0));
    }
}
