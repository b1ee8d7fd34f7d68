//! What an event gives to a request, in each format.
//!
//! | format | the event's part of the body | the subscription's | headers of the event |
//! |---|---|---|---|
//! | envelope | `{"event": {…}` | `, "subscription_id": "…"}` | |
//! | raw | its data | nothing | |
//! | CloudEvents, binary | its data | nothing | `ce-…` |
//! | CloudEvents, structured | `{"specversion":"1.0",…,"data":…` | `,"subscriptionid":"…"}` | |
//!
//! Bodies are of two pieces, so that nothing is copied per delivery: what belongs to the event is rendered once per
//! format and shared by its whole fan-out, what belongs to the subscription ([`tail`]) once per version of it. Data that
//! is the whole of a body is copied once as well: a slice of the frame that it came in would keep all of the frame,
//! megabytes of others' events, for as long as one receiver hangs.

mod cloud_events;
mod date;
mod envelope;
mod json;
mod visible;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::DecodeError;
use prost::Message as _;
use sidehook_api::v1;
use sidehook_core::subscription::Format;

pub(crate) use cloud_events::{STRUCTURED, subscription_headers};
use visible::{Spare, visible};

/// What a subscription wants to be told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    /// In which form.
    pub(crate) format: Format,
    /// Whether a header says what the event is.
    pub(crate) label: bool,
}

/// What an event gives to a request. Clones are the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The first piece of the body.
    pub(crate) head: Bytes,
    /// Headers, where the subscription wants some.
    pub(crate) headers: Option<Arc<EventHeaders>>,
}

/// Headers that tell of an event.
#[derive(Debug)]
pub(crate) struct EventHeaders {
    /// `object_type:action`.
    label: HeaderValue,
    /// Those of CloudEvents.
    attributes: Vec<(HeaderName, HeaderValue)>,
}

impl EventHeaders {
    /// Puts them into a request's, the label under `name`.
    pub(crate) fn put(&self, name: Option<&HeaderName>, headers: &mut HeaderMap) {
        if let Some(name) = name {
            headers.insert(name, self.label.clone());
        }
        for (name, value) in &self.attributes {
            headers.insert(name, value.clone());
        }
    }
}

/// The part of the body that belongs to the subscription.
pub(crate) fn tail(format: Format, subscription_id: &str) -> Bytes {
    match format {
        Format::Envelope => envelope::tail(subscription_id),
        Format::CloudEventsStructured => cloud_events::tail(subscription_id),
        // Of a format that is not known nothing is sent.
        Format::Raw | Format::CloudEventsBinary | Format::Unknown => Bytes::new(),
    }
}

/// An event of a frame, each of whose parts is made when it is first wanted.
#[derive(Debug)]
pub(crate) struct Rendering {
    event: v1::Event,
    data: Option<Bytes>,
    envelope: Option<Bytes>,
    structured: Option<Bytes>,
    label: Option<Arc<EventHeaders>>,
    attributes: Option<Arc<EventHeaders>>,
}

impl Rendering {
    /// Reads an event.
    ///
    /// # Errors
    /// It is not one.
    pub(crate) fn decode(encoded: Bytes) -> Result<Self, DecodeError> {
        v1::Event::decode(encoded).map(Self::of)
    }

    pub(crate) const fn of(event: v1::Event) -> Self {
        Self {
            event,
            data: None,
            envelope: None,
            structured: None,
            label: None,
            attributes: None,
        }
    }

    /// Its part of a request that wants this, of this tenant's: an event has one tenant.
    pub(crate) fn part(&mut self, wants: Wants, tenant_id: &str) -> Part {
        Part {
            head: self.head(wants.format, tenant_id),
            headers: self.headers(wants, tenant_id),
        }
    }

    fn head(&mut self, format: Format, tenant_id: &str) -> Bytes {
        let event = &self.event;
        let head = match format {
            Format::Envelope => self
                .envelope
                .get_or_insert_with(|| envelope::head(event, tenant_id)),
            Format::CloudEventsStructured => self
                .structured
                .get_or_insert_with(|| cloud_events::head(event, tenant_id)),
            Format::Raw | Format::CloudEventsBinary => self
                .data
                .get_or_insert_with(|| Bytes::copy_from_slice(&event.data)),
            Format::Unknown => return Bytes::new(),
        };
        head.clone()
    }

    fn headers(&mut self, wants: Wants, tenant_id: &str) -> Option<Arc<EventHeaders>> {
        let event = &self.event;
        let headers = |attributes| {
            let label = format!("{}:{}", event.object_type, event.action);
            Arc::new(EventHeaders {
                label: visible(&label, Spare::Everything),
                attributes,
            })
        };
        let headers = if wants.format == Format::CloudEventsBinary {
            let all = || headers(cloud_events::headers(event, tenant_id));
            self.attributes.get_or_insert_with(all)
        } else if wants.label {
            self.label.get_or_insert_with(|| headers(Vec::new()))
        } else {
            return None;
        };
        Some(Arc::clone(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 4] = [
        Format::Envelope,
        Format::Raw,
        Format::CloudEventsBinary,
        Format::CloudEventsStructured,
    ];

    fn rendering() -> Rendering {
        let event = v1::Event {
            object_type: "lead".into(),
            action: "created".into(),
            data: Bytes::from(vec![b'7'; 100_000]),
            ..Default::default()
        };
        Rendering::decode(event.encode_to_vec().into()).expect("an event")
    }

    #[test]
    fn a_fan_out_shares_one_copy_in_each_format() {
        let mut rendering = rendering();
        for format in FORMATS {
            for label in [false, true] {
                let wants = Wants { format, label };
                let (one, other) = (rendering.part(wants, "t"), rendering.part(wants, "t"));
                assert_eq!(one.head.as_ptr(), other.head.as_ptr(), "{wants:?}");
                let same = match (&one.headers, &other.headers) {
                    (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                    (None, None) => true,
                    _ => false,
                };
                assert!(same, "{wants:?}");
            }
        }
    }

    #[test]
    fn data_by_itself_is_the_body_and_keeps_no_frame() {
        let mut rendering = rendering();
        let (came, data) = (rendering.event.data.as_ptr(), rendering.event.data.clone());
        let both = [Format::Raw, Format::CloudEventsBinary];
        let heads = both.map(|format| {
            rendering
                .part(
                    Wants {
                        format,
                        label: true,
                    },
                    "t",
                )
                .head
        });
        assert_eq!(heads[0].as_ptr(), heads[1].as_ptr(), "one copy for both");
        assert_ne!(heads[0].as_ptr(), came);
        assert_eq!(heads[0], data);
        assert!(
            both.iter()
                .all(|format| tail(*format, "whsub_1").is_empty())
        );
    }

    #[test]
    fn headers_are_there_only_where_they_are_wanted() {
        let mut rendering = rendering();
        let name = HeaderName::from_static("x-event");
        for (format, label, expected) in [
            (Format::Envelope, false, None),
            (Format::Raw, true, Some(1)),
            (Format::CloudEventsBinary, false, Some(4)),
            (Format::CloudEventsBinary, true, Some(5)),
        ] {
            let part = rendering.part(Wants { format, label }, "t");
            let found = part.headers.map(|told| {
                let mut headers = HeaderMap::new();
                told.put(label.then_some(&name), &mut headers);
                headers.len()
            });
            assert_eq!(found, expected, "{format:?} {label}");
        }
    }
}
