//! Changing and listing subscriptions, for dialects that know a part of them.
//!
//! A change through a dialect must keep what the dialect has no words for: a second
//! header, a filter, another kind of event. Lists are replaced whole by an RPC. So the
//! subscription is read, the change is laid over what is there, and it is written on the
//! condition that nobody was faster; else all of it is done again.

use sidehook_api::v1;
use sidehook_core::id::SubscriptionId;

use crate::{
    call::Call,
    problem::{Kind, Problem},
};

/// How often a change is tried again because somebody was faster.
const TRIES: usize = 5;
/// Subscriptions on a page of an RPC.
const PAGE: u32 = 500;

/// The RPCs that [`change`] makes.
pub(crate) const CHANGE: &[&str] = &[
    "/sidehook.v1.WebhookService/GetSubscription",
    "/sidehook.v1.WebhookService/UpdateSubscription",
];

/// What is to be changed of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The new values.
    pub(crate) patch: v1::Subscription,
    /// The fields that are changed; the others of `patch` are not looked at.
    pub(crate) mask: Vec<&'static str>,
    /// The signing secret that takes the place of all keys; none if empty.
    pub(crate) secret: String,
    /// If not 0: how many of the tenant's subscriptions may be active then.
    pub(crate) active_limit: u32,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.mask.is_empty() && self.secret.is_empty()
    }
}

/// Reads one, with its signing keys if the caller may see them.
///
/// # Errors
/// There is none, or the service's.
pub(crate) async fn get(call: &Call, id: SubscriptionId) -> Result<v1::Subscription, Problem> {
    let request = v1::GetSubscriptionRequest { id: id.to_string() };
    let answer = call.webhooks().get_subscription(request).await?;
    present(answer.into_inner().subscription)
}

/// The subscription of an answer.
///
/// # Errors
/// There is none in it, which is a mistake of ours.
pub(crate) fn present(subscription: Option<v1::Subscription>) -> Result<v1::Subscription, Problem> {
    subscription.ok_or_else(|| Problem::internal("an answer lacks its subscription"))
}

/// Changes one by what `plan` makes of the present one, and answers it as it is then, with
/// its signing keys if the caller may see them.
///
/// # Errors
/// Those of `plan`, there is none, somebody was faster each time, or the service's.
pub(crate) async fn change(
    call: &Call,
    id: SubscriptionId,
    plan: impl Fn(&v1::Subscription) -> Result<Change, Problem>,
) -> Result<v1::Subscription, Problem> {
    let mut tries = 1;
    loop {
        let current = get(call, id).await?;
        let change = plan(&current)?;
        if change.is_empty() {
            return Ok(current);
        }
        match write(call, &current, change).await {
            Err(problem) if problem.kind == Kind::Conflict && tries < TRIES => tries += 1,
            ended => return ended,
        }
    }
}

async fn write(
    call: &Call,
    current: &v1::Subscription,
    change: Change,
) -> Result<v1::Subscription, Problem> {
    let keys = if change.secret.is_empty() {
        current.signing.as_ref().map(|signing| signing.keys.clone())
    } else {
        Some(vec![v1::SigningKey {
            secret: change.secret.clone(),
            ..v1::SigningKey::default()
        }])
    };
    let request = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            id: current.id.clone(),
            etag: current.etag.clone(),
            ..change.patch
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: change.mask.iter().map(|path| (*path).to_owned()).collect(),
        }),
        signing_secret: change.secret,
        active_limit: change.active_limit,
    };
    let answer = call.webhooks().update_subscription(request).await?;
    let mut changed = present(answer.into_inner().subscription)?;
    if let Some(signing) = &mut changed.signing {
        signing.keys = keys.unwrap_or_default();
    }
    Ok(changed)
}

/// All of the tenant's, oldest first.
///
/// # Errors
/// The service's.
pub(crate) async fn all(call: &Call, with_keys: bool) -> Result<Vec<v1::Subscription>, Problem> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListSubscriptionsRequest {
            page_size: PAGE,
            page_token,
            show_signing_keys: with_keys,
        };
        let page = call.webhooks().list_subscriptions(request).await?;
        let page = page.into_inner();
        all.extend(page.subscriptions);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        page_token = page.next_page_token;
    }
}

/// Deletes one.
///
/// # Errors
/// There is none, or the service's.
pub(crate) async fn delete(call: &Call, id: SubscriptionId) -> Result<(), Problem> {
    let request = v1::DeleteSubscriptionRequest {
        id: id.to_string(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    call.webhooks().delete_subscription(request).await?;
    Ok(())
}
