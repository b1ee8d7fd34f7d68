//! How many subscriptions there may be, and with how much of filters.
//!
//! The store holds all bounds also when many are created at one moment on many replicas:
//! a tenant's subscriptions in all it counts itself, each time one is created; those that
//! are active, and the bytes of filters (which it does not know) were compared with a
//! catalog, and the change is made only if that is still the catalog.

use sidehook_core::{
    limits::TENANT_FILTER_BYTES, matching::filter_bytes, subscription::Subscription,
    version::Version,
};
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

/// Bounds under which a subscription that was `before`, if it was there, becomes `after`.
///
/// # Errors
/// As many as `active_limit` are active already (0 is no limit), or the tenant's filters
/// have no room for more.
pub(super) fn bounds(
    catalog: &Compiled,
    before: Option<&Subscription>,
    after: &Subscription,
    active_limit: u32,
) -> Result<Bounds, OperationError> {
    let is_active = |one: &Subscription| one.status.is_active();
    let activates = active_limit > 0 && is_active(after) && !before.is_some_and(is_active);
    if activates {
        check_active(catalog, active_limit)?;
    }
    let bytes = |one: &Subscription| filter_bytes(&one.events);
    let grows = bytes(after) > before.map_or(0, bytes);
    if grows {
        check_filters(catalog, after)?;
    }
    Ok(Bounds {
        catalog: (activates || grows).then_some(catalog.version),
        ..Bounds::default()
    })
}

fn check_active(catalog: &Compiled, limit: u32) -> Result<(), OperationError> {
    let all = catalog.subscriptions.values();
    let active = all.filter(|one| one.subscription.status.is_active());
    let active = active.count();
    if active < usize::try_from(limit).unwrap_or(usize::MAX) {
        return Ok(());
    }
    Err(OperationError::Exhausted {
        reason: "ACTIVE_LIMIT",
        message: format!(
            "{active} subscriptions are active, and the request allows {limit}: pause or \
             delete some"
        ),
        retry_after: None,
    })
}

fn check_filters(catalog: &Compiled, after: &Subscription) -> Result<(), OperationError> {
    let all = catalog.subscriptions.values();
    let others = all.map(|one| &one.subscription);
    let others = others.filter(|other| other.id != after.id);
    let others: usize = others.map(|other| filter_bytes(&other.events)).sum();
    let own = filter_bytes(&after.events);
    if others + own <= TENANT_FILTER_BYTES {
        return Ok(());
    }
    Err(OperationError::Exhausted {
        reason: "FILTER_LIMIT",
        message: format!(
            "the filters of the tenant's other subscriptions have {others} bytes, and those of \
             this one {own}; together they may have {TENANT_FILTER_BYTES}: shorten some, or \
             delete subscriptions that are no longer needed"
        ),
        retry_after: None,
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
