//! Why a credential is not accepted: in words that help its owner and tell nothing about
//! other credentials.

use crate::errors::OperationError;

/// A credential that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    reason: &'static str,
    message: &'static str,
}

impl Refusal {
    /// None was given, or not in the form that is understood.
    pub(super) const MISSING: Self = Self {
        reason: "NO_CREDENTIAL",
        message: "no key was given: send the metadata `authorization: Bearer KEY`",
    };

    /// A key that is not, or not any more.
    pub(super) const UNKNOWN_KEY: Self =
        Self::invalid("the key is unknown or was revoked: ask your operator for a new one");

    /// It was never valid here, or was taken back.
    pub(super) const fn invalid(message: &'static str) -> Self {
        Self {
            reason: "INVALID_CREDENTIAL",
            message,
        }
    }

    /// It was valid until its end.
    pub(super) const fn expired(message: &'static str) -> Self {
        Self {
            reason: "EXPIRED_CREDENTIAL",
            message,
        }
    }
}

impl From<Refusal> for OperationError {
    fn from(refusal: Refusal) -> Self {
        Self::Unauthenticated {
            reason: refusal.reason,
            message: refusal.message,
        }
    }
}
