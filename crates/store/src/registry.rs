//! Small records of the whole system, in the `system` partition: tenants, their users
//! and keys, agents' presence, what deleted subscriptions were called, what all servers
//! agree on.

use bytes::Bytes;

/// A kind of registry record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Tenants, by id.
    Tenant,
    /// API keys, by the digest of their secret.
    ApiKey,
    /// Agents' presence, by agent id.
    Agent,
    /// Deleted subscriptions, by tenant and number.
    Tombstone,
    /// What all servers of the store agree on, by name.
    Agreement,
    /// Users, by tenant and id.
    User,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tenant,
        Self::ApiKey,
        Self::Agent,
        Self::Tombstone,
        Self::Agreement,
        Self::User,
    ];

    /// A word for keys and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::ApiKey => "key",
            Self::Agent => "agent",
            Self::Tombstone => "tombstone",
            Self::Agreement => "agreement",
            Self::User => "user",
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, by key.
    pub entries: Vec<Entry>,
    /// Whether there are more.
    pub more: bool,
}
