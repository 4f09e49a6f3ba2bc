//! TLS and mTLS from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::settings::TlsSettings;

/// A certificate or key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read, or holds no such PEM section.
    #[error("{}: {cause}; give a PEM file with {expected}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// Why not.
        cause: pem::Error,
    },
    /// Certificate and key do not fit each other, or rustls does not take them.
    #[error("{}: {cause}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
}

/// What `settings` describe, for a transport that speaks `protocol` (its ALPN name; clients without ALPN are served).
///
/// # Errors
/// [`TlsError`] names the file; never a byte of a key.
pub fn acceptor(
    settings: &TlsSettings,
    protocol: Option<&'static str>,
) -> Result<TlsAcceptor, TlsError> {
    let unusable = |cause: String| TlsError::Unusable {
        path: settings.certificate_file.clone(),
        cause,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut issuers = RootCertStore::empty();
            for certificate in certificates(path)? {
                issuers
                    .add(certificate)
                    .map_err(|error| TlsError::Unusable {
                        path: path.clone(),
                        cause: error.to_string(),
                    })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(issuers), provider)
                .build()
                .map_err(|error| TlsError::Unusable {
                    path: path.clone(),
                    cause: error.to_string(),
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key_file = &settings.private_key_file;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|cause| TlsError::File {
        path: key_file.clone(),
        expected: "a private key",
        cause,
    })?;
    let mut config = builder
        .with_single_cert(certificates(&settings.certificate_file)?, key)
        .map_err(|error| unusable(format!("{error}, with the key of {}", key_file.display())))?;
    config.alpn_protocols = protocol
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file_error = |cause| TlsError::File {
        path: path.to_owned(),
        expected: "certificates",
        cause,
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(file_error)?;
    if found.is_empty() {
        return Err(file_error(pem::Error::NoItemsFound));
    }
    Ok(found)
}
