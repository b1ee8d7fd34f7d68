//! The receiving side: is this request from whom it says, and recent?
//!
//! Codes are compared in their text form and in constant time. Comparing text instead
//! of decoded bytes also refuses other spellings of the same code.

use crate::hmac_header::HmacHeader;
use crate::mac::Mac;
use crate::signer::{Scheme, SignerError, close_macs, header_macs, parse_keys};
use crate::standard::CheckingKey;
use crate::{close, standard};
use subtle::ConstantTimeEq;

/// Signatures of one header that are examined; more are ignored, so that a request
/// cannot buy thousands of Ed25519 verifications.
pub const SIGNATURES_EXAMINED_MAX: usize = 16;

/// Which signing times are accepted. The plain HMAC header signs no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// The receiver's Unix time.
    pub now_seconds: i64,
    /// Accepted difference in either direction.
    pub tolerance_seconds: u64,
}

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header that the scheme needs is absent or not text.
    #[error("header `{name}` is missing")]
    MissingHeader {
        /// Its name.
        name: String,
    },
    /// The timestamp is not a decimal number of Unix seconds.
    #[error("header `{name}` is not a Unix time in seconds")]
    MalformedTimestamp {
        /// The header's name.
        name: &'static str,
    },
    /// Signed too long ago.
    #[error("signed {by_seconds} s ago, at most {tolerance_seconds} s are accepted")]
    TooOld {
        /// Age.
        by_seconds: u64,
        /// The limit.
        tolerance_seconds: u64,
    },
    /// Signed in the future: a clock is wrong.
    #[error("signed {by_seconds} s ahead of now, at most {tolerance_seconds} s are accepted")]
    TooNew {
        /// Seconds ahead.
        by_seconds: u64,
        /// The limit.
        tolerance_seconds: u64,
    },
    /// No signature was made with one of the keys over these bytes.
    #[error("no signature matches the request and the known keys")]
    Mismatch,
}

impl TimeWindow {
    /// Five minutes around `now_seconds`, as the official Standard Webhooks libraries do.
    pub fn around(now_seconds: i64) -> Self {
        Self {
            now_seconds,
            tolerance_seconds: 300,
        }
    }

    pub(crate) fn check(self, name: &'static str, timestamp: &str) -> Result<(), VerifyError> {
        let signed_at: i64 = timestamp
            .parse()
            .map_err(|_| VerifyError::MalformedTimestamp { name })?;
        let by_seconds = self.now_seconds.abs_diff(signed_at);
        let tolerance_seconds = self.tolerance_seconds;
        if by_seconds <= tolerance_seconds {
            Ok(())
        } else if signed_at < self.now_seconds {
            Err(VerifyError::TooOld {
                by_seconds,
                tolerance_seconds,
            })
        } else {
            Err(VerifyError::TooNew {
                by_seconds,
                tolerance_seconds,
            })
        }
    }
}

/// A scheme with the receiver's keys.
#[derive(Debug)]
pub struct Verifier(Kind);

#[derive(Debug)]
enum Kind {
    StandardWebhooks(Vec<CheckingKey>),
    Close(Vec<Mac>),
    HmacHeader(HmacHeader, Vec<Mac>),
}

impl Verifier {
    /// Parses the receiver's keys; a signature by any of them will do. Standard Webhooks
    /// takes `whsec_…` and `whpk_…` (and `whsk_…` for its public half).
    ///
    /// # Errors
    /// As for [`Signer::new`](crate::Signer::new); also for [`Scheme::Unsigned`].
    pub fn new<S: AsRef<str>>(scheme: &Scheme, keys: &[S]) -> Result<Self, SignerError> {
        Ok(Self(match scheme {
            Scheme::Unsigned => return Err(SignerError::Unsigned),
            Scheme::StandardWebhooks => {
                Kind::StandardWebhooks(parse_keys(keys, CheckingKey::parse)?)
            }
            Scheme::Close => Kind::Close(close_macs(keys)?),
            Scheme::HmacHeader(header) => {
                Kind::HmacHeader(header.clone(), header_macs(header, keys)?)
            }
        }))
    }

    /// Checks a request. `headers` looks a header up by name, without regard to case;
    /// `body` is the raw body, in as many slices as it came.
    ///
    /// # Errors
    /// The first cause found; every cause means that the request must not be trusted.
    pub fn verify<'h>(
        &self,
        headers: impl Fn(&str) -> Option<&'h str>,
        body: &[&[u8]],
        window: TimeWindow,
    ) -> Result<(), VerifyError> {
        let headers = Lookup(&headers);
        match &self.0 {
            Kind::StandardWebhooks(keys) => standard::verify(keys, &headers, body, window),
            Kind::Close(macs) => close::verify(macs, &headers, body, window),
            Kind::HmacHeader(header, macs) => header.verify(macs, &headers, body),
        }
    }
}

/// The headers of a request.
pub(crate) struct Lookup<'f, 'h>(&'f dyn Fn(&str) -> Option<&'h str>);

impl<'h> Lookup<'_, 'h> {
    pub(crate) fn get(&self, name: &str) -> Result<&'h str, VerifyError> {
        (self.0)(name).ok_or_else(|| VerifyError::MissingHeader {
            name: name.to_owned(),
        })
    }
}

pub(crate) fn any_key(
    macs: &[Mac],
    given: &str,
    expected: impl Fn(&Mac) -> String,
) -> Result<(), VerifyError> {
    if macs.iter().any(|mac| same_text(given, &expected(mac))) {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

/// Constant in the content; the length of a code is no secret.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}
