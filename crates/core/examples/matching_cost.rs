//! What it costs to match one event against the filters of a tenant's 1,000 subscriptions.
//!
//! `cargo run --release -p sidehook-core --example matching_cost`. Four kinds of filters, each 1,000 different ones,
//! on the event that Close shows in its documentation and on one of some 256 KiB; what is printed is the median
//! of many events, in microseconds, with the share of it that reading the event took.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: it has a clock, prints, and may stop at anything unexpected"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use sidehook_core::filter::{Document, Filter, FilterKey, FilterSet};

/// The filter of each of the subscriptions.
type Kind = fn(usize) -> String;

const FILTERS: usize = 1_000;
const EVENTS: usize = 400;

const WON: &str = r#"{
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

fn main() {
    let small = event(WON);
    let padding = format!(
        r#"{{"padding":[{}],{}"#,
        vec![r#"{"note":"some \"text\" of no interest","n":[1,2,3]}"#; 5_400].join(","),
        &WON[1..]
    );
    let large = event(&padding);
    println!("microseconds for one event and {FILTERS} filters: all of it (reading the event)");
    println!("{:30} {:>18} {:>18}", "", kib(&small), kib(&large));
    let kinds: [(&str, Kind); 4] = [
        ("one field, by equality", one_field),
        ("three fields, and, or, not", three_fields),
        ("changed fields and tags", arrays),
        ("a field of its own each", own_field),
    ];
    for (name, filter) in kinds {
        let (set, keys) = compiled(filter);
        println!(
            "{name:30} {:>18} {:>18}",
            cost(&set, &keys, &small),
            cost(&set, &keys, &large)
        );
    }
}

fn kib(event: &str) -> String {
    format!("{:.1} KiB", event.len() as f64 / 1024.0)
}

fn event(data: &str) -> String {
    format!(
        r#"{{"object_type":"opportunity","action":"updated","user_id":"user_7","data":{data},
        "changed_fields":["confidence","date_updated","status_id","status_label","status_type"],
        "previous_data":{{"status_type":"active","confidence":70}}}}"#
    )
}

fn at(fields: &[&str], filter: &str) -> String {
    fields
        .iter()
        .rev()
        .fold(filter.to_owned(), |filter, field| {
            format!(r#"{{"type":"field_accessor","field":"{field}","filter":{filter}}}"#)
        })
}

fn one_field(index: usize) -> String {
    let value = format!(
        r#"{{"type":"equals","value":"user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM6{index:03}"}}"#
    );
    at(&["data", "user_id"], &value)
}

fn three_fields(index: usize) -> String {
    format!(
        r#"{{"type":"and","filters":[{},{},{{"type":"or","filters":[{},{}]}}]}}"#,
        at(
            &["data", "status_type"],
            r#"{"type":"equals","value":"won"}"#
        ),
        at(
            &["data", "value"],
            &format!(r#"{{"type":"not_equals","value":{index}}}"#)
        ),
        at(&["data", "date_lost"], r#"{"type":"non_null"}"#),
        at(
            &["data", "lead_name"],
            &format!(r#"{{"type":"contains","value":"Line{index}"}}"#)
        ),
    )
}

fn arrays(index: usize) -> String {
    let name = at(
        &["name"],
        &format!(r#"{{"type":"equals","value":"tag{index}"}}"#),
    );
    format!(
        r#"{{"type":"and","filters":[{},{}]}}"#,
        at(
            &["changed_fields"],
            r#"{"type":"contains","value":"status_type"}"#
        ),
        at(
            &["data", "tags"],
            &format!(r#"{{"type":"any_array_value","filter":{name}}}"#)
        ),
    )
}

fn own_field(index: usize) -> String {
    at(
        &["data", &format!("custom.cf_{index}")],
        r#"{"type":"non_null"}"#,
    )
}

fn compiled(filter: Kind) -> (FilterSet, Vec<FilterKey>) {
    let mut set = FilterSet::default();
    let insert = |index| set.insert(&Arc::new(Filter::parse(&filter(index), "filter").unwrap()));
    let keys = (0..FILTERS).map(insert).collect();
    (set, keys)
}

fn cost(set: &FilterSet, keys: &[FilterKey], event: &str) -> String {
    let mut whole = Vec::with_capacity(EVENTS);
    let mut reading = Vec::with_capacity(EVENTS);
    for _ in 0..EVENTS {
        let from = Instant::now();
        let mut read = set
            .read(&Document::Json(black_box(event).as_bytes()))
            .unwrap();
        reading.push(from.elapsed());
        black_box(
            keys.iter()
                .filter(|key| read.holds(**key) == Ok(true))
                .count(),
        );
        drop(read);
        whole.push(from.elapsed());
    }
    let median = |times: &mut Vec<core::time::Duration>| {
        times.sort_unstable();
        times[EVENTS / 2].as_secs_f64() * 1e6
    };
    format!("{:.1} ({:.1})", median(&mut whole), median(&mut reading))
}
