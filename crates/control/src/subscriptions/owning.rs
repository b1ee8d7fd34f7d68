//! Whose a subscription is, where that decides: the one place that asks
//! [`Principal::may_change`], and says no.
//!
//! Asked before anything is changed, in which way ever: laid over, paused, resumed, given
//! a key, tested, deleted, delivered for once more. Asked of what it will be as well as of
//! what it is, so that a member neither takes what is another's nor gives away what is
//! theirs. One whose record cannot be read is nobody's: an admin deletes it.

use sidehook_core::{id::SubscriptionId, principal::Principal};

use crate::errors::OperationError;

/// Whether `who` may change the subscription `id`, which belongs to `owner`.
///
/// # Errors
/// [`OperationError::NotTheirs`].
pub(crate) fn check(
    who: &Principal,
    id: SubscriptionId,
    owner: Option<&str>,
) -> Result<(), OperationError> {
    if who.may_change(owner.unwrap_or_default()) {
        return Ok(());
    }
    let whose = match owner {
        Some(owner) => format!("belongs to `{owner}`"),
        None => "cannot be read, so that nobody knows whose it is".to_owned(),
    };
    Err(OperationError::NotTheirs(format!(
        "subscription `{id}` {whose}, and `{}` changes only what is their own: ask its owner or \
         an admin",
        who.subject
    )))
}

/// Whether `who` may make `owner` the owner of a subscription that is theirs to change,
/// or new.
///
/// # Errors
/// [`OperationError::NotTheirs`].
pub(super) fn check_given(who: &Principal, owner: &str) -> Result<(), OperationError> {
    if who.may_change(owner) {
        return Ok(());
    }
    Err(OperationError::NotTheirs(format!(
        "`{}` cannot make `{owner}` the owner of a subscription: leave `owner` out, or ask an \
         admin",
        who.subject
    )))
}
