//! Close: `/api/v1/webhook/…` and the event log `/api/v1/event/…`.

mod problem;

use serde_json::Map;

use crate::{credential::Form, dialect::Dialect};

/// The dialect.
pub(crate) static CLOSE: Dialect = Dialect {
    name: "close",
    about: "Webhook subscriptions and the event log as Close CRM has them.",
    prefix: "/api/v1/",
    credentials: &[Form::BasicUser, Form::Bearer],
    requires_json_type: true,
    render: problem::render,
    errors: &[],
    error_schema: "CloseError",
    schemas: Map::new,
    routes: &[],
};
