//! What was sent for a hook: `requests`, and sending one again.
//!
//! | Hookshot | Sidehook |
//! |---|---|
//! | `id`: an event for this hook | the pair's first delivery |
//! | `delivery_id`: one of several for the event | the delivery: the first, or a manual one |
//! | `enqueued_at` | when the event was accepted |
//! | `response_status`, `response_duration_ms` | of the latest attempt; null before it, and without an answer |
//! | `created_at`, `updated_at` | of a redelivery the latest attempt's beginning, else as `enqueued_at`; the latest attempt's end |

use core::{cmp::Reverse, time::Duration};

use serde::Serialize;
use sidehook_api::v1;
use sidehook_core::{
    address::{DeliveryId, EventId},
    id::SubscriptionId,
};

use crate::{
    call::Call,
    ids::{self, Either},
    problem::Problem,
    subscriptions, times,
};

/// How many requests are shown.
const SHOWN: usize = 100;
/// Pages of the log that are looked at for them, of at most `LIST_EXAMINED` deliveries
/// each: among those of busy neighbours a page may be short.
const PAGES: usize = 10;

/// A delivery.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    id: String,
    tenant_id: String,
    delivery_id: String,
    event: String,
    enqueued_at: Option<String>,
    redelivery: bool,
    hook_id: String,
    created_at: Option<String>,
    updated_at: Option<String>,
    response_status: Option<u32>,
    response_duration_ms: Option<u64>,
}

impl Sent {
    /// What a delivery of this tenant is.
    fn of(delivery: &v1::Delivery, tenant: &str) -> Self {
        let id: Option<DeliveryId> = delivery.id.parse().ok();
        let first = id.and_then(first_of);
        let last = delivery.last_attempt.as_ref();
        let began = last.and_then(|attempt| attempt.started_at);
        let enqueued = enqueued_at(delivery);
        let created = created_at(delivery);
        let took = last.and_then(took);
        let ended = began.zip(took).map(|(began, took)| later(began, took));
        let status = last.map(|attempt| attempt.response_status);
        let uuid = |id: Option<DeliveryId>| {
            id.map_or_else(|| delivery.id.clone(), |id| ids::uuid(id.bits()))
        };
        Self {
            id: uuid(first),
            tenant_id: ids::shown(tenant),
            delivery_id: uuid(id),
            event: format!("{}:{}", delivery.object_type, delivery.action),
            enqueued_at: enqueued.as_ref().map(times::hookshot),
            redelivery: delivery.generation > 0,
            hook_id: ids::shown(&delivery.subscription_id),
            created_at: created.as_ref().map(times::hookshot),
            updated_at: ended.or(created).as_ref().map(times::hookshot),
            response_status: status.filter(|status| *status != 0),
            response_duration_ms: took.and_then(|took| took.as_millis().try_into().ok()),
        }
    }
}

/// The first delivery of the same event to the same hook.
fn first_of(id: DeliveryId) -> Option<DeliveryId> {
    let segment = id.segment()?;
    Some(DeliveryId::new(segment, id.index(), id.subscription(), 0))
}

fn enqueued_at(delivery: &v1::Delivery) -> Option<prost_types::Timestamp> {
    delivery.event_id.parse().ok().map(accepted_at)
}

fn created_at(delivery: &v1::Delivery) -> Option<prost_types::Timestamp> {
    let last = delivery.last_attempt.as_ref();
    let last = last.filter(|_| delivery.generation > 0);
    let began = last.and_then(|attempt| attempt.started_at);
    began.or_else(|| enqueued_at(delivery))
}

/// The newest first. The log has all deliveries of an event where the event stands, the
/// first one first; here each stands where it was made. A redelivery that was not
/// attempted yet has no time of its own: it stands before the one that it repeats.
fn newest_first(found: Vec<v1::Delivery>) -> Vec<v1::Delivery> {
    let mut dated = Vec::with_capacity(found.len());
    let mut before = (None, None);
    for delivery in found {
        let pair = delivery.id.parse().ok().and_then(first_of);
        let mut created = created_at(&delivery).map(|at| (at.seconds, at.nanos));
        if before.0 == pair {
            created = created.max(before.1);
        }
        before = (pair, created);
        dated.push((created, delivery));
    }
    dated.sort_by_key(|(created, delivery)| Reverse((*created, delivery.generation)));
    dated.into_iter().map(|(_, delivery)| delivery).collect()
}

fn accepted_at(event: EventId) -> prost_types::Timestamp {
    let ms = event.time().as_millis();
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

fn took(attempt: &v1::Attempt) -> Option<Duration> {
    attempt.duration.and_then(|span| span.try_into().ok())
}

fn later(mut at: prost_types::Timestamp, by: Duration) -> prost_types::Timestamp {
    let nanos = i64::from(at.nanos) + i64::from(by.subsec_nanos());
    let seconds = i64::try_from(by.as_secs()).unwrap_or_default();
    at.seconds = at.seconds.saturating_add(seconds + nanos / 1_000_000_000);
    at.nanos = i32::try_from(nanos % 1_000_000_000).unwrap_or_default();
    at
}

/// The newest deliveries of a hook: of those that the walk through the log finds, the
/// newest first. A redelivery is found where its event stands.
///
/// # Errors
/// There is no such hook, or the service's.
pub(super) async fn newest(call: &Call, hook: SubscriptionId) -> Result<Vec<Sent>, Problem> {
    // The log knows deleted ones too.
    subscriptions::get(call, hook).await?;
    let (mut found, mut page_token) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let request = v1::ListDeliveriesRequest {
            page_size: u32::try_from(SHOWN - found.len()).unwrap_or_default(),
            page_token,
            subscription_id: hook.to_string(),
            ..v1::ListDeliveriesRequest::default()
        };
        let page = call.deliveries().list_deliveries(request).await?;
        let page = page.into_inner();
        found.extend(page.deliveries);
        page_token = page.next_page_token;
        if found.len() >= SHOWN || page_token.is_empty() {
            break;
        }
    }
    let tenant = call.tenant();
    let mut found = newest_first(found);
    // All redeliveries of an event stand on one page, which may be longer for them.
    found.truncate(SHOWN);
    Ok(found.iter().map(|one| Sent::of(one, &tenant)).collect())
}

/// Sends what a request sent to this hook once more.
///
/// # Errors
/// There is no such hook or request, it has not ended, or the service's.
pub(super) async fn redeliver(call: &Call, hook: SubscriptionId) -> Result<Sent, Problem> {
    let missing = || Problem::not_found("request");
    // Its number alone is in the delivery's id.
    subscriptions::get(call, hook).await?;
    let Either(delivery): Either<DeliveryId> =
        call.parameter("request").parse().map_err(|_| missing())?;
    if delivery.subscription() != hook.number() {
        return Err(missing());
    }
    let request = v1::RetryDeliveryRequest {
        id: delivery.to_string(),
    };
    let answer = call.deliveries().retry_delivery(request).await?;
    let made = answer.into_inner().delivery;
    let made = made.ok_or_else(|| Problem::internal("an answer lacks its delivery"))?;
    Ok(Sent::of(&made, &call.tenant()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sidehook_core::{
        address::{Lane, Partition, SegmentId, Sequence},
        id::{SubscriptionNumber, TenantId},
        time::Timestamp,
    };

    use super::*;

    fn segment() -> SegmentId {
        SegmentId {
            partition: Partition::of(TenantId::from_bits(1)),
            lane: Lane::from_random(1),
            sequence: Sequence::FIRST,
            ordinal: 0,
        }
    }

    #[test]
    fn a_redelivery_has_the_first_ones_id() {
        let event = EventId::new(Timestamp::from_millis(1_599_833_084_053), segment(), 2);
        let first = DeliveryId::new(segment(), 2, SubscriptionNumber(7), 0);
        let second = first.next_generation().expect("few so far");
        let delivery = v1::Delivery {
            id: second.to_string(),
            event_id: event.to_string(),
            subscription_id: SubscriptionId::from_bits(7).to_string(),
            generation: 1,
            object_type: "quote".to_owned(),
            action: "created".to_owned(),
            last_attempt: Some(v1::Attempt {
                started_at: Some(prost_types::Timestamp {
                    seconds: 1_599_833_090,
                    nanos: 900_000_000,
                }),
                duration: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 200_000_000,
                }),
                response_status: 503,
                ..v1::Attempt::default()
            }),
            ..v1::Delivery::default()
        };
        let shown = Sent::of(&delivery, &TenantId::from_bits(1).to_string());
        assert_eq!(
            serde_json::to_value(shown).expect("JSON"),
            json!({
                "id": ids::uuid(first.bits()),
                "tenant_id": "00000000-0000-0000-0000-000000000001",
                "delivery_id": ids::uuid(second.bits()),
                "event": "quote:created",
                "enqueued_at": "2020-09-11T14:04:44.053Z",
                "redelivery": true,
                "hook_id": "00000000-0000-0000-0000-000000000007",
                "created_at": "2020-09-11T14:04:50.900Z",
                "updated_at": "2020-09-11T14:04:52.100Z",
                "response_status": 503,
                "response_duration_ms": 1_200,
            })
        );
    }

    #[test]
    fn before_its_first_attempt_a_request_has_no_answer() {
        let event = EventId::new(Timestamp::from_millis(1_599_833_084_053), segment(), 2);
        let delivery = v1::Delivery {
            id: DeliveryId::new(segment(), 2, SubscriptionNumber(7), 0).to_string(),
            event_id: event.to_string(),
            ..v1::Delivery::default()
        };
        let shown = Sent::of(&delivery, "");
        assert_eq!(shown.id, shown.delivery_id);
        assert_eq!(
            (shown.response_status, shown.response_duration_ms),
            (None, None)
        );
        assert_eq!(shown.updated_at, shown.enqueued_at);
        assert!(!shown.redelivery);
    }
    fn sent(event: u8, generation: u32, began: Option<i64>) -> v1::Delivery {
        let accepted = Timestamp::from_millis(1_000 * i64::from(event));
        let mut id = DeliveryId::new(segment(), event, SubscriptionNumber(7), 0);
        for _ in 0..generation {
            id = id.next_generation().expect("few so far");
        }
        let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        v1::Delivery {
            id: id.to_string(),
            event_id: EventId::new(accepted, segment(), event).to_string(),
            generation,
            last_attempt: began.map(|began| v1::Attempt {
                started_at: Some(at(began)),
                ..v1::Attempt::default()
            }),
            ..v1::Delivery::default()
        }
    }

    #[test]
    fn a_redelivery_stands_where_it_was_made_and_before_what_it_repeats() {
        let log = vec![
            sent(40, 0, Some(90)),
            sent(40, 1, None),
            sent(20, 0, Some(20)),
            sent(20, 1, Some(50)),
            sent(20, 2, None),
            sent(10, 0, Some(10)),
            sent(10, 1, Some(30)),
        ];
        let sorted = newest_first(log);
        let shown = sorted.iter().map(|one| {
            let event: EventId = one.event_id.parse().expect("an id");
            (event.time().as_seconds(), one.generation)
        });
        let expected = [
            (20, 2),
            (20, 1),
            (40, 1),
            (40, 0),
            (10, 1),
            (20, 0),
            (10, 0),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}
