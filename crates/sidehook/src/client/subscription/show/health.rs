//! How a subscription's receiver does, in words and as JSON.

use serde_json::{Value, json};
use sidehook_api::v1::{self, HealthRecord, Subscription};

use crate::client::render::{moment, some};

/// The state, and for how long there were only failures.
pub(super) fn state(subscription: &Subscription) -> String {
    let Some(health) = &subscription.health else {
        return String::new();
    };
    match health.consecutive_failing_buckets {
        0 => health.status.clone(),
        1 => format!(
            "{} (only failures in the last hour with attempts)",
            health.status
        ),
        hours => format!(
            "{} (only failures in the last {hours} hours with attempts)",
            health.status
        ),
    }
}

/// What became of attempts since the subscription was made.
pub(super) fn attempts(subscription: &Subscription) -> String {
    let Some(counters) = subscription.health.as_ref().and_then(|one| one.counters) else {
        return String::new();
    };
    if counters == v1::HealthCounters::default() {
        return String::new();
    }
    format!(
        "first: {} succeeded, {} failed; later: {} succeeded, {} failed",
        counters.first_success, counters.first_fail, counters.retry_success, counters.retry_fail,
    )
}

/// What went wrong last.
pub(super) fn latest_error(subscription: &Subscription) -> String {
    let health = subscription.health.as_ref();
    health.map_or_else(String::new, |health| health.latest_error.clone())
}

/// The newest failures, a line each.
pub(super) fn failures(subscription: &Subscription) -> String {
    let health = subscription.health.as_ref();
    lines(health.map_or(&[], |health| &health.errors))
}

/// The newest successes, a line each.
pub(super) fn successes(subscription: &Subscription) -> String {
    let health = subscription.health.as_ref();
    lines(health.map_or(&[], |health| &health.successes))
}

fn lines(records: &[HealthRecord]) -> String {
    let lines: Vec<String> = records.iter().map(one_line).collect();
    lines.join("\n")
}

fn one_line(record: &HealthRecord) -> String {
    let at = moment(record.time.as_ref());
    let status = match record.response_status_code {
        0 => record.error.clone(),
        status => format!("status {status}"),
    };
    let number = record.attempt_number;
    format!("{at} {}: attempt {number}, {status}", record.delivery_id)
}

/// All of it; null where the server shows none.
pub(super) fn as_json(subscription: &Subscription) -> Value {
    let Some(health) = &subscription.health else {
        return Value::Null;
    };
    let counters = health.counters.unwrap_or_default();
    let records = |records: &[HealthRecord]| records.iter().map(record_as_json).collect::<Value>();
    json!({
        "status": some(health.status.clone()),
        "latest_error": some(health.latest_error.clone()),
        "counters": {
            "first_success": counters.first_success,
            "first_fail": counters.first_fail,
            "retry_success": counters.retry_success,
            "retry_fail": counters.retry_fail,
        },
        "errors": records(&health.errors),
        "successes": records(&health.successes),
        "consecutive_failing_buckets": health.consecutive_failing_buckets,
    })
}

fn record_as_json(record: &HealthRecord) -> Value {
    json!({
        "attempt_number": record.attempt_number,
        "time": some(moment(record.time.as_ref())),
        "error": some(record.error.clone()),
        "event_id": some(record.event_id.clone()),
        "response_status_code": record.response_status_code,
        "delivery_id": record.delivery_id,
    })
}
