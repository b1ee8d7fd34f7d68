//! Which settings the agent has: each version of a subscription goes over the stream
//! once, unless it was not used for so long that others took its place.

use std::collections::{BTreeMap, HashMap};

use sidehook_core::{
    id::{SubscriptionNumber, TenantId},
    limits::ASSIGN_DELIVERIES,
    version::Version,
};

/// Settings that an agent keeps for one stream; of more, those that were not used for
/// longest are replaced.
pub(super) const SETTINGS_MAX: usize = 4_096;

// Nothing that a frame uses may be replaced by what the same frame brings.
const _: () = assert!(SETTINGS_MAX >= ASSIGN_DELIVERIES);

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
        /// The key whose settings they take the place of, an earlier version's or
        /// those of a subscription that was not used for long; 0 if none.
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

type Name = (TenantId, SubscriptionNumber);

#[derive(Clone, Copy, Debug)]
struct Sent {
    key: u64,
    version: Version,
    signing_keys: usize,
    /// The latest use, as [`SentSettings::uses`] counted it.
    used: u64,
}

/// The settings that went out on one stream. A lease is made into frames under one
/// lock, so that a key is never used before its settings are on their way.
#[derive(Debug, Default)]
pub struct SentSettings {
    sent: HashMap<Name, Sent>,
    /// What was sent, by its latest use.
    by_use: BTreeMap<u64, Name>,
    uses: u64,
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
        let name = (tenant, subscription);
        self.uses += 1;
        let known = self.sent.get_mut(&name);
        let known = known.map(|sent| (std::mem::replace(&mut sent.used, self.uses), *sent));
        if let Some((used, sent)) = known {
            self.by_use.remove(&used);
            self.by_use.insert(self.uses, name);
            if (sent.version, sent.signing_keys) == (version, signing_keys) {
                return SettingsUse::Known { key: sent.key };
            }
        }
        let replaces = known.map_or_else(|| self.make_room(), |(_, sent)| sent.key);
        self.last_key += 1;
        let sent = Sent {
            key: self.last_key,
            version,
            signing_keys,
            used: self.uses,
        };
        self.sent.insert(name, sent);
        self.by_use.insert(self.uses, name);
        SettingsUse::Send {
            key: self.last_key,
            replaces,
        }
    }

    /// The key that makes room for one more; 0 if there is room.
    fn make_room(&mut self) -> u64 {
        if self.sent.len() < SETTINGS_MAX {
            return 0;
        }
        let oldest = self.by_use.pop_first();
        let sent = oldest.and_then(|(_, name)| self.sent.remove(&name));
        sent.map_or(0, |sent| sent.key)
    }
}
