//! The envelope: `{"event": {…}, "subscription_id": "whsub_…"}`.
//!
//! The publisher's JSON is copied into the head as it is: parsing it and writing it anew would change numbers, order and
//! spacing, and cost two hundred times as much.
//!
//! `date_created` is when the event happened, `date_updated` when it was accepted: the log is ordered and asked by the
//! latter, and an event is the same in both.

use bytes::Bytes;
use sidehook_api::v1;

use super::date::{accepted, occurred};
use super::json::string;

/// Bytes of the head beside its texts and payloads: names, times, an id.
const FRAME_BYTES: usize = 640;

/// The part that belongs to the event: `{"event": {…}`. `tenant_id` is its organisation if it names none.
pub(crate) fn head(event: &v1::Event, tenant_id: &str) -> Bytes {
    let payload = event.data.len() + event.previous_data.len() + event.meta.len();
    let mut out = Vec::with_capacity(FRAME_BYTES + payload);
    let organization = if event.organization_id.is_empty() {
        tenant_id
    } else {
        &event.organization_id
    };
    out.extend_from_slice(br#"{"event": {"id": "#);
    string(&mut out, &event.id);
    for (name, text) in [
        ("date_created", occurred(event).as_str()),
        ("date_updated", &accepted(event)),
        ("organization_id", organization),
    ] {
        key(&mut out, name);
        string(&mut out, text);
    }
    key(&mut out, "user_id");
    nullable(&mut out, &event.user_id);
    key(&mut out, "request_id");
    nullable(&mut out, &event.request_id);
    key(&mut out, "api_key_id");
    nullable(&mut out, "");
    key(&mut out, "object_type");
    string(&mut out, &event.object_type);
    key(&mut out, "object_id");
    nullable(&mut out, &event.object_id);
    key(&mut out, "lead_id");
    nullable(&mut out, &event.lead_id);
    key(&mut out, "action");
    string(&mut out, &event.action);
    key(&mut out, "changed_fields");
    out.push(b'[');
    for (index, name) in event.changed_fields.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        string(&mut out, name);
    }
    out.push(b']');
    for (name, json) in [
        ("data", &event.data),
        ("previous_data", &event.previous_data),
        ("meta", &event.meta),
    ] {
        key(&mut out, name);
        out.extend_from_slice(if json.is_empty() { b"{}" } else { json });
    }
    out.push(b'}');
    Bytes::from(out)
}

/// The part that belongs to the subscription: `, "subscription_id": "…"}`.
pub(crate) fn tail(subscription_id: &str) -> Bytes {
    let mut out = Vec::with_capacity(64);
    key(&mut out, "subscription_id");
    string(&mut out, subscription_id);
    out.push(b'}');
    Bytes::from(out)
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b", \"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\": ");
}

fn nullable(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;
    use sidehook_core::{
        address::{EventId, Lane, Partition, SegmentId, Sequence},
        id::TenantId,
        time::Timestamp as Moment,
    };

    fn text(event: &v1::Event) -> String {
        let body = [head(event, "ten_1"), tail("whsub_1")].concat();
        String::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn the_envelope_is_byte_for_byte_this() {
        let event = v1::Event {
            id: "ev_2sYKRjcrA79yKxi3S4Crd7".into(),
            object_type: "opportunity".into(),
            action: "updated".into(),
            object_id: "oppo_7H".into(),
            user_id: "user_N6".into(),
            lead_id: "lead_zw".into(),
            request_id: "req_4S".into(),
            organization_id: "orga_Xb".into(),
            occurred_at: Some(Timestamp {
                seconds: 1_547_556_503,
                nanos: 395_000_000,
            }),
            accepted_at: Some(Timestamp {
                seconds: 1_547_556_504,
                nanos: 17_000_000,
            }),
            data: r#"{"b" :1.0, "a":[1e2,"é"]}"#.into(),
            previous_data: r#"{ "confidence":70 }"#.into(),
            meta: r#"{"request_method":"PUT"}"#.into(),
            changed_fields: vec!["confidence".into(), "status_id".into()],
            ..Default::default()
        };
        let expected = concat!(
            r#"{"event": {"id": "ev_2sYKRjcrA79yKxi3S4Crd7", "date_created": "2019-01-15T12:48:23.395000", "#,
            r#""date_updated": "2019-01-15T12:48:24.017000", "organization_id": "orga_Xb", "user_id": "user_N6", "#,
            r#""request_id": "req_4S", "api_key_id": null, "object_type": "opportunity", "object_id": "oppo_7H", "#,
            r#""lead_id": "lead_zw", "action": "updated", "changed_fields": ["confidence", "status_id"], "#,
            r#""data": {"b" :1.0, "a":[1e2,"é"]}, "previous_data": { "confidence":70 }, "#,
            r#""meta": {"request_method":"PUT"}}, "subscription_id": "whsub_1"}"#,
        );
        assert_eq!(text(&event), expected);
    }

    #[test]
    fn what_is_absent_is_null_or_empty_and_the_tenant_stands_in() {
        let event = v1::Event {
            accepted_at: Some(Timestamp {
                seconds: 0,
                nanos: 1_999,
            }),
            data: "7".into(),
            ..Default::default()
        };
        let json: serde_json::Value = serde_json::from_str(&text(&event)).expect("JSON");
        let event = &json["event"];
        for name in [
            "user_id",
            "request_id",
            "api_key_id",
            "object_id",
            "lead_id",
        ] {
            assert!(event[name].is_null() && event.get(name).is_some(), "{name}");
        }
        assert_eq!(event["organization_id"], "ten_1");
        assert_eq!(event["date_created"], "1970-01-01T00:00:00.000001");
        assert_eq!(event["date_updated"], event["date_created"]);
        assert_eq!(event["previous_data"], serde_json::json!({}));
        assert_eq!(event["meta"], serde_json::json!({}));
        assert_eq!(event["data"], 7);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
    }
    #[test]
    fn an_events_id_tells_when_it_was_accepted() {
        let segment = SegmentId {
            partition: Partition::of(TenantId::from_bits(1)),
            lane: Lane::from_random(1),
            sequence: Sequence::FIRST,
            ordinal: 0,
        };
        let accepted = Moment::from_millis(1_599_833_084_053);
        let event = v1::Event {
            id: EventId::new(accepted, segment, 2).to_string(),
            occurred_at: Some(Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            ..Default::default()
        };
        let json: serde_json::Value = serde_json::from_str(&text(&event)).expect("JSON");
        let event = &json["event"];
        assert_eq!(event["date_created"], "1970-01-01T00:00:00.000000");
        assert_eq!(event["date_updated"], "2020-09-11T14:04:44.053000");
    }
}
