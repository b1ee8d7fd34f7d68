//! Hookshot: `/hooks…`, as Bold Penguin has them.
//!
//! A hook is a subscription whose deliveries are the event's data as they are, signed with
//! its secret if it has one. It is made paused, may be without events as long as it is, and
//! at most [`ACTIVE`] of a tenant's subscriptions can be active where one is activated here.
//!
//! Ids are shown as UUIDs and taken in either form. Successful answers are 200, 201 to a
//! new hook, 204 to a deleted one.

mod change;
mod events;
mod hook;
mod problem;
mod requests;
mod schemas;

use http::{Method, StatusCode};
use sidehook_api::v1;
use sidehook_core::id::SubscriptionId;

use self::{change::Wanted, hook::Hook};
use crate::{
    answer::{self, Response},
    call::Call,
    credential::Form,
    dialect::{Dialect, Doc, Handler, Route},
    ids::Either,
    problem::Problem,
    subscriptions,
};

/// How many of a tenant's subscriptions can be active.
const ACTIVE: u32 = 10;

/// The dialect.
pub(crate) static HOOKSHOT: Dialect = Dialect {
    name: "hookshot",
    about: "Webhook subscriptions as Bold Penguin's Hookshot has them.",
    prefix: "/hooks",
    credentials: &[Form::Bearer],
    requires_json_type: false,
    render: problem::render,
    errors: &[400, 401, 403, 404, 422, 429, 500, 503],
    error_schema: "HookshotError",
    schemas: schemas::schemas,
    routes: ROUTES,
};

const HOOKS: &str = "/hooks";
const HOOK: &str = "/hooks/{id}";

const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: HOOKS,
        rpcs: &["/sidehook.v1.WebhookService/ListSubscriptions"],
        handler: |call| Box::pin(list(call)),
        doc: Doc {
            id: "hookshotListHooks",
            summary: "Lists all hooks, oldest first.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("HookshotHooks"),
        },
    },
    Route {
        method: Method::POST,
        path: HOOKS,
        rpcs: &["/sidehook.v1.WebhookService/CreateSubscription"],
        handler: |call| Box::pin(create(call)),
        doc: Doc {
            id: "hookshotCreateHook",
            summary: "Creates a hook.",
            query: &[],
            body: Some("HookshotNewHook"),
            status: 201,
            answer: Some("HookshotHook"),
        },
    },
    Route {
        method: Method::GET,
        path: HOOK,
        rpcs: &["/sidehook.v1.WebhookService/GetSubscription"],
        handler: |call| Box::pin(get(call)),
        doc: Doc {
            id: "hookshotGetHook",
            summary: "Reads a hook.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("HookshotHook"),
        },
    },
    update_route(Method::PUT, "hookshotPutHook"),
    update_route(Method::PATCH, "hookshotPatchHook"),
    Route {
        method: Method::DELETE,
        path: HOOK,
        rpcs: &["/sidehook.v1.WebhookService/DeleteSubscription"],
        handler: |call| Box::pin(delete(call)),
        doc: Doc {
            id: "hookshotDeleteHook",
            summary: "Deletes a hook.",
            query: &[],
            body: None,
            status: 204,
            answer: None,
        },
    },
    Route {
        method: Method::GET,
        path: "/hooks/{id}/requests",
        rpcs: &[
            "/sidehook.v1.WebhookService/GetSubscription",
            "/sidehook.v1.DeliveryService/ListDeliveries",
        ],
        handler: |call| Box::pin(requests(call)),
        doc: Doc {
            id: "hookshotListRequests",
            summary: "Lists what was sent for a hook, newest first.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("HookshotRequests"),
        },
    },
    Route {
        method: Method::POST,
        path: "/hooks/{id}/requests/{request}/redeliver",
        rpcs: &[
            "/sidehook.v1.WebhookService/GetSubscription",
            "/sidehook.v1.DeliveryService/RetryDelivery",
        ],
        handler: |call| Box::pin(redeliver(call)),
        doc: Doc {
            id: "hookshotRedeliver",
            summary: "Sends what was sent for a hook once more.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("HookshotRequest"),
        },
    },
];

const fn update_route(method: Method, id: &'static str) -> Route {
    let handler: Handler = |call| Box::pin(update(call));
    Route {
        method,
        path: HOOK,
        rpcs: subscriptions::CHANGE,
        handler,
        doc: Doc {
            id,
            summary: "Changes those members of a hook that are given.",
            query: &[],
            body: Some("HookshotHookChange"),
            status: 200,
            answer: Some("HookshotHook"),
        },
    }
}

async fn list(call: Call) -> Result<Response, Problem> {
    let all = subscriptions::all(&call, true).await?;
    let tenant = call.tenant();
    let hooks: Vec<_> = all.iter().map(|one| Hook::of(one, &tenant)).collect();
    answer::json(StatusCode::OK, &hooks)
}

async fn create(mut call: Call) -> Result<Response, Problem> {
    let wanted = Wanted::read(&call.body().await?)?;
    let (subscription, signing_secret) =
        wanted.create(&call.settings, call.backend.longest_total())?;
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(subscription),
        signing_secret,
        active_limit: ACTIVE,
    };
    let answer = call.webhooks().create_subscription(request).await;
    let answer = answer.map_err(said)?.into_inner();
    shown(
        &call,
        StatusCode::CREATED,
        subscriptions::present(answer.subscription)?,
    )
}

async fn get(call: Call) -> Result<Response, Problem> {
    let found = subscriptions::get(&call, id(&call)?).await?;
    shown(&call, StatusCode::OK, found)
}

async fn update(mut call: Call) -> Result<Response, Problem> {
    let id = id(&call)?;
    let wanted = Wanted::read(&call.body().await?)?;
    let plan = |current: &v1::Subscription| Ok(wanted.lay_over(current, &call.settings));
    let changed = subscriptions::change(&call, id, plan).await;
    let changed = changed.map_err(|problem| problem.renamed(problem::renamed))?;
    shown(&call, StatusCode::OK, changed)
}

async fn delete(call: Call) -> Result<Response, Problem> {
    subscriptions::delete(&call, id(&call)?).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn requests(call: Call) -> Result<Response, Problem> {
    let sent = requests::newest(&call, id(&call)?).await?;
    answer::json(StatusCode::OK, &sent)
}

async fn redeliver(call: Call) -> Result<Response, Problem> {
    let sent = requests::redeliver(&call, id(&call)?).await?;
    answer::json(StatusCode::OK, &sent)
}

fn id(call: &Call) -> Result<SubscriptionId, Problem> {
    let Either(id) = call.id("hook")?;
    Ok(id)
}

fn said(status: tonic::Status) -> Problem {
    Problem::from(status).renamed(problem::renamed)
}

fn shown(
    call: &Call,
    status: StatusCode,
    subscription: v1::Subscription,
) -> Result<Response, Problem> {
    answer::json(status, &Hook::of(&subscription, &call.tenant()))
}
