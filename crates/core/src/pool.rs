//! Pools: named sets of agents.

use core::{fmt, str::FromStr};

use crate::{id::TenantId, limits::NAME_BYTES};

/// Prefix of the name of a platform-wide pool.
pub const PLATFORM_PREFIX: &str = "platform/";

/// A pool as a subscription names it: of its own tenant, or platform-wide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolName {
    platform: bool,
    name: String,
}

/// The text is not a pool's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to 63 of a-z, 0-9, `-` and `_`, with `platform/` in front for a platform-wide pool"
)]
pub struct ParsePoolError;

/// Whether `name` is 1 to 63 of a-z, 0-9, `-` and `_`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(fits)
}

impl PoolName {
    /// A name as a record keeps it, unchecked: any text names a set of agents, and a
    /// rule that is tightened must not part deliveries from theirs.
    #[must_use]
    pub fn kept(text: &str) -> Self {
        let (platform, name) = match text.strip_prefix(PLATFORM_PREFIX) {
            Some(name) => (true, name),
            None => (false, text),
        };
        Self {
            platform,
            name: name.to_owned(),
        }
    }
}

impl FromStr for PoolName {
    type Err = ParsePoolError;

    fn from_str(text: &str) -> Result<Self, ParsePoolError> {
        let pool = Self::kept(text);
        if is_name(&pool.name) {
            Ok(pool)
        } else {
            Err(ParsePoolError)
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            if self.platform { PLATFORM_PREFIX } else { "" },
            self.name
        )
    }
}

impl Default for PoolName {
    fn default() -> Self {
        Self {
            platform: false,
            name: "default".to_owned(),
        }
    }
}

impl PoolName {
    /// The pool that this name means in a subscription of `tenant`.
    #[must_use]
    pub fn resolve(&self, tenant: TenantId) -> Pool {
        let owner = if self.platform {
            TenantId::PLATFORM
        } else {
            tenant
        };
        Pool {
            owner,
            name: self.name.clone(),
        }
    }
}

/// A pool, whoever asks: its owner and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pool {
    /// The tenant, or [`TenantId::PLATFORM`].
    pub owner: TenantId,
    /// Its name within its owner's.
    pub name: String,
}

impl Pool {
    /// The name by which subscriptions call it.
    #[must_use]
    pub fn display_name(&self) -> String {
        let platform = self.owner == TenantId::PLATFORM;
        PoolName {
            platform,
            name: self.name.clone(),
        }
        .to_string()
    }
}
