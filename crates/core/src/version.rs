//! Versions that are compared: a counter and a random nonce.
//!
//! The nonce is there because a store's failover can roll a counter back: the
//! same number may then stand for other content, the same pair may not.

use core::{fmt, str::FromStr};

/// A version of a subscription (its etag) or of a tenant's catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// Counts changes; 0: nothing was ever written.
    pub counter: u64,
    /// Random, new with every change.
    pub nonce: u64,
}

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next(self, nonce: u64) -> Self {
        Self {
            counter: self.counter.wrapping_add(1),
            nonce,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:016x}", self.counter, self.nonce)
    }
}

/// The text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an etag that this server gave out")]
pub struct ParseVersionError;

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let (counter, nonce) = text.split_once('-').ok_or(ParseVersionError)?;
        let parse = |part| u64::from_str_radix(part, 16).map_err(|_| ParseVersionError);
        let version = Self {
            counter: parse(counter)?,
            nonce: parse(nonce)?,
        };
        if version.to_string() == text {
            Ok(version)
        } else {
            Err(ParseVersionError)
        }
    }
}
