//! Certificates for the servers' TLS, from an authority made for each world.
//!
//! Clients that verify the server (as production should) can do so here too,
//! with the authority's certificate in place of Amazon's bundle.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::DatabaseError;
use super::os_account::OsAccount;

/// An authority that signs server certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A server's certificate and key, as files.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable by the server alone.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn new() -> Result<Self, DatabaseError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::<String>::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Local cloud RDS root CA");
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            pem,
        })
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for a server at `address` and writes it into `home`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn certify(
        &self,
        address: IpAddr,
        home: &Path,
        account: OsAccount,
    ) -> Result<ServerCertificate, DatabaseError> {
        let key = KeyPair::generate()?;
        let mut parameters =
            CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, address.to_string());
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let files = ServerCertificate {
            certificate: home.join("server.crt"),
            key: home.join("server.key"),
        };
        for (path, text) in [
            (&files.certificate, certificate.pem()),
            (&files.key, key.serialize_pem()),
        ] {
            fs::write(path, text)
                .and_then(|()| account.hand_over(path, 0o600))
                .map_err(DatabaseError::files(format!("write {}", path.display())))?;
        }
        Ok(files)
    }
}
