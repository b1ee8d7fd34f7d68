//! Where the keys of tokens come from.

use core::time::Duration;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustls::RootCertStore;
use rustls_platform_verifier::Verifier;
use sidehook_runtime::{
    fetch::{Fetch, FetchError, PlaceError},
    tls::{TlsError, Trust, add_ca_file, provider},
};

use super::keys::{KeySet, KeySetError};

/// Bytes of the longest set of keys.
const BYTES: usize = 256 * 1024;
/// How long fetching one may take.
pub(super) const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address: https, or http on this machine.
    Url {
        /// The address.
        url: String,
        /// The only authorities that are trusted there, PEM; the platform's if `None`.
        ca_file: Option<PathBuf>,
    },
}

/// Why keys cannot be read from where they are said to be, now or ever.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The place is not one that keys may come from.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The authorities do not load.
    #[error(transparent)]
    Authorities(#[from] TlsError),
    /// The platform's authorities make no verifier.
    #[error("certificates cannot be verified: {0}")]
    Platform(#[from] rustls::Error),
    /// It did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What came is of no use.
    #[error("{0}")]
    Keys(String),
}

impl From<KeySetError> for KeySourceError {
    fn from(error: KeySetError) -> Self {
        Self::Keys(error.to_string())
    }
}

/// A place to read keys from.
#[derive(Debug)]
pub(super) enum Reader {
    File(PathBuf),
    Url(Fetch),
}

impl Reader {
    pub(super) fn new(source: &KeySource) -> Result<Self, KeySourceError> {
        let (url, ca_file) = match source {
            KeySource::File(path) => return Ok(Self::File(path.clone())),
            KeySource::Url { url, ca_file } => (url, ca_file),
        };
        let trust = match ca_file {
            None => Trust::Verifier(Arc::new(Verifier::new(provider())?)),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                add_ca_file(&mut roots, path)?;
                Trust::Roots(roots)
            }
        };
        Ok(Self::Url(Fetch::new(url, trust)?))
    }

    pub(super) async fn read(&self) -> Result<KeySet, KeySourceError> {
        let text = match self {
            Self::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || contents(&path));
                let failed = |error| KeySourceError::Keys(format!("reading failed: {error}"));
                reading.await.map_err(failed)??
            }
            Self::Url(fetch) => fetch.get(BYTES, FETCHED_WITHIN).await?,
        };
        Ok(KeySet::parse(&text)?)
    }
}

/// Reads a set of keys from a file; blocks.
pub(super) fn keys_in_file(path: &Path) -> Result<KeySet, KeySourceError> {
    Ok(KeySet::parse(&contents(path)?)?)
}

fn contents(path: &Path) -> Result<Bytes, KeySourceError> {
    use io::Read as _;
    let failed = |error| KeySourceError::File(path.to_owned(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    let most = BYTES as u64 + 1;
    file.take(most).read_to_end(&mut text).map_err(failed)?;
    if text.len() > BYTES {
        return Err(KeySourceError::Keys(format!("longer than {BYTES} bytes")));
    }
    Ok(text.into())
}
