//! Collect: `/v1/webhooks…`.
//!
//! A webhook is a subscription whose deliveries are the event's data as they are. They are
//! not signed: what proves where they come from is the token that was agreed upon, in a
//! header of its own. Successful answers are 200; lists are bare arrays, and a deletion
//! answers `{}`.

mod change;
mod problem;
mod schemas;
mod types;
mod webhook;

use http::{Method, StatusCode};
use serde_json::json;
use sidehook_api::v1;
use sidehook_core::id::SubscriptionId;

use self::{change::Wanted, webhook::Webhook};
use crate::{
    answer::{self, Response},
    call::Call,
    credential::Form,
    dialect::{Dialect, Doc, Route},
    ids::Either,
    problem::Problem,
    subscriptions,
};

/// The dialect.
pub(crate) static COLLECT: Dialect = Dialect {
    name: "collect",
    about: "Webhooks as Collect has them.",
    prefix: "/v1/",
    credentials: &[Form::BasicPassword],
    requires_json_type: false,
    render: problem::render,
    errors: &[400, 401, 403, 404, 429, 500, 503],
    error_schema: "CollectError",
    schemas: schemas::schemas,
    routes: ROUTES,
};

const WEBHOOKS: &str = "/v1/webhooks";
const WEBHOOK: &str = "/v1/webhooks/{id}";

const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: WEBHOOKS,
        rpcs: &["/sidehook.v1.WebhookService/ListSubscriptions"],
        handler: |call| Box::pin(list(call)),
        doc: Doc {
            id: "collectListWebhooks",
            summary: "Lists all webhooks, oldest first.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CollectWebhooks"),
        },
    },
    Route {
        method: Method::POST,
        path: WEBHOOKS,
        rpcs: &["/sidehook.v1.WebhookService/CreateSubscription"],
        handler: |call| Box::pin(create(call)),
        doc: Doc {
            id: "collectAddWebhook",
            summary: "Adds a webhook.",
            query: &[],
            body: Some("CollectNewWebhook"),
            status: 200,
            answer: Some("CollectWebhook"),
        },
    },
    Route {
        method: Method::GET,
        path: WEBHOOK,
        rpcs: &["/sidehook.v1.WebhookService/GetSubscription"],
        handler: |call| Box::pin(get(call)),
        doc: Doc {
            id: "collectGetWebhook",
            summary: "Reads a webhook.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CollectWebhook"),
        },
    },
    Route {
        method: Method::POST,
        path: WEBHOOK,
        rpcs: subscriptions::CHANGE,
        handler: |call| Box::pin(update(call)),
        doc: Doc {
            id: "collectModifyWebhook",
            summary: "Changes those members of a webhook that are given.",
            query: &[],
            body: Some("CollectWebhookChange"),
            status: 200,
            answer: Some("CollectWebhook"),
        },
    },
    Route {
        method: Method::DELETE,
        path: WEBHOOK,
        rpcs: &["/sidehook.v1.WebhookService/DeleteSubscription"],
        handler: |call| Box::pin(delete(call)),
        doc: Doc {
            id: "collectDeleteWebhook",
            summary: "Deletes a webhook.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CollectNothing"),
        },
    },
];

async fn list(call: Call) -> Result<Response, Problem> {
    let all = subscriptions::all(&call, false).await?;
    let settings = &call.settings;
    let webhooks: Vec<_> = all.iter().map(|one| Webhook::of(one, settings)).collect();
    answer::json(StatusCode::OK, &webhooks)
}

async fn create(mut call: Call) -> Result<Response, Problem> {
    let wanted = Wanted::read(&call.body().await?)?;
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(wanted.create(&call.settings)?),
        ..v1::CreateSubscriptionRequest::default()
    };
    let answer = call.webhooks().create_subscription(request).await;
    let answer = answer.map_err(|status| said(status.into()))?.into_inner();
    shown(&call, &subscriptions::present(answer.subscription)?)
}

async fn get(call: Call) -> Result<Response, Problem> {
    let found = subscriptions::get(&call, id(&call)?).await?;
    shown(&call, &found)
}

async fn update(mut call: Call) -> Result<Response, Problem> {
    let id = id(&call)?;
    let wanted = Wanted::read(&call.body().await?)?;
    let plan = |current: &v1::Subscription| wanted.lay_over(current, &call.settings);
    let changed = subscriptions::change(&call, id, plan).await.map_err(said)?;
    shown(&call, &changed)
}

async fn delete(call: Call) -> Result<Response, Problem> {
    subscriptions::delete(&call, id(&call)?).await?;
    Ok(answer::value(StatusCode::OK, &json!({})))
}

fn id(call: &Call) -> Result<SubscriptionId, Problem> {
    let Either(id) = call.id("webhook")?;
    Ok(id)
}

/// In Collect's words: the fields by its names, and the line made of them.
fn said(problem: Problem) -> Problem {
    let mut problem = problem.renamed(problem::renamed);
    let fields = problem.fields.iter();
    let fields: Vec<_> = fields
        .map(|wrong| format!("{}: {}", wrong.field, wrong.description))
        .collect();
    if !fields.is_empty() {
        problem.message = fields.join("; ");
    }
    problem
}

fn shown(call: &Call, subscription: &v1::Subscription) -> Result<Response, Problem> {
    answer::json(StatusCode::OK, &Webhook::of(subscription, &call.settings))
}
