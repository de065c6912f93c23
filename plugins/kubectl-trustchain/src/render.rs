//! Chains for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;
use spire_mesh::envoy::Issuer;
use spire_mesh::report::{Cell, Report, Table, one_line};
use spire_mesh::trust::svid::Certificate;
use spire_mesh::trustchain::{Inspected, Standing, remaining};

/// Whether one chain is shown with everything, or many as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    One,
    /// Pods of clusters.
    All,
    /// What one file says of several.
    Parts,
}

/// What is printed. Its JSON is documented in docs/trustchain.md.
#[derive(Serialize)]
pub(crate) struct ChainReport<'i> {
    pub(crate) workloads: &'i [Inspected],
    #[serde(skip)]
    pub(crate) shown: Shown,
    /// What is said where there is no row.
    #[serde(skip)]
    pub(crate) when_empty: &'static str,
    #[serde(skip)]
    pub(crate) at: Timestamp,
}

impl Report for ChainReport<'_> {
    fn above(&self, wide: bool) -> String {
        match (self.shown, self.workloads) {
            (Shown::One, [one]) => chain(one, self.at, wide),
            _ => String::new(),
        }
    }

    fn table(&self, wide: bool) -> Table {
        match (self.shown, self.workloads) {
            (Shown::One, [one]) => bundles(one, self.at, wide),
            (Shown::Parts, parts) => rows_of_parts(parts, self.at),
            _ => rows(self.workloads, self.at, wide).when_empty(self.when_empty),
        }
    }
}

/// Writes a chain as a tree, from the leaf to the authority, and the verdict.
fn chain(one: &Inspected, at: Timestamp, wide: bool) -> String {
    let mut text = String::new();
    let workload = one.subject.workload.as_ref().map(|workload| format!(" ({workload})")).unwrap_or_default();
    let _ = writeln!(text, "{}{workload}", one_line(&one.subject.to_string()));
    if let Some(identity) = &one.identity {
        let _ = writeln!(text, "{}{}", one_line(identity), issued_by(one.issued_by));
    }
    text.push('\n');
    for (depth, listed) in one.chain.iter().enumerate() {
        let role = match (depth, listed.0.is_ca) {
            (0, false) => "leaf",
            (0, true) => "CA",
            _ => "signed by",
        };
        certificate(&mut text, depth, role, &listed.0, at, wide);
    }
    if let Some(authority) = &one.authority {
        let own = one.chain.last().is_some_and(|last| last.0.sha256 == authority.certificate.0.sha256);
        let depth = one.chain.len() - usize::from(own);
        if own {
            let _ = writeln!(text, "{}which is an authority, made by {}", indent(depth), authority.origin);
        } else {
            certificate(&mut text, depth, "authority", &authority.certificate.0, at, wide);
            let _ = writeln!(text, "{}made by    {}", indent(depth), authority.origin);
        }
    }
    if !one.chain.is_empty() {
        text.push('\n');
    }
    verdict(&mut text, one);
    if !one.trust_bundles.is_empty() {
        text.push('\n');
    }
    text
}

fn indent(depth: usize) -> String {
    // As deep as what belongs to a certificate at this depth.
    " ".repeat(if depth == 0 { 2 } else { 3 * depth + 2 })
}

fn certificate(
    text: &mut String,
    depth: usize,
    role: &str,
    certificate: &Certificate,
    at: Timestamp,
    wide: bool,
) {
    let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
    let name = if certificate.subject.is_empty() { "no subject" } else { &certificate.subject };
    let _ = writeln!(text, "{branch}{role}: {name}");
    let mut lines = Vec::new();
    match certificate.uris.as_slice() {
        [] => {}
        uris => lines.push(("SPIFFE ID", uris.join(", "))),
    }
    if !certificate.dns_names.is_empty() {
        lines.push(("DNS", certificate.dns_names.join(", ")));
    }
    lines.push(("issuer", certificate.issuer.clone()));
    lines.push(("serial", certificate.serial.clone()));
    let valid = format!(
        "{:.0} to {:.0}, {}",
        certificate.not_before,
        certificate.not_after,
        remaining(certificate, at)
    );
    lines.push(("valid", valid));
    lines.push((
        "key",
        format!("{}, signed with {}", certificate.public_key, certificate.signature_algorithm),
    ));
    lines.push(("SHA-256", certificate.sha256.to_string()));
    if wide {
        lines.extend(certificate.subject_key_id.clone().map(|id| ("key ID", id)));
        lines.extend(certificate.authority_key_id.clone().map(|id| ("signer's", id)));
    }
    let indent = indent(depth);
    for (name, value) in lines {
        let _ = writeln!(text, "{indent}{name:<10} {}", one_line(&value));
    }
}

fn issued_by(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Spire => ", issued by SPIRE",
        Issuer::Istiod => ", issued by istiod",
        Issuer::Unknown => "",
    }
}

fn verdict(text: &mut String, one: &Inspected) {
    match one.verdict.status {
        Standing::Good => {
            let domain = one.identity.as_deref().and_then(|id| id.strip_prefix("spiffe://"));
            let led = match (&one.authority, domain.and_then(|rest| rest.split('/').next())) {
                (Some(_), Some(domain)) => {
                    format!("its signatures lead to an authority of {}, and ", one_line(domain))
                }
                (Some(_), None) => "its signatures lead to an authority, and ".to_owned(),
                (None, _) => String::new(),
            };
            let _ = writeln!(text, "good: {led}no rule is broken");
        }
        Standing::Bad | Standing::Unknown => {
            for reason in &one.verdict.reasons {
                let source = reason.source.map(|source| format!("; {source}")).unwrap_or_default();
                let status = one.verdict.status.as_str();
                let _ = writeln!(text, "{status}: {} ({}{source})", one_line(&reason.message), reason.id);
                if let Some(fix) = &reason.fix {
                    let _ = writeln!(text, "  next: {}", one_line(&fix.to_string()));
                }
            }
        }
    }
}

/// One row for each authority that peers are verified with.
fn bundles(one: &Inspected, at: Timestamp, wide: bool) -> Table {
    let more: &[&'static str] = if wide { &["SERIAL", "KEY"] } else { &[] };
    let headers = ["TRUST DOMAIN", "AUTHORITY", "SUBJECT", "VALID UNTIL", "LEFT"];
    let mut table =
        Table::new(headers.into_iter().chain(more.iter().copied())).when_empty("it has no trust bundle");
    for bundle in &one.trust_bundles {
        for authority in &bundle.authorities {
            let certificate = &authority.0;
            let domain = bundle.trust_domain.as_deref().unwrap_or("everybody");
            let left = remaining(certificate, at);
            let digest = if wide { certificate.sha256.to_string() } else { certificate.sha256.short() };
            let mut row = vec![
                Cell::from(domain),
                digest.into(),
                certificate.subject.as_str().into(),
                format!("{:.0}", certificate.not_after).into(),
                if left.seconds < 0 { Cell::bad(left.to_string()) } else { left.to_string().into() },
            ];
            if wide {
                row.extend([
                    Cell::from(certificate.serial.as_str()),
                    certificate.public_key.to_string().into(),
                ]);
            }
            table.row(row);
        }
    }
    table
}

/// One row for all pods of a workload that do not differ in what is shown.
fn rows(workloads: &[Inspected], at: Timestamp, wide: bool) -> Table {
    let more: &[&'static str] = if wide { &["AUTHORITY", "POD"] } else { &[] };
    let headers =
        ["CLUSTER", "NAMESPACE", "WORKLOAD", "PODS", "IDENTITY", "ISSUED BY", "LEFT", "BUNDLES", "VERDICT"];
    let mut table = Table::new(headers.into_iter().chain(more.iter().copied()));
    for group in groups(workloads) {
        let one = group[0];
        let text = |text: &Option<String>| Cell::from(text.as_deref().unwrap_or_default());
        // The one that ends first stands for its group.
        let first = group.iter().filter_map(|one| one.chain.first()).min_by_key(|leaf| leaf.0.not_after);
        let left = first.map(|leaf| remaining(&leaf.0, at).to_string());
        let mut row = vec![
            text(&one.subject.cluster),
            text(&one.subject.namespace),
            one.subject.workload.as_ref().map(ToString::to_string).into(),
            group.len().into(),
            text(&one.identity),
            issuer(one),
            left.into(),
            bundle_summary(one).into(),
            verdict_cell(one),
        ];
        if wide {
            let authority = one.authority.as_ref().map(|authority| authority.certificate.0.sha256.short());
            let pods: Vec<&str> = group.iter().filter_map(|one| one.subject.pod.as_deref()).collect();
            row.extend([authority.into(), pods.join(", ").into()]);
        }
        table.row(row);
        reasons(&mut table, one);
    }
    table
}

/// One row for everything that a file says something of.
fn rows_of_parts(parts: &[Inspected], at: Timestamp) -> Table {
    let mut table = Table::new(["OF", "IDENTITY", "ISSUED BY", "LEFT", "BUNDLES", "VERDICT"]);
    for one in parts {
        table.row([
            Cell::from(one.subject.to_string()),
            one.identity.as_deref().unwrap_or_default().into(),
            issuer(one),
            one.chain.first().map(|leaf| remaining(&leaf.0, at).to_string()).into(),
            bundle_summary(one).into(),
            verdict_cell(one),
        ]);
        reasons(&mut table, one);
    }
    table
}

fn issuer(one: &Inspected) -> Cell {
    match one.issued_by {
        Issuer::Spire => Cell::from("SPIRE"),
        Issuer::Istiod => Cell::bad("istiod"),
        Issuer::Unknown => Cell::from("unknown"),
    }
}

fn verdict_cell(one: &Inspected) -> Cell {
    let status = one.verdict.status.as_str();
    match one.verdict.status {
        Standing::Good => Cell::good(status),
        Standing::Bad => Cell::bad(status),
        Standing::Unknown => Cell::attention(status),
    }
}

/// Writes why the verdict is what it is below the row.
fn reasons(table: &mut Table, one: &Inspected) {
    for reason in &one.verdict.reasons {
        table.note(format!("{} ({})", reason.message, reason.id));
        if let Some(fix) = &reason.fix {
            table.note(format!("next: {fix}"));
        }
    }
}

/// Writes how many authorities there are of each trust domain.
fn bundle_summary(one: &Inspected) -> String {
    let counted = one.trust_bundles.iter().map(|bundle| {
        let domain = bundle.trust_domain.as_deref().unwrap_or("everybody");
        match bundle.authorities.len() {
            1 => domain.to_owned(),
            count => format!("{domain} ({count})"),
        }
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Puts together the pods of a workload that have the same to show, in the order in which they were found.
fn groups(workloads: &[Inspected]) -> Vec<Vec<&Inspected>> {
    let mut groups: Vec<Vec<&Inspected>> = Vec::new();
    for one in workloads {
        match groups.iter_mut().find(|group| looks_like(group[0], one)) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

fn looks_like(one: &Inspected, other: &Inspected) -> bool {
    let subject = |of: &Inspected| {
        let subject = &of.subject;
        (subject.cluster.clone(), subject.namespace.clone(), subject.workload.clone(), subject.source.clone())
    };
    subject(one) == subject(other)
        && one.identity == other.identity
        && one.issued_by == other.issued_by
        && one.authority == other.authority
        && one.trust_bundles == other.trust_bundles
        && one.verdict == other.verdict
}
