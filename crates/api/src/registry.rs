//! Tenants, keys and agents' presence: as requests name them, as the API shows them
//! and as records keep them.

#![allow(
    clippy::needless_update,
    reason = "a later version's records have more fields: see the feature `later`"
)]

mod agent;
mod key;

pub use agent::Presence;
pub use key::{ApiKey, KeyRole};

use bytes::Bytes;
use sidehook_core::{
    id::TenantId, limits::DISPLAY_NAME_BYTES, text::check_text, time::Timestamp,
    violation::Violations,
};

use crate::{
    record::{decode, encode, kept_moment},
    record_error::CorruptRecord,
    record_v1,
    time::timestamp,
    v1,
};

/// A customer organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its identifier.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tenant {
    /// Reads a new tenant.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn create(
        request: v1::CreateTenantRequest,
        id: TenantId,
        now: Timestamp,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        check_name(&mut violations, &request.name);
        violations.into_result(Self {
            id,
            name: request.name,
            created_at: now,
        })
    }

    /// The tenant as the API shows it.
    #[must_use]
    pub fn to_proto(&self) -> v1::Tenant {
        v1::Tenant {
            id: self.id.to_string(),
            name: self.name.clone(),
            created_at: Some(timestamp(self.created_at)),
        }
    }

    /// Encodes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&record_v1::TenantRecord {
            tenant: Some(self.to_proto()),
            ..Default::default()
        })
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it is not a tenant's record, or has no id.
    pub fn decode(record: Bytes) -> Result<Self, CorruptRecord> {
        let corrupt = |detail: &str| CorruptRecord::new("tenant", detail);
        let record: record_v1::TenantRecord = decode("tenant", record)?;
        let proto = record.tenant.ok_or_else(|| corrupt("no tenant"))?;
        Ok(Self {
            id: proto.id.parse().map_err(|_| corrupt("id"))?,
            created_at: kept_moment(proto.created_at.as_ref()),
            name: proto.name,
        })
    }
}

/// Names for people.
fn check_name(violations: &mut Violations, name: &str) {
    violations.require(!name.is_empty(), "name", "a name is required");
    check_text(violations, || "name".to_owned(), name, DISPLAY_NAME_BYTES);
}

#[cfg(test)]
mod tests;
