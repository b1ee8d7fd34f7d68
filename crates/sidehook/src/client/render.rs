//! Results as tables and as JSON. The JSON is written by hand: its names are a promise
//! that no change of the generated types may break. Payloads stand in it as they were
//! published, character for character: numbers keep their digits and objects the order
//! of their names, because receivers' digests go by them. Only the blanks around a
//! payload are not kept.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use sidehook_api::{time::read_duration, v1};

use super::{
    Failure, Output,
    table::{facts, listed},
    terminal::{harmless, harmless_json},
};

/// Prints `values` as JSON, or `rows` under `head` as a table.
pub(crate) fn list<T, J: Serialize>(
    output: Output,
    items: &[T],
    as_json: impl Fn(&T) -> J,
    head: &[&str],
    as_row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Json => document(&items.iter().map(as_json).collect::<Vec<_>>()),
        Output::Table if items.is_empty() => line("nothing found"),
        Output::Table => print(&listed(head, items.iter().map(as_row).collect())),
    }
}

/// Prints one thing: `value` as JSON, or its filled-in `fields` beneath each other.
pub(super) fn one(output: Output, value: &Value, fields: &[(&str, String)]) -> Result<(), Failure> {
    match output {
        Output::Json => document(value),
        Output::Table => {
            let filled = fields.iter().filter(|(_, text)| !text.is_empty());
            let rows = filled.map(|(name, text)| vec![(*name).to_owned(), text.clone()]);
            print(&facts(rows.collect()))
        }
    }
}

/// Prints indented JSON.
pub(super) fn document(value: &impl Serialize) -> Result<(), Failure> {
    print_json(serde_json::to_string_pretty(value))
}

/// Prints JSON in one line.
pub(super) fn json_line(value: &Value) -> Result<(), Failure> {
    print_json(serde_json::to_string(value))
}

fn print_json(json: serde_json::Result<String>) -> Result<(), Failure> {
    let json = json.map_err(|error| Failure::new(format!("writing JSON: {error}")))?;
    if io::stdout().is_terminal() {
        print(&harmless_json(&json))
    } else {
        print(&json)
    }
}

/// Prints a line for people.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&harmless(text))
}

/// Prints to standard output, at once.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Err(Failure::new("standard output was closed"))
        }
        Err(error) => Err(Failure::new(format!("standard output: {error}"))),
    }
}

/// The word of an enum's value: `DELIVERY_STATE_DEAD` is `dead`; empty if not given.
pub(super) fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name);
    if word == "UNSPECIFIED" {
        String::new()
    } else {
        word.to_ascii_lowercase()
    }
}

/// A moment in RFC 3339; empty if absent.
pub(super) fn moment(moment: Option<&prost_types::Timestamp>) -> String {
    moment
        .and_then(|moment| Timestamp::new(moment.seconds, moment.nanos).ok())
        .map_or_else(String::new, |moment| moment.to_string())
}

/// A span, for example `1h 30m`; empty if absent.
pub(super) fn span(span: Option<&prost_types::Duration>) -> String {
    span.and_then(read_duration)
        .and_then(|span| SignedDuration::try_from(span).ok())
        .map_or_else(String::new, |span| format!("{span:#}"))
}

/// `text`, or null if it is empty.
pub(super) fn some(text: String) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        Value::String(text)
    }
}

/// A payload: JSON as it was published; other text as a string, so that nothing is
/// lost; null if absent.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    Absent,
    Json(Box<RawValue>),
    Text(String),
}

fn payload(bytes: &[u8]) -> Payload {
    if bytes.is_empty() {
        return Payload::Absent;
    }
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(json) => Payload::Json(json.to_owned()),
        Err(_) => Payload::Text(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// An event as JSON. No [`Value`], which would read the payloads and write its own.
#[derive(Serialize)]
pub(super) struct EventJson {
    id: String,
    object_type: String,
    action: String,
    object_id: Value,
    user_id: Value,
    lead_id: Value,
    request_id: Value,
    campaign_id: Value,
    organization_id: Value,
    idempotency_key: Value,
    occurred_at: Value,
    accepted_at: Value,
    data: Payload,
    previous_data: Payload,
    changed_fields: Vec<String>,
    meta: Payload,
}

/// An event.
pub(super) fn event(event: &v1::Event) -> EventJson {
    EventJson {
        id: event.id.clone(),
        object_type: event.object_type.clone(),
        action: event.action.clone(),
        object_id: some(event.object_id.clone()),
        user_id: some(event.user_id.clone()),
        lead_id: some(event.lead_id.clone()),
        request_id: some(event.request_id.clone()),
        campaign_id: some(event.campaign_id.clone()),
        organization_id: some(event.organization_id.clone()),
        idempotency_key: some(event.idempotency_key.clone()),
        occurred_at: some(moment(event.occurred_at.as_ref())),
        accepted_at: some(moment(event.accepted_at.as_ref())),
        data: payload(&event.data),
        previous_data: payload(&event.previous_data),
        changed_fields: event.changed_fields.clone(),
        meta: payload(&event.meta),
    }
}

/// What became of a published event.
pub(super) fn published(result: &v1::PublishResult) -> Value {
    json!({
        "event_id": some(result.event_id.clone()),
        "duplicate": result.duplicate,
        "matched": result.matched,
        "durability": some(word(result.durability().as_str_name(), "DURABILITY_")),
        "error": result.error.as_ref().map(|error| json!({
            "code": error.code,
            "message": error.message,
            "reason": error.reason,
            "field_violations": error.field_violations.iter().map(|wrong| json!({
                "field": wrong.field,
                "description": wrong.description,
            })).collect::<Value>(),
        })),
    })
}

/// A delivery.
pub(super) fn delivery(delivery: &v1::Delivery) -> Value {
    json!({
        "id": delivery.id,
        "event_id": delivery.event_id,
        "subscription_id": delivery.subscription_id,
        "generation": delivery.generation,
        "state": state(delivery),
        "next_attempt_at": some(moment(delivery.next_attempt_at.as_ref())),
        "reason": some(delivery.reason.clone()),
        "attempt_count": delivery.attempt_count,
        "attempts": delivery.attempts.iter().map(attempt).collect::<Value>(),
    })
}

/// Where a delivery stands.
pub(super) fn state(delivery: &v1::Delivery) -> String {
    word(delivery.state().as_str_name(), "DELIVERY_STATE_")
}

/// How an attempt ended: the status, or what went wrong.
pub(super) fn ending(attempt: &v1::Attempt) -> String {
    let error = word(attempt.error().as_str_name(), "ATTEMPT_ERROR_");
    match (attempt.response_status, attempt.error_detail.as_str()) {
        (0, "") => error,
        (0, detail) => format!("{error}: {detail}"),
        (status, _) => status.to_string(),
    }
}

fn attempt(attempt: &v1::Attempt) -> Value {
    json!({
        "number": attempt.number,
        "started_at": some(moment(attempt.started_at.as_ref())),
        "duration_ms": attempt.duration.as_ref().map(milliseconds),
        "agent_id": some(attempt.agent_id.clone()),
        "response_status": attempt.response_status,
        "response_body": String::from_utf8_lossy(&attempt.response_body),
        "error": some(word(attempt.error().as_str_name(), "ATTEMPT_ERROR_")),
        "error_detail": some(attempt.error_detail.clone()),
        "blame": some(word(attempt.blame().as_str_name(), "BLAME_")),
    })
}

/// Milliseconds, with whole microseconds as their fraction.
pub(super) fn milliseconds(span: &prost_types::Duration) -> f64 {
    let micros = read_duration(span).unwrap_or_default().as_micros();
    // Exact for centuries; dividing once rounds once, to what is written in digits.
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_payloads_as_json_and_other_text_as_text() {
        let sound = v1::Event {
            data: r#"{"a":[1]}"#.into(),
            meta: "{broken".into(),
            occurred_at: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            ..v1::Event::default()
        };
        let value = serde_json::to_value(event(&sound)).expect("JSON");
        assert_eq!(value["data"]["a"][0], 1);
        assert_eq!(value["meta"], "{broken");
        assert_eq!(value["previous_data"], Value::Null);
        assert_eq!(value["occurred_at"], "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn payloads_are_printed_as_they_were_published() {
        let data = "{ \"b\": 1.00, \"a\":1e400,\n\t\"b\":\"\\u0041\u{7f}\u{202e}\" }";
        let meta = r#"{"n":123456789012345678901234567890}"#;
        let published = v1::Event {
            data: format!(" {data}\r\n").into(),
            meta: meta.into(),
            ..v1::Event::default()
        };
        for json in [
            serde_json::to_string(&event(&published)).expect("JSON"),
            serde_json::to_string_pretty(&vec![event(&published)]).expect("JSON"),
        ] {
            assert!(json.contains(data), "{json}");
            assert!(json.contains(meta), "{json}");
            serde_json::from_str::<serde::de::IgnoredAny>(&json).expect("JSON");
        }
    }

    #[test]
    fn enums_are_words() {
        assert_eq!(
            word("DELIVERY_STATE_IN_FLIGHT", "DELIVERY_STATE_"),
            "in_flight"
        );
        assert_eq!(word("BLAME_UNSPECIFIED", "BLAME_"), "");
        let timeout = v1::Attempt {
            error: v1::AttemptError::Timeout.into(),
            error_detail: "after 30 s".to_owned(),
            ..v1::Attempt::default()
        };
        assert_eq!(ending(&timeout), "timeout: after 30 s");
    }

    #[test]
    fn spans_are_for_people() {
        let hours = prost_types::Duration {
            seconds: 5_400,
            nanos: 0,
        };
        assert_eq!(span(Some(&hours)), "1h 30m");
        assert_eq!(span(None), "");
    }
}
