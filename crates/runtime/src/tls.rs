//! TLS with certificates that are replaced without a restart.
//!
//! [`ServerTls`] swaps the whole server configuration when the *contents* of its files change: that covers the client
//! CA as well as the certificate, ends the session tickets of the old one, and needs no trust in modification times
//! (which secret mounts by symbolic link do not change). Files that do not load, for instance a new certificate whose
//! key is not there yet, leave the old configuration in force; that is logged once per change.
//!
//! The cryptography is always aws-lc-rs, named explicitly: rustls panics when it has to choose between two.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use crate::config::Reader;
use crate::tasks::{OnPanic, TaskKind, Tasks};

/// Stops the process on a panic: a server that silently stops renewing fails weeks later.
const CERTIFICATES: TaskKind = TaskKind::new("certificates", OnPanic::Abort).background();

/// How often the files are compared.
const POLL: Duration = Duration::from_secs(5);

/// Makes aws-lc-rs the process-wide default, for libraries that ask rustls for one. Harmless to repeat.
pub fn install_crypto_provider() {
    // An error only says that a provider is installed already; all of ours install the same.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Where a server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM, the server's own certificate first.
    pub cert_file: PathBuf,
    /// Its private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key_file: PathBuf,
    /// The authorities of client certificates, PEM; without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate (if there is a client CA).
    pub client_cert_required: bool,
}

impl TlsFiles {
    /// Reads the section: `cert_file`, `key_file`, `client_ca_file`, `client_cert_required` (true by default), and
    /// whether the files can be used.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let (cert_file, key_file) = (r.required("cert_file"), r.required("key_file"));
        let client_ca_file = r.optional("client_ca_file");
        let required = r.optional("client_cert_required");
        if required == Some(true) && client_ca_file.is_none() {
            r.problem(
                "client_cert_required",
                "has no client_ca_file to judge certificates by: anybody would be let in",
                "give client_ca_file, or leave client_cert_required out",
            );
        }
        let files = Self {
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file,
            client_cert_required: required.unwrap_or(true),
        };
        for (key, error) in files.check() {
            r.problem(
                key,
                error.to_string(),
                "name a PEM file that is readable and sound",
            );
        }
        Some(files)
    }

    /// What is wrong with the files, by the keys that name them: each by itself, and if
    /// nothing is, whether they belong together.
    fn check(&self) -> Vec<(&'static str, TlsError)> {
        let cert = contents(&self.cert_file)
            .and_then(|pem| certificates(&self.cert_file, &pem).map(|_| pem));
        let key =
            contents(&self.key_file).and_then(|pem| private_key(&self.key_file, &pem).map(|_| pem));
        let client_ca = self.client_ca_file.as_deref().map(|path| {
            let pem = contents(path)?;
            add_authorities(&mut RootCertStore::empty(), path, &pem).map(|()| pem)
        });
        match (cert, key, client_ca.transpose()) {
            (Ok(cert), Ok(key), Ok(client_ca)) => {
                let contents = Contents {
                    cert,
                    key,
                    client_ca,
                };
                let together = self.server_config(&contents, &[]);
                together
                    .err()
                    .map(|error| ("key_file", error))
                    .into_iter()
                    .collect()
            }
            (cert, key, client_ca) => {
                let all = [
                    ("cert_file", cert.err()),
                    ("key_file", key.err()),
                    ("client_ca_file", client_ca.err()),
                ];
                all.into_iter()
                    .filter_map(|(key, error)| Some((key, error?)))
                    .collect()
            }
        }
    }

    fn contents(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            cert: contents(&self.cert_file)?,
            key: contents(&self.key_file)?,
            client_ca: self.client_ca_file.as_deref().map(contents).transpose()?,
        })
    }

    fn server_config(
        &self,
        contents: &Contents,
        alpn: &[Vec<u8>],
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca_file, &contents.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                add_authorities(&mut roots, path, pem)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = if self.client_cert_required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsError::new(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let (certs, key) = (
            certificates(&self.cert_file, &contents.cert)?,
            private_key(&self.key_file, &contents.key)?,
        );
        let config = builder.with_single_cert(certs, key);
        let mut config = config.map_err(|error| TlsError::new(&self.cert_file, error))?;
        config.alpn_protocols = alpn.to_vec();
        Ok(config)
    }
}

#[derive(Hash)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Why TLS could not be set up: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{path}{wrong}")]
pub struct TlsError {
    path: String,
    wrong: String,
}

impl TlsError {
    fn new(path: &Path, wrong: impl fmt::Display) -> Self {
        Self {
            path: format!("{}: ", path.display()),
            wrong: wrong.to_string(),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self {
            path: String::new(),
            wrong: error.to_string(),
        }
    }
}

/// A server's side of TLS.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    alpn: Vec<Vec<u8>>,
    current: ArcSwap<ServerConfig>,
    /// A keyed hash of the contents last looked at, good or bad.
    seen: Mutex<u64>,
    hasher: RandomState,
}

impl ServerTls {
    /// Loads the files; `alpn` is what the listener speaks (`[b"h2"]` for gRPC).
    ///
    /// # Errors
    /// A file is unreadable or not what it should be, or certificate and key do not belong together.
    pub fn load(files: TlsFiles, alpn: &[&[u8]]) -> Result<Arc<Self>, TlsError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
        let contents = files.contents()?;
        let current = ArcSwap::from_pointee(files.server_config(&contents, &alpn)?);
        let hasher = RandomState::new();
        let seen = Mutex::new(hasher.hash_one(&contents));
        Ok(Arc::new(Self {
            files,
            alpn,
            current,
            seen,
            hasher,
        }))
    }

    /// Looks at the files and takes them over if they changed; answers whether it did. Blocks on file reads.
    ///
    /// # Errors
    /// The files changed, but do not load; the old ones stay in force. Told once per change.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let contents = self.files.contents();
        let print = match &contents {
            Ok(contents) => self.hasher.hash_one(contents),
            Err(error) => self.hasher.hash_one(error.to_string()),
        };
        if std::mem::replace(&mut *self.seen.lock(), print) == print {
            return Ok(false);
        }
        let config = self.files.server_config(&contents?, &self.alpn)?;
        self.current.store(Arc::new(config));
        Ok(true)
    }

    /// Keeps looking at the files, every five seconds and on SIGHUP.
    ///
    /// # Errors
    /// The handler of SIGHUP could not be registered.
    pub fn watch(self: &Arc<Self>, tasks: &Tasks) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let tls = Arc::clone(self);
        tasks.spawn(CERTIFICATES, async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    _ = hangup.recv() => {}
                }
                let looked = Arc::clone(&tls);
                match tokio::task::spawn_blocking(move || looked.reload()).await {
                    Ok(Ok(false)) => {}
                    Ok(Ok(true)) => tracing::info!(file = %tls.files.cert_file.display(), "certificate reloaded"),
                    Ok(Err(error)) => tracing::error!(%error, "new certificate files do not load; the old ones stay"),
                    Err(error) => tracing::error!(%error, "looking at the certificate files failed"),
                }
            }
        });
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

/// Whom a client trusts.
#[derive(Debug)]
pub enum Trust {
    /// These authorities; see [`add_ca_file`].
    Roots(RootCertStore),
    /// A verifier of the caller's choice, for instance the platform's.
    Verifier(Arc<dyn ServerCertVerifier>),
}

/// Adds the authorities of a PEM file to `roots`.
///
/// # Errors
/// The file is unreadable, holds no certificate, or one that cannot be an authority.
pub fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    add_authorities(roots, path, &contents(path)?)
}

/// The authorities of a PEM file, for a verifier of the caller's choice.
///
/// # Errors
/// The file is unreadable or holds no certificate.
pub fn ca_file_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, &contents(path)?)
}

/// A client's side of TLS. `identity` is the client certificate's chain and key, if it has one.
///
/// # Errors
/// The identity's files are unreadable or do not belong together.
pub fn client_config(
    trust: Trust,
    identity: Option<(&Path, &Path)>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(roots),
        Trust::Verifier(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier),
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (certs, private) = (
                certificates(cert, &contents(cert)?)?,
                private_key(key, &contents(key)?)?,
            );
            let config = builder.with_client_auth_cert(certs, private);
            config.map_err(|error| TlsError::new(cert, error))?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The cryptography of all TLS in the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::new(path, error))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certs = certs.map_err(|error| TlsError::new(path, error))?;
    if certs.is_empty() {
        return Err(TlsError::new(path, "holds no certificate in PEM form"));
    }
    Ok(certs)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| TlsError::new(path, format!("no private key in PEM form: {error}")))
}

fn add_authorities(roots: &mut RootCertStore, path: &Path, pem: &[u8]) -> Result<(), TlsError> {
    for cert in certificates(path, pem)? {
        roots
            .add(cert)
            .map_err(|error| TlsError::new(path, error))?;
    }
    Ok(())
}
