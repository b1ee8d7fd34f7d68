//! Events: from the wire into the domain, and once into the bytes that everyone
//! after that passes on.
//!
//! This is the hot path. Texts are moved, payloads are slices of the frame that they
//! came in, and the only copy is made by [`encode`], which writes the store's record
//! directly:
//!
//! ```text
//! EventRecord { event: Event { content | stamp: id, accepted_at, [occurred_at] }, matches }
//! ```
//!
//! The *content* is what the publisher said (without the idempotency key): the same
//! request twice has the same content, which is what its digest is taken from. The
//! *stamp* is what the server adds, behind it: the order of fields means nothing to
//! readers.

use core::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{self, DecodeContext, WireType},
};
use sidehook_core::{
    address::EventId,
    event::{Event, TEST_ACTION, Word},
    id::SubscriptionNumber,
    time::Timestamp,
    violation::Violations,
};

use crate::{
    record_error::CorruptRecord,
    record_v1,
    time::{occurred_at, timestamp},
    v1,
};

/// Fields of `sidehook.v1.Event` that are content, and its id.
mod tag {
    pub(super) const ID: u32 = 1;
    pub(super) const OBJECT_TYPE: u32 = 3;
    pub(super) const ACTION: u32 = 4;
    pub(super) const OBJECT_ID: u32 = 5;
    pub(super) const USER_ID: u32 = 6;
    pub(super) const LEAD_ID: u32 = 7;
    pub(super) const REQUEST_ID: u32 = 8;
    pub(super) const CAMPAIGN_ID: u32 = 9;
    pub(super) const ORGANIZATION_ID: u32 = 10;
    pub(super) const OCCURRED_AT: u32 = 11;
    pub(super) const DATA: u32 = 16;
    pub(super) const PREVIOUS_DATA: u32 = 17;
    pub(super) const CHANGED_FIELDS: u32 = 18;
    pub(super) const META: u32 = 19;
}

/// Fields of `sidehook.record.v1.EventRecord`.
mod record_tag {
    pub(super) const EVENT: u32 = 1;
    pub(super) const MATCHES: u32 = 2;
}

/// Reads an event that a client publishes, with a payload of at most `payload_max`
/// bytes.
///
/// # Errors
/// Everything that is wrong, relative to the event.
pub fn from_proto(proto: v1::Event, payload_max: usize) -> Result<Event, Violations> {
    let mut violations = Violations::new();
    let not_implemented = [
        ("ordering_key", !proto.ordering_key.is_empty()),
        ("deliver_after", proto.deliver_after.is_some()),
        ("expires_at", proto.expires_at.is_some()),
        ("headers", !proto.headers.is_empty()),
    ];
    for (field, given) in not_implemented {
        violations.require(!given, field, "not implemented: leave it empty");
    }
    violations.require(
        proto.id.is_empty(),
        "id",
        "output only: leave it empty, and use `idempotency_key` to make publishing safe to repeat",
    );
    violations.require(
        proto.accepted_at.is_none(),
        "accepted_at",
        "output only: leave it empty",
    );
    let moment = proto.occurred_at.as_ref().map(occurred_at);
    violations.require(
        moment != Some(None),
        "occurred_at",
        "must be a valid time of the years 1 to 9999",
    );
    let mut word = |field, text| {
        let read = Word::new(text);
        // A stand-in, so that the rest is checked too.
        read.unwrap_or_else(|error| {
            violations.add(field, error.to_string());
            TEST_ACTION
        })
    };
    let event = Event {
        idempotency_key: proto.idempotency_key,
        object_type: word("object_type", proto.object_type),
        action: word("action", proto.action),
        object_id: proto.object_id,
        user_id: proto.user_id,
        lead_id: proto.lead_id,
        request_id: proto.request_id,
        campaign_id: proto.campaign_id,
        organization_id: proto.organization_id,
        occurred_at: moment.flatten(),
        data: proto.data,
        previous_data: proto.previous_data,
        changed_fields: proto.changed_fields,
        meta: proto.meta,
    };
    violations.extend(event.check(payload_max));
    violations.into_result(event)
}

/// The event of a record, as far as matching looks at it, whatever today's rules are.
#[must_use]
pub fn kept(proto: v1::Event) -> Event {
    Event {
        idempotency_key: proto.idempotency_key,
        object_type: Word::kept(proto.object_type),
        action: Word::kept(proto.action),
        object_id: proto.object_id,
        user_id: proto.user_id,
        lead_id: proto.lead_id,
        request_id: proto.request_id,
        campaign_id: proto.campaign_id,
        organization_id: proto.organization_id,
        occurred_at: proto.occurred_at.as_ref().and_then(occurred_at),
        data: proto.data,
        previous_data: proto.previous_data,
        changed_fields: proto.changed_fields,
        meta: proto.meta,
    }
}

/// An event in the bytes of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    record: Bytes,
    event: Range<usize>,
    content: Range<usize>,
}

impl EncodedEvent {
    /// The encoded `sidehook.record.v1.EventRecord`, for the store.
    #[must_use]
    pub const fn record(&self) -> &Bytes {
        &self.record
    }

    /// The encoded `sidehook.v1.Event`, for agents: a slice of the record.
    #[must_use]
    pub fn event(&self) -> Bytes {
        self.record.slice(self.event.clone())
    }

    /// What the publisher said, in the same bytes each time that it is said: what the
    /// digest beside an idempotency key is taken from.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.record[self.content.clone()]
    }
}

/// Writes the record of an event that gets this id, is accepted at this time and
/// goes to these subscriptions.
#[must_use]
pub fn encode(
    event: &Event,
    id: EventId,
    accepted_at: Timestamp,
    matches: &[SubscriptionNumber],
) -> EncodedEvent {
    let stamp = stamp(event, id, accepted_at);
    let content_bytes = content_len(event);
    let event_bytes = content_bytes + stamp.encoded_len();
    let matches_bytes = matches.len() * size_of::<u32>();
    // Two keys and two lengths of at most 5 bytes each stand around.
    let mut record = BytesMut::with_capacity(event_bytes + matches_bytes + 12);
    encoding::encode_key(record_tag::EVENT, WireType::LengthDelimited, &mut record);
    encoding::encode_varint(event_bytes as u64, &mut record);
    let start = record.len();
    encode_content(event, &mut record);
    stamp.encode_raw(&mut record);
    debug_assert_eq!(
        record.len(),
        start + event_bytes,
        "the length was computed before"
    );
    if !matches.is_empty() {
        encoding::encode_key(record_tag::MATCHES, WireType::LengthDelimited, &mut record);
        encoding::encode_varint(matches_bytes as u64, &mut record);
        matches
            .iter()
            .for_each(|number| record.put_u32_le(number.0));
    }
    EncodedEvent {
        record: record.freeze(),
        event: start..start + event_bytes,
        content: start..start + content_bytes,
    }
}

/// What the server adds, as an event that has nothing else.
fn stamp(event: &Event, id: EventId, accepted_at: Timestamp) -> v1::Event {
    let accepted_at = timestamp(accepted_at);
    v1::Event {
        id: id.to_string(),
        occurred_at: event.occurred_at.is_none().then_some(accepted_at),
        accepted_at: Some(accepted_at),
        ..v1::Event::default()
    }
}

fn texts(event: &Event) -> [(u32, &str); 8] {
    [
        (tag::OBJECT_TYPE, event.object_type.as_str()),
        (tag::ACTION, event.action.as_str()),
        (tag::OBJECT_ID, &event.object_id),
        (tag::USER_ID, &event.user_id),
        (tag::LEAD_ID, &event.lead_id),
        (tag::REQUEST_ID, &event.request_id),
        (tag::CAMPAIGN_ID, &event.campaign_id),
        (tag::ORGANIZATION_ID, &event.organization_id),
    ]
}

fn happened(event: &Event) -> Option<prost_types::Timestamp> {
    let moment = event.occurred_at?;
    // Below 1,000,000,000: it fits.
    let nanos = i32::try_from(moment.nanos()).ok()?;
    Some(prost_types::Timestamp {
        seconds: moment.seconds(),
        nanos,
    })
}

fn field_len(tag: u32, bytes: usize) -> usize {
    encoding::key_len(tag) + encoding::encoded_len_varint(bytes as u64) + bytes
}

fn put_field(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    encoding::encode_key(tag, WireType::LengthDelimited, out);
    encoding::encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// Every field of the content that has bytes of its own, in the order of encoding.
fn content(event: &Event) -> impl Iterator<Item = (u32, &[u8])> {
    let optional = |(_, bytes): &(u32, &[u8])| !bytes.is_empty();
    let texts = texts(event)
        .into_iter()
        .map(|(tag, text)| (tag, text.as_bytes()));
    let payloads = [
        (tag::DATA, &event.data),
        (tag::PREVIOUS_DATA, &event.previous_data),
    ];
    let payloads = payloads
        .into_iter()
        .map(|(tag, bytes)| (tag, bytes.as_ref()));
    let names = event
        .changed_fields
        .iter()
        .map(|name| (tag::CHANGED_FIELDS, name.as_bytes()));
    let meta = [(tag::META, event.meta.as_ref())];
    texts
        .chain(payloads)
        .filter(optional)
        .chain(names)
        .chain(meta.into_iter().filter(optional))
}

fn content_len(event: &Event) -> usize {
    let moment = happened(event).map_or(0, |moment| {
        encoding::message::encoded_len(tag::OCCURRED_AT, &moment)
    });
    moment
        + content(event)
            .map(|(tag, bytes)| field_len(tag, bytes.len()))
            .sum::<usize>()
}

fn encode_content(event: &Event, out: &mut BytesMut) {
    if let Some(moment) = happened(event) {
        encoding::message::encode(tag::OCCURRED_AT, &moment, out);
    }
    content(event).for_each(|(tag, bytes)| put_field(tag, bytes, out));
}

/// What an event's record holds: slices of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The encoded `sidehook.v1.Event`.
    pub event: Bytes,
    /// The subscriptions that it matched, ascending.
    pub matches: Vec<SubscriptionNumber>,
}

/// Reads an event's record.
///
/// # Errors
/// If it is not one.
pub fn decode(record: Bytes) -> Result<StoredEvent, CorruptRecord> {
    let record = record_v1::EventRecord::decode(record)
        .map_err(|error| CorruptRecord::new(WHAT, error.to_string()))?;
    let matches = record.matches.into_iter().map(SubscriptionNumber).collect();
    Ok(StoredEvent {
        event: record.event,
        matches,
    })
}

/// Reads the event itself, as the API shows it.
///
/// # Errors
/// If it is not one.
pub fn to_proto(stored: &StoredEvent) -> Result<v1::Event, CorruptRecord> {
    v1::Event::decode(stored.event.clone())
        .map_err(|error| CorruptRecord::new(WHAT, error.to_string()))
}

/// The id of an event as agents receive it, without reading the rest of it; `None` if it
/// has none that a server made.
#[must_use]
pub fn id_of(mut event: &[u8]) -> Option<EventId> {
    while !event.is_empty() {
        let (field, wire) = encoding::decode_key(&mut event).ok()?;
        if field == tag::ID && wire == WireType::LengthDelimited {
            let length = encoding::decode_varint(&mut event).ok()?;
            let text = event.get(..usize::try_from(length).ok()?)?;
            return core::str::from_utf8(text).ok()?.parse().ok();
        }
        encoding::skip_field(wire, field, &mut event, DecodeContext::default()).ok()?;
    }
    None
}

const WHAT: &str = "event";

#[cfg(test)]
mod tests;
