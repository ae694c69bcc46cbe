//! Whom a session trusts: Amazon RDS' authorities, or those of the deployed settings, and no others.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::SqlError;
use crate::settings::DatabaseTls;

/// Amazon RDS' certificate authorities.
const RDS_AUTHORITIES: &str = include_str!("../../certificates/rds-global-bundle.pem");

/// What the settings ask for; `None` is a session without TLS.
pub(super) fn configuration(tls: &DatabaseTls) -> Result<Option<ClientConfig>, SqlError> {
    let authorities = match tls {
        DatabaseTls::VerifyFull => RDS_AUTHORITIES,
        DatabaseTls::VerifyFullWith { authorities_pem } => authorities_pem,
        DatabaseTls::Disable => return Ok(None),
    };
    trusting(authorities).map(Some)
}

fn trusting(authorities_pem: &str) -> Result<ClientConfig, SqlError> {
    let unusable =
        |problem: String| SqlError::Settings(format!("databaseTls.authoritiesPem: {problem}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_authorities_are_usable() {
        assert!(trusting(RDS_AUTHORITIES).is_ok());
        assert!(matches!(
            trusting("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Err(SqlError::Settings(_))
        ));
    }
}
