//! Tenants, keys and agents' presence: as requests name them, as the API shows them
//! and as records keep them.

#![allow(
    clippy::needless_update,
    reason = "a later version's records have more fields: see the feature `later`"
)]

mod agent;
mod key;
mod tenant;
mod user;

pub use agent::Presence;
pub use key::{ApiKey, KeyRole, KeyUser};
pub use tenant::{Tenant, TenantLimits};
pub use user::{User, UserRole};

use sidehook_core::{limits::DISPLAY_NAME_BYTES, text::check_text, violation::Violations};

/// Names for people.
fn check_name(violations: &mut Violations, name: &str) {
    violations.require(!name.is_empty(), "name", "a name is required");
    check_text(violations, || "name".to_owned(), name, DISPLAY_NAME_BYTES);
}

#[cfg(test)]
mod tests;
