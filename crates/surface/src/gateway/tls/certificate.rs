//! What certificates say: the names they are for, when they end, whose they are.
//!
//! Distinguished names are written as RFC 4514 says, because a guest may decide by them: without its escapes a name that
//! holds a comma reads like two.

use std::fmt::Write as _;

use anyhow::anyhow;
use rustls::pki_types::CertificateDer;
use samara_model::ClientCertificate;
use x509_parser::{
    asn1_rs::{Oid, ToDer as _},
    certificate::{Validity, X509Certificate},
    extensions::GeneralName,
    parse_x509_certificate,
    time::ASN1Time,
    x509::{AttributeTypeAndValue, X509Name},
};

/// The short names of RFC 4514, section 3, and the one that everybody writes for mail.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// What a server's certificate says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The host names it is for, in lower case; one may begin with `*.`.
    pub(super) names: Vec<String>,
    /// When it expires, in seconds since 1970.
    pub(super) expires: i64,
    /// What clients will say of it today, if they will refuse it.
    pub(super) dated: Option<String>,
}

/// Reads the certificate of a server.
///
/// # Errors
/// It is not an X.509 certificate.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> anyhow::Result<Facts> {
    let certificate = parse(certificate)?;
    let alternative =
        certificate.subject_alternative_name().map_err(|error| anyhow!("its names are not read: {error}"))?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let Validity { not_before, not_after } = certificate.validity();
    let now = ASN1Time::now();
    let dated = if *not_after < now {
        Some(format!("expired on {not_after}"))
    } else {
        (*not_before > now).then(|| format!("is not valid before {not_before}"))
    };
    Ok(Facts { names: names.collect(), expires: not_after.timestamp(), dated })
}

/// Reads the certificate of a client, which rustls has verified.
///
/// # Errors
/// It is not an X.509 certificate as we read it.
pub(in crate::gateway) fn client_certificate(certificate: &CertificateDer<'_>) -> anyhow::Result<ClientCertificate> {
    let certificate = parse(certificate)?;
    let serial = certificate.raw_serial().iter().fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02X}");
        text
    });
    Ok(ClientCertificate {
        subject: distinguished_name(certificate.subject()),
        issuer: distinguished_name(certificate.issuer()),
        serial,
    })
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> anyhow::Result<X509Certificate<'c>> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| anyhow!("it is no certificate: {error}"))?;
    Ok(parsed)
}

/// The last part first, as RFC 4514 has it.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    match (short_name(kind), attribute.as_str()) {
        (Some(short), Ok(value)) => format!("{short}={}", escaped(value)),
        (short, _) => {
            let kind = short.map_or_else(|| kind.to_id_string(), str::to_owned);
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            der.iter().fold(format!("{kind}=#"), |mut text, byte| {
                // Writing into a String does not fail.
                let _ = write!(text, "{byte:02X}");
                text
            })
        }
    }
}

fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    let dotted = kind.to_id_string();
    SHORT_NAMES.iter().find(|(known, _)| *known == dotted).map(|(_, short)| *short)
}

/// A value with the escapes of RFC 4514, section 2.4. Control characters are escaped too: they end up in environments,
/// headers and logs.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let at_an_end = index == 0 || index == last;
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if at_an_end => text.push_str("\\ "),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    fn check_name(parts: &[(DnType, &str)], expected: &str) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(client_certificate(certificate.der()).unwrap().subject, expected);
    }

    #[test]
    fn a_subject_cannot_pretend_to_be_several() {
        check_name(&[(DnType::OrganizationName, "Acme"), (DnType::CommonName, "ada")], "CN=ada,O=Acme");
        check_name(&[(DnType::CommonName, "eve,O=Acme")], "CN=eve\\,O=Acme");
        check_name(&[(DnType::CommonName, "a+b\"c\\d;<>")], "CN=a\\+b\\\"c\\\\d\\;\\<\\>");
        check_name(&[(DnType::CommonName, "#a b ")], "CN=\\#a b\\ ");
        check_name(&[(DnType::CommonName, "a\r\nb\u{1b}")], "CN=a\\0D\\0Ab\\1B");
        check_name(&[(DnType::CommonName, "Zoë")], "CN=Zoë");
        check_name(&[(DnType::CustomDnType(vec![1, 2, 3]), "x")], "1.2.3=#0C0178");
        check_name(&[], "");
    }

    #[test]
    fn names_and_expiry_are_the_certificates_own() {
        let mut params = CertificateParams::new(["Shop.Test".to_owned(), "*.shop.test".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = vec!["shop.test".to_owned(), "*.shop.test".to_owned()];
        let expected = Facts { names, expires: 1_893_456_000, dated: None };
        assert_eq!(facts(certificate.der()).unwrap(), expected);
        let dated = |params: &CertificateParams| {
            facts(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap().dated.unwrap()
        };
        params.not_before = rcgen::date_time_ymd(2200, 1, 1);
        params.not_after = rcgen::date_time_ymd(2201, 1, 1);
        assert!(dated(&params).starts_with("is not valid before "));
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
        assert!(dated(&params).starts_with("expired on Jan  1 "), "{}", dated(&params));
        assert!(facts(&CertificateDer::from(vec![0x30, 0])).is_err());
    }
}
