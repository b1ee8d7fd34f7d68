//! How a webhook request is signed, and how a receiver checks it.
//!
//! A [`Scheme`] says *how* (which headers, which digest), a secret in its text
//! form says *with what*. Both are parsed once, at the edge, into a [`Signer`] or a
//! [`Verifier`]; from then on signing cannot fail. A signer holds keyed digest
//! states that are cloned per request: setting up an HMAC costs two compressions,
//! cloning one a copy of some hundred bytes. Prepare one signer per version of a
//! subscription and share it.
//!
//! | scheme | headers | signed bytes | keys |
//! |---|---|---|---|
//! | Standard Webhooks | `webhook-id`, `webhook-timestamp`, `webhook-signature` | id `.` timestamp `.` body | all of them, newest first |
//! | Close | `close-sig-hash`, `close-sig-timestamp` | timestamp, body | the newest |
//! | plain HMAC | one, by default `X-Signature` | body | the newest |
//!
//! The crate is pure: no clock, no randomness, no I/O. The time is an argument, and
//! so are the random bytes of a new key. It knows no HTTP types either; header names and
//! values are strings, and [`Signer::header_names`] lets a caller build its own
//! names ahead of time.
//!
//! Secrets are wiped when dropped and never appear in `Debug` or in an error; an
//! error names the position of a bad character, not the character.
//!
//! Deliberately absent: the static secret-token header (it signs nothing and is an
//! ordinary header), and Ed25519 over several slices without a copy (the algorithm
//! reads its message twice).

mod close;
mod hmac_header;
mod key;
mod mac;
mod signer;
mod standard;
mod verifier;

pub use close::CloseKey;
pub use hmac_header::{HmacDigest, HmacHeader, HmacHeaderError, HmacHeaderKey};
pub use key::{KeyError, PLAIN_KEY_BYTES_MAX, SHARED_KEY_BYTES_MAX, SHARED_KEY_BYTES_MIN};
pub use signer::{KEYS_MAX, Scheme, SignedHeader, SignedHeaders, Signer, SignerError};
pub use standard::StandardKey;
pub use verifier::{SIGNATURES_EXAMINED_MAX, TimeWindow, Verifier, VerifyError};
