//! A certificate authority, and a certificate of it for loopback.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A certificate authority in a temporary directory.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// Makes the authority and a certificate for `localhost`, 127.0.0.1 and ::1.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters of an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "snapfn test authority");
        let key = KeyPair::generate().expect("key of the authority");
        let ca = params.self_signed(&key).expect("certificate of the authority");
        let issuer = Issuer::new(params, key);
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let params = CertificateParams::new(names).expect("parameters of a server");
        let key = KeyPair::generate().expect("key of the server");
        let certificate = params.signed_by(&key, &issuer).expect("certificate of the server");
        for (name, text) in
            [("ca.crt", ca.pem()), ("server.crt", certificate.pem()), ("server.key", key.serialize_pem())]
        {
            fs::write(dir.path().join(name), text).expect("write a certificate");
        }
        Self { dir }
    }

    /// The authority's certificate, which a client must trust. It is the only file in its directory.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
