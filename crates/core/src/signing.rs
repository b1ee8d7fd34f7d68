//! How a subscription's requests are signed, without the signing itself.

/// A scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Not signed.
    Unsigned,
    /// Standard Webhooks; the algorithm of keys that Sidehook generates.
    StandardWebhooks(Algorithm),
    /// Close.
    Close,
    /// A header with the hex digest of the body.
    HmacHeader {
        /// Its name.
        header: String,
        /// The digest.
        digest: Digest,
        /// The text in front of the digest.
        prefix: String,
    },
    /// One that a later version chose and this one does not know. Nothing is signed
    /// with it, and nothing goes unsigned instead.
    Unknown,
}

/// Algorithms of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// `v1`.
    #[default]
    HmacSha256,
    /// `v1a`.
    Ed25519,
}

/// Digests of the plain HMAC header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Digest {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1.
    Sha1,
}

/// How a subscription signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The scheme.
    pub scheme: Scheme,
    /// A name that the agent resolves in its own configuration, instead of keys
    /// that Sidehook manages.
    pub local_key: Option<String>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            scheme: Scheme::StandardWebhooks(Algorithm::HmacSha256),
            local_key: None,
        }
    }
}
