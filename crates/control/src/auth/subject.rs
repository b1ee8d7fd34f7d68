//! What callers are called, and who gives the names.
//!
//! A subscription belongs to a subject, whichever credential that comes with: so no two
//! kinds of credentials may give the same one. Keys and users are called by their ids,
//! which are ours to give. A certificate is called as the configuration says and a token's
//! bearer as the issuer says: neither may be called by an id, and no token as a configured
//! certificate is. Only the id of a user is what a token may name, who is looked up then.

use sidehook_core::id::{AgentId, KeyId, SubscriptionId, TenantId, UserId};

/// Whether a name is an id.
pub(super) fn is_id(name: &str) -> bool {
    name.parse::<UserId>().is_ok() || is_id_of_no_user(name)
}

/// Whether a name is an id of something else than a user.
pub(super) fn is_id_of_no_user(name: &str) -> bool {
    name.parse::<KeyId>().is_ok()
        || name.parse::<TenantId>().is_ok()
        || name.parse::<SubscriptionId>().is_ok()
        || name.parse::<AgentId>().is_ok()
}
