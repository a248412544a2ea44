//! Authorities and certificates for tests.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use samara_model::manifest::CertificateFiles;

/// One that signs certificates.
pub(in crate::gateway) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(in crate::gateway) struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(in crate::gateway) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(in crate::gateway) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and addresses.
    pub(in crate::gateway) fn server(&self, names: &[&str]) -> Leaf {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(CertificateParams::new(names).unwrap(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate of somebody.
    pub(in crate::gateway) fn client(&self, name: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Leaf {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        Leaf { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

impl Leaf {
    pub(in crate::gateway) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub(in crate::gateway) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(in crate::gateway) fn write(&self, folder: &Path, name: &str) -> CertificateFiles {
        let files =
            CertificateFiles { chain: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.chain, self.certificate.pem()).unwrap();
        std::fs::write(&files.key, self.key.serialize_pem()).unwrap();
        files
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}
