//! `/api/v1/webhook/…`: parse, call, show.

use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use sidehook_api::v1;
use sidehook_core::{id::SubscriptionId, violation::Violations};

use super::webhook::{Purpose, Said, Shown, Webhook};
use crate::{
    answer::{self, Response},
    call::Call,
    json::Object,
    problem::Problem,
};

/// What is looked for, for people.
const KIND: &str = "webhook subscription";
/// Subscriptions on a page of the RPC.
const PAGE: usize = 500;

#[derive(Serialize)]
struct Page {
    data: Vec<Webhook>,
    has_more: bool,
}

/// A page of all.
pub(super) async fn list(call: Call) -> Result<Response, Problem> {
    let (limit, mut skip) = (call.query.number("_limit"), call.query.number("_skip"));
    let limit = usize::try_from(limit).unwrap_or(PAGE);
    let (mut data, mut page_token, mut webhooks) = (Vec::new(), String::new(), call.webhooks());
    let mut is_at_end = false;
    // One more than asked for tells whether there are more.
    while data.len() <= limit && !is_at_end {
        let wanted = usize::try_from(skip).unwrap_or(PAGE) + limit - data.len() + 1;
        let request = v1::ListSubscriptionsRequest {
            page_size: u32::try_from(wanted.min(PAGE)).unwrap_or_default(),
            page_token,
            ..v1::ListSubscriptionsRequest::default()
        };
        let page = webhooks.list_subscriptions(request).await?.into_inner();
        for subscription in page.subscriptions {
            if skip > 0 {
                skip -= 1;
            } else {
                data.push(Webhook::new(subscription, Shown::Listed));
            }
        }
        page_token = page.next_page_token;
        is_at_end = page_token.is_empty();
    }
    let has_more = data.len() > limit || !is_at_end;
    data.truncate(limit);
    answer::json(StatusCode::OK, &Page { data, has_more })
}

/// A new one, signed, rendered and tried again as Close does.
pub(super) async fn create(mut call: Call) -> Result<Response, Problem> {
    let body = call.body().await?;
    let said = read(&body, Purpose::Create)?;
    let signing = v1::Signing {
        scheme: Some(v1::signing::Scheme::Close(v1::CloseScheme {})),
        ..v1::Signing::default()
    };
    let retry_policy = v1::RetryPolicy {
        preset: v1::RetryPreset::Close.into(),
        ..v1::RetryPolicy::default()
    };
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(v1::Subscription {
            signing: Some(signing),
            format: v1::DeliveryFormat::Envelope.into(),
            retry_policy: Some(retry_policy),
            ..said.patch
        }),
        ..v1::CreateSubscriptionRequest::default()
    };
    let created = call.webhooks().create_subscription(request).await?;
    show(StatusCode::CREATED, created.into_inner().subscription)
}

/// One.
pub(super) async fn get(call: Call) -> Result<Response, Problem> {
    let id: SubscriptionId = call.id(KIND)?;
    read_back(&call, id).await
}

/// What is given, laid over one.
pub(super) async fn put(mut call: Call) -> Result<Response, Problem> {
    let id: SubscriptionId = call.id(KIND)?;
    let body = call.body().await?;
    let said = read(&body, Purpose::Change)?;
    // To change nothing is no change, and an empty mask would be read as all fields.
    if !said.mask.is_empty() {
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(v1::Subscription {
                id: id.to_string(),
                ..said.patch
            }),
            update_mask: Some(prost_types::FieldMask { paths: said.mask }),
            ..v1::UpdateSubscriptionRequest::default()
        };
        call.webhooks().update_subscription(request).await?;
    }
    read_back(&call, id).await
}

/// None any more.
pub(super) async fn delete(call: Call) -> Result<Response, Problem> {
    let id: SubscriptionId = call.id(KIND)?;
    let request = v1::DeleteSubscriptionRequest {
        id: id.to_string(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    call.webhooks().delete_subscription(request).await?;
    Ok(answer::value(StatusCode::OK, &json!({})))
}

fn read(body: &[u8], purpose: Purpose) -> Result<Said, Problem> {
    let mut wrong = Violations::new();
    let said = Said::read(Object::parse(body)?, purpose, &mut wrong);
    Ok(wrong.into_result(said)?)
}

/// One as it is, with its key: answers to changes come without.
async fn read_back(call: &Call, id: SubscriptionId) -> Result<Response, Problem> {
    let request = v1::GetSubscriptionRequest { id: id.to_string() };
    let found = call.webhooks().get_subscription(request).await?;
    show(StatusCode::OK, found.into_inner().subscription)
}

fn show(status: StatusCode, found: Option<v1::Subscription>) -> Result<Response, Problem> {
    let found = found.ok_or_else(|| Problem::internal("an answer lacks its subscription"))?;
    answer::json(status, &Webhook::new(found, Shown::Alone))
}
