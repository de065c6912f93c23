//! CAs that were renewed with the same key, or that two have signed: several paths, of which some are wrong.

use std::sync::Arc;

use crate::Case;
use crate::make::{DAY, Made, ca, case, key, leaf, self_signed, signed, spire_ca, valid};

/// What a certificate may be: its validity.
const KINDS: [(&str, i64, i64); 3] =
    [("ended", -20 * DAY, -10 * DAY), ("valid", -DAY, 30 * DAY), ("not yet valid", DAY, 2 * DAY)];

pub(super) fn cases() -> Vec<Case> {
    [sent(), sent_above(), of_the_bundle(), cross_signed(), sent_and_trusted()]
        .into_iter()
        .flatten()
        .collect()
}

/// Twins of SPIRE's own CA, in every order.
fn sent() -> Vec<Case> {
    let mut cases = Vec::new();
    let root = self_signed(ca("root"), key());
    let twins = twins_below(&root, &spire_ca());
    let workload = signed(leaf(), key(), &twins[1]);
    for order in orders() {
        let sent = order.iter().map(|kind| twins[*kind].der.clone()).collect();
        let name = format!("twins: sent, {}", words(&order));
        cases.push(case(name, &workload, sent, vec![root.der.clone()]));
    }
    cases
}

/// Twins of a CA above SPIRE's.
fn sent_above() -> Vec<Case> {
    let mut cases = Vec::new();
    let root = self_signed(ca("root"), key());
    let twins = twins_below(&root, &ca("issuing"));
    let server = signed(spire_ca(), key(), &twins[1]);
    let workload = signed(leaf(), key(), &server);
    for order in orders() {
        let twins = order.iter().map(|kind| twins[*kind].der.clone());
        let sent = [server.der.clone()].into_iter().chain(twins).collect();
        let name = format!("twins: sent above the issuer, {}", words(&order));
        cases.push(case(name, &workload, sent, vec![root.der.clone()]));
    }
    cases
}

/// Roots with one key, in every order of the bundle.
fn of_the_bundle() -> Vec<Case> {
    let mut cases = Vec::new();
    let key = key();
    let roots = KINDS.map(|(_, from, to)| {
        let mut params = ca("root");
        valid(&mut params, from, to);
        self_signed(params, Arc::clone(&key))
    });
    let server = signed(spire_ca(), crate::make::key(), &roots[1]);
    let workload = signed(leaf(), crate::make::key(), &server);
    for order in orders() {
        let bundle = order.iter().map(|kind| roots[*kind].der.clone()).collect();
        let name = format!("twins: authorities with one key, {}", words(&order));
        cases.push(case(name, &workload, vec![server.der.clone()], bundle));
    }
    // The same names, and keys of their own: only one has signed.
    let others = KINDS.map(|(_, from, to)| {
        let mut params = ca("root");
        valid(&mut params, from, to);
        self_signed(params, crate::make::key())
    });
    for (kind, other) in KINDS.iter().zip(&others) {
        for (name, bundle) in [("before", [other, &roots[1]]), ("after", [&roots[1], other])] {
            let name = format!("twins: an authority of the same name with another key, {}, {name}", kind.0);
            let bundle = bundle.map(|made| made.der.clone()).to_vec();
            cases.push(case(name, &workload, vec![server.der.clone()], bundle));
        }
    }
    cases
}

/// A CA that two roots have signed, of which the bundle holds one.
fn cross_signed() -> Vec<Case> {
    let mut cases = Vec::new();
    let (old, new) = (self_signed(ca("old root"), key()), self_signed(ca("new root"), key()));
    let shared = key();
    let by_old = signed(spire_ca(), Arc::clone(&shared), &old);
    let by_new = signed(spire_ca(), Arc::clone(&shared), &new);
    // The new root, signed by the old one.
    let bridge = signed(ca("new root"), Arc::clone(&new.key), &old);
    let workload = signed(leaf(), key(), &by_new);
    for (bundle_name, bundle) in
        [("the old root", vec![&old]), ("the new root", vec![&new]), ("both roots", vec![&old, &new])]
    {
        for (sent_name, sent) in [
            ("by the old one first", vec![&by_old, &by_new]),
            ("by the new one first", vec![&by_new, &by_old]),
            ("by the old one only", vec![&by_old]),
            ("by the new one only", vec![&by_new]),
            ("by the new one, with the bridge", vec![&by_new, &bridge]),
            ("by the new one, with the new root", vec![&by_new, &new]),
            ("by the new one, with the new root before the bridge", vec![&by_new, &new, &bridge]),
            ("by the new one, with the bridge before the new root", vec![&by_new, &bridge, &new]),
        ] {
            let ders = |made: &[&Made]| made.iter().map(|made| made.der.clone()).collect();
            let name = format!("twins: cross-signed, {bundle_name}; sent is the CA {sent_name}");
            cases.push(case(name, &workload, ders(&sent), ders(&bundle)));
        }
    }
    cases
}

/// The root of the bundle has ended or is valid, and what is sent is a twin of it.
fn sent_and_trusted() -> Vec<Case> {
    let mut cases = Vec::new();
    let own = key();
    let roots = KINDS.map(|(_, from, to)| {
        let mut params = ca("root");
        valid(&mut params, from, to);
        self_signed(params, Arc::clone(&own))
    });
    let server = signed(spire_ca(), key(), &roots[1]);
    let workload = signed(leaf(), key(), &server);
    for (trusted_name, trusted) in KINDS.iter().zip(&roots) {
        for (sent_name, sent) in KINDS.iter().zip(&roots) {
            let name =
                format!("twins: the authority is {}, a twin that is sent is {}", trusted_name.0, sent_name.0);
            let sent = vec![server.der.clone(), sent.der.clone()];
            cases.push(case(name, &workload, sent, vec![trusted.der.clone()]));
        }
    }
    cases
}

fn twins_below(root: &Made, params: &rcgen::CertificateParams) -> [Made; 3] {
    let shared = key();
    KINDS.map(|(_, from, to)| {
        let mut params = params.clone();
        valid(&mut params, from, to);
        signed(params, Arc::clone(&shared), root)
    })
}

/// Every order of one, two and three of them.
fn orders() -> Vec<Vec<usize>> {
    let all = 0..KINDS.len();
    let mut orders: Vec<Vec<usize>> = all.clone().map(|kind| vec![kind]).collect();
    for length in 1..KINDS.len() {
        let longer: Vec<Vec<usize>> = orders
            .iter()
            .filter(|order| order.len() == length)
            .flat_map(|order| {
                let more = all.clone().filter(|kind| !order.contains(kind));
                more.map(|kind| [order.clone(), vec![kind]].concat()).collect::<Vec<_>>()
            })
            .collect();
        orders.extend(longer);
    }
    orders
}

fn words(order: &[usize]) -> String {
    order.iter().map(|kind| KINDS[*kind].0).collect::<Vec<_>>().join(", then ")
}
