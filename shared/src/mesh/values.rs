//! The values of single keys. What is wrong with one is said in one line; the place is added by the caller.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use crate::report::escape;

/// The longest duration that is taken: ten years. SPIRE counts in nanoseconds and overflows at 292.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Checks a DNS label (RFC 1123), as names of namespaces and values of labels have to be.
pub(super) fn dns_label(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{}` is not a DNS label: at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
        escape(text)
    ))
}

pub(super) fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Checks a name of several DNS labels, as storage classes have.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_dns_label) {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not a DNS name: lower-case letters, digits, `-` and `.`", escape(text)))
}

/// Checks a trust domain that SPIRE puts on its certificate requests as a label (SPIRE 1.15.3,
/// `pkg/server/plugin/upstreamauthority/certmanager/api.go`).
pub(super) fn label_value(trust_domain: &str) -> Result<(), String> {
    let ends = |c: char| c.is_ascii_alphanumeric();
    if trust_domain.len() <= 63 && trust_domain.starts_with(ends) && trust_domain.ends_with(ends) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be a label, which `certManager` needs: at most 63 characters, with a letter or digit at both ends",
        escape(trust_domain)
    ))
}

/// Checks the value of a label, which may be empty.
pub(super) fn label_text(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ends = |c: char| c.is_ascii_alphanumeric();
    let has_ends = text.is_empty() || text.starts_with(ends) && text.ends_with(ends);
    if text.len() <= 63 && text.bytes().all(allowed) && has_ends {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{}` is not the value of a label: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
        escape(text)
    ))
}

/// Checks the name of a kubeconfig context, which may hold nearly anything.
pub(super) fn context(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("the name of a context must not be empty".to_owned())
    } else if escape(text) != text {
        Err(format!("context `{}` holds characters that cannot be shown", escape(text)))
    } else {
        Ok(text.to_owned())
    }
}

/// Checks a container image reference.
pub(super) fn image(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/:@-".contains(&byte);
    if text.bytes().all(allowed) && text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not a container image", escape(text)))
}

/// Checks a label-like key: of an annotation, or a load balancer class.
pub(super) fn qualified_name(text: &str) -> Result<String, String> {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ends = |c: char| c.is_ascii_alphanumeric();
    let valid = (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(ends)
        && name.ends_with(ends)
        && prefix.is_none_or(|prefix| dns_name(prefix).is_ok());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is not a qualified name such as `example.com/name`", escape(text)))
    }
}

/// Parses a duration such as `5m`, `168h` or `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let shape = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b"dhms".contains(&b))
    };
    // humantime knows more units than anybody should have to: `M` is a month there.
    match humantime::parse_duration(text) {
        Ok(duration) if shape(text) && !text.contains("ms") && duration <= LONGEST => Ok(duration),
        Ok(duration) if duration > LONGEST => Err(format!("`{}` is longer than ten years", escape(text))),
        _ => Err(format!("`{}` is not a duration such as 30s, 5m, 4h or 7d", escape(text))),
    }
}

/// Writes a duration as it would be written in a file.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        text.push_str(&number.to_string());
        text.push(unit);
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Checks a Kubernetes quantity of bytes, such as `1Gi`.
pub(super) fn bytes(text: &str) -> Result<String, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let known = ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"].contains(&&text[number.len()..]);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let positive = number.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if known && positive && number.len() <= 15 && digits(whole) && digits(fraction) {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not a size such as 1Gi", escape(text)))
}

/// Checks a Kubernetes quantity of processors, such as `500m`.
pub(super) fn processors(text: &str) -> Result<String, String> {
    let digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match (text.strip_suffix('m'), text.split_once('.')) {
        (Some(thousandths), _) => digits(thousandths),
        (None, Some((whole, fraction))) => digits(whole) && digits(fraction) && fraction.len() <= 3,
        (None, None) => digits(text),
    };
    if is_number && amount(text) > 0.0 {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is not a number of processors such as 500m or 2", escape(text)))
}

/// Returns the size of a quantity that was checked, to hold it against another one.
pub(super) fn amount(text: &str) -> f64 {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or_default() * unit
}

/// An `https://host:port` address without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Returns the address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the address of a bundle endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// It does not start with `https://`.
    #[error("`{0}` does not start with `https://`")]
    Scheme(String),
    /// It holds a user, a query, a fragment or a character that no address needs.
    #[error(
        "`{text}` holds `{character}`; only https://HOST:PORT/PATH is allowed, without user, query and fragment"
    )]
    Character {
        /// What was given, safe to print.
        text: String,
        /// The first character that is not allowed, escaped.
        character: String,
    },
    /// Its host is missing, or neither a DNS name nor an IP address.
    #[error("`{0}` has no valid host")]
    Host(String),
    /// Its port is not a number from 1 to 65535.
    #[error("`{0}` has no valid port")]
    Port(String),
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(200).flat_map(char::escape_default).collect::<String>();
        let Some(rest) = text.strip_prefix("https://") else { return Err(EndpointUrlError::Scheme(shown())) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
        if let Some(character) = rest.chars().find(|&c| !allowed(c)) {
            return Err(EndpointUrlError::Character {
                text: shown(),
                character: character.escape_default().to_string(),
            });
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':').unwrap_or_default())),
            },
            _ => {
                let (host, port) =
                    authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
                if dns_name(&host.to_ascii_lowercase()).is_err() {
                    return Err(EndpointUrlError::Host(shown()));
                }
                (host, port)
            }
        };
        debug_assert!(!host.is_empty(), "checked by both branches");
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if port.is_some_and(|port| !is_port(port)) {
            return Err(EndpointUrlError::Port(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_bundle_endpoints_are_accepted() {
        for text in [
            "https://foo.com",
            "https://10.0.0.1:8443",
            "https://a-b.elb.amazonaws.com:8443/x",
            "https://[::1]:1",
        ] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<EndpointUrl>().unwrap_err().to_string();
        insta::assert_snapshot!(refused("http://foo.com"), @"`http://foo.com` does not start with `https://`");
        insta::assert_snapshot!(refused("-https://foo.com"), @"`-https://foo.com` does not start with `https://`");
        insta::assert_snapshot!(refused("https://me:secret@foo.com"), @"`https://me:secret@foo.com` holds `@`; only https://HOST:PORT/PATH is allowed, without user, query and fragment");
        insta::assert_snapshot!(refused("https://foo.com/?a=b"), @"`https://foo.com/?a=b` holds `?`; only https://HOST:PORT/PATH is allowed, without user, query and fragment");
        insta::assert_snapshot!(refused("https://foo.com/#a"), @"`https://foo.com/#a` holds `#`; only https://HOST:PORT/PATH is allowed, without user, query and fragment");
        insta::assert_snapshot!(refused("https://foo.com/\u{1b}"), @r"`https://foo.com/\u{1b}` holds `\u{1b}`; only https://HOST:PORT/PATH is allowed, without user, query and fragment");
        insta::assert_snapshot!(refused("https://"), @"`https://` has no valid host");
        insta::assert_snapshot!(refused("https://:8443"), @"`https://:8443` has no valid host");
        insta::assert_snapshot!(refused("https://-foo.com"), @"`https://-foo.com` has no valid host");
        insta::assert_snapshot!(refused("https://[::1"), @"`https://[::1` has no valid host");
        insta::assert_snapshot!(refused("https://[::1]8443"), @"`https://[::1]8443` has no valid port");
        insta::assert_snapshot!(refused("https://foo.com:0"), @"`https://foo.com:0` has no valid port");
        insta::assert_snapshot!(refused("https://foo.com:99999"), @"`https://foo.com:99999` has no valid port");
        insta::assert_snapshot!(refused("https://foo.com:"), @"`https://foo.com:` has no valid port");
    }

    #[test]
    fn durations_have_few_units() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("168h", 604_800)]
        {
            assert_eq!(duration(text).unwrap().as_secs(), seconds);
        }
        for text in
            ["", "5", "-5m", "5M", "1w", "1y", "1.5h", "5 m", "100ms", "h", "99999999999999999999d", "20000d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        assert_eq!(
            [0, 30, 5400, 604_800].map(|seconds| short(Duration::from_secs(seconds))),
            ["0s", "30s", "1h30m", "168h"]
        );
    }

    #[test]
    fn sizes_are_positive_quantities() {
        assert!(["1Gi", "1.5Gi", "1000", "500M"].iter().all(|text| bytes(text).is_ok()));
        for text in ["", "Gi", "0Gi", "-1Gi", "1gb", "1 Gi", ".5Gi", "1.Gi", "1.2.3", "9999999999999999Ti"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_taken_up_to_their_longest_and_not_longer() {
        let name = |length: usize| format!("{}{}", "a.".repeat((length - 1) / 2), "a".repeat(2 - length % 2));
        assert_eq!((name(253).len(), name(254).len()), (253, 254));
        assert!(dns_name(&name(253)).is_ok() && dns_name(&name(254)).is_err());
        let key = |length: usize| format!("example.com/{}", "a".repeat(length));
        assert!(qualified_name(&key(63)).is_ok() && qualified_name(&key(64)).is_err());
        assert!(label_value(&"a".repeat(63)).is_ok() && label_value(&"a".repeat(64)).is_err());
        assert!(bytes("123456789012345").is_ok() && bytes("1234567890123456").is_err());
        assert_eq!(duration("3650d"), Ok(LONGEST));
        assert_eq!(duration("3650d1s"), Err("`3650d1s` is longer than ten years".to_owned()));
        assert_eq!(duration("1M"), Err("`1M` is not a duration such as 30s, 5m, 4h or 7d".to_owned()));
    }

    #[test]
    fn ends_and_every_character_count() {
        for wrong in ["_a", "a.", ".a", "a_", "-a", "a-"] {
            assert!(label_value(wrong).is_err(), "{wrong}");
            assert!(qualified_name(wrong).is_err(), "{wrong}");
            assert!(qualified_name(&format!("example.com/{wrong}")).is_err(), "{wrong}");
        }
        assert!(label_value("A-1.b_2").is_ok() && qualified_name("A-1.b_2").is_ok());
        assert!(qualified_name("Example/a").is_err() && qualified_name("a/ b").is_err());
        for wrong in ["", " ", "\t", "a\u{1b}[2J", "a\nb"] {
            assert!(context(wrong).is_err(), "{wrong:?}");
        }
        for fine in ["me@foo", "arn:aws:eks:eu-west-1:1:cluster/foo", "größer 1"] {
            assert_eq!(context(fine).as_deref(), Ok(fine));
        }
        for unit in ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"] {
            let size = format!("10{unit}");
            assert_eq!(bytes(&size), Ok(size.clone()));
        }
        assert!(bytes("1Pi").is_err() && bytes("0.0Gi").is_err() && bytes("0.5Gi").is_ok());
    }

    #[test]
    fn processors_are_counted_in_thousandths_and_amounts_compared_by_their_size() {
        for fine in ["1", "0.5", "500m", "2.125", "100000000m"] {
            assert_eq!(processors(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "0", "0m", "m", "1.", ".5", "0.0005", "1M", "-1", "1.5m", "1 "] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
        for units in [
            ["999m", "1"],
            ["1023Mi", "1Gi"],
            ["1G", "1Gi"],
            ["1k", "1Ki"],
            ["1M", "1Mi"],
            ["1T", "1Ti"],
            ["0.5Gi", "513Mi"],
        ] {
            let [less, more] = units.map(amount);
            assert!(less < more && less > 0.0, "{units:?}");
        }
    }

    #[test]
    fn values_of_labels_may_be_empty() {
        assert!(["", "a", "a.b_C-1"].iter().all(|text| label_text(text).is_ok()));
        assert!(label_text(&"a".repeat(63)).is_ok() && label_text(&"a".repeat(64)).is_err());
        assert!(["-a", "a.", "a/b", "a b"].iter().all(|text| label_text(text).is_err()));
    }

    #[test]
    fn ports_are_numbers_from_one_to_the_last() {
        let accepted = |text: &str| text.parse::<EndpointUrl>().is_ok();
        assert!(accepted("https://foo.com:1") && accepted("https://foo.com:65535/a"));
        assert!(accepted("https://FOO.com") && accepted("https://[fd00::1]:8443/x~y"));
        for wrong in ["https://foo.com:65536", "https://foo.com:+1", "https://foo.com:1a", "https://a:b:1"] {
            assert!(!accepted(wrong), "{wrong}");
        }
        for wrong in ["https://[foo.com]", "https://[::1]x", "https://foo_.com", "https://foo..com"] {
            assert!(!accepted(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_duration_leaves_out_what_is_none() {
        let told = [60, 61, 3600, 3601, 3661, 86_400].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(told, ["1m", "1m1s", "1h", "1h1s", "1h1m1s", "24h"]);
    }

    #[test]
    fn names_follow_kubernetes() {
        assert!(["a", "foo-1", &"a".repeat(63)].iter().all(|text| dns_label(text).is_ok()));
        assert!(
            ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)].iter().all(|text| dns_label(text).is_err())
        );
        assert!(["gp3", "a.b-c"].iter().all(|text| dns_name(text).is_ok()));
        assert!(["", "a..b", "a b"].iter().all(|text| dns_name(text).is_err()));
        assert!(
            ["x", "example.com/a_b", "service.k8s.aws/nlb"].iter().all(|text| qualified_name(text).is_ok())
        );
        assert!(["", "/a", "a/", "a b", "a/b/c"].iter().all(|text| qualified_name(text).is_err()));
        assert!(["a", "localhost:5000/x@sha256:00"].iter().all(|text| image(text).is_ok()));
        assert!(["", "-a", "a b", "a;b", "a\nb"].iter().all(|text| image(text).is_err()));
    }
}
