//! The language once more, naively, over parsed JSON: shares nothing with what it is compared with.

use serde_json::Value;

pub(super) fn holds(filter: &Value, value: &Value) -> bool {
    let below = &filter["filter"];
    match filter["type"].as_str().expect("a type") {
        "equals" => same(value, &filter["value"]),
        "not_equals" => !same(value, &filter["value"]),
        "is_null" => value.is_null(),
        "non_null" => !value.is_null(),
        "contains" => match value {
            Value::Array(items) => items.iter().any(|item| same(item, &filter["value"])),
            Value::String(text) => filter["value"]
                .as_str()
                .is_some_and(|part| text.contains(part)),
            _ => false,
        },
        "and" => filters(filter).all(|filter| holds(filter, value)),
        "or" => filters(filter).any(|filter| holds(filter, value)),
        "not" => !holds(below, value),
        "field_accessor" => {
            let field = filter["field"].as_str().expect("a name");
            let found = value.as_object().and_then(|members| members.get(field));
            holds(below, found.unwrap_or(&Value::Null))
        }
        "any_array_value" => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            items.iter().any(|item| holds(below, item))
        }
        other => panic!("{other} is no type"),
    }
}

fn filters(filter: &Value) -> impl Iterator<Item = &Value> {
    filter["filters"].as_array().expect("filters").iter()
}

/// Numbers of the generator are within what both of their types say exactly.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// How many nodes a filter has.
pub(super) fn nodes(filter: &Value) -> usize {
    let all = filter
        .get("filters")
        .map_or(0, |_| filters(filter).map(nodes).sum());
    1 + all + filter.get("filter").map_or(0, nodes)
}
