//! Where a rotation begins, or goes on, and what it waits for.

use serde_json::{Value, json};

use super::super::follow::{Rotation, is_under_way, next_of, progress, with_root};
use super::super::look::{Change, Looked, NewRoot, look, other_root, same_root};
use super::super::proxies::{InProxies, compare, signed_by};
use super::super::*;
use crate::fleet::fake::FakeServer;
use crate::istio::ca::sample::{Ca, istiod, secret};
use crate::istio::ca::{CaSecret, CertificateIssuer, CertificateV1, SeenCa, SeenIstiod, certificates};
use crate::mesh::Cluster;

const EARLY: &str = "2026-11-25T10:00:00Z";
const LATE: &str = "2026-11-25T11:00:00Z";

const PATH: &str = "/apis/cert-manager.io/v1/namespaces/istio-system/certificates/cacerts";

/// The old root and the new one, each with a CA of it, and a second CA of the old one.
struct Authorities {
    old: Ca,
    new: Ca,
    of_old: Ca,
    next_of_old: Ca,
    of_new: Ca,
}

fn authorities() -> Authorities {
    let (old, new) = (Ca::root("old root"), Ca::root("new root"));
    let (of_old, next_of_old, of_new) =
        (old.intermediate("ca"), old.intermediate("ca"), new.intermediate("ca"));
    Authorities { old, new, of_old, next_of_old, of_new }
}

impl Authorities {
    fn old(&self) -> Vec<Certificate> {
        vec![self.old.certificate()]
    }

    fn next(&self) -> Vec<Certificate> {
        vec![self.new.certificate()]
    }

    fn both(&self) -> Vec<Certificate> {
        [self.old(), self.next()].concat()
    }

    fn secret(&self, ca: &Ca, roots: Vec<Certificate>) -> CaSecret {
        CaSecret { roots, certificate: Some("cacerts".to_owned()), ..secret(ca, &self.old, EARLY) }
    }

    /// Two pods of istiod, of which the second one presents a certificate of another CA, where there is one.
    fn seen(&self, secret: &CaSecret, published: Vec<Certificate>, second: &Ca) -> SeenCa {
        let first = if second.certificate() == secret.ca { second } else { &self.of_old };
        let pod = |name: &str, ca: &Ca| {
            let presented = ca.presented(&self.old);
            SeenIstiod { pod: name.to_owned(), ..istiod(LATE, presented) }
        };
        let istiods = vec![pod("istiod-1", first), pod("istiod-2", second)];
        SeenCa { secret: Some(secret.clone()), published, istiods }
    }
}

fn cluster() -> Cluster {
    Cluster::example("baz", "baz.com")
}

fn certificate(status: &Value) -> CertificateV1 {
    serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "spec": {"secretName": "cacerts", "duration": "1440h0m0s", "issuerRef": {"name": "istio-ca"}},
        "status": status,
    }))
    .unwrap()
}

fn ready() -> CertificateV1 {
    certificate(&json!({"revision": 3, "conditions": [{"type": "Ready", "status": "True"}]}))
}

fn issuing() -> CertificateV1 {
    certificate(
        &json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Issuing", "status": "True", "reason": "Renewing"}]}),
    )
}

fn unready() -> CertificateV1 {
    certificate(&json!({"conditions": [{"type": "Ready", "status": "False", "reason": "DoesNotExist"}]}))
}

fn shown(next: Result<NextCaStep, RotateCaError>) -> String {
    match next {
        Ok(step) => format!("{step:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_rotation_within_the_root_begins_or_goes_on_by_what_is_there() {
    let all = authorities();
    let in_force = all.secret(&all.of_old, all.old());
    let behind = all.secret(&all.next_of_old, all.old());
    let of_new = all.secret(&all.of_new, all.next());
    let next =
        |certificate: &CertificateV1, secret: &CaSecret, published: Vec<Certificate>, root: Option<&Ca>| {
            let seen = all.seen(secret, published, &all.of_old);
            let root = root.map(Ca::certificate);
            shown(same_root(&cluster(), certificate, &seen, secret, root.as_ref()))
        };
    assert_eq!(next(&ready(), &in_force, all.old(), Some(&all.old)), "Issue");
    assert_eq!(next(&ready(), &in_force, all.old(), None), "Issue", "the issuer's root need not be known");
    assert_eq!(next(&issuing(), &in_force, all.old(), Some(&all.old)), "AwaitIssue");
    assert_eq!(next(&ready(), &behind, all.old(), Some(&all.old)), "AwaitReload");
    assert_eq!(next(&ready(), &behind, all.old(), Some(&all.new)), "AwaitReload", "what was issued is taken");
    insta::assert_snapshot!(next(&unready(), &in_force, all.old(), Some(&all.old)), @"Certificate istio-system/cacerts is not issued: DoesNotExist");
    let other = next(&ready(), &in_force, all.old(), Some(&all.new));
    let serials = [(all.new.certificate().serial, "NEW"), (all.old.certificate().serial, "OLD")];
    let other = serials.iter().fold(other, |text, (serial, name)| text.replace(serial, name));
    insta::assert_snapshot!(other, @"Issuer istio-ca signs with the root CN=new root (NEW) now, and proxies trust CN=old root (OLD): that is a change of the root");
    // Another root is in the Secret: the issuer has its old one back, or has not.
    assert_eq!(next(&ready(), &of_new, all.old(), Some(&all.old)), "Issue");
    insta::assert_snapshot!(next(&ready(), &of_new, all.old(), Some(&all.new)), @"the CA in Secret cacerts has another root than the one that istiod-1 gives to proxies");
    insta::assert_snapshot!(next(&ready(), &of_new, all.old(), None), @"the CA in Secret cacerts has another root than the one that istiod-1 gives to proxies");
    // Proxies trust two roots: what is signed now has one of them.
    let between = all.secret(&all.of_old, all.both());
    insta::assert_snapshot!(next(&ready(), &between, all.both(), Some(&all.old)), @"proxies trust two roots: a change of the root was begun, and has not ended");
    insta::assert_snapshot!(next(&ready(), &between, all.both(), None), @"proxies trust two roots: a change of the root was begun, and has not ended");
}

#[test]
fn what_proxies_trust_is_in_the_secret_where_nothing_is_published() {
    let all = authorities();
    let secret = all.secret(&all.of_old, all.both());
    let seen = all.seen(&secret, Vec::new(), &all.of_old);
    let looked = same_root(&cluster(), &ready(), &seen, &secret, None);
    assert!(matches!(looked, Err(RotateCaError::BetweenRoots { cluster }) if cluster == "baz"));
}

#[test]
fn a_change_of_the_root_begins_or_goes_on_by_what_is_there() {
    let all = authorities();
    let new = all.new.certificate();
    let next = |certificate: &CertificateV1, ca: &Ca, roots: Vec<Certificate>, published, presents: &Ca| {
        let secret = all.secret(ca, roots);
        let seen = all.seen(&secret, published, presents);
        shown(other_root(&cluster(), certificate, &seen, &secret, &new))
    };
    assert_eq!(next(&ready(), &all.of_old, all.old(), all.old(), &all.of_old), "TrustBoth");
    assert_eq!(next(&ready(), &all.of_old, all.both(), all.old(), &all.of_old), "AwaitTrust");
    assert_eq!(next(&ready(), &all.of_old, all.both(), all.both(), &all.of_old), "Issue");
    assert_eq!(next(&ready(), &all.of_new, all.next(), all.both(), &all.of_old), "AwaitReload");
    assert_eq!(next(&ready(), &all.of_new, all.next(), all.next(), &all.of_new), "Nothing");
    assert_eq!(next(&issuing(), &all.of_old, all.both(), all.both(), &all.of_old), "AwaitIssue");
    insta::assert_snapshot!(next(&issuing(), &all.of_old, all.old(), all.old(), &all.of_old), @"Certificate istio-system/cacerts is not issued: Renewing");
    insta::assert_snapshot!(next(&unready(), &all.of_old, all.old(), all.old(), &all.of_old), @"Certificate istio-system/cacerts is not issued: DoesNotExist");
    insta::assert_snapshot!(next(&ready(), &all.of_new, all.next(), all.old(), &all.of_old), @"the CA in Secret cacerts has another root than the one that istiod-1 gives to proxies");
}

fn looked(all: &Authorities, change: Change, ca: &Ca, published: Vec<Certificate>) -> Looked {
    let secret = all.secret(ca, published.clone());
    let seen = all.seen(&secret, published, &all.of_old);
    Looked { certificate: ready(), seen, secret, change, next: NextCaStep::Issue }
}

fn new_root(all: &Authorities, issuer: &str) -> Change {
    let issuer = CertificateIssuer { name: issuer.to_owned(), kind: None, group: None };
    Change::NewRoot(Box::new(NewRoot { issuer, root: all.new.certificate(), kubelet_delay: Duration::ZERO }))
}

#[test]
fn the_roots_before_and_after_are_told_apart() {
    let all = authorities();
    let same = |published| looked(&all, Change::SameRoot { duration: None }, &all.of_old, published);
    let other = |published| looked(&all, new_root(&all, "next-ca"), &all.of_old, published);
    assert_eq!(
        (same(all.old()).roots_before(), same(all.old()).wanted_roots()),
        (all.old(), all.old().as_slice())
    );
    assert_eq!(
        (other(all.old()).roots_before(), other(all.old()).wanted_roots()),
        (all.old(), all.next().as_slice())
    );
    assert_eq!(other(all.both()).roots_before(), all.old());
    assert_eq!(other(all.next()).roots_before(), all.next(), "all is done");
    assert_eq!(other(all.both()).new_root().map(|new| new.root.clone()), Some(all.new.certificate()));
    assert!(same(all.both()).new_root().is_none());
    assert_eq!(subjects(&all.both()), "CN=old root; CN=new root");
}

#[test]
fn only_what_differs_is_changed_in_the_certificate() {
    let all = authorities();
    let hours = |hours| Change::SameRoot { duration: Some(Duration::from_hours(hours)) };
    let spec = |change| looked(&all, change, &all.of_old, all.old()).new_spec();
    assert_eq!(spec(hours(720)), Some(json!({"duration": "720h"})));
    assert_eq!(spec(hours(1440)), None);
    assert_eq!(spec(Change::SameRoot { duration: None }), None);
    assert_eq!(
        spec(new_root(&all, "istio-ca")),
        None,
        "the issuer is the same, whatever is left to defaults"
    );
    let issuer = json!({"issuerRef": {"name": "next-ca", "kind": null, "group": null}});
    assert_eq!(spec(new_root(&all, "next-ca")), Some(issuer));
    let looked = looked(&all, new_root(&all, "next-ca"), &all.of_old, all.old());
    assert_eq!((looked.new_issuer().unwrap().name.as_str(), looked.new_duration()), ("next-ca", None));
}

#[test]
fn the_ca_in_force_is_the_one_that_istiod_presents() {
    let all = authorities();
    let of = |ca: &Ca| looked(&all, Change::SameRoot { duration: None }, ca, all.old()).in_force();
    let now = of(&all.of_old);
    assert_eq!(now.serial, all.of_old.certificate().serial);
    assert_eq!((now.revision, now.duration.as_deref()), (Some(3), Some("1440h")));
    assert_eq!(now.not_after, all.of_old.certificate().not_after.to_string());
    let before = of(&all.next_of_old);
    assert_eq!(before.serial, all.of_old.certificate().serial);
    assert_eq!((before.revision, before.duration), (None, None));
    let odd = CertificateV1 { status: None, ..certificate(&Value::Null) };
    let odd = CaIssue::of(&all.of_old.certificate(), &CertificateV1 { spec: odd.spec.clone(), ..odd });
    assert_eq!(odd.revision, Some(0));
}

#[test]
fn a_certificate_that_istiod_signed_is_in_the_way_of_another_root() {
    let all = authorities();
    let leaf = |ca: &Ca, root: &Ca| Some(ca.presented(root).swap_remove(0));
    let spire = Ca::root("spire");
    let have: InProxies = [
        ("sample/sleep-0".to_owned(), leaf(&spire, &spire)),
        ("shop/cart-0".to_owned(), leaf(&all.of_old, &all.old)),
        ("shop/cart-1".to_owned(), None),
        ("shop/cart-2".to_owned(), leaf(&all.next_of_old, &all.old)),
    ]
    .into();
    let (one, other) = (all.of_old.certificate(), all.next_of_old.certificate());
    assert_eq!(signed_by(&have, &[&one]), ["shop/cart-0"]);
    assert_eq!(signed_by(&have, &[&one, &other]), ["shop/cart-0", "shop/cart-2"]);
    // That of istiod and that of the Secret, which is one further.
    let looked = looked(&all, new_root(&all, "next-ca"), &all.next_of_old, all.old());
    let refused = all_of_spire(&looked, &have).unwrap_err();
    assert!(
        matches!(refused, RotateCaError::OfIstiod { proxies } if proxies == ["shop/cart-0", "shop/cart-2"])
    );
    let of_spire = have.into_iter().filter(|(pod, _)| !pod.starts_with("shop/cart-")).collect();
    assert!(all_of_spire(&looked, &of_spire).is_ok());
}

#[test]
fn what_became_of_svids_is_counted() {
    let all = authorities();
    let spire = Ca::root("spire");
    let leaf = |ca: &Ca| Some(ca.presented(ca).swap_remove(0));
    let same = leaf(&spire);
    let map = |of: Vec<(&str, Option<Certificate>)>| -> InProxies {
        of.into_iter().map(|(pod, has)| (pod.to_owned(), has)).collect()
    };
    let before = map(vec![
        ("a", same.clone()),
        ("b", leaf(&spire)),
        ("c", leaf(&spire)),
        ("d", None),
        ("e", leaf(&spire)),
        ("gone", leaf(&spire)),
    ]);
    let after = map(vec![
        ("a", same),
        ("b", leaf(&spire)),
        ("c", leaf(&all.of_new)),
        ("d", leaf(&spire)),
        ("e", None),
        ("new", leaf(&all.of_new)),
    ]);
    let svids = compare(&before, &after, &[&all.of_old.certificate(), &all.of_new.certificate()]);
    assert_eq!(svids, Svids { proxies: 5, unchanged: 1, renewed: 1, of_istiod: 1, unread: 2 });
}

#[test]
fn somebody_has_noticed_where_a_request_failed_or_a_certificate_is_not_spires() {
    let issue =
        CaIssue { serial: "01".to_owned(), not_after: EARLY.to_owned(), revision: None, duration: None };
    let done = |load: &[usize], svids: Svids| RotatedCa {
        cluster: "baz".to_owned(),
        before: issue.clone(),
        after: issue.clone(),
        root_before: None,
        root: String::new(),
        istiods: 2,
        proxies: Connected { before: 3, after: 3 },
        svids,
        load: load.iter().map(|failed| Load { failed: *failed, sent: 9, ..Load::default() }).collect(),
    };
    let fine = Svids { proxies: 3, unchanged: 2, renewed: 1, ..Svids::default() };
    assert!(done(&[0, 0, 0], fine).is_unnoticed() && done(&[], fine).is_unnoticed());
    assert!(!done(&[0, 0, 1], fine).is_unnoticed());
    assert!(!done(&[0], Svids { of_istiod: 1, ..fine }).is_unnoticed());
    assert!(!done(&[0], Svids { unread: 1, ..fine }).is_unnoticed());
}

struct Silent;

impl Watch<Step> for Silent {
    fn step(&self, _: &str, _: &Step) {}
}

fn with_rotation<T>(ask: impl FnOnce(&Rotation<'_>) -> T) -> T {
    let member = FakeServer::default().member("baz");
    ask(&Rotation { member: &member, deadline: Deadline::after(Duration::from_mins(1)), watch: &Silent })
}

#[tokio::test]
async fn the_next_ca_has_the_roots_that_were_wanted() {
    let all = authorities();
    let told = |change: Change, published: Vec<Certificate>, now: Vec<Certificate>| {
        let before = looked(&all, change, &all.of_old, published);
        let secret = all.secret(&all.next_of_old, now);
        with_rotation(|rotation| rotation.has_wanted_roots(&before, &secret))
            .map_err(|error| error.to_string())
    };
    let same = || Change::SameRoot { duration: None };
    assert_eq!(told(same(), all.old(), all.old()), Ok(()));
    assert_eq!(told(new_root(&all, "x"), all.both(), all.next()), Ok(()));
    let changed = RotateCaError::RootChanged { context: "other".to_owned() }.to_string();
    assert_eq!(told(same(), all.old(), all.next()), Err(changed.clone()));
    assert_eq!(told(new_root(&all, "x"), all.both(), vec![Ca::root("third").certificate()]), Err(changed));
    let renewed = RotateCaError::RenewedMeanwhile { cluster: "baz".to_owned() }.to_string();
    assert_eq!(told(new_root(&all, "x"), all.both(), all.old()), Err(renewed));
}

#[test]
fn every_pod_of_istiod_has_to_say_since_that_it_has_the_next_ca() {
    let all = authorities();
    let secret = all.secret(&all.of_old, all.old());
    let before = {
        let mut before = all.seen(&secret, all.old(), &all.of_old);
        before.istiods[1].log.reloaded = Some(EARLY.parse().unwrap());
        before
    };
    let with = |first: Option<&str>, second: Option<&str>| {
        let mut now = before.clone();
        now.istiods[0].log.reloaded = first.map(|at| at.parse().unwrap());
        now.istiods[1].log.reloaded = second.map(|at| at.parse().unwrap());
        now
    };
    let waits = |pod: &str| Some(format!("{pod} has not reloaded it"));
    assert_eq!(progress(&before, &with(None, Some(LATE)), false), (1, waits("istiod-1")));
    assert_eq!(progress(&before, &with(Some(LATE), Some(EARLY)), false), (1, waits("istiod-2")));
    assert_eq!(progress(&before, &with(Some(LATE), Some(LATE)), false), (2, None));
    assert_eq!(
        progress(&before, &with(None, Some(EARLY)), true),
        (2, None),
        "they said it before it was looked at"
    );
    let mut another = with(Some(LATE), None);
    "istiod-3".clone_into(&mut another.istiods[1].pod);
    assert_eq!(progress(&before, &another, false), (2, None), "a new pod has read the Secret as it started");
    let next = all.secret(&all.next_of_old, all.old());
    let behind = SeenCa { secret: Some(next), ..with(Some(LATE), Some(LATE)) };
    let (done, lacking) = progress(&before, &behind, false);
    assert_eq!((done, lacking), (2, Some(behind.state().to_string())));
}

#[tokio::test]
async fn a_pod_of_istiod_that_has_refused_the_ca_since_is_named() {
    let all = authorities();
    let secret = all.secret(&all.of_old, all.old());
    let plain = all.seen(&secret, all.old(), &all.of_old);
    let with = |refused: Option<&str>, failed: Option<&str>, reloaded: Option<&str>| {
        let mut seen = plain.clone();
        let log = &mut seen.istiods[1].log;
        log.refused_root = refused.map(|at| at.parse().unwrap());
        log.failed = failed.map(|at| (at.parse().unwrap(), "no key".to_owned()));
        log.reloaded = reloaded.map(|at| at.parse().unwrap());
        seen
    };
    let told = |before: &SeenCa, now: &SeenCa| {
        with_rotation(|rotation| rotation.refusal(before, &now.istiods[1])).map(|error| super::told(&error))
    };
    assert_eq!(told(&plain, &plain), None);
    insta::assert_snapshot!(told(&plain, &with(Some(LATE), None, None)).unwrap(), @r"
    the new CA was signed with another root: istiod goes on with the old one, until its next start
      hint: do not restart istiod before you are ready for it: with its next start the root changes under all proxies at once. Have the issuer sign with the old root again, then `kubectl mesh-install rotate-ca`; `rotate-ca --root` then changes the root in steps
    ");
    insta::assert_snapshot!(told(&plain, &with(None, Some(LATE), None)).unwrap(), @r"
    pod istiod-2 does not take the new CA: no key
      hint: istiod goes on with the CA that it has; see: kubectl --context baz -n istio-system logs istiod-2
    ");
    // What it said before was looked at, and what it has said before it took the CA, are of the past.
    let refused = with(Some(EARLY), Some(EARLY), None);
    assert_eq!(told(&refused, &refused), None);
    assert!(told(&refused, &with(Some(LATE), None, None)).is_some());
    assert!(told(&refused, &with(Some(EARLY), Some(LATE), None)).is_some());
    assert_eq!(told(&plain, &with(None, Some(EARLY), Some(LATE))), None);
    assert_eq!(told(&plain, &with(None, Some(LATE), Some(LATE))), None);
    assert!(told(&plain, &with(None, Some(LATE), Some(EARLY))).is_some());
}

#[test]
fn a_root_is_added_behind_the_others() {
    let all = authorities();
    for text in [all.old.pem.clone(), all.old.pem.trim_end().to_owned()] {
        let both = with_root(text.as_bytes(), &all.new.certificate());
        assert_eq!(certificates(&both), all.both());
        assert!(both.starts_with(all.old.pem.trim_end().as_bytes()));
        assert!(!String::from_utf8(both).unwrap().contains("\n\n"));
    }
}

#[tokio::test]
async fn without_a_certificate_of_cert_manager_there_is_nothing_to_rotate() {
    let look_at = |server: FakeServer| async move {
        let looked = look(&server.member("baz"), NextCa::SameRoot { duration: None }).await;
        matches!(looked.err().unwrap(), RotateCaError::NoCertificate)
    };
    assert!(look_at(FakeServer::default()).await);
    let other = FakeServer::default();
    other.put(PATH, json!({"spec": {"secretName": "elsewhere"}}));
    assert!(look_at(other).await);
    let ours = FakeServer::default();
    ours.put(PATH, json!({"spec": {"secretName": "cacerts"}}));
    assert!(!look_at(ours).await, "then istiod is looked for");
    let forbidden = FakeServer::default();
    forbidden.refuse(PATH, 403);
    assert!(!look_at(forbidden).await);
}

#[tokio::test]
async fn every_right_that_a_rotation_takes_is_asked_for() {
    let missing = |right: &'static str, next: NextCa| async move {
        let server = FakeServer::default();
        server.forbid(right);
        rights(&server.member("baz"), next).await.is_err()
    };
    let same = NextCa::SameRoot { duration: None };
    let other = NextCa::OtherRoot { kubelet_delay: Duration::ZERO };
    for right in ["patch certificates", "patch certificates/status", "get pods/log", "get pods/portforward"] {
        assert!(missing(right, same).await && missing(right, other).await, "{right}");
    }
    for right in ["patch secrets", "list configmaps"] {
        assert!(!missing(right, same).await && missing(right, other).await, "{right}");
    }
}

/// A certificate of this revision, with the status of its conditions and how often issuing has failed.
fn of_revision(revision: i64, ready: &str, issuing: &str, failures: i64) -> CertificateV1 {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": format!("{kind} is {status}")});
    certificate(&json!({
        "revision": revision,
        "failedIssuanceAttempts": failures,
        "conditions": [condition("Ready", ready), condition("Issuing", issuing)],
    }))
}

#[test]
fn the_next_ca_is_there_when_a_later_revision_is_ready_and_nothing_is_being_issued() {
    let before = of_revision(3, "True", "False", 1);
    let judged = |now: CertificateV1| match next_of(&before, now) {
        crate::manifest::Poll::Ready(_) => "it is there",
        crate::manifest::Poll::Pending(_) => "wait",
        crate::manifest::Poll::Never(_) => "it has failed",
    };
    assert_eq!(judged(of_revision(4, "True", "False", 1)), "it is there");
    assert_eq!(judged(of_revision(3, "True", "False", 1)), "wait");
    assert_eq!(judged(of_revision(4, "False", "False", 1)), "wait");
    assert_eq!(judged(of_revision(4, "True", "True", 0)), "wait");
    assert_eq!(judged(of_revision(3, "False", "False", 2)), "it has failed");
    assert_eq!(judged(of_revision(4, "True", "False", 2)), "it is there");
}

#[test]
fn cert_manager_is_told_once_to_issue_the_next_ca() {
    let before = of_revision(3, "True", "False", 0);
    assert!(!is_under_way(&before, &before));
    assert!(!is_under_way(&before, &of_revision(2, "True", "False", 0)));
    assert!(is_under_way(&before, &of_revision(3, "True", "True", 0)));
    assert!(is_under_way(&before, &of_revision(4, "True", "False", 0)));
}
