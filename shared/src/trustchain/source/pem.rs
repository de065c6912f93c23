//! PEM, of which only certificates are decoded (RFC 7468): also as mails, wikis and YAML leave it, where what has come in between can be
//! no part of base64.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::trust::svid::Certificate;

use super::error::{NotEnough, SourceError};
use super::{LONGEST_CERTIFICATES, MOST_CERTIFICATES, der};

/// How certificates are encoded. Whoever copies text may lose the last `=`; what is decoded has a length of its own.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const DASHES: &[u8] = b"-----";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// The longest label that is looked at, in bytes; `ENCRYPTED PRIVATE KEY` has 21.
const LONGEST_LABEL: usize = 64;
/// How base64 of a certificate begins: a sequence of a length of two bytes.
const DER_IN_BASE64: &[u8] = b"MII";
/// How base64 of PEM begins.
const BASE64_OF_PEM: &[u8] = b"LS0tLS1CRUdJTi";

/// What a text in PEM holds. Keys are not in it.
#[derive(Default)]
pub(super) struct Blocks {
    /// The certificates, in their order.
    pub(super) certificates: Vec<Certificate>,
    /// The line in which the first of them begins, from 1.
    pub(super) first_line: Option<usize>,
    /// How many private keys there were. Not one was decoded.
    pub(super) private_keys: usize,
    /// How many of the certificates came with what OpenSSL trusts them for (`openssl x509 -trustout`).
    pub(super) with_trust: usize,
    requests: usize,
    revocation_lists: usize,
    public_keys: usize,
    stores: usize,
    /// How many blocks of other kinds there were.
    unknown: usize,
}

impl Blocks {
    /// Says what else there was, keys left out.
    pub(super) fn others(&self) -> Vec<String> {
        let counts = [
            (self.requests, "certificate request"),
            (self.revocation_lists, "revocation list"),
            (self.public_keys, "public key"),
            (self.stores, "PKCS #7 block"),
            (self.unknown, "block of another kind"),
        ];
        let there = counts.into_iter().filter(|(count, _)| *count > 0);
        there
            .map(|(count, what)| if count == 1 { what.to_owned() } else { format!("{what} ({count} times)") })
            .collect()
    }

    /// Says what this is, where no certificate is in it.
    pub(super) fn not_enough(&self) -> NotEnough {
        if self.private_keys > 0 {
            NotEnough::PrivateKey
        } else if self.requests > 0 {
            NotEnough::Request
        } else if self.stores > 0 {
            NotEnough::Pkcs7
        } else if self.public_keys > 0 {
            NotEnough::PublicKey
        } else if self.revocation_lists > 0 {
            NotEnough::RevocationList
        } else {
            NotEnough::NoCertificate
        }
    }

    fn count(&mut self, label: &[u8]) {
        let counter = match label {
            label if is_private(label) => &mut self.private_keys,
            b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => &mut self.requests,
            b"X509 CRL" => &mut self.revocation_lists,
            b"PKCS7" | b"CMS" => &mut self.stores,
            label if label.ends_with(b"PUBLIC KEY") => &mut self.public_keys,
            _ => &mut self.unknown,
        };
        *counter += 1;
    }
}

fn is_private(label: &[u8]) -> bool {
    label.ends_with(b"PRIVATE KEY")
}

/// Tells whether there is the beginning of a block.
pub(super) fn looks_like_it(bytes: &[u8]) -> bool {
    position(bytes, BEGIN).is_some()
}

/// Names what is no PEM, and is known all the same.
pub(super) fn named(text: &[u8]) -> Option<NotEnough> {
    if text.starts_with(BASE64_OF_PEM) {
        Some(NotEnough::Base64)
    } else if text.starts_with(b"RESOURCE NAME") || text.starts_with(b"NAME ") {
        Some(NotEnough::Table)
    } else if text.starts_with(b"Certificate:") {
        Some(NotEnough::OpensslText)
    } else if text.starts_with(b"Received ") && position(text, b"SPIFFE ID:").is_some() {
        Some(NotEnough::AgentText)
    } else if position(text, END).is_some() {
        Some(NotEnough::OnlyTheEnd)
    } else if position(text, b"BEGIN CERTIFICATE").is_some() {
        Some(NotEnough::OtherDashes)
    } else if text.starts_with(DER_IN_BASE64) && is_base64(text) {
        Some(NotEnough::NoMarks)
    } else {
        None
    }
}

fn is_base64(text: &[u8]) -> bool {
    let is_letter =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte) || byte.is_ascii_whitespace();
    text.iter().all(is_letter)
}

/// Reads PEM. What stands between the blocks is a remark.
///
/// # Errors
/// [`SourceError`] where a block has no end, or a certificate is none: a certificate is never left out in silence.
pub(super) fn read(text: &[u8]) -> Result<Blocks, SourceError> {
    read_within(text, 0..text.len())
}

/// Reads the PEM in a part of a text. The places in errors are those of the whole.
///
/// # Errors
/// As those of [`read`].
pub(super) fn read_within(text: &[u8], part: Range<usize>) -> Result<Blocks, SourceError> {
    let (text, at) = (&text[..part.end], part.start);
    let mut blocks = Blocks::default();
    let mut begun: Option<(&[u8], usize)> = None;
    let (mut of_certificates, mut after) = (0, at);
    for Mark { begins, label, start, end } in (Marks { text, at }) {
        after = end;
        match (begins, begun) {
            (true, None) => begun = Some((label, start)),
            (false, Some((open, from))) if open == label => {
                begun = None;
                let Some(form) = Form::of(label) else {
                    blocks.count(label);
                    continue;
                };
                of_certificates += end - from;
                if blocks.certificates.len() == MOST_CERTIFICATES {
                    return Err(SourceError::TooManyCertificates { most: MOST_CERTIFICATES });
                }
                if of_certificates > LONGEST_CERTIFICATES {
                    return Err(SourceError::CertificatesTooLong);
                }
                blocks.with_trust += usize::from(form == Form::WithTrust);
                let body = from + BEGIN.len() + label.len() + DASHES.len()..start;
                let position = blocks.certificates.len() + 1;
                blocks.certificates.push(certificate(text, from, body, form, position)?);
                blocks.first_line = blocks.first_line.or_else(|| Some(line_of(text, from)));
            }
            // A block within a block, or one that ends as another: the end of the first is lost.
            (_, Some((open, from))) => return Err(without_end(text, open, from)),
            (false, None) => {
                return Err(SourceError::Pem {
                    line: line_of(text, start),
                    problem: format!("{} ends there, and does not begin before", named_block(label)),
                });
            }
        }
    }
    let last = text[after..].trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    match begun {
        Some((open, from)) => Err(without_end(text, open, from)),
        // Dashes alone are how people divide texts.
        None if last.len() > DASHES.len() && BEGIN.starts_with(last) => {
            Err(without_end(text, b"", text.trim_ascii_end().len()))
        }
        None => Ok(blocks),
    }
}

/// How a certificate is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Alone.
    Plain,
    /// With what OpenSSL trusts it for behind it.
    WithTrust,
}

impl Form {
    /// Returns how a block of this label writes a certificate, where it does.
    fn of(label: &[u8]) -> Option<Self> {
        match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Some(Self::Plain),
            b"TRUSTED CERTIFICATE" => Some(Self::WithTrust),
            _ => None,
        }
    }
}

fn certificate(
    text: &[u8],
    from: usize,
    body: Range<usize>,
    form: Form,
    position: usize,
) -> Result<Certificate, SourceError> {
    let mut content = decoded(&text[body.clone()]).map_err(|at| match at {
        Some(at) => SourceError::Pem {
            line: line_of(text, body.start + at),
            problem: format!("something in certificate {position} is not base64"),
        },
        None => SourceError::Pem {
            line: line_of(text, from),
            problem: format!("certificate {position} begins there, and its base64 is not whole"),
        },
    })?;
    if form == Form::WithTrust
        && let Some(length) = der::whole_length(&content)
    {
        content.truncate(length);
    }
    Certificate::from_der(content).map_err(|source| SourceError::Certificate {
        position,
        place: format!("line {}", line_of(text, from)),
        source,
    })
}

/// Decodes what stands between the marks of a certificate. Headers are left out, and what comes between its letters where text is indented,
/// quoted, commented out or sent by mail.
///
/// # Errors
/// Where something else stands, or nothing where the letters alone are no base64.
fn decoded(body: &[u8]) -> Result<Vec<u8>, Option<usize>> {
    let mut encoded = Vec::with_capacity(body.len());
    let mut at = 0;
    // A header, `Proc-Type: 4,ENCRYPTED` (RFC 1421, section 4.6.1.1): base64 has no colon.
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        if line.contains(&b':') {
            at = end;
        }
        while at < end {
            let (kept, length) = letter(&body[at..end]).ok_or(Some(at))?;
            encoded.extend(kept);
            at += length;
        }
    }
    BASE64.decode(encoded).map_err(|_| None)
}

/// Returns the letter of base64 that a text begins with, or none where it begins with something that is left out, and how many bytes that is.
fn letter(text: &[u8]) -> Option<(Option<u8>, usize)> {
    match text {
        // How quoted-printable writes `=` (RFC 2045, section 6.7).
        [b'=', b'3', b'D' | b'd', ..] => Some((Some(b'='), 3)),
        // Its space, the space of no width, and the mark of an order of bytes.
        [b'=', b'2', b'0', ..] | [0xe2, 0x80, 0x8b, ..] | [0xef, 0xbb, 0xbf, ..] => Some((None, 3)),
        // The end of a line in a text in quotes, and the space of wikis that does not break.
        [b'\\', b'n' | b'r' | b't', ..] | [0xc2, 0xa0, ..] => Some((None, 2)),
        [b'>' | b'|' | b'#' | b'*' | b'"' | b'\'' | b',' | b'\\', ..] => Some((None, 1)),
        [byte, ..] if byte.is_ascii_whitespace() => Some((None, 1)),
        [byte, ..] if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') => {
            Some((Some(*byte), 1))
        }
        _ => None,
    }
}

fn without_end(text: &[u8], label: &[u8], from: usize) -> SourceError {
    SourceError::Pem {
        line: line_of(text, from),
        problem: format!("{} begins there and has no end, so it is not whole", named_block(label)),
    }
}

/// Names a block by words of ours: what stands in its place may be part of a key.
fn named_block(label: &[u8]) -> &'static str {
    match label {
        label if Form::of(label).is_some() => "a certificate",
        label if is_private(label) => "a private key",
        _ => "a block",
    }
}

/// Counts lines from 1. Goes through the text: for errors only.
fn line_of(text: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text[..at]).count() + 1
}

/// The beginning or the end of a block.
struct Mark<'t> {
    begins: bool,
    label: &'t [u8],
    /// Where it starts.
    start: usize,
    /// The first byte after it.
    end: usize,
}

/// Finds the marks of a text one after the other, looking at every byte a fixed number of times.
struct Marks<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Iterator for Marks<'t> {
    type Item = Mark<'t>;

    fn next(&mut self) -> Option<Mark<'t>> {
        loop {
            let start = self.at + position(self.text.get(self.at..)?, DASHES)?;
            let rest = &self.text[start..];
            let (begins, word) = match () {
                () if rest.starts_with(BEGIN) => (true, BEGIN.len()),
                () if rest.starts_with(END) => (false, END.len()),
                () => {
                    // The last of many dashes may be those of a mark.
                    let dashes = rest.iter().take_while(|byte| **byte == b'-').count();
                    self.at = start + (dashes - DASHES.len()).max(1);
                    continue;
                }
            };
            let after = &rest[word..];
            let within = &after[..after.len().min(LONGEST_LABEL + DASHES.len())];
            let (label, end) = match position(within, DASHES) {
                Some(length) => (&after[..length], start + word + length + DASHES.len()),
                // It begins something, and nobody knows what: it is none of what is known, and has no end.
                None => (&after[..0], start + word),
            };
            self.at = end;
            return Some(Mark { begins, label, start, end });
        }
    }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\nx\n-----END {label}-----\n")
    }

    fn of(labels: &[&str]) -> Blocks {
        let text: String = labels.iter().map(|label| block(label)).collect();
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn blocks_are_counted_by_what_they_are() {
        let kinds: [(&[&str], &str); 5] = [
            (&["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"], "certificate request"),
            (&["X509 CRL"], "revocation list"),
            (&["PUBLIC KEY", "RSA PUBLIC KEY"], "public key"),
            (&["PKCS7", "CMS"], "PKCS #7 block"),
            (&["DH PARAMETERS", ""], "block of another kind"),
        ];
        for (labels, name) in kinds {
            for label in labels {
                assert_eq!(of(&[label]).others(), [name]);
                assert_eq!(of(&[label, label, label]).others(), [format!("{name} (3 times)")]);
                assert_eq!(of(&[label]).private_keys, 0);
            }
        }
        let all: Vec<&str> = kinds.iter().map(|(labels, _)| labels[0]).collect();
        assert_eq!(of(&all).others(), kinds.map(|(_, name)| name));
        let keys = of(&["PRIVATE KEY", "EC PRIVATE KEY", "CMS"]);
        assert_eq!((keys.private_keys, keys.others()), (2, vec!["PKCS #7 block".to_owned()]));
    }

    #[test]
    fn without_a_certificate_the_worst_of_what_is_there_is_named() {
        let kinds = [
            ("PRIVATE KEY", NotEnough::PrivateKey),
            ("CERTIFICATE REQUEST", NotEnough::Request),
            ("PKCS7", NotEnough::Pkcs7),
            ("PUBLIC KEY", NotEnough::PublicKey),
            ("X509 CRL", NotEnough::RevocationList),
            ("DH PARAMETERS", NotEnough::NoCertificate),
        ];
        for (index, (label, what)) in kinds.iter().enumerate() {
            let labels: Vec<&str> = kinds[index..].iter().rev().map(|(label, _)| *label).collect();
            assert_eq!(of(&labels).not_enough(), *what);
            assert_eq!(of(&[label]).not_enough(), *what);
        }
    }

    #[test]
    fn what_is_no_pem_is_named_by_how_it_begins() {
        for (text, what) in [
            ("LS0tLS1CRUdJTiBD", Some(NotEnough::Base64)),
            ("RESOURCE NAME  TYPE", Some(NotEnough::Table)),
            ("NAME  TYPE", Some(NotEnough::Table)),
            ("NAMES", None),
            ("Certificate:\n", Some(NotEnough::OpensslText)),
            ("x\n-----END A-----", Some(NotEnough::OnlyTheEnd)),
            ("x", None),
        ] {
            assert_eq!(named(text.as_bytes()), what, "{text}");
        }
    }

    /// Where something is not whole, and what.
    fn trouble(text: &str) -> Option<(usize, String)> {
        match read(text.as_bytes()) {
            Ok(_) => None,
            Err(SourceError::Pem { line, problem }) => Some((line, problem)),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_beginning_that_is_cut_off_is_seen_and_dashes_alone_are_none() {
        let whole = block("CMS");
        let cut = |line| Some((line, "a block begins there and has no end, so it is not whole".to_owned()));
        for end in ["-----B", "-----BEGIN", "-----BEGIN ", "-----BEGIN \n\n"] {
            assert_eq!(trouble(&format!("{whole}{end}")), cut(4), "{end}");
        }
        for end in ["-----", "----", "------", "remark", "a long remark", "-----X"] {
            assert_eq!(trouble(&format!("{whole}{end}")), None, "{end}");
        }
        assert_eq!(trouble("a\nb\n-----BEGIN CMS-----\nx\n"), cut(3));
        let words = trouble(&format!("a\n{}", block("CMS").replacen("END CMS", "END PKCS7", 1))).unwrap();
        assert_eq!(words, cut(2).unwrap());
        let (line, words) = trouble("a\n\n-----END PRIVATE KEY-----\n").unwrap();
        assert_eq!((line, words.as_str()), (3, "a private key ends there, and does not begin before"));
        let (_, words) = trouble("-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(words, "a certificate ends there, and does not begin before");
    }

    #[test]
    fn marks_are_found_behind_any_number_of_dashes_and_up_to_a_longest_label() {
        for dashes in 0..12 {
            let text = format!("{}{}", "-".repeat(dashes), block("PRIVATE KEY"));
            assert_eq!(read(text.as_bytes()).unwrap().private_keys, 1, "{dashes}");
        }
        assert_eq!(of(&[&"X".repeat(LONGEST_LABEL)]).unknown, 1);
        // Labels that are longer are not told apart.
        let other_end = |length: usize| {
            let (begun, ended) = ("X".repeat(length), "Y".repeat(length));
            trouble(&format!("-----BEGIN {begun}-----\nx\n-----END {ended}-----\n"))
        };
        assert!(other_end(LONGEST_LABEL).is_some() && other_end(LONGEST_LABEL + 1).is_none());
        // Two on one line, one after the other.
        let text = block("PRIVATE KEY").replace('\n', "").repeat(2);
        assert_eq!(read(text.as_bytes()).unwrap().private_keys, 2);
    }

    #[test]
    fn a_certificate_may_be_as_long_as_all_of_them_together() {
        let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----");
        let long = |length: usize| {
            // No base64 from its first byte on, so that it is not decoded.
            let filled = "%".repeat(length - begin.len() - end.len());
            read(format!("\n{begin}{filled}{end}\n").as_bytes()).err().unwrap()
        };
        assert_eq!(long(LONGEST_CERTIFICATES + 1), SourceError::CertificatesTooLong);
        let SourceError::Pem { line: 3, problem } = long(LONGEST_CERTIFICATES) else {
            panic!("another error")
        };
        assert!(problem.starts_with("something in certificate 1 is not base64"), "{problem}");
    }
}
