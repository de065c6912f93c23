//! Certificates, and chains of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm, date_time_ymd,
};

use crate::{Case, TRUST_DOMAIN};

pub(crate) const DAY: i64 = 24 * 60 * 60;
/// The SPIFFE ID of all leaves that have no other.
pub(crate) const ID: &str = "spiffe://foo.com/ns/sleep/sa/sleep";

/// A certificate that was made, with what it takes to sign others.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) params: CertificateParams,
    pub(crate) key: Arc<KeyPair>,
    pub(crate) der: Vec<u8>,
}

/// Generates a key of the kind that is usual.
pub(crate) fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate().expect("a key is generated"))
}

/// Generates a key for an algorithm.
pub(crate) fn key_for(algorithm: &'static SignatureAlgorithm) -> Arc<KeyPair> {
    Arc::new(KeyPair::generate_for(algorithm).expect("a key is generated"))
}

/// Has a certificate signed.
pub(crate) fn signed(params: CertificateParams, key: Arc<KeyPair>, by: &Made) -> Made {
    let issuer = Issuer::from_params(&by.params, &*by.key);
    let der = params.signed_by(&*key, &issuer).expect("a certificate is signed").der().to_vec();
    Made { params, key, der }
}

/// Has a certificate sign itself.
pub(crate) fn self_signed(params: CertificateParams, key: Arc<KeyPair>) -> Made {
    let der = params.self_signed(&*key).expect("a certificate signs itself").der().to_vec();
    Made { params, key, der }
}

/// Sets the validity, in seconds from now.
pub(crate) fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now = i64::try_from(now).expect("it is long before the end of time");
    let time = |offset: i64| {
        let seconds = u64::try_from(now + offset).expect("it is after 1970");
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (time(from), time(to));
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "SPIRE");
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, -DAY, 30 * DAY);
    params
}

/// An SVID of a workload as SPIRE makes it.
pub(crate) fn leaf() -> CertificateParams {
    let mut params = named("workload");
    params.subject_alt_names = vec![SanType::URI(ID.try_into().expect("it is ASCII"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A CA certificate of a corporation, which has no SPIFFE ID.
pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The CA certificate of a SPIRE server.
pub(crate) fn spire_ca() -> CertificateParams {
    let mut params = ca("SPIRE server");
    let id = format!("spiffe://{TRUST_DOMAIN}");
    params.subject_alt_names = vec![SanType::URI(id.try_into().expect("it is ASCII"))];
    params
}

/// What a whole chain is made of, from the root down: root, CAs in between, leaf.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) root: CertificateParams,
    pub(crate) between: Vec<CertificateParams>,
    pub(crate) leaf: CertificateParams,
}

impl Recipe {
    /// A root of a corporation, and below it as many CAs, of which the last is that of SPIRE.
    pub(crate) fn with_cas(count: usize) -> Self {
        let between = (1..=count).map(|n| if n == count { spire_ca() } else { ca(&format!("CA {n}")) });
        let root = if count == 0 { spire_ca() } else { ca("root") };
        Self { root, between: between.collect(), leaf: leaf() }
    }

    /// The parameters at a place, counted from the root (0) to the leaf.
    pub(crate) fn at(&mut self, place: usize) -> &mut CertificateParams {
        match place.checked_sub(1) {
            None => &mut self.root,
            Some(index) if index < self.between.len() => &mut self.between[index],
            Some(_) => &mut self.leaf,
        }
    }

    /// Changes the parameters at a place.
    pub(crate) fn change(mut self, place: usize, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(self.at(place));
        self
    }

    /// Adds an extension at a place.
    pub(crate) fn extended(self, place: usize, extension: CustomExtension) -> Self {
        self.change(place, |params| params.custom_extensions.push(extension))
    }

    /// Makes all certificates, from the root to the leaf.
    pub(crate) fn make(self) -> Chain {
        let mut made = vec![self_signed(self.root, key())];
        for params in self.between.into_iter().chain([self.leaf]) {
            let by = made.last().expect("there is a root");
            made.push(signed(params, key(), by));
        }
        Chain(made)
    }

    /// Makes the chain as SPIRE has it: all CAs between are sent, and the root is the bundle.
    pub(crate) fn case(self, name: impl Into<String>) -> Case {
        self.make().case(name)
    }
}

/// Certificates from the root to the leaf.
#[derive(Clone)]
pub(crate) struct Chain(pub(crate) Vec<Made>);

impl Chain {
    pub(crate) fn root(&self) -> &Made {
        &self.0[0]
    }

    /// The CA that signed the leaf.
    pub(crate) fn issuer(&self) -> &Made {
        &self.0[self.0.len() - 2]
    }

    pub(crate) fn leaf(&self) -> &Made {
        &self.0[self.0.len() - 1]
    }

    /// The CAs between, as they are sent: the one that signed the leaf first.
    pub(crate) fn between(&self) -> Vec<Vec<u8>> {
        self.0[1..self.0.len() - 1].iter().rev().map(|made| made.der.clone()).collect()
    }

    pub(crate) fn case(&self, name: impl Into<String>) -> Case {
        self.case_of(name, self.between(), vec![self.root().der.clone()])
    }

    pub(crate) fn case_of(
        &self,
        name: impl Into<String>,
        sent: Vec<Vec<u8>>,
        authorities: Vec<Vec<u8>>,
    ) -> Case {
        case(name, self.leaf(), sent, authorities)
    }
}

pub(crate) fn case(
    name: impl Into<String>,
    leaf: &Made,
    sent: Vec<Vec<u8>>,
    authorities: Vec<Vec<u8>>,
) -> Case {
    Case { name: name.into(), key: Arc::clone(&leaf.key), leaf: leaf.der.clone(), sent, authorities }
}
