//! Whether Envoy would accept a chain of certificates.
//!
//! Envoy verifies with `BoringSSL`. AWS-LC, which is linked for TLS already, has that code with a few changes of its own; this
//! crate takes the changes back, and `tests/envoy` proves with some hundred chains and a real Envoy that it is so.
//!
//! It is the only crate with unsafe code: all of it is in `sys.rs`, behind types that free what they own.

mod sys;

use std::fmt;

use aws_lc_sys as aws;
use sys::{Certificate, Validity};

/// A certificate of a path, or of one that was tried: where it was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// It is the leaf.
    Leaf,
    /// It was sent with the leaf: the index among those.
    Sent(usize),
    /// It is an authority of the bundle: its index.
    Authority(usize),
}

/// A chain, what it is verified with, and when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The certificate of the peer (DER).
    pub leaf: &'a [u8],
    /// What is sent with it (DER), in its order, which matters: the first that can have signed is taken, and no other is tried.
    pub sent: &'a [&'a [u8]],
    /// The authorities of the bundle (DER), in its order, which matters as well.
    pub authorities: &'a [&'a [u8]],
    /// Seconds since 1970 (UTC).
    pub at: i64,
}

/// Why a chain is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Neither what was sent nor an authority has signed it.
    #[error("nothing that was sent and no authority has signed it")]
    NoIssuer,
    /// It signed itself, and is no authority.
    #[error("it signed itself, and is no authority")]
    SelfSigned,
    /// It is an authority that another CA signed, and that CA is none: only an authority that signed itself ends a path.
    #[error("it is an authority that did not sign itself")]
    NotARoot,
    /// Its signature is wrong, or of an algorithm that is not known.
    #[error("its signature is wrong, or of an algorithm that is not known")]
    Signature,
    /// It signs, and is no CA.
    #[error("it is no CA")]
    NoCa,
    /// It has more CAs below it than it may have.
    #[error("it has more CAs below it than it may have")]
    PathLength,
    /// A critical extension that is not known.
    #[error("a critical extension of it is not known")]
    CriticalExtension,
    /// An extension that cannot be read.
    #[error("an extension of it cannot be read")]
    Extension,
    /// A CA above it is limited to other names.
    #[error("a CA above it may only sign for other names")]
    NotPermitted,
    /// A CA above it may not sign for one of its names.
    #[error("a CA above it may not sign for one of its names")]
    Excluded,
    /// Its names, or the limits of a CA above it, cannot be compared.
    #[error("the limits of names of a CA above it cannot be held against its names")]
    NameSyntax,
    /// A policy is asked for that is not there.
    #[error("a CA demands a certificate policy that not every certificate has")]
    Policy,
    /// It is not valid yet.
    #[error("it is not valid yet")]
    NotYet,
    /// It has ended.
    #[error("it has ended")]
    Ended,
    /// It is no certificate, as `BoringSSL` reads them.
    #[error("it is not a certificate as TLS implementations read it")]
    Unreadable,
    /// Its public key cannot be read.
    #[error("its public key is not of a kind that is known")]
    PublicKey,
    /// Something else, as AWS-LC counts errors (`X509_V_ERR_*`).
    #[error("it breaks a rule of X.509 (error {0})")]
    Other(i32),
}

/// A chain is refused: why, and for which of its certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub fault: Fault,
    /// The certificate that it is about.
    pub place: Place,
    /// The path, or how far it came, from the leaf on; empty where a certificate cannot be read.
    pub path: Vec<Place>,
}

impl Refusal {
    /// Refuses before a path was looked for.
    fn early(fault: Fault, place: Place) -> Self {
        Self { fault, place, path: Vec::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Leaf => write!(f, "the leaf: {}", self.fault),
            Place::Sent(index) => write!(f, "certificate {}: {}", index + 2, self.fault),
            Place::Authority(index) => write!(f, "authority {} of the bundle: {}", index + 1, self.fault),
        }
    }
}

impl std::error::Error for Refusal {}

/// Finds the path that Envoy takes from the leaf to an authority, from bottom to top.
///
/// What a certificate may be used for in TLS (extended key usage) is not looked at: Envoy's SPIFFE validator does not either.
///
/// # Errors
/// [`Refusal`] where Envoy refuses the chain.
pub fn path(question: &Question<'_>) -> Result<Vec<Place>, Refusal> {
    let leaf = read(question.leaf, Place::Leaf)?;
    let sent = read_all(question.sent, Place::Sent)?;
    let authorities = read_all(question.authorities, Place::Authority)?;
    let outcome = sys::verify(&leaf, &sent, &authorities)
        .ok_or_else(|| Refusal::early(Fault::Other(aws::X509_V_ERR_OUT_OF_MEM), Place::Leaf))?;
    let path: Vec<(Place, &Certificate)> = outcome
        .chain
        .iter()
        .map(|index| match index.checked_sub(1) {
            None => (Place::Leaf, &leaf),
            Some(index) => match index.checked_sub(sent.len()) {
                None => (Place::Sent(index), &sent[index]),
                Some(index) => (Place::Authority(index), &authorities[index]),
            },
        })
        .collect();
    let places: Vec<Place> = path.iter().map(|(place, _)| *place).collect();
    if let Some((code, depth)) = outcome.failure {
        let place = places.get(depth).or(places.last()).copied().unwrap_or(Place::Leaf);
        return Err(Refusal { fault: Fault::of(code), place, path: places });
    }
    // AWS-LC prefers an issuer that is valid to one that comes first, and `BoringSSL` does not. So it was told not to look at times.
    for (place, certificate) in path.iter().rev() {
        let fault = match certificate.validity(question.at) {
            Validity::Valid => continue,
            Validity::NotYet => Fault::NotYet,
            Validity::Ended => Fault::Ended,
            Validity::Unreadable => Fault::Unreadable,
        };
        return Err(Refusal { fault, place: *place, path: places });
    }
    Ok(places)
}

fn read(der: &[u8], place: Place) -> Result<Certificate, Refusal> {
    Certificate::read(der).ok_or_else(|| Refusal::early(Fault::Unreadable, place))
}

fn read_all(ders: &[&[u8]], place: fn(usize) -> Place) -> Result<Vec<Certificate>, Refusal> {
    ders.iter().enumerate().map(|(index, der)| read(der, place(index))).collect()
}

impl Fault {
    /// Takes over what AWS-LC says (`X509_V_ERR_*`).
    fn of(code: i32) -> Self {
        match code {
            aws::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | aws::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE => Self::NoIssuer,
            aws::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT => Self::NotARoot,
            aws::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT | aws::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN => {
                Self::SelfSigned
            }
            aws::X509_V_ERR_CERT_SIGNATURE_FAILURE => Self::Signature,
            aws::X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY | aws::X509_V_ERR_EC_KEY_EXPLICIT_PARAMS => {
                Self::PublicKey
            }
            aws::X509_V_ERR_INVALID_CA => Self::NoCa,
            aws::X509_V_ERR_PATH_LENGTH_EXCEEDED => Self::PathLength,
            aws::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION => Self::CriticalExtension,
            aws::X509_V_ERR_INVALID_EXTENSION | aws::X509_V_ERR_INVALID_POLICY_EXTENSION => Self::Extension,
            aws::X509_V_ERR_PERMITTED_VIOLATION => Self::NotPermitted,
            aws::X509_V_ERR_EXCLUDED_VIOLATION => Self::Excluded,
            aws::X509_V_ERR_SUBTREE_MINMAX
            | aws::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE
            | aws::X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX
            | aws::X509_V_ERR_UNSUPPORTED_NAME_SYNTAX => Self::NameSyntax,
            aws::X509_V_ERR_NO_EXPLICIT_POLICY => Self::Policy,
            code => Self::Other(code),
        }
    }
}

#[cfg(test)]
mod tests;
