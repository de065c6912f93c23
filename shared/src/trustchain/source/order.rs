//! Putting certificates in order: the leaf, who signed it, who signed that, and so on.

use std::collections::VecDeque;

use crate::trust::svid::{Certificate, Chain};

use super::error::SourceError;
use super::{MOST_OF_A_CHAIN, enumerated, name, once};

/// What certificates are together.
pub(super) struct Ordered {
    /// The workload's certificate, and its signers, the nearest first. `None` where none is a workload's.
    pub(super) chain: Option<Chain>,
    /// Those that do not belong to it, in the order in which they came.
    pub(super) rest: Vec<Certificate>,
}

/// Puts certificates in order, and notes what was not as it should be. Each is in the result once.
///
/// Who signed whom is told by names and key identifiers. The signers of a certificate come in the order in which they were there,
/// all of one level before the next; none is gone through twice, so it ends whatever they say.
///
/// # Errors
/// [`SourceError::TooManyCertificates`] where the way from the leaf on has more than a chain can have.
pub(super) fn order(certificates: Vec<Certificate>, notes: &mut Vec<String>) -> Result<Ordered, SourceError> {
    let certificates = once(certificates, "chain", notes);
    let signers = signers(&certificates);
    let signs = signing(&signers);
    let workloads: Vec<usize> = (0..certificates.len()).filter(|index| !certificates[*index].is_ca).collect();
    let leaf = workloads.iter().copied().find(|index| !signs[*index]).or(workloads.first().copied());
    // One that is marked as a CA by mistake, and has the ID of a workload.
    let mistaken = |index: &usize| has_path(&certificates[*index]) && !signs[*index];
    let Some(leaf) = leaf.or_else(|| (0..certificates.len()).find(mistaken)) else {
        return Ok(Ordered { chain: None, rest: certificates });
    };
    let further = workloads.iter().filter(|index| **index != leaf && !signs[**index]).count();
    if further > 0 {
        notes.push(format!(
            "it has certificates of {} workloads: the chain is that of the first, {}",
            further + 1,
            name(&certificates[leaf])
        ));
    }
    let way = way(leaf, &signers);
    if way.len() > MOST_OF_A_CHAIN {
        return Err(SourceError::TooManyCertificates { most: MOST_OF_A_CHAIN });
    }
    note_order(&way, notes);
    note_circle(&way, &certificates, &signers, notes);
    let roots: Vec<String> = way[1..]
        .iter()
        .map(|index| &certificates[*index])
        .filter(|signer| is_self_signed(signer))
        .map(name)
        .collect();
    if !roots.is_empty() {
        notes.push(format!(
            "a root comes with the chain ({}): that it fits proves nothing, peers go by their own bundle",
            enumerated(&roots)
        ));
    }
    let mut rest: Vec<Option<Certificate>> = certificates.into_iter().map(Some).collect();
    let mut chain = way.into_iter().filter_map(|index| rest[index].take());
    let leaf = chain.next();
    let intermediates = chain.collect();
    let apart: Vec<Certificate> = rest.into_iter().flatten().collect();
    if !apart.is_empty() {
        notes.push(format!(
            "{} in it did not sign anything of the chain",
            if apart.len() == 1 {
                "1 certificate".to_owned()
            } else {
                format!("{} certificates", apart.len())
            }
        ));
    }
    Ok(Ordered { chain: leaf.map(|leaf| Chain { leaf, intermediates }), rest: apart })
}

/// Puts CA certificates in order, the one that signs no other first.
pub(super) fn issuers(certificates: Vec<Certificate>) -> Vec<Certificate> {
    let signers = signers(&certificates);
    let first = signing(&signers).iter().position(|signs| !signs).unwrap_or(0);
    let way = if certificates.is_empty() { Vec::new() } else { way(first, &signers) };
    let mut rest: Vec<Option<Certificate>> = certificates.into_iter().map(Some).collect();
    let mut ordered: Vec<Certificate> = way.into_iter().filter_map(|index| rest[index].take()).collect();
    ordered.extend(rest.into_iter().flatten());
    ordered
}

/// Lists for every certificate those that signed it, itself left out.
fn signers(certificates: &[Certificate]) -> Vec<Vec<usize>> {
    let of = |(index, certificate): (usize, &Certificate)| {
        let others = certificates.iter().enumerate();
        let signers = others.filter(|(other, signer)| *other != index && claims(certificate, signer));
        signers.map(|(other, _)| other).collect()
    };
    certificates.iter().enumerate().map(of).collect()
}

/// Tells of every certificate whether it signed another.
fn signing(signers: &[Vec<usize>]) -> Vec<bool> {
    let mut signing = vec![false; signers.len()];
    signers.iter().flatten().for_each(|signer| signing[*signer] = true);
    signing
}

/// Goes from a certificate to its signers, to theirs, and so on; through none of them twice.
fn way(from: usize, signers: &[Vec<usize>]) -> Vec<usize> {
    let mut seen = vec![false; signers.len()];
    seen[from] = true;
    let (mut way, mut next) = (Vec::new(), VecDeque::from([from]));
    while let Some(index) = next.pop_front() {
        way.push(index);
        for signer in &signers[index] {
            if !std::mem::replace(&mut seen[*signer], true) {
                next.push_back(*signer);
            }
        }
    }
    way
}

/// Tells whether a certificate says that another signed it: by name, and by key where both name one.
pub(super) fn claims(certificate: &Certificate, signer: &Certificate) -> bool {
    let same_key = match (&certificate.authority_key_id, &signer.subject_key_id) {
        (Some(named), Some(key)) => Some(named == key),
        _ => None,
    };
    // Two that have no name at all are not the same for it.
    let same_name = certificate.issuer == signer.subject;
    same_name && same_key.unwrap_or(!signer.subject.is_empty())
}

fn is_self_signed(certificate: &Certificate) -> bool {
    claims(certificate, certificate)
}

/// Tells whether a certificate has the SPIFFE ID of a workload; authorities have that of their trust domain.
fn has_path(certificate: &Certificate) -> bool {
    matches!(certificate.spiffe_id(), Some(Ok(id)) if !id.path().is_empty())
}

fn note_order(way: &[usize], notes: &mut Vec<String>) {
    if !way.is_sorted() {
        let places: Vec<String> = way.iter().map(|index| (index + 1).to_string()).collect();
        notes.push(format!(
            "the certificates were not in order, the leaf first and every signer after what it signed: here they are ({})",
            enumerated(&places)
        ));
    }
}

fn note_circle(way: &[usize], certificates: &[Certificate], signers: &[Vec<usize>], notes: &mut Vec<String>) {
    let mut round = vec![false; signers.len()];
    for index in way {
        round[*index] = true;
    }
    // Who has no signer of them left, or has signed none of them, is taken out, until nothing changes: what stays goes round, or
    // leads from one circle to another.
    loop {
        let mut signing = vec![false; signers.len()];
        for index in way.iter().filter(|index| round[**index]) {
            signers[*index].iter().for_each(|signer| signing[*signer] = true);
        }
        let stays = |index: &usize| signing[*index] && signers[*index].iter().any(|signer| round[*signer]);
        let goes: Vec<usize> = way.iter().copied().filter(|index| round[*index] && !stays(index)).collect();
        if goes.is_empty() {
            break;
        }
        for index in goes {
            round[index] = false;
        }
    }
    let of_circle = way.iter().filter(|index| round[**index]);
    let names: Vec<String> = of_circle.map(|index| name(&certificates[*index])).collect();
    if !names.is_empty() {
        notes.push(format!("signers go round in a circle: {}", enumerated(&names)));
    }
}
