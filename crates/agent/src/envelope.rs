//! The body of a POST: `{"event": {…}, "subscription_id": "whsub_…"}`.
//!
//! Two pieces, so that nothing is copied per delivery: the [`head`] is rendered once per event and shared by its whole
//! fan-out, the [`tail`] once per version of a subscription. The publisher's JSON is copied into the head as it is:
//! parsing it and writing it anew would change numbers, order and spacing, and cost two hundred times as much.

use std::fmt::Write as _;

use bytes::Bytes;
use sidehook_api::v1;
use sidehook_core::address::EventId;

/// Seconds of the day.
const DAY_S: i64 = 86_400;

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
    let date = match event.occurred_at.or(event.accepted_at) {
        Some(at) => date(at.seconds, at.nanos),
        None => date(accepted_s(&event.id), 0),
    };
    out.extend_from_slice(br#"{"event": {"id": "#);
    string(&mut out, &event.id);
    for (name, text) in [
        ("date_created", date.as_str()),
        ("date_updated", &date),
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

/// When the event was accepted, which its id says too.
fn accepted_s(id: &str) -> i64 {
    id.parse::<EventId>().map_or(0, |id| id.time().as_seconds())
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

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))
    {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `2018-12-06T19:15:09.590432`: UTC without zone, microseconds. Years outside 1 to 9999 do not pass validation.
fn date(seconds: i64, nanos: i32) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let micros = nanos.clamp(0, 999_999_999) / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(26);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}"
    );
    text
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last, in eras of 400 years (146,097 days).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Timestamp;

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
            data: r#"{"b" :1.0, "a":[1e2,"é"]}"#.into(),
            previous_data: r#"{ "confidence":70 }"#.into(),
            meta: r#"{"request_method":"PUT"}"#.into(),
            changed_fields: vec!["confidence".into(), "status_id".into()],
            ..Default::default()
        };
        let expected = concat!(
            r#"{"event": {"id": "ev_2sYKRjcrA79yKxi3S4Crd7", "date_created": "2019-01-15T12:48:23.395000", "#,
            r#""date_updated": "2019-01-15T12:48:23.395000", "organization_id": "orga_Xb", "user_id": "user_N6", "#,
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
        assert_eq!(event["previous_data"], serde_json::json!({}));
        assert_eq!(event["meta"], serde_json::json!({}));
        assert_eq!(event["data"], 7);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_escaped_as_json_wants(given in ".*") {
            let mut out = Vec::new();
            string(&mut out, &given);
            let back: String = serde_json::from_slice(&out).expect("JSON");
            proptest::prop_assert_eq!(back, given);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"b\\c\n\u{1f}é\0");
        assert_eq!(out, r#""a\"b\\c\u000a\u001fé\u0000""#.as_bytes());
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, expected) in [
            (-62_135_596_800, "0001-01-01T00:00:00.000000"),
            (-1, "1969-12-31T23:59:59.000000"),
            (951_782_400, "2000-02-29T00:00:00.000000"),
            (1_709_164_800, "2024-02-29T00:00:00.000000"),
            (1_709_251_199, "2024-02-29T23:59:59.000000"),
            (4_107_542_400, "2100-03-01T00:00:00.000000"),
            (253_402_300_799, "9999-12-31T23:59:59.000000"),
        ] {
            assert_eq!(date(seconds, 0), expected);
        }
    }
}
