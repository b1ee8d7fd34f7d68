//! Time limits of one attempt.

use core::time::Duration;

use crate::{
    limits::{
        CONNECT_TIMEOUT_DEFAULT, DNS_TIMEOUT_DEFAULT, TIMEOUT_MIN, TOTAL_TIMEOUT_DEFAULT,
        TOTAL_TIMEOUT_MAX,
    },
    violation::Violations,
};

/// Time limits of one attempt, each 10 ms to 60 s. The first two end no later than
/// the whole: they may be longer, so that somebody who shortens `total` need not
/// think of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    dns: Duration,
    connect: Duration,
    total: Duration,
}

impl Timeouts {
    /// Time limits of the address look-up, of connecting, and of the whole attempt.
    ///
    /// # Errors
    /// Those that are out of range, as `dns`, `connect`, `total`.
    pub fn new(dns: Duration, connect: Duration, total: Duration) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        for (field, value) in [("dns", dns), ("connect", connect), ("total", total)] {
            violations.require(
                (TIMEOUT_MIN..=TOTAL_TIMEOUT_MAX).contains(&value),
                field,
                "must be between 10 ms and 60 s",
            );
        }
        violations.into_result(Self {
            dns,
            connect,
            total,
        })
    }

    /// Time limits as a record keeps them, unchecked; see [`Self::in_effect`].
    #[must_use]
    pub const fn kept(dns: Duration, connect: Duration, total: Duration) -> Self {
        Self {
            dns,
            connect,
            total,
        }
    }

    /// The limits that attempts have: each the nearest one that is allowed now, also
    /// where a rule was tightened after they were set.
    #[must_use]
    pub fn in_effect(&self) -> Self {
        let allowed = |span: Duration| span.clamp(TIMEOUT_MIN, TOTAL_TIMEOUT_MAX);
        Self {
            dns: allowed(self.dns),
            connect: allowed(self.connect),
            total: allowed(self.total),
        }
    }

    /// For looking up the receiver's address.
    #[must_use]
    pub const fn dns(&self) -> Duration {
        self.dns
    }

    /// For the TCP connection and TLS handshake.
    #[must_use]
    pub const fn connect(&self) -> Duration {
        self.connect
    }

    /// For the whole attempt until the response has been read.
    #[must_use]
    pub const fn total(&self) -> Duration {
        self.total
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dns: DNS_TIMEOUT_DEFAULT,
            connect: CONNECT_TIMEOUT_DEFAULT,
            total: TOTAL_TIMEOUT_DEFAULT,
        }
    }
}
