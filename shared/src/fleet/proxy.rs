//! Whether a server is reached through the proxy of the environment, decided as kubectl decides it.

use std::net::IpAddr;

/// Tells whether `NO_PROXY` or the address itself says that `host` is reached without the proxy of the environment.
///
/// kube compares `NO_PROXY` with the proxy's own address, and so sends everything through the proxy.
pub(super) fn is_direct(host: &str, no_proxy: Option<&str>) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some(address) = address {
            return covers(entry, address);
        }
        let entry = entry.to_ascii_lowercase();
        let entry = entry.split_once(':').map_or(entry.as_str(), |(name, _port)| name);
        match entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')) {
            Some(domain) => ends_in(&host, domain),
            None => host == entry || ends_in(&host, entry),
        }
    })
}

fn ends_in(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Tells whether an entry, an address or a range in CIDR notation, holds the address.
fn covers(entry: &str, address: IpAddr) -> bool {
    let Some((network, length)) = entry.split_once('/') else {
        return entry.trim_matches(['[', ']']).parse() == Ok(address);
    };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_never_goes_through_the_proxy() {
        assert!(is_direct("localhost", None));
        assert!(is_direct("127.0.0.1", None));
        assert!(is_direct("[::1]", None));
        assert!(!is_direct("10.0.0.1", None));
    }

    #[test]
    fn no_proxy_is_read_as_kubectl_reads_it() {
        let list = Some("10.0.0.0/8, .eks.amazonaws.com,internal,192.168.1.5");
        for host in
            ["10.1.2.3", "abc.gr7.eu-west-1.eks.amazonaws.com", "internal", "api.internal", "192.168.1.5"]
        {
            assert!(is_direct(host, list), "{host}");
        }
        for host in ["11.1.2.3", "eks.amazonaws.com.evil.org", "notinternal", "192.168.1.50"] {
            assert!(!is_direct(host, list), "{host}");
        }
        assert!(is_direct("anything.example", Some("*")));
    }

    #[test]
    fn names_are_compared_label_by_label() {
        let direct = |host: &str, list: &str| is_direct(host, Some(list));
        for list in ["foo.com", "FOO.com", ".foo.com", "*.foo.com", "foo.com:443", "x, foo.com ,"] {
            assert!(direct("api.foo.com", list), "{list}");
            assert!(direct("API.foo.com.", list), "{list}");
            assert!(!direct("apifoo.com", list), "{list}");
        }
        assert!(
            direct("foo.com", "foo.com") && !direct("foo.com", ".foo.com") && !direct("foo.com", "*.foo.com")
        );
        assert!(!direct(".foo.com", "foo.com"), "an empty label is no host");
        assert!(!direct("foo.com", "") && !direct("foo.com", " , ") && !direct("foo.com", "bar.com"));
        assert!(direct("LOCALHOST.", ""));
        assert!(direct("10.0.0.1", "x,*"));
    }

    #[test]
    fn networks_cover_their_addresses_and_no_others() {
        let covers = |entry: &str, address: &str| covers(entry, address.parse().unwrap());
        assert!(covers("10.0.0.0/8", "10.255.0.1") && !covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("10.1.2.3/32", "10.1.2.3") && !covers("10.1.2.3/32", "10.1.2.2"));
        assert!(covers("10.9.9.9/8", "10.1.2.3"), "bits behind the prefix do not count");
        assert!(covers("0.0.0.0/0", "203.0.113.1") && covers("::/0", "fd00::1"));
        assert!(covers("fd00::/64", "fd00::1") && !covers("fd00::/64", "fd00:0:0:1::1"));
        assert!(covers("fd00::1/128", "fd00::1") && !covers("fd00::1/128", "fd00::2"));
        assert!(
            covers("[fd00::1]", "fd00::1")
                && covers("10.0.0.1", "10.0.0.1")
                && !covers("10.0.0.1", "10.0.0.2")
        );
        for wrong in ["10.0.0.0/33", "10.0.0.0/x", "x/8", "::/0", ""] {
            assert!(!covers(wrong, "10.0.0.1"), "{wrong}");
        }
        assert!(!covers("fd00::/129", "fd00::1") && !covers("0.0.0.0/0", "fd00::1"));
        assert!(is_direct("[fd00::1]", Some("fd00::/8")) && !is_direct("10.0.0.1", Some("0.0.0.1")));
    }
}
