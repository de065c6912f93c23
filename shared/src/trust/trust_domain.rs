use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest trust domain name that the SPIFFE-ID specification allows, in bytes (section 2.3).
const LONGEST_TRUST_DOMAIN: usize = 255;
/// The longest SPIFFE ID that the specification asks everybody to accept, in bytes (section 2.3).
const LONGEST_SPIFFE_ID: usize = 2048;
const SCHEME: &str = "spiffe://";

/// The name of a trust domain: `foo.com`.
///
/// Holds lower-case letters, digits, `.`, `-` and `_` only (SPIFFE-ID, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

/// Why a text is not a trust domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustDomainError {
    /// There is no text at all.
    #[error("a trust domain must not be empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("trust domain `{0}…` is longer than 255 bytes")]
    TooLong(String),
    /// A whole SPIFFE ID where its trust domain is wanted.
    #[error("`{text}` is a SPIFFE ID; its trust domain is written `{trust_domain}`")]
    IsSpiffeId {
        /// The begin of what was given, escaped.
        text: String,
        /// What was probably meant.
        trust_domain: String,
    },
    /// A character outside the allowed set.
    #[error(
        "trust domain `{text}` holds `{character}`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)"
    )]
    Character {
        /// The begin of what was given, escaped.
        text: String,
        /// The first character that is not allowed, escaped.
        character: String,
    },
}

impl TrustDomain {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trust domain's own SPIFFE ID, `spiffe://foo.com`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// Returns the SPIFFE ID that a SPIRE server of this domain presents on its bundle endpoint
    /// (`spiffe://foo.com/spire/server`; SPIRE, `pkg/common/idutil`).
    #[must_use]
    pub fn server_id(&self) -> SpiffeId {
        SpiffeId { trust_domain: self.clone(), path: "/spire/server".to_owned() }
    }
}

impl schemars::JsonSchema for TrustDomain {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TrustDomain".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9._-]+$",
            "minLength": 1,
            "maxLength": LONGEST_TRUST_DOMAIN,
        })
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix(SCHEME) {
            let short = |text: &str| text.chars().take(64).flat_map(char::escape_default).collect();
            // What is written in capital letters is none either.
            let name = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
            let trust_domain = short(&name);
            return Err(TrustDomainError::IsSpiffeId { text: short(text), trust_domain });
        }
        if text.is_empty() {
            return Err(TrustDomainError::Empty);
        }
        if let Some(character) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
        {
            return Err(TrustDomainError::Character {
                text: text.chars().take(64).flat_map(char::escape_default).collect(),
                character: character.escape_default().to_string(),
            });
        }
        if text.len() > LONGEST_TRUST_DOMAIN {
            return Err(TrustDomainError::TooLong(text.chars().take(32).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(trust_domain: TrustDomain) -> Self {
        trust_domain.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID: `spiffe://foo.com/ns/sleep/sa/sleep`, or `spiffe://foo.com` for the trust domain itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    /// Empty, or a path that starts with `/`.
    path: String,
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It does not start with `spiffe://`.
    #[error("`{0}` does not start with `spiffe://`")]
    Scheme(String),
    /// Its trust domain is not valid.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainError),
    /// Its path has an empty, `.` or `..` segment, a trailing slash or a character that is not allowed.
    #[error("the path of SPIFFE ID `{0}` is not valid (SPIFFE-ID, section 2.2)")]
    Path(String),
    /// Longer than 2048 bytes.
    #[error("the SPIFFE ID is longer than 2048 bytes")]
    TooLong,
}

impl SpiffeId {
    /// Returns the trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the path: empty, or starting with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns namespace and service account, where the path is `/ns/NAMESPACE/sa/SERVICE_ACCOUNT`: the only form that
    /// Istio takes for a workload (Istio, `pkg/spiffe`, `ParseIdentity`).
    #[must_use]
    pub fn workload(&self) -> Option<WorkloadId<'_>> {
        let mut segments = self.path.strip_prefix('/')?.split('/');
        let mut next = || segments.next();
        match (next()?, next()?, next()?, next()?, next()) {
            ("ns", namespace, "sa", service_account, None) => Some(WorkloadId { namespace, service_account }),
            _ => None,
        }
    }
}

/// The workload that a SPIFFE ID names, in Istio's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadId<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub service_account: &'a str,
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST_SPIFFE_ID {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| {
            SpiffeIdError::Scheme(text.chars().take(64).flat_map(char::escape_default).collect())
        })?;
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = trust_domain.parse()?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let valid = path.is_empty()
            || path[1..]
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | "..") && segment.chars().all(allowed));
        if !valid {
            return Err(SpiffeIdError::Path(text.escape_default().to_string()));
        }
        Ok(Self { trust_domain, path: path.to_owned() })
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_domains_of_the_specification_are_accepted() {
        for text in ["foo.com", "a", "my_trust-domain.1", "10.0.0.1", "-", &"a".repeat(255)] {
            assert_eq!(text.parse::<TrustDomain>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn trust_domains_outside_the_specification_are_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<TrustDomain>().unwrap_err().to_string();
        insta::assert_snapshot!(refused(""), @"a trust domain must not be empty");
        insta::assert_snapshot!(refused("Foo.com"), @"trust domain `Foo.com` holds `F`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)");
        insta::assert_snapshot!(refused("foo.com:8443"), @"trust domain `foo.com:8443` holds `:`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)");
        insta::assert_snapshot!(refused("a\u{1b}[2J"), @r"trust domain `a\u{1b}[2J` holds `\u{1b}`; only lower-case letters, digits, `.`, `-` and `_` are allowed (SPIFFE-ID, section 2.1)");
        insta::assert_snapshot!(refused("spiffe://foo.com/ns/a"), @"`spiffe://foo.com/ns/a` is a SPIFFE ID; its trust domain is written `foo.com`");
        assert!(refused(&format!("spiffe://{}", "a".repeat(1 << 20))).len() < 300);
        assert!(matches!("a".repeat(256).parse::<TrustDomain>(), Err(TrustDomainError::TooLong(_))));
    }

    #[test]
    fn spiffe_ids_keep_their_trust_domain_and_path() {
        let id: SpiffeId = "spiffe://foo.com/ns/sleep/sa/sleep".parse().unwrap();
        assert_eq!((id.trust_domain().as_str(), id.path()), ("foo.com", "/ns/sleep/sa/sleep"));
        assert_eq!(id.to_string(), "spiffe://foo.com/ns/sleep/sa/sleep");
        assert_eq!("spiffe://foo.com".parse::<SpiffeId>().unwrap().path(), "");
        let path = "/a-b_c.d/1/..e/A";
        assert_eq!(format!("spiffe://foo.com{path}").parse::<SpiffeId>().unwrap().path(), path);
    }

    #[test]
    fn a_trust_domain_has_an_id_of_its_own_and_one_for_its_server() {
        let domain: TrustDomain = "foo.com".parse().unwrap();
        assert_eq!(domain.id(), "spiffe://foo.com");
        assert_eq!(domain.server_id().to_string(), "spiffe://foo.com/spire/server");
        assert_eq!(domain.server_id(), "spiffe://foo.com/spire/server".parse().unwrap());
    }

    #[test]
    fn names_are_read_from_json_by_the_same_rules_and_written_as_they_were() {
        let domain: TrustDomain = serde_json::from_str("\"foo.com\"").unwrap();
        assert_eq!(serde_json::to_string(&domain).unwrap(), "\"foo.com\"");
        assert!(serde_json::from_str::<TrustDomain>("\"Foo.com\"").is_err());
        let id: SpiffeId = serde_json::from_str("\"spiffe://foo.com/a\"").unwrap();
        assert_eq!((id.trust_domain(), id.path()), (&domain, "/a"));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"spiffe://foo.com/a\"");
        assert!(serde_json::from_str::<SpiffeId>("\"foo.com/a\"").is_err());
    }

    #[test]
    fn only_istios_form_of_a_path_names_a_workload() {
        let id = |path: &str| format!("spiffe://foo.com{path}").parse::<SpiffeId>().unwrap();
        let workload = WorkloadId { namespace: "a", service_account: "b" };
        assert_eq!(id("/ns/a/sa/b").workload(), Some(workload));
        for path in ["", "/ns/a", "/ns/a/sa", "/ns/a/sa/b/c", "/sa/a/ns/b", "/x/ns/a/sa/b", "/spire/server"] {
            assert_eq!(id(path).workload(), None, "{path}");
        }
    }

    #[test]
    fn a_spiffe_id_has_2048_bytes_at_most() {
        let text = |length: usize| format!("spiffe://foo.com/{}", "a".repeat(length - 17));
        assert!(text(2048).parse::<SpiffeId>().is_ok());
        assert!(matches!(text(2049).parse::<SpiffeId>(), Err(SpiffeIdError::TooLong)));
    }

    #[test]
    fn spiffe_ids_with_bad_paths_are_refused() {
        for path in
            ["/", "/a/", "/a//b", "//a", "/../b", "/a/..", "/a/.", "/./a", "/a b", "/a%20b", "/ä", "/a/b~"]
        {
            let text = format!("spiffe://foo.com{path}");
            assert!(matches!(text.parse::<SpiffeId>(), Err(SpiffeIdError::Path(_))), "{text}");
        }
        assert!(matches!("https://foo.com".parse::<SpiffeId>(), Err(SpiffeIdError::Scheme(_))));
        assert!(matches!("spiffe:///a".parse::<SpiffeId>(), Err(SpiffeIdError::TrustDomain(_))));
    }
}
