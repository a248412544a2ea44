//! Which IP addresses belong to the public Internet.
//!
//! The source of the ranges: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates). An
//! address that carries an IPv4 address inside is judged by it, or `::ffff:127.0.0.1` would be a way to loopback. IPv6
//! is an allow list: only 2000::/3 is assigned to the public, and new special ranges are cut from the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not of the public Internet, in a word; `None` if it is.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "unspecified",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by a carrier's customers",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] | [192, 88, 99, _] => "reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        not_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    Some(match (a, b) {
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "loopback",
        // IPv4-mapped, then NAT64 (RFC 6052), then 6to4 (RFC 3056).
        (0, 0) if [c, d, e, f] == [0, 0, 0, 0xffff] => return embedded(g, h),
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => return embedded(g, h),
        (0x2002, _) => return embedded(b, c),
        (0xfc00..=0xfdff, _) => "unique-local",
        (0xfe80..=0xfebf, _) => "link-local",
        (0xfec0..=0xfeff, _) => "site-local",
        (0xff00..=0xffff, _) => "multicast",
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => "documentation",
        // 2001::/23: Teredo (which carries an obscured IPv4 address), benchmarking, ORCHID.
        (0x2001, 0..=0x01ff) => "reserved for protocols",
        (0x2000..=0x3fff, _) => return None,
        _ => "reserved",
    })
}

#[cfg(test)]
mod tests {
    use super::not_public;

    fn check(address: &str, why: Option<&str>) {
        assert_eq!(not_public(address.parse().unwrap()), why, "{address}");
    }

    #[test]
    fn public_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00:1450:4001:81b::200e",
            "3ffe::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            check(address, None);
        }
    }

    #[test]
    fn each_special_range_is_known_to_its_ends() {
        for (why, addresses) in [
            ("unspecified", &["0.0.0.0", "0.255.255.255", "::"] as &[_]),
            ("loopback", &["127.0.0.1", "127.255.255.255", "::1"]),
            (
                "private",
                &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
            ),
            ("shared by a carrier's customers", &["100.64.0.0", "100.127.255.255"]),
            ("link-local", &["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1"]),
            ("unique-local", &["fc00::", "fd00:ec2::254", "fdff:ffff::"]),
            ("site-local", &["fec0::1", "feff::1"]),
            ("multicast", &["224.0.0.1", "239.255.255.255", "ff00::", "ff02::1"]),
            ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"]),
            ("benchmarking", &["198.18.0.0", "198.19.255.255"]),
            (
                "reserved for protocols",
                &["192.0.0.8", "192.88.99.1", "2001::1", "2001:2::1", "2001:20::1", "2001:1ff::1"],
            ),
            (
                "reserved",
                &["240.0.0.1", "255.255.255.255", "100::1", "::1.2.3.4", "64:ff9b:1::1", "5f00::1", "4000::", "1fff::"],
            ),
        ] {
            for address in addresses {
                check(address, Some(why));
            }
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_what_counts() {
        check("::ffff:127.0.0.1", Some("loopback"));
        check("::ffff:10.1.2.3", Some("private"));
        check("64:ff9b::169.254.169.254", Some("link-local"));
        check("64:ff9b::7f00:1", Some("loopback"));
        check("2002:7f00:1::1", Some("loopback"));
        check("2002:c0a8:101::1", Some("private"));
        check("2002:a9fe:a9fe::", Some("link-local"));
    }
}
