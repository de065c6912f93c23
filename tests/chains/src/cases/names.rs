//! Names of the leaf, and limits of names.

use rcgen::{CertificateParams, DnType, DnValue, SanType};

use crate::Case;
use crate::der::{Critical, NAME_CONSTRAINTS, NAMES, Name, extension, name_constraints, names, tlv};
use crate::make::{Chain, ID, Made, Recipe, ca, case, key, leaf, self_signed, signed, spire_ca};

pub(super) fn cases() -> Vec<Case> {
    [of_leaves(), of_cas(), limits(), limits_of_several(), spellings()].into_iter().flatten().collect()
}

const OTHER_ID: &str = "spiffe://foo.com/ns/other/sa/other";

/// Replaces the names of a certificate.
fn renamed(params: &mut CertificateParams, list: &[Name], critical: Critical) {
    params.subject_alt_names.clear();
    params.custom_extensions.push(extension(&NAMES, critical, names(list)));
}

fn of_leaves() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, list) in [
        ("two SPIFFE IDs", &[Name::Uri(ID), Name::Uri(OTHER_ID)][..]),
        ("the same SPIFFE ID twice", &[Name::Uri(ID), Name::Uri(ID)]),
        ("another trust domain first", &[Name::Uri("spiffe://bar.com/a"), Name::Uri(ID)]),
        ("another trust domain last", &[Name::Uri(ID), Name::Uri("spiffe://bar.com/a")]),
        ("another URI first", &[Name::Uri("https://foo.com/a"), Name::Uri(ID)]),
        ("another URI last", &[Name::Uri(ID), Name::Uri("https://foo.com/a")]),
        ("a DNS name first", &[Name::Dns("sleep.foo.com"), Name::Uri(ID)]),
        ("a DNS name last", &[Name::Uri(ID), Name::Dns("sleep.foo.com")]),
        (
            "every kind of name",
            &[
                Name::Email("a@foo.com"),
                Name::Ip(&[10, 0, 0, 1]),
                Name::Directory("foo"),
                Name::Registered(&[1, 2, 3]),
                Name::Dns("foo.com"),
                Name::Uri(ID),
            ],
        ),
        ("a DNS name only", &[Name::Dns("foo.com")]),
        ("an email address only", &[Name::Email("a@foo.com")]),
        ("no names", &[]),
        ("no SPIFFE ID", &[Name::Uri("https://foo.com/a")]),
        ("an empty URI", &[Name::Uri("")]),
        ("another trust domain", &[Name::Uri("spiffe://bar.com/ns/a/sa/b")]),
        ("a part of the trust domain", &[Name::Uri("spiffe://sub.foo.com/a")]),
        ("the trust domain itself", &[Name::Uri("spiffe://foo.com")]),
        ("the trust domain itself with a slash", &[Name::Uri("spiffe://foo.com/")]),
        ("the trust domain in capitals", &[Name::Uri("spiffe://FOO.com/a")]),
        ("the scheme in capitals", &[Name::Uri("SPIFFE://foo.com/a")]),
        ("a port", &[Name::Uri("spiffe://foo.com:443/a")]),
        ("a user", &[Name::Uri("spiffe://user@foo.com/a")]),
        ("a query", &[Name::Uri("spiffe://foo.com/a?b")]),
        ("an empty part of the path", &[Name::Uri("spiffe://foo.com/a//b")]),
        ("a path that ends with a slash", &[Name::Uri("spiffe://foo.com/a/")]),
        ("only the scheme", &[Name::Uri("spiffe://")]),
    ] {
        let recipe = Recipe::with_cas(1).change(2, |params| renamed(params, list, Critical::No));
        cases.push(recipe.case(format!("names: {name}")));
    }
    for (name, critical) in [("critical", Critical::Yes), ("not critical", Critical::No)] {
        let recipe = Recipe::with_cas(1).change(2, |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            renamed(params, &[Name::Uri(ID)], critical);
        });
        cases.push(recipe.case(format!("names: without a subject, {name}")));
    }
    let none = Recipe::with_cas(1).change(2, |params| params.subject_alt_names.clear());
    cases.push(none.case("names: without the extension"));
    let broken = Recipe::with_cas(1).change(2, |params| {
        params.subject_alt_names.clear();
        params.custom_extensions.push(extension(&NAMES, Critical::No, vec![0x30, 0x09, 0x86]));
    });
    cases.push(broken.case("names: no DER"));
    let twice = Recipe::with_cas(1).change(2, |params| {
        params.custom_extensions.push(extension(&NAMES, Critical::No, names(&[Name::Uri(ID)])));
    });
    cases.push(twice.case("names: the extension twice"));
    cases
}

fn of_cas() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, list) in [
        ("none", &[][..]),
        ("another trust domain", &[Name::Uri("spiffe://bar.com")]),
        ("a path", &[Name::Uri("spiffe://foo.com/spire/server")]),
        ("two", &[Name::Uri("spiffe://foo.com"), Name::Uri("spiffe://bar.com")]),
        ("no URI", &[Name::Dns("foo.com")]),
    ] {
        for (place, at) in [(0, "the root"), (1, "the CA")] {
            let recipe = Recipe::with_cas(1).change(place, |params| match list {
                [] => params.subject_alt_names.clear(),
                list => renamed(params, list, Critical::No),
            });
            cases.push(recipe.case(format!("names of a CA: {name} at {at}")));
        }
    }
    cases
}

/// One limit, at one CA.
fn limits() -> Vec<Case> {
    const LIMITS: [(&str, Name); 19] = [
        ("URI foo.com", Name::Uri("foo.com")),
        ("URI .foo.com", Name::Uri(".foo.com")),
        ("URI .com", Name::Uri(".com")),
        ("URI com", Name::Uri("com")),
        ("URI bar.com", Name::Uri("bar.com")),
        ("URI FOO.com", Name::Uri("FOO.com")),
        ("URI empty", Name::Uri("")),
        ("URI with a scheme", Name::Uri("spiffe://foo.com")),
        ("DNS foo.com", Name::Dns("foo.com")),
        ("DNS bar.com", Name::Dns("bar.com")),
        ("DNS empty", Name::Dns("")),
        ("email foo.com", Name::Email("foo.com")),
        ("email bar.com", Name::Email("bar.com")),
        ("directory SPIRE", Name::Directory("SPIRE")),
        ("directory spire", Name::Directory("spire")),
        ("directory Evil", Name::Directory("Evil")),
        ("IP 10.0.0.0/8", Name::Ip(&[10, 0, 0, 0, 255, 0, 0, 0])),
        ("IP too short", Name::Ip(&[10, 0, 0, 0])),
        ("a registered ID", Name::Registered(&[1, 2, 3])),
    ];
    let mut cases = Vec::new();
    for (name, limit) in LIMITS {
        for (place, at) in [(0, "the root"), (1, "the CA above"), (2, "SPIRE's CA")] {
            let limit = std::slice::from_ref(&limit);
            for (kind, content) in
                [("permitted", name_constraints(limit, &[])), ("excluded", name_constraints(&[], limit))]
            {
                let constraint = extension(&NAME_CONSTRAINTS, Critical::Yes, content);
                let recipe = Recipe::with_cas(2).extended(place, constraint);
                cases.push(recipe.case(format!("limits: {kind} {name} at {at}")));
            }
        }
    }
    cases
}

fn limits_of_several() -> Vec<Case> {
    let mut cases = Vec::new();
    let uri = |text| Name::Uri(text);
    for (name, permitted, excluded) in [
        ("two permitted URIs", vec![uri("bar.com"), uri("foo.com")], vec![]),
        ("permitted and excluded the same", vec![uri("foo.com")], vec![uri("foo.com")]),
        ("permitted, and another excluded", vec![uri("foo.com")], vec![uri("bar.com")]),
        ("a permitted URI and a permitted DNS name", vec![uri("foo.com"), Name::Dns("foo.com")], vec![]),
        ("neither", vec![], vec![]),
    ] {
        for (kind, critical) in [("critical", Critical::Yes), ("not critical", Critical::No)] {
            let content = name_constraints(&permitted, &excluded);
            let recipe = Recipe::with_cas(1).extended(1, extension(&NAME_CONSTRAINTS, critical, content));
            cases.push(recipe.case(format!("limits: {name}, {kind}")));
        }
    }
    // Names of the leaf that are not the SPIFFE ID count too.
    for (name, list) in [
        ("a DNS name inside", [Name::Uri(ID), Name::Dns("sleep.foo.com")]),
        ("a DNS name outside", [Name::Uri(ID), Name::Dns("sleep.bar.com")]),
        ("an email address outside", [Name::Uri(ID), Name::Email("a@bar.com")]),
        ("an address outside", [Name::Uri(ID), Name::Ip(&[192, 168, 0, 1])]),
    ] {
        let limit = [Name::Dns("foo.com"), Name::Email("foo.com"), Name::Ip(&[10, 0, 0, 0, 255, 0, 0, 0])];
        let constraint = extension(&NAME_CONSTRAINTS, Critical::Yes, name_constraints(&limit, &[]));
        let recipe = Recipe::with_cas(1)
            .extended(1, constraint)
            .change(2, |params| renamed(params, &list, Critical::No));
        cases.push(recipe.case(format!("limits: of DNS, email and IP, with {name}")));
    }
    for (name, id) in [
        ("a trust domain below", "spiffe://sub.foo.com/a"),
        ("without a path", "spiffe://foo.com"),
        ("with a port", "spiffe://foo.com:1/a"),
    ] {
        let constraint =
            extension(&NAME_CONSTRAINTS, Critical::Yes, name_constraints(&[Name::Uri("foo.com")], &[]));
        let recipe = Recipe::with_cas(1).extended(1, constraint).change(2, |params| {
            params.subject_alt_names = vec![SanType::URI(id.try_into().expect("it is ASCII"))];
        });
        cases.push(recipe.case(format!("limits: permitted URI foo.com, {name}")));
    }
    let broken = extension(&NAME_CONSTRAINTS, Critical::Yes, tlv(0x30, &[0xa0, 0x09]));
    cases.push(Recipe::with_cas(1).extended(1, broken).case("limits: no DER"));
    cases
}

/// How issuers are written: verifiers compare names with more or less patience.
fn spellings() -> Vec<Case> {
    let mut cases = Vec::new();
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    for (name, subject) in [
        ("in capitals", text("SPIRE SERVER")),
        ("with two spaces", text("SPIRE  server")),
        ("with a space at the end", text("SPIRE server ")),
        ("as PrintableString", DnValue::PrintableString("SPIRE server".try_into().expect("it is printable"))),
        ("as another name", text("another")),
    ] {
        let root = self_signed(ca("root"), key());
        let real = signed(spire_ca(), key(), &root);
        let mut params = spire_ca();
        params.distinguished_name.push(DnType::CommonName, subject);
        let alias = Made { params, ..real.clone() };
        let workload = signed(leaf(), key(), &alias);
        let chain = Chain(vec![root.clone(), real.clone(), workload]);
        cases.push(chain.case(format!("spelling: the leaf's issuer {name}")));
    }
    // Nobody has a name.
    let mut nameless = ca("");
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let root = self_signed(nameless.clone(), key());
    let workload = signed(leaf(), key(), &root);
    cases.push(case("spelling: the root without a name", &workload, Vec::new(), vec![root.der.clone()]));
    cases
}
