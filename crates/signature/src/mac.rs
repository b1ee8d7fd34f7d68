//! Keyed digests, set up once and cloned per message.

use crate::key::KeyError;
use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::Sha256;

/// An HMAC that has taken in its key and nothing else. As good as the key for
/// forging, hence wiped on drop (feature `zeroize` of the digests).
#[derive(Debug, Clone)]
pub(crate) enum Mac {
    Sha256(Hmac<Sha256>),
    Sha1(Hmac<Sha1>),
}

impl Mac {
    pub(crate) fn sha256(key: &[u8]) -> Result<Self, KeyError> {
        Hmac::new_from_slice(key)
            .map(Self::Sha256)
            .map_err(|_| KeyError::Rejected)
    }

    pub(crate) fn sha1(key: &[u8]) -> Result<Self, KeyError> {
        Hmac::new_from_slice(key)
            .map(Self::Sha1)
            .map_err(|_| KeyError::Rejected)
    }

    /// Digests `head` then `body`, and hands the code to `read`.
    pub(crate) fn digest<R>(
        &self,
        head: &[&[u8]],
        body: &[&[u8]],
        read: impl FnOnce(&[u8]) -> R,
    ) -> R {
        match self {
            Self::Sha256(keyed) => read(&feed(keyed.clone(), head, body).finalize().into_bytes()),
            Self::Sha1(keyed) => read(&feed(keyed.clone(), head, body).finalize().into_bytes()),
        }
    }

    /// `prefix` and the code in lowercase hex.
    pub(crate) fn hex(&self, prefix: &str, head: &[&[u8]], body: &[&[u8]]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.digest(head, body, |code| {
            let mut text = String::with_capacity(prefix.len() + 2 * code.len());
            text.push_str(prefix);
            for byte in code {
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            text
        })
    }
}

fn feed<M: hmac::Mac>(mut mac: M, head: &[&[u8]], body: &[&[u8]]) -> M {
    for part in head.iter().chain(body) {
        mac.update(part);
    }
    mac
}
