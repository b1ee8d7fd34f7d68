//! Random payloads and filters, as texts: with keys that come twice, escapes where none are needed, numbers in all
//! their forms, and blanks.

use std::fmt::Write as _;

use proptest::prelude::*;

/// JSON, as it will be written.
#[derive(Clone, Debug)]
pub(super) enum Json {
    /// As it is.
    Plain(&'static str),
    Text(String),
    Array(Vec<Self>),
    /// Keys may come twice.
    Object(Vec<(String, Self)>),
}

const PLAIN: [&str; 22] = [
    "null",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "0.0",
    "0e9",
    "1",
    "1.0",
    "10e-1",
    "1E+0",
    "-1.5",
    "-15e-1",
    "100",
    "1e2",
    "0.001",
    "1e-3",
    "9007199254740993",
    "18446744073709551615",
    "-9223372036854775808",
    "1.25",
];

const KEYS: [&str; 10] = ["a", "a", "b", "b", "c", "a.b", "é", "", "🦀", "a\"\\\n"];

const TEXTS: [&str; 9] = ["", "x", "xy", "yx", "x\ny", "é", "🦀", "1", "null"];

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Json> {
    let text = prop::sample::select(&TEXTS[..]).prop_map(|text| Json::Text(text.to_owned()));
    prop_oneof![3 => prop::sample::select(&PLAIN[..]).prop_map(Json::Plain), 2 => text]
}

fn nested(depth: u32, size: u32) -> impl Strategy<Value = Json> {
    scalar().prop_recursive(depth, size, 4, |inner| {
        let object = prop::collection::vec((key(), inner.clone()), 0..5).prop_map(Json::Object);
        let array = prop::collection::vec(inner, 0..4).prop_map(Json::Array);
        prop_oneof![3 => object, 2 => array]
    })
}

/// A payload.
pub(super) fn payload() -> impl Strategy<Value = Json> {
    let members = prop::collection::vec((key(), nested(4, 30)), 0..8);
    prop_oneof![8 => members.prop_map(Json::Object), 1 => nested(5, 30)]
}

/// A constant: a payload in which no key comes twice.
fn constant() -> impl Strategy<Value = Json> {
    prop_oneof![3 => scalar(), 1 => nested(3, 8).prop_map(unique)]
}

fn unique(json: Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.into_iter().map(unique).collect()),
        Json::Object(members) => {
            let mut kept: Vec<(String, Json)> = Vec::new();
            for (key, value) in members {
                if !kept.iter().any(|(known, _)| *known == key) {
                    kept.push((key, unique(value)));
                }
            }
            Json::Object(kept)
        }
        other => other,
    }
}

fn node(kind: &str, members: Vec<(&str, Json)>) -> Json {
    let members = members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    let kind = ("type".to_owned(), Json::Text(kind.to_owned()));
    // In another order each time.
    match members.len() % 2 {
        0 => Json::Object([kind].into_iter().chain(members).collect()),
        _ => Json::Object(members.chain([kind]).collect()),
    }
}

/// A filter.
pub(super) fn filter() -> impl Strategy<Value = Json> {
    let compare = (
        prop::sample::select(&["equals", "not_equals", "contains"][..]),
        constant(),
    )
        .prop_map(|(kind, value)| node(kind, vec![("value", value)]));
    let null =
        prop::sample::select(&["is_null", "non_null"][..]).prop_map(|kind| node(kind, vec![]));
    prop_oneof![4 => compare, 1 => null].prop_recursive(6, 24, 3, |inner| {
        let field = (key(), inner.clone()).prop_map(|(name, filter)| {
            node(
                "field_accessor",
                vec![("field", Json::Text(name)), ("filter", filter)],
            )
        });
        let below = (
            prop::sample::select(&["not", "any_array_value", "any_array_value"][..]),
            inner.clone(),
        )
            .prop_map(|(kind, filter)| node(kind, vec![("filter", filter)]));
        let many = (
            prop::sample::select(&["and", "or"][..]),
            prop::collection::vec(inner, 1..4),
        )
            .prop_map(|(kind, filters)| node(kind, vec![("filters", Json::Array(filters))]));
        prop_oneof![5 => field, 2 => below, 2 => many]
    })
}

/// A filter that goes some way into this payload, and compares what it meets there with itself: most hold, but for
/// keys that come twice.
pub(super) fn aimed(payload: &Json, dice: u64) -> Json {
    let (this, rest) = (dice % 8, dice / 8);
    let pick = |count: usize| (rest % count as u64) as usize;
    let value = || vec![("value", unique(payload.clone()))];
    match payload {
        Json::Object(members) if this > 0 && !members.is_empty() => {
            let (name, below) = &members[pick(members.len())];
            let (name, filter) = (Json::Text(name.clone()), aimed(below, rest / 8));
            node("field_accessor", vec![("field", name), ("filter", filter)])
        }
        Json::Array(items) if this > 4 && !items.is_empty() => {
            let item = unique(items[pick(items.len())].clone());
            node("contains", vec![("value", item)])
        }
        Json::Array(items) if this > 0 && !items.is_empty() => {
            let filter = aimed(&items[pick(items.len())], rest / 8);
            node("any_array_value", vec![("filter", filter)])
        }
        _ => node("equals", value()),
    }
}

/// Writes a value; `dice` decide on blanks and escapes.
pub(super) fn written(json: &Json, dice: u64) -> String {
    let mut pen = Pen {
        out: String::new(),
        dice: dice | 1,
    };
    pen.value(json);
    pen.out
}

struct Pen {
    out: String,
    dice: u64,
}

impl Pen {
    /// One in `of`.
    fn roll(&mut self, of: u64) -> bool {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice.is_multiple_of(of)
    }

    fn mark(&mut self, mark: char) {
        for blank in [' ', '\n', '\t', '\r'] {
            if self.roll(12) {
                self.out.push(blank);
            }
        }
        self.out.push(mark);
        if self.roll(6) {
            self.out.push(' ');
        }
    }

    fn value(&mut self, json: &Json) {
        match json {
            Json::Plain(text) => self.out.push_str(text),
            Json::Text(text) => self.text(text),
            Json::Array(items) => {
                self.mark('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.mark(',');
                    }
                    self.value(item);
                }
                self.mark(']');
            }
            Json::Object(members) => {
                self.mark('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        self.mark(',');
                    }
                    self.text(key);
                    self.mark(':');
                    self.value(value);
                }
                self.mark('}');
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            if char.is_control() || matches!(char, '"' | '\\') || self.roll(5) {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.out, "\\u{unit:04x}");
                }
            } else {
                self.out.push(char);
            }
        }
        self.out.push('"');
    }
}
