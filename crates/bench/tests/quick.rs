//! Every scenario of the benchmark still runs, with counts so small that it takes
//! seconds. What it counts is asserted, what it times is not.
//!
//! Needs the binaries: `cargo build --workspace --bins`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidehook-bench"));
    command.args(arguments).output().expect("it starts")
}

/// Asserts that a list of objects has these values under a key, in this order.
fn assert_each(list: &Value, key: &str, wanted: &[Value]) {
    let found: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one[key].clone())
        .collect();
    assert_eq!(found, wanted, "{key} in {list:#}");
}

#[test]
fn every_scenario_runs() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("bench.json");
    let ran = bench(&["--quick", "--output", output.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&std::fs::read(output).unwrap()).unwrap();

    for (name, fanout) in [("saturated_fanout_1", 1), ("saturated_fanout_10", 10)] {
        let saturated = &report[name];
        assert_eq!(saturated["fanout"], fanout, "{saturated:#}");
        assert_eq!(saturated["deliveries"], 1_000, "{saturated:#}");
    }
    for name in ["latency_at_50", "latency_at_20_percent"] {
        let count = &report[name]["publish_to_receipt_us"]["count"];
        assert!(count.as_u64() > Some(1), "{name}: {count}");
    }
    assert_eq!(report["drain"]["deliveries"], 1_000);
    let hole = &report["black_hole"];
    assert_eq!(hole["hanging"], 20, "{hole:#}");
    assert_eq!(hole["p99_ratio"]["runs"], 2, "{hole:#}");
    let stores = &report["stores"];
    let names = ["redis_strict", "embedded_strict", "embedded_relaxed"];
    assert_each(stores, "store", &names.map(Value::from));
    for store in stores.as_array().unwrap() {
        assert_eq!(store["saturated"]["deliveries"], 1_000, "{store:#}");
    }
    assert_store_alone(&report);
    assert_table(&report, &String::from_utf8_lossy(&ran.stdout));
}

/// What needs no server: counts of Redis' own commands and bytes.
fn assert_store_alone(report: &Value) {
    let backlog = &report["backlog"];
    assert_eq!(backlog["long"], 4_000, "{backlog:#}");
    assert_eq!(backlog["subscriptions"], 40, "{backlog:#}");
    assert_eq!(backlog["short"], 1_000, "{backlog:#}");
    assert_eq!(backlog["deliveries"], 3 * 320, "{backlog:#}");
    let commands = |name: &str| backlog[name].as_f64().unwrap();
    let (long, short) = (commands("long_commands"), commands("short_commands"));
    assert!(short > 0.0 && long <= 1.1 * short, "{backlog:#}");

    let clearing = &report["clearing"];
    assert_eq!(clearing["deliveries"], 2_000, "{clearing:#}");
    // 200 entries of ten deliveries, of which a tick takes 128.
    assert_eq!(clearing["ticks"], 2, "{clearing:#}");

    let queued = &report["queued"];
    assert_each(queued, "batch", &[64, 64, 1].map(Value::from));
    assert_each(queued, "fanout", &[1, 10, 1].map(Value::from));
    assert_each(queued, "deliveries", &[10_000; 3].map(Value::from));
    // With so few, what connections hold weighs as much as what ten deliveries share.
    for (shape, least) in [(&queued[0], 1.0), (&queued[1], 0.0), (&queued[2], 1.0)] {
        let bytes = shape["bytes_per_delivery"].as_f64().unwrap();
        assert!((least..=400.0).contains(&bytes), "{shape:#}");
    }
}

/// Every line is in the table, and every goal has its verdict.
fn assert_table(report: &Value, table: &str) {
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(table.lines().count(), rows.len(), "{table}");
    let mut goals = 0;
    for row in rows {
        let what = row["what"].as_str().unwrap();
        assert!(table.contains(what), "{what} is not in\n{table}");
        assert_eq!(row["goal"].is_null(), row["met"].is_null(), "{row:#}");
        goals += usize::from(row["met"].is_boolean());
    }
    assert!(goals >= 10, "{goals} goals in\n{table}");
}

#[test]
fn only_what_there_is_can_be_asked_for() {
    let refused = bench(&["--quick", "--only", "saturated,nothing"]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("no scenario nothing"), "{told}");
    assert!(
        told.contains("black-hole"),
        "it names those that are: {told}"
    );
}
