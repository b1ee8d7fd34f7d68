//! TLS to Redis.

use core::fmt;

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};

use crate::ConnectError;

/// What a certificate begins with in PEM.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Certificates for a `rediss://` URL, all PEM; the default trusts the platform's
/// authorities and shows none.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// Authorities of the server, instead of the platform's.
    pub authorities: Option<Vec<u8>>,
    /// The certificate that is shown to the server, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for RedisTls {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTls")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Whether certificates are given where they are of use.
pub(crate) fn check(is_tls: bool, tls: &RedisTls) -> Result<(), ConnectError> {
    let given = tls.authorities.is_some() || tls.identity.is_some();
    if given && !is_tls {
        let text = "certificates are given and the URL has none: it begins with rediss://";
        return Err(ConnectError::Tls(text.to_owned()));
    }
    let has_none = |pem: &Vec<u8>| !pem.windows(BEGIN.len()).any(|text| text == BEGIN);
    if tls.authorities.as_ref().is_some_and(has_none) {
        return Err(ConnectError::Tls(
            "no certificate is in the authorities".to_owned(),
        ));
    }
    Ok(())
}

/// A client of the server at `info`, with certificates that were checked.
pub(crate) fn client(info: ConnectionInfo, tls: RedisTls) -> Result<Client, ConnectError> {
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // An error says that the process has chosen one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    if tls.authorities.is_none() && tls.identity.is_none() {
        return Client::open(info).map_err(|error| ConnectError::Url(error.to_string()));
    }
    let certificates = TlsCertificates {
        client_tls: tls
            .identity
            .map(|(client_cert, client_key)| ClientTlsConfig {
                client_cert,
                client_key,
            }),
        root_cert: tls.authorities,
    };
    Client::build_with_tls(info, certificates).map_err(|error| ConnectError::Tls(error.to_string()))
}
