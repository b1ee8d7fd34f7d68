//! Whose certificates the agent believes.
//!
//! The control plane's: the platform's authorities, or only those of `ca_file`. Receivers': the platform's and those
//! of `egress.ca_file`, which is how a company's own authority is added. A subscription may switch verification off
//! for its own receiver; the handshake's signatures are checked even then, so that the peer at least has the key of
//! the certificate that it shows.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use sidehook_runtime::tls::{
    TlsError, Trust, add_ca_file, ca_file_certificates, client_config, provider,
};
use tokio_rustls::TlsConnector;

/// Why no connection can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The authorities make no verifier.
    #[error("certificates cannot be verified: {0}")]
    Verifier(#[from] rustls::Error),
    /// The authorities of the control plane make no verifier.
    #[error("ca_file: {0}")]
    Server(#[from] rustls::client::VerifierBuilderError),
    /// A file of authorities does not load, or TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Verifies the control plane.
pub(crate) fn server_verifier(
    ca_file: Option<&Path>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    match ca_file {
        None => Ok(Arc::new(Verifier::new(provider())?)),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            add_ca_file(&mut roots, path)?;
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
            Ok(verifier.build()?)
        }
    }
}

/// TLS towards receivers.
#[derive(Clone)]
pub(crate) struct ReceiverTls {
    /// With verification.
    pub(crate) verifying: TlsConnector,
    /// Without.
    pub(crate) trusting: TlsConnector,
}

impl ReceiverTls {
    /// Loads the authorities once. A system without any is told in the log, and every receiver's certificate is then
    /// refused: an agent that posts over plain HTTP alone needs none.
    pub(crate) fn load(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let extra = ca_file.map(ca_file_certificates).transpose()?;
        let extra = extra.unwrap_or_default();
        let trust = match Verifier::new_with_extra_roots(extra, provider()) {
            Ok(verifier) => Trust::Verifier(Arc::new(verifier)),
            Err(error) if ca_file.is_none() => {
                tracing::warn!(%error, "no authorities: certificates of receivers cannot be verified");
                Trust::Roots(RootCertStore::empty())
            }
            Err(error) => return Err(error.into()),
        };
        let connector = |trust| -> Result<_, TrustError> {
            let config = client_config(trust, None, &[b"http/1.1"])?;
            Ok(TlsConnector::from(Arc::new(config)))
        };
        let unverified = Unverified(provider().signature_verification_algorithms);
        Ok(Self {
            verifying: connector(trust)?,
            trusting: connector(Trust::Verifier(Arc::new(unverified)))?,
        })
    }
}

/// Believes any certificate.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_without_any_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ca.pem");
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&file, text).expect("written");
            let error = ReceiverTls::load(Some(&file))
                .map(|_| ())
                .expect_err("no authority");
            let error = error.to_string();
            assert!(
                error.contains("ca.pem") && error.contains("no certificate"),
                "{error}"
            );
        }
    }
}
