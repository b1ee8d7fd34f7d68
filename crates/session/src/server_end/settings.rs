//! Which settings the agent has: each version of a subscription goes over the stream
//! once.

use std::collections::HashMap;

use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    version::Version,
};

/// What to write into an Assign for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsUse {
    /// The agent has them.
    Known {
        /// Their key.
        key: u64,
    },
    /// They must go along.
    Send {
        /// Their key, new on this stream.
        key: u64,
        /// The key whose settings they replace; 0 if none.
        replaces: u64,
    },
}

impl SettingsUse {
    /// The key that deliveries name.
    #[must_use]
    pub const fn key(self) -> u64 {
        match self {
            Self::Known { key } | Self::Send { key, .. } => key,
        }
    }
}

/// The settings that went out on one stream. A lease is made into frames under one
/// lock, so that a key is never used before its settings are on their way.
#[derive(Debug, Default)]
pub struct SentSettings {
    sent: HashMap<(TenantId, SubscriptionNumber), (u64, Version, usize)>,
    last_key: u64,
}

impl SentSettings {
    /// Notes that a subscription's settings are needed. `signing_keys` counts the keys
    /// in force: one that expires changes the settings without a new version.
    pub fn want(
        &mut self,
        tenant: TenantId,
        subscription: SubscriptionNumber,
        version: Version,
        signing_keys: usize,
    ) -> SettingsUse {
        let known = self.sent.get(&(tenant, subscription)).copied();
        if let Some((key, sent, keys)) = known
            && (sent, keys) == (version, signing_keys)
        {
            return SettingsUse::Known { key };
        }
        self.last_key += 1;
        let entry = (self.last_key, version, signing_keys);
        self.sent.insert((tenant, subscription), entry);
        SettingsUse::Send {
            key: self.last_key,
            replaces: known.map_or(0, |(key, _, _)| key),
        }
    }
}
