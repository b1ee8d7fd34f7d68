//! Close: `/api/v1/webhook/…` and the event log `/api/v1/event/…`.
//!
//! A webhook made here is signed as Close signs and gets Close's envelope and back-off.
//! One that was made elsewhere is shown as far as Close has words for it: without a
//! `signature_key` if it is signed in another way.
//!
//! What the public text leaves open is ours: `_limit` of 1 to 500, webhooks oldest first,
//! `status` at creation too. A member that only the server sets is refused at creation, and
//! passed over in a change, so that what was read can be sent back with one thing changed.

mod events;
mod problem;
mod schemas;
mod webhook;
mod webhooks;

use http::Method;

use crate::{
    credential::Form,
    dialect::{Dialect, Doc, Parameter, ParameterKind, Route},
};

/// The dialect.
pub(crate) static CLOSE: Dialect = Dialect {
    name: "close",
    about: "Webhook subscriptions and the event log as Close CRM has them.",
    prefix: "/api/v1/",
    credentials: &[Form::BasicUser, Form::Bearer],
    requires_json_type: true,
    render: problem::render,
    errors: &[400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 503],
    error_schema: "CloseError",
    schemas: schemas::all,
    routes: ROUTES,
};

static ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/v1/webhook",
        rpcs: &["/sidehook.v1.WebhookService/ListSubscriptions"],
        handler: |call| Box::pin(webhooks::list(call)),
        doc: Doc {
            id: "closeListWebhooks",
            summary: "Lists webhook subscriptions, oldest first, without their keys.",
            query: &[
                Parameter {
                    name: "_limit",
                    kind: ParameterKind::Number {
                        min: 1,
                        max: 500,
                        default: 100,
                    },
                    about: "At most this many.",
                },
                Parameter {
                    name: "_skip",
                    kind: ParameterKind::Number {
                        min: 0,
                        max: 1_000_000,
                        default: 0,
                    },
                    about: "How many to leave out before them.",
                },
            ],
            body: None,
            status: 200,
            answer: Some("CloseWebhooks"),
        },
    },
    Route {
        method: Method::POST,
        path: "/api/v1/webhook",
        rpcs: &["/sidehook.v1.WebhookService/CreateSubscription"],
        handler: |call| Box::pin(webhooks::create(call)),
        doc: Doc {
            id: "closeCreateWebhook",
            summary: "Creates a webhook subscription.",
            query: &[],
            body: Some("CloseNewWebhook"),
            status: 201,
            answer: Some("CloseWebhook"),
        },
    },
    Route {
        method: Method::GET,
        path: "/api/v1/webhook/{id}",
        rpcs: &["/sidehook.v1.WebhookService/GetSubscription"],
        handler: |call| Box::pin(webhooks::get(call)),
        doc: Doc {
            id: "closeGetWebhook",
            summary: "Reads a webhook subscription.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CloseWebhook"),
        },
    },
    Route {
        method: Method::PUT,
        path: "/api/v1/webhook/{id}",
        rpcs: &[
            "/sidehook.v1.WebhookService/UpdateSubscription",
            "/sidehook.v1.WebhookService/GetSubscription",
        ],
        handler: |call| Box::pin(webhooks::put(call)),
        doc: Doc {
            id: "closeUpdateWebhook",
            summary: "Changes what is given of a webhook subscription; null is not given.",
            query: &[],
            body: Some("CloseChangedWebhook"),
            status: 200,
            answer: Some("CloseWebhook"),
        },
    },
    Route {
        method: Method::DELETE,
        path: "/api/v1/webhook/{id}",
        rpcs: &["/sidehook.v1.WebhookService/DeleteSubscription"],
        handler: |call| Box::pin(webhooks::delete(call)),
        doc: Doc {
            id: "closeDeleteWebhook",
            summary: "Deletes a webhook subscription.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CloseNothing"),
        },
    },
    Route {
        method: Method::GET,
        path: "/api/v1/event",
        rpcs: &["/sidehook.v1.EventService/ListEvents"],
        handler: |call| Box::pin(events::list(call)),
        doc: Doc {
            id: "closeListEvents",
            summary: "Lists the events of the last 30 days, newest first.",
            query: events::PARAMETERS,
            body: None,
            status: 200,
            answer: Some("CloseEvents"),
        },
    },
    Route {
        method: Method::GET,
        path: "/api/v1/event/{id}",
        rpcs: &["/sidehook.v1.EventService/GetEvent"],
        handler: |call| Box::pin(events::get(call)),
        doc: Doc {
            id: "closeGetEvent",
            summary: "Reads an event.",
            query: &[],
            body: None,
            status: 200,
            answer: Some("CloseEvent"),
        },
    },
];
