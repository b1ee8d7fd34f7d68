//! `/api/v1/event/…`: the event log as Close shows it.
//!
//! The log is read newest first, a page after another. To lead back too, a cursor is the
//! way that was taken: the tokens of the last pages, of which the last one is the page
//! itself. So the way back has an end, [`WAY`] pages long, and nothing is kept for it.

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use sidehook_api::v1;
use sidehook_core::address::EventId;

use crate::{
    answer::{self, Response},
    call::Call,
    dialect::{Parameter, ParameterKind},
    problem::Problem,
    times,
};

/// Pages that a cursor remembers.
const WAY: usize = 32;
/// The token of the first page, which has none.
const FIRST: &str = "0";
/// What stands between two tokens.
const BETWEEN: char = '.';

/// What is wrong with a cursor, and what would be right.
const NO_CURSOR: &str = "leads to no page of this list with these filters: give `cursor_next` or \
    `cursor_previous` of one, or nothing for the first page";

/// RPCs that one page may take: a filtered page that is empty is no end of the log.
const PAGES: usize = 10;

/// What the list of events takes.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "_limit",
        kind: ParameterKind::Number {
            min: 1,
            max: 50,
            default: 50,
        },
        about: "At most this many.",
    },
    text(
        "_cursor",
        "The page that `cursor_next` or `cursor_previous` named.",
    ),
    text("object_type", "Only this kind of object."),
    text("object_id", "Only this object."),
    text("action", "Only this action."),
    text("user_id", "Only of this user."),
    text("lead_id", "Only about this lead."),
    text("request_id", "Only caused by this request."),
    time(
        "date_updated__gt",
        "Only what was accepted after this time.",
    ),
    time(
        "date_updated__gte",
        "Only what was accepted at this time or later.",
    ),
    time(
        "date_updated__lt",
        "Only what was accepted before this time.",
    ),
    time(
        "date_updated__lte",
        "Only what was accepted at this time or before.",
    ),
];

const fn text(name: &'static str, about: &'static str) -> Parameter {
    let kind = ParameterKind::Text;
    Parameter { name, kind, about }
}

const fn time(name: &'static str, about: &'static str) -> Parameter {
    let kind = ParameterKind::Time;
    Parameter { name, kind, about }
}

/// Nanoseconds of the clock that events are accepted by: it goes by milliseconds.
const TICK: i32 = 1_000_000;
const SECOND: i32 = 1_000_000_000;

/// The first tick at this time or later.
fn from(at: prost_types::Timestamp) -> prost_types::Timestamp {
    let over = at.nanos.rem_euclid(TICK);
    if over == 0 { at } else { after(at) }
}

/// The first tick after this time.
fn after(at: prost_types::Timestamp) -> prost_types::Timestamp {
    let nanos = at.nanos - at.nanos.rem_euclid(TICK) + TICK;
    prost_types::Timestamp {
        seconds: at.seconds + i64::from(nanos / SECOND),
        nanos: nanos % SECOND,
    }
}

/// An event as Close shows it.
#[derive(Debug, Serialize)]
struct Event {
    id: String,
    date_created: Option<String>,
    date_updated: Option<String>,
    organization_id: String,
    user_id: Option<String>,
    request_id: Option<String>,
    api_key_id: Option<String>,
    object_type: String,
    object_id: Option<String>,
    lead_id: Option<String>,
    action: String,
    changed_fields: Vec<String>,
    data: Option<Box<RawValue>>,
    previous_data: Option<Box<RawValue>>,
    meta: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Page {
    data: Vec<Event>,
    cursor_next: Option<String>,
    cursor_previous: Option<String>,
}

fn nullable(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The publisher's JSON, as it came; an empty object if none came, as deliveries have it.
fn json(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let text = if text.is_empty() { "{}" } else { text };
    RawValue::from_string(text.to_owned()).ok()
}

impl Event {
    fn new(from: v1::Event, tenant: &str) -> Self {
        // The log goes by this one: whoever asks for what is after it gets nothing twice.
        let accepted = from.accepted_at;
        let occurred = from.occurred_at.or(accepted);
        let organization_id = nullable(from.organization_id);
        Self {
            id: from.id,
            date_created: occurred.as_ref().map(times::close),
            date_updated: accepted.as_ref().map(times::close),
            organization_id: organization_id.unwrap_or_else(|| tenant.to_owned()),
            user_id: nullable(from.user_id),
            request_id: nullable(from.request_id),
            api_key_id: None,
            object_type: from.object_type,
            object_id: nullable(from.object_id),
            lead_id: nullable(from.lead_id),
            action: from.action,
            changed_fields: from.changed_fields,
            data: json(&from.data),
            previous_data: json(&from.previous_data),
            meta: json(&from.meta),
        }
    }
}

/// The way that was taken through the log; its last token is that of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way(Vec<String>);

impl Way {
    /// The way that a cursor is, or the first page's if there is none. Any text is one;
    /// whether its last token is sound, the RPC says.
    fn read(cursor: Option<&str>) -> Self {
        let cursor = cursor.filter(|text| !text.is_empty()).unwrap_or(FIRST);
        let mut way: Vec<_> = cursor.split(BETWEEN).map(str::to_owned).collect();
        way.drain(..way.len().saturating_sub(WAY));
        Self(way)
    }

    /// Where it has led, as the RPC names it.
    fn token(&self) -> &str {
        let last = self.0.last().map_or(FIRST, String::as_str);
        if last == FIRST { "" } else { last }
    }

    fn write(tokens: &[String]) -> String {
        let from = tokens.len().saturating_sub(WAY);
        tokens[from..].join(&BETWEEN.to_string())
    }

    fn on(&self, token: String) -> Option<String> {
        let mut way = self.0.clone();
        way.push(token);
        way.last()
            .is_some_and(|token| !token.is_empty())
            .then(|| Self::write(&way))
    }

    fn back(&self) -> Option<String> {
        let (_, before) = self.0.split_last()?;
        (!before.is_empty()).then(|| Self::write(before))
    }
}

/// A page of the log.
pub(super) async fn list(call: Call) -> Result<Response, Problem> {
    let text = |name| call.query.text(name).unwrap_or_default().to_owned();
    let time = |name| call.query.time(name);
    let way = Way::read(call.query.text("_cursor"));
    let mut request = v1::ListEventsRequest {
        page_size: call.query.number("_limit"),
        page_token: way.token().to_owned(),
        object_type: text("object_type"),
        action: text("action"),
        object_id: text("object_id"),
        user_id: text("user_id"),
        lead_id: text("lead_id"),
        request_id: text("request_id"),
        accepted_from: latest(
            time("date_updated__gt").map(after),
            time("date_updated__gte").map(from),
        ),
        accepted_before: earliest(
            time("date_updated__lt").map(from),
            time("date_updated__lte").map(after),
        ),
        ..v1::ListEventsRequest::default()
    };
    let mut events = call.events();
    for page in 1.. {
        let answer = events.list_events(request.clone()).await;
        let answer = answer.map_err(|status| named(status.into()))?;
        let found = answer.into_inner();
        if found.events.is_empty() && !found.next_page_token.is_empty() && page < PAGES {
            request.page_token = found.next_page_token;
            continue;
        }
        let tenant = call.backend.tenant();
        let data = found.events.into_iter();
        let page = Page {
            data: data.map(|event| Event::new(event, &tenant)).collect(),
            cursor_next: way.on(found.next_page_token),
            cursor_previous: way.back(),
        };
        return answer::json(StatusCode::OK, &page);
    }
    Err(Problem::internal("a page of the log has no end"))
}

/// One event.
pub(super) async fn get(call: Call) -> Result<Response, Problem> {
    let id: EventId = call.id("event")?;
    let request = v1::GetEventRequest { id: id.to_string() };
    let answer = call.events().get_event(request).await?;
    let found = answer.into_inner().event;
    let found = found.ok_or_else(|| Problem::internal("an answer lacks its event"))?;
    answer::json(StatusCode::OK, &Event::new(found, &call.backend.tenant()))
}

/// The later one of two bounds, of those that are given.
fn latest(
    one: Option<prost_types::Timestamp>,
    other: Option<prost_types::Timestamp>,
) -> Option<prost_types::Timestamp> {
    let both = one.into_iter().chain(other);
    both.max_by_key(|at| (at.seconds, at.nanos))
}

/// The earlier one of two bounds, of those that are given.
fn earliest(
    one: Option<prost_types::Timestamp>,
    other: Option<prost_types::Timestamp>,
) -> Option<prost_types::Timestamp> {
    let both = one.into_iter().chain(other);
    both.min_by_key(|at| (at.seconds, at.nanos))
}

/// The problem with the names that the parameters have in this API.
fn named(mut problem: Problem) -> Problem {
    for wrong in &mut problem.fields {
        match wrong.field.as_str() {
            "page_token" => {
                "_cursor".clone_into(&mut wrong.field);
                NO_CURSOR.clone_into(&mut wrong.description);
            }
            "accepted_from" => "date_updated__gte".clone_into(&mut wrong.field),
            "accepted_before" => "date_updated__lt".clone_into(&mut wrong.field),
            _ => {}
        }
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_and_back() {
        let first = Way::read(None);
        assert_eq!(first.token(), "");
        assert_eq!(first.back(), None);
        assert_eq!(first.on(String::new()), None, "the end");
        let second = Way::read(first.on("aa".to_owned()).as_deref());
        assert_eq!(second.token(), "aa");
        let third = Way::read(second.on("bb".to_owned()).as_deref());
        assert_eq!(third.token(), "bb");
        let back = Way::read(third.back().as_deref());
        assert_eq!(back, second);
        assert_eq!(Way::read(back.back().as_deref()), first);
    }

    #[test]
    fn bounds_fall_on_ticks_of_the_log() {
        let at = |text| times::read(text).expect("a time");
        let tick = at("2018-12-06T19:15:09.590");
        let next = at("2018-12-06T19:15:09.591");
        assert_eq!((from(tick), after(tick)), (tick, next));
        let between = at("2018-12-06T19:15:09.590432");
        assert_eq!((from(between), after(between)), (next, next));
        let last = at("2018-12-06T19:15:09.999500");
        assert_eq!(from(last), at("2018-12-06T19:15:10"));
        assert_eq!(latest(Some(tick), Some(next)), Some(next));
        assert_eq!(earliest(Some(tick), Some(next)), Some(tick));
        assert_eq!(latest(None, Some(tick)), Some(tick));
        assert_eq!(earliest(None, None), None);
    }

    #[test]
    fn the_way_back_has_an_end() {
        let mut cursor = None;
        for page in 0..3 * WAY {
            cursor = Way::read(cursor.as_deref()).on(format!("{page:032x}"));
        }
        let mut pages = 0;
        let text = cursor.clone().expect("there is one");
        assert!(text.len() < 2_048, "{}", text.len());
        while let Some(text) = cursor {
            cursor = Way::read(Some(&text)).back();
            pages += 1;
        }
        assert_eq!(pages, WAY);
        let long = "x.".repeat(100_000);
        assert_eq!(Way::read(Some(&long)).0.len(), WAY);
    }

    #[test]
    fn an_event_is_shown_as_it_is_delivered() {
        let event = v1::Event {
            id: "ev_1".to_owned(),
            object_type: "lead".to_owned(),
            action: "updated".to_owned(),
            data: br#"{"b": 1.10, "a": 1e400}"#.to_vec().into(),
            changed_fields: vec!["b".to_owned()],
            occurred_at: Some(prost_types::Timestamp {
                seconds: 1_544_123_709,
                nanos: 590_432_000,
            }),
            accepted_at: Some(prost_types::Timestamp {
                seconds: 1_544_123_711,
                nanos: 17_000_000,
            }),
            ..v1::Event::default()
        };
        let text = serde_json::to_string(&Event::new(event, "ten_1")).expect("JSON");
        assert_eq!(
            text,
            concat!(
                r#"{"id":"ev_1","date_created":"2018-12-06T19:15:09.590432","#,
                r#""date_updated":"2018-12-06T19:15:11.017000","organization_id":"ten_1","#,
                r#""user_id":null,"request_id":null,"api_key_id":null,"object_type":"lead","#,
                r#""object_id":null,"lead_id":null,"action":"updated","changed_fields":["b"],"#,
                r#""data":{"b": 1.10, "a": 1e400},"previous_data":{},"meta":{}}"#,
            )
        );
    }
}
