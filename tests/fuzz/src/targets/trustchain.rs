//! What `kubectl trustchain -f` reads, and how it is judged and shown.

use jiff::Timestamp;
use spire_mesh::trust::svid::Chain;
use spire_mesh::trustchain::source::{Source, parse_all};
use spire_mesh::trustchain::{Evidence, Subject, judge, text};

use crate::invariant;

pub(crate) fn check(bytes: &[u8]) {
    let parts = match parse_all(bytes) {
        Ok(parts) => parts,
        Err(error) => return invariant::harmless_error(&error),
    };
    assert!(!parts.is_empty());
    for part in parts {
        part.name.iter().for_each(|name| invariant::harmless(name));
        match part.source {
            Ok(source) => check_one(source),
            Err(error) => invariant::harmless_error(&error),
        }
    }
}

fn check_one(source: Source) {
    source.notes.iter().chain(&source.others).for_each(|text| invariant::harmless(text));
    source.chain.iter().for_each(invariant::chain);
    let certificates = source.chain.iter().flat_map(Chain::certificates);
    for certificate in certificates.chain(&source.issuers) {
        // One line each, and no line that a terminal acts on.
        text::text(certificate).lines().for_each(invariant::harmless);
    }
    let at: Timestamp = "2026-11-25T18:00:00Z".parse().expect("a time");
    let inspected = judge(Evidence::of_source(Subject::source("a file"), source), at);
    invariant::harmless_report(&inspected);
}
