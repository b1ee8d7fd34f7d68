//! `WebhookService`.

use core::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sidehook_api::{
    time::read_duration,
    v1::{self, webhook_service_server::WebhookService},
};
use sidehook_core::{
    address::DeliveryId,
    event::{Event, TEST_ACTION, TEST_OBJECT_TYPE},
    id::SubscriptionId,
    limits::{KEY_OVERLAP_DEFAULT, KEY_OVERLAP_MAX},
    principal::Principal,
    time::Timestamp,
    violation::Violations,
};
use tonic::{Request, Response, Status};

use super::{
    parse::{etag, id},
    publishing::Publishing,
};
use crate::{
    auth::principal,
    errors::OperationError,
    eventlog::EventLog,
    filters,
    paging::{List, page_size},
    subscriptions::{Condition, Subscriptions, owning, unusable},
    turns::TURNS,
};

/// Subscriptions on a page, unless asked otherwise and at most.
const PAGE: (usize, usize) = (100, 500);

/// Bytes of a page: it travels as one message.
pub(super) const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Shown instead of a header's value to those who may not see it.
const REDACTED: &str = "[redacted]";

/// The service.
#[derive(Debug)]
pub(crate) struct Webhooks {
    pub(crate) subscriptions: Subscriptions,
    pub(crate) publishing: Publishing,
    pub(crate) log: EventLog,
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let who = principal(&request)?.clone();
        let request = request.into_inner();
        let mut proto = required(request.subscription)?;
        given_values(&proto)?;
        self.default_total(&mut proto);
        let secret = &request.signing_secret;
        let created = self
            .subscriptions
            .create(&who, &proto, secret, request.active_limit);
        Ok(Response::new(v1::CreateSubscriptionResponse {
            subscription: Some(created.await?.to_proto()),
        }))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        let who = principal(&request)?;
        let id = id(&request.get_ref().id, "id")?;
        let found = self.subscriptions.get_keyed(who.tenant, id).await?;
        let mut subscription = shown(found.to_proto(), who);
        let numbers = [found.subscription.id.number()];
        let health = self.subscriptions.health(who.tenant, &numbers).await?;
        subscription.health = health.into_iter().next().flatten();
        Ok(Response::new(v1::GetSubscriptionResponse {
            subscription: Some(subscription),
        }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let who = principal(&request)?;
        let tenant = who.tenant;
        let request = request.get_ref();
        let list = List {
            name: "subscriptions",
            tenant,
            filters: &[],
        };
        let mut violations = Violations::new();
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let after = list.position(&request.page_token, &mut violations, read_place);
        violations
            .into_result(())
            .map_err(OperationError::Invalid)?;
        let keys_at = match request.show_signing_keys {
            true => Some(self.subscriptions.now().await?),
            false => None,
        };
        let all = self.subscriptions.all(tenant).await?;
        let start = all.partition_point(|one| after.is_some_and(|after| one.place() <= after));
        let page = all[start..].iter().take(size);
        let numbers: Vec<_> = page.clone().map(|one| one.place().1.number()).collect();
        let healths = self.subscriptions.health(tenant, &numbers).await?;
        let (mut subscriptions, mut bytes) = (Vec::new(), 0);
        for (one, health) in page.zip(healths) {
            let mut proto = shown(one.to_proto(keys_at), who);
            proto.health = health;
            bytes += proto.encoded_len();
            if bytes > PAGE_BYTES && !subscriptions.is_empty() {
                break;
            }
            subscriptions.push(proto);
        }
        let end = start + subscriptions.len();
        let last = all[start..end].last().filter(|_| end < all.len());
        Ok(Response::new(v1::ListSubscriptionsResponse {
            subscriptions,
            next_page_token: last
                .map_or_else(String::new, |last| list.token(&write_place(last.place()))),
        }))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let who = principal(&request)?.clone();
        let request = request.into_inner();
        let patch = required(request.subscription)?;
        let (id, etag) = (
            id(&patch.id, "subscription.id")?,
            etag(&patch.etag, "subscription.etag")?,
        );
        let mask = request.update_mask.unwrap_or_default().paths;
        if mask.is_empty() || mask.iter().any(|path| path == "headers") {
            given_values(&patch)?;
        }
        let secret = &request.signing_secret;
        let condition = Condition {
            etag,
            active_limit: request.active_limit,
        };
        let updated = self
            .subscriptions
            .update(&who, id, condition, &patch, &mask, secret);
        Ok(Response::new(v1::UpdateSubscriptionResponse {
            subscription: Some(updated.await?.without_keys()),
        }))
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let who = principal(&request)?;
        let request = request.get_ref();
        let (id, etag) = (id(&request.id, "id")?, etag(&request.etag, "etag")?);
        self.subscriptions.delete(who, id, etag).await?;
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn pause_subscription(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        let who = principal(&request)?.clone();
        let request = request.get_ref();
        let (id, etag) = (id(&request.id, "id")?, etag(&request.etag, "etag")?);
        let paused = self.subscriptions.set_paused(&who, id, etag, true).await?;
        Ok(Response::new(v1::PauseSubscriptionResponse {
            subscription: Some(paused.without_keys()),
        }))
    }

    async fn resume_subscription(
        &self,
        request: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        let who = principal(&request)?.clone();
        let request = request.get_ref();
        let (id, etag) = (id(&request.id, "id")?, etag(&request.etag, "etag")?);
        let condition = Condition {
            etag,
            active_limit: request.active_limit,
        };
        let resumed = self.subscriptions.set_paused(&who, id, condition, false);
        Ok(Response::new(v1::ResumeSubscriptionResponse {
            subscription: Some(resumed.await?.without_keys()),
        }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<v1::RotateSigningKeyRequest>,
    ) -> Result<Response<v1::RotateSigningKeyResponse>, Status> {
        let who = principal(&request)?.clone();
        let request = request.into_inner();
        let (id, etag) = (id(&request.id, "id")?, etag(&request.etag, "etag")?);
        let overlap = overlap(request.overlap)?;
        let secret = &request.new_secret;
        let rotated = self.subscriptions.rotate(&who, id, etag, secret, overlap);
        Ok(Response::new(v1::RotateSigningKeyResponse {
            subscription: Some(rotated.await?.to_proto()),
        }))
    }

    async fn test_subscription(
        &self,
        request: Request<v1::TestSubscriptionRequest>,
    ) -> Result<Response<v1::TestSubscriptionResponse>, Status> {
        let who = principal(&request)?;
        let tenant = who.tenant;
        let id: SubscriptionId = id(&request.get_ref().id, "id")?;
        let found = self.subscriptions.get(tenant, id).await?;
        owning::check(who, id, Some(&found.subscription.owner))?;
        if let Err(fault) = found.usable() {
            return Err(unusable(id, &fault).into());
        }
        if !found.subscription.status.is_active() {
            return Err(paused().into());
        }
        let event = test_event(id);
        let published = self.publishing.test(tenant, event, id.number()).await?;
        let event_id = published.event_id;
        let segment = event_id.segment().ok_or_else(no_address)?;
        let delivery_id = DeliveryId::new(segment, event_id.index(), id.number(), 0);
        Ok(Response::new(v1::TestSubscriptionResponse {
            event_id: event_id.to_string(),
            delivery_id: delivery_id.to_string(),
        }))
    }

    async fn test_filter(
        &self,
        request: Request<v1::TestFilterRequest>,
    ) -> Result<Response<v1::TestFilterResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let payload_max = self.publishing.payload_max(tenant).await;
        let trial = filters::read(payload_max, request.into_inner())?;
        let turn = TURNS.take(tenant).await?;
        let testing = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            trial.evaluate(tenant)
        });
        let tested = testing.await.map_err(|error| {
            OperationError::Internal(format!("a filter could not be tried out: {error}"))
        })?;
        Ok(Response::new(tested?))
    }

    async fn explain_event(
        &self,
        request: Request<v1::ExplainEventRequest>,
    ) -> Result<Response<v1::ExplainEventResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let explained = self.explain(tenant, request.into_inner()).await?;
        Ok(Response::new(explained))
    }
}

impl Webhooks {
    /// Where a client names no time limit of the whole attempt, a server with short
    /// leases shortens the default instead of refusing what nobody asked for.
    fn default_total(&self, proto: &mut v1::Subscription) {
        let longest = self.subscriptions.longest_total();
        let timeouts = proto.timeouts.get_or_insert_default();
        if timeouts.total.is_none() && longest < sidehook_core::limits::TOTAL_TIMEOUT_DEFAULT {
            timeouts.total = Some(sidehook_api::time::duration(longest));
        }
    }
}

/// What this principal may see. Whoever may only read it must be able neither to sign nor
/// to call the receiver.
fn shown(mut proto: v1::Subscription, who: &Principal) -> v1::Subscription {
    if !who.may_change(&proto.owner) {
        if let Some(signing) = &mut proto.signing {
            signing.keys.clear();
        }
        for header in &mut proto.headers {
            REDACTED.clone_into(&mut header.value);
        }
    }
    proto
}

/// Refuses header values that are what [`shown`] put in their place.
fn given_values(proto: &v1::Subscription) -> Result<(), OperationError> {
    let mut violations = Violations::new();
    for (index, header) in proto.headers.iter().enumerate() {
        if header.value == REDACTED {
            let field = format!("subscription.headers[{index}].value");
            let description = "stands for a value that was not shown: give the value itself";
            violations.add(field, description);
        }
    }
    Ok(violations.into_result(())?)
}

fn required(subscription: Option<v1::Subscription>) -> Result<v1::Subscription, OperationError> {
    subscription.ok_or_else(|| OperationError::field("subscription", "required"))
}

fn overlap(asked: Option<prost_types::Duration>) -> Result<Duration, OperationError> {
    let Some(asked) = asked else {
        return Ok(KEY_OVERLAP_DEFAULT);
    };
    read_duration(&asked)
        .filter(|overlap| *overlap <= KEY_OVERLAP_MAX)
        .ok_or_else(|| OperationError::field("overlap", "must be between 0 and 30 days"))
}

fn paused() -> OperationError {
    OperationError::Precondition {
        reason: "SUBSCRIPTION_PAUSED",
        message: "the subscription is paused: resume it before testing it".to_owned(),
    }
}

fn no_address() -> OperationError {
    OperationError::Internal("an event's id is no address".to_owned())
}

fn test_event(id: SubscriptionId) -> Event {
    Event {
        idempotency_key: String::new(),
        object_type: TEST_OBJECT_TYPE,
        action: TEST_ACTION,
        object_id: id.to_string(),
        user_id: String::new(),
        lead_id: String::new(),
        request_id: String::new(),
        campaign_id: String::new(),
        organization_id: String::new(),
        occurred_at: None,
        data: Bytes::from(format!(r#"{{"test":true,"subscription_id":"{id}"}}"#)),
        previous_data: Bytes::new(),
        changed_fields: Vec::new(),
        meta: Bytes::new(),
    }
}

pub(super) fn write_place((created_at, id): (Timestamp, SubscriptionId)) -> Vec<u8> {
    [&created_at.as_millis().to_be_bytes()[..], &id.to_bytes()].concat()
}

pub(super) fn read_place(bytes: &[u8]) -> Option<(Timestamp, SubscriptionId)> {
    let (ms, id) = bytes.split_first_chunk()?;
    let id = SubscriptionId::from_slice(id)?;
    Some((Timestamp::from_millis(i64::from_be_bytes(*ms)), id))
}
