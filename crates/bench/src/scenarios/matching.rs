//! What it costs to match one event against the filters of a tenant's 1,000 subscriptions.
//!
//! Four kinds of filters, each 1,000 different ones, on the event that Close shows in its
//! documentation and on one of some 256 KiB. And the same 1,000 on other kinds of objects
//! than the event's: the index must pass them over.

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Instant};

use serde::Serialize;
use sidehook_api::{event::from_proto, v1};
use sidehook_core::{
    event::Event,
    filter::Filter,
    id::{SubscriptionNumber, TenantId},
    limits::EVENT_BYTES_MAX,
    matching::{MatchIndex, Pattern, Term, Wanted},
};

use crate::{Failure, plan::Plan, report::Row};

/// Most that matching a usual event should take, in microseconds.
const GOAL: f64 = 200.0;

/// Elements that make the large event some 256 KiB.
const PADDING: usize = 5_400;

const DATA: &str = r#"{
  "confidence": 100, "contact_name": "Mr. Jones", "user_name": "Joe Kemp", "value_period": "one_time",
  "date_created": "2019-01-15T12:41:24.496000+00:00", "user_id": "user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM63XA",
  "updated_by": "user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM63XA", "value_currency": "USD",
  "organization_id": "orga_XbVPx5fFbKlYTz9PW5Ih1XDhViV10YihIaEgMEb6fVW", "status_label": "Won",
  "contact_id": "cont_BwlwYQkIP6AooiXP1CMvc6Zbb5gGh2gPu4dqIDlDrII", "status_type": "won", "lead_name": "KLine",
  "id": "oppo_8H4sjNso7FyBFaeR3RXi5PMJbilfo0c6UPCxsJtEhCO", "date_lost": null, "note": "", "value": 100000,
  "date_updated": "2019-01-15T12:48:23.392000+00:00", "value_formatted": "$1,000", "date_won": "2019-01-15",
  "status_id": "stat_wMS9M6HC2O3CSEOzF5g2vEGt6RM5R3RfhIQixdnmjf2",
  "tags": [{"name": "hot"}, {"name": "big"}, {"name": "returning"}],
  "created_by": "user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM63XA",
  "lead_id": "lead_zwqYhEFwzPyfCErS8uQ77is2wFLvr9BgVi6cTfbFM68"
}"#;

/// What matching one event took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Matching {
    /// What the filters look at.
    pub(crate) filters: &'static str,
    /// Subscriptions, each with a filter of its own.
    pub(crate) subscriptions: u32,
    /// Bytes of the event's payloads.
    pub(crate) event_bytes: usize,
    /// Whether the event is of the kind that the subscriptions are for.
    pub(crate) is_theirs: bool,
    /// Median over many events, in microseconds.
    pub(crate) microseconds: f64,
}

/// The filter of each of the subscriptions.
type Kind = fn(u32) -> String;

const KINDS: [(&str, Kind); 4] = [
    ("one field", one_field),
    ("three fields, and, or, not", three_fields),
    ("changed fields and tags", arrays),
    ("a field of its own each", own_field),
];

/// Matches events of both sizes with each kind of filter.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Matching>, Failure> {
    let small = event(DATA.to_owned())?;
    let large = event(padded()?)?;
    let mut found = Vec::new();
    for (name, kind) in KINDS {
        let index = index(plan.matched, "opportunity", kind)?;
        for event in [&small, &large] {
            found.push(cost(plan, name, &index, event, true)?);
        }
    }
    let others = index(plan.matched, "lead", one_field)?;
    found.push(cost(plan, "one field", &others, &small, false)?);
    Ok(found)
}

fn event(data: String) -> Result<Event, Failure> {
    let proto = v1::Event {
        object_type: "opportunity".to_owned(),
        action: "updated".to_owned(),
        user_id: "user_7".to_owned(),
        data: data.into(),
        previous_data: r#"{"status_type":"active","confidence":70}"#.into(),
        changed_fields: ["confidence", "date_updated", "status_id", "status_type"]
            .map(str::to_owned)
            .to_vec(),
        ..v1::Event::default()
    };
    from_proto(proto, EVENT_BYTES_MAX).map_err(|wrong| wrong.to_string().into())
}

fn padded() -> Result<String, Failure> {
    let mut data = r#"{"padding":["#.to_owned();
    for index in 0..PADDING {
        let comma = if index == 0 { "" } else { "," };
        write!(
            data,
            r#"{comma}{{"note":"some \"text\" of no interest","n":[1,2,3]}}"#
        )?;
    }
    data.push_str("],");
    data.push_str(DATA.trim_start_matches('{'));
    Ok(data)
}

fn index(subscriptions: u32, object_type: &str, filter: Kind) -> Result<MatchIndex, Failure> {
    let mut all = Vec::new();
    for number in 0..subscriptions {
        let extra_filter = Filter::parse(&filter(number), "extra_filter");
        let extra_filter = extra_filter.map_err(|wrong| wrong.to_string())?;
        let pattern = Pattern {
            object_type: Term::parse(object_type)?,
            action: Term::Any,
            extra_filter: Some(Arc::new(extra_filter)),
        };
        all.push((SubscriptionNumber(number), [pattern]));
    }
    let wanted = all.iter().map(|(number, patterns)| Wanted {
        number: *number,
        campaign_id: "",
        patterns,
    });
    Ok(MatchIndex::build(wanted))
}

fn cost(
    plan: &Plan,
    filters: &'static str,
    index: &MatchIndex,
    event: &Event,
    is_theirs: bool,
) -> Result<Matching, Failure> {
    let tenant = TenantId::from_bits(1);
    let mut wanted = Vec::new();
    let mut times = Vec::new();
    for _ in 0..plan.matchings {
        let begun = Instant::now();
        let matched = index.matches(black_box(event), tenant, &mut wanted);
        times.push(begun.elapsed());
        matched.map_err(|_| "the filters took too many steps")?;
        black_box(&wanted);
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).ok_or("nothing was matched")?;
    Ok(Matching {
        filters,
        subscriptions: plan.matched,
        event_bytes: event.payload_bytes(),
        is_theirs,
        microseconds: median.as_secs_f64() * 1e6,
    })
}

fn at(fields: &[&str], filter: String) -> String {
    fields.iter().rev().fold(filter, |filter, field| {
        format!(r#"{{"type":"field_accessor","field":"{field}","filter":{filter}}}"#)
    })
}

fn one_field(index: u32) -> String {
    let user = format!("user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM6{index:03}");
    let value = format!(r#"{{"type":"equals","value":"{user}"}}"#);
    at(&["data", "user_id"], value)
}

fn three_fields(index: u32) -> String {
    let won = r#"{"type":"equals","value":"won"}"#.to_owned();
    let value = format!(r#"{{"type":"not_equals","value":{index}}}"#);
    let lost = r#"{"type":"non_null"}"#.to_owned();
    let name = format!(r#"{{"type":"contains","value":"Line{index}"}}"#);
    format!(
        r#"{{"type":"and","filters":[{},{},{{"type":"or","filters":[{},{}]}}]}}"#,
        at(&["data", "status_type"], won),
        at(&["data", "value"], value),
        at(&["data", "date_lost"], lost),
        at(&["data", "lead_name"], name),
    )
}

fn arrays(index: u32) -> String {
    let name = format!(r#"{{"type":"equals","value":"tag{index}"}}"#);
    let tag = format!(
        r#"{{"type":"any_array_value","filter":{}}}"#,
        at(&["name"], name)
    );
    let changed = r#"{"type":"contains","value":"status_type"}"#.to_owned();
    format!(
        r#"{{"type":"and","filters":[{},{}]}}"#,
        at(&["changed_fields"], changed),
        at(&["data", "tags"], tag),
    )
}

fn own_field(index: u32) -> String {
    let field = format!("custom.cf_{index}");
    at(&["data", &field], r#"{"type":"non_null"}"#.to_owned())
}

impl Matching {
    pub(crate) fn row(&self) -> Row {
        let Self {
            filters,
            subscriptions,
            event_bytes,
            microseconds,
            ..
        } = self;
        let kib = event_bytes.div_ceil(1024);
        let what = if self.is_theirs {
            format!("matching {kib} KiB, {subscriptions} filters: {filters}")
        } else {
            format!("matching {kib} KiB, {subscriptions} filters for other objects")
        };
        let row = Row::new(what, format!("{microseconds:.1} us"));
        if *event_bytes < 16 * 1024 {
            row.goal("< 200 us", *microseconds < GOAL)
        } else {
            row
        }
    }
}
