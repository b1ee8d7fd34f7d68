//! What a store holds, as the command line tells it, and whether another holds the same.

use std::{collections::BTreeMap, net::SocketAddr, process::Command};

use serde_json::{Map, Value, json};
use sidehook_testkit::process::binary;

/// What the command line prints, as JSON.
pub(crate) fn told(server: SocketAddr, key: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(binary("sidehook"));
    command
        .env_clear()
        .args(arguments)
        .args(["--output", "json"]);
    command.env("SIDEHOOK_SERVER", format!("http://{server}"));
    let ended = command.env("SIDEHOOK_API_KEY", key).output();
    let ended = ended.expect("the binary can be run");
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&ended.stdout).expect("it is JSON")
}

/// The ids of a list.
pub(crate) fn ids(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    let ids = items.filter_map(|item| item["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// Everything that a tenant has, each by its id.
pub(crate) fn account(server: SocketAddr, operator: &str, tenant: &str, key: &str) -> Value {
    let by_id = |list: &Value| {
        let items = list.as_array().into_iter().flatten();
        let items = items.map(|item| (item["id"].as_str().unwrap_or("").to_owned(), item.clone()));
        Value::Object(items.collect::<Map<_, _>>())
    };
    let each = |what: &str| {
        let list = told(server, key, &[what, "list", "--limit", "1000"]);
        let one = |id: String| {
            let found = told(server, key, &[what, "get", &id]);
            (id, found)
        };
        Value::Object(ids(&list).into_iter().map(one).collect())
    };
    let mut tenants = by_id(&told(server, operator, &["admin", "tenant", "list"]));
    if let Some(tenants) = tenants.as_object_mut() {
        // Every test's own.
        tenants.retain(|_, it| it["name"] != "test" || it["id"] == tenant);
    }
    json!({
        "tenants": tenants,
        "keys": by_id(&told(server, operator, &["admin", "key", "list", "--tenant", tenant])),
        "subscriptions": each("subscription"),
        "events": each("event"),
        "deliveries": each("deliveries"),
        "order": {
            "events": ids(&told(server, key, &["event", "list", "--limit", "1000"])),
            "deliveries": ids(&told(server, key, &["deliveries", "list", "--limit", "1000"])),
            "subscriptions": ids(&told(server, key, &["subscription", "list", "--limit", "1000"])),
        },
    })
}

/// What `found` has otherwise than `kept`, by the paths of both. A later version may
/// show more of a thing, and never less or something else.
pub(crate) fn differences(kept: &Value, found: &Value) -> BTreeMap<String, (Value, Value)> {
    let mut all = BTreeMap::new();
    compare(kept, found, "", &mut all);
    all
}

fn compare(kept: &Value, found: &Value, path: &str, all: &mut BTreeMap<String, (Value, Value)>) {
    match (kept, found) {
        (Value::Object(kept), Value::Object(found)) => {
            for (name, kept) in kept {
                let found = found.get(name).unwrap_or(&Value::Null);
                compare(kept, found, &format!("{path}/{name}"), all);
            }
        }
        (Value::Array(kept), Value::Array(found)) if kept.len() == found.len() => {
            for (at, (kept, found)) in kept.iter().zip(found).enumerate() {
                compare(kept, found, &format!("{path}/{at}"), all);
            }
        }
        _ if kept == found => {}
        _ => {
            all.insert(path.to_owned(), (kept.clone(), found.clone()));
        }
    }
}
