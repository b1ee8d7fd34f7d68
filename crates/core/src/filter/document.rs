//! What filters look at: an event, whole as JSON text or in its parts.
//!
//! When an event is published its parts are at hand and the envelope is not: it is rendered by the agent. So a filter
//! sees the parts under the names that they have in the envelope, and only the payloads are JSON text that has to be
//! read.

use core::fmt::Write as _;

use serde_json::Value;

use super::parse::NOT_YET_KNOWN;
use crate::{event::Event, id::TenantId};

/// What a filter is evaluated on.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// JSON text.
    Json(&'a [u8]),
    /// The members of an object, each name once.
    Members(&'a [(&'a str, Field<'a>)]),
}

/// The value of a member.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// Null.
    Null,
    /// A string.
    Text(&'a str),
    /// An array of strings.
    Texts(&'a [String]),
    /// JSON text.
    Json(&'a [u8]),
    /// Something that is not null, equal to nothing, and has neither fields nor elements.
    NotYetKnown,
}

impl Event {
    /// The members of the event as its envelope has them. `organization` is its organisation if it names none: the
    /// tenant, by [`Event::organization`].
    #[must_use]
    pub fn members<'a>(&'a self, organization: &'a str) -> [(&'static str, Field<'a>); 15] {
        let text = |text: &'a str| match text {
            "" => Field::Null,
            text => Field::Text(text),
        };
        let object = |json: &'a [u8]| match json {
            b"" => Field::Json(b"{}"),
            json => Field::Json(json),
        };
        let [id, date_created, date_updated] = NOT_YET_KNOWN;
        [
            (id, Field::NotYetKnown),
            (date_created, Field::NotYetKnown),
            (date_updated, Field::NotYetKnown),
            ("organization_id", Field::Text(organization)),
            ("user_id", text(&self.user_id)),
            ("request_id", text(&self.request_id)),
            ("api_key_id", Field::Null),
            ("object_type", Field::Text(self.object_type.as_str())),
            ("object_id", text(&self.object_id)),
            ("lead_id", text(&self.lead_id)),
            ("action", Field::Text(self.action.as_str())),
            ("changed_fields", Field::Texts(&self.changed_fields)),
            ("data", object(&self.data)),
            ("previous_data", object(&self.previous_data)),
            ("meta", object(&self.meta)),
        ]
    }

    /// The organisation that the envelope shows: the one that the publisher named, else the tenant.
    #[must_use]
    pub fn organization(&self, tenant: TenantId) -> String {
        if self.organization_id.is_empty() {
            tenant.to_string()
        } else {
            self.organization_id.clone()
        }
    }

    /// The event as JSON text, for explanations: what filters see, without what is not yet known.
    #[must_use]
    pub fn to_json(&self, tenant: TenantId) -> String {
        let organization = self.organization(tenant);
        let mut out = String::with_capacity(512 + self.payload_bytes());
        for (name, field) in self.members(&organization) {
            let value = match field {
                Field::Null => "null".into(),
                Field::Text(text) => Value::from(text).to_string().into(),
                Field::Texts(texts) => Value::from(texts).to_string().into(),
                // Payloads are UTF-8: they were checked when they were published.
                Field::Json(text) => String::from_utf8_lossy(text),
                Field::NotYetKnown => continue,
            };
            let separator = if out.is_empty() { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(out, "{separator}\"{name}\":{value}");
        }
        out.push('}');
        out
    }
}
