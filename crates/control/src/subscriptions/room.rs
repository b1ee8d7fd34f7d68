//! How many subscriptions there may be.
//!
//! Two bounds, and the store holds both also when many are created at one moment on many
//! replicas: of a tenant's subscriptions in all it counts itself, each time one is
//! created; of those that are active (which it does not know) the caller's bound was
//! compared with a catalog, and the change is made only if that is still the catalog.

use sidehook_core::version::Version;
use sidehook_store::catalog::Bounds;

use crate::{catalog::Compiled, errors::OperationError};

/// What a change of a subscription asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition {
    /// The version that it must still have.
    pub etag: Option<Version>,
    /// How many of the tenant's may be active, if it becomes one of them; 0: no limit.
    pub active_limit: u32,
}

impl From<Option<Version>> for Condition {
    fn from(etag: Option<Version>) -> Self {
        Self {
            etag,
            active_limit: 0,
        }
    }
}

/// Bounds under which one more becomes active.
///
/// # Errors
/// There are as many as `limit` already. 0 is no limit.
pub(super) fn for_active(catalog: &Compiled, limit: u32) -> Result<Bounds, OperationError> {
    if limit == 0 {
        return Ok(Bounds::default());
    }
    let all = catalog.subscriptions.values();
    let active = all.filter(|one| one.subscription.status.is_active());
    let active = active.count();
    if active >= usize::try_from(limit).unwrap_or(usize::MAX) {
        return Err(OperationError::Exhausted {
            reason: "ACTIVE_LIMIT",
            message: format!(
                "{active} subscriptions are active, and the request allows {limit}: pause or \
                 delete some"
            ),
            retry_after: None,
        });
    }
    Ok(Bounds {
        catalog: Some(catalog.version),
        ..Bounds::default()
    })
}

/// There is no room for another one.
pub(super) fn full(limit: u32) -> OperationError {
    OperationError::Exhausted {
        reason: "SUBSCRIPTION_LIMIT",
        message: format!(
            "the tenant may have {limit} subscriptions, and has as many: delete some that are \
             no longer needed, or ask your operator for more"
        ),
        retry_after: None,
    }
}
