//! Events and deliveries over the wire.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::collections::BTreeSet;

use sidehook_api::v1;
use sidehook_core::limits::LIST_EXAMINED;
use support::{Api, assert_field, assert_reason, event, start, subscription, with};
use tonic::Code;

#[tokio::test]
async fn what_was_published_is_read_byte_for_byte() {
    let api = start().await;
    let data = r#"{ "b":1,"a" : [1.0,  2e3]}"#;
    let published = v1::Event {
        data: data.into(),
        ..event()
    };
    let result = api.publish(published).await.unwrap();
    assert_eq!(result.durability(), v1::Durability::Volatile);
    let request = v1::GetEventRequest {
        id: result.event_id.clone(),
    };
    let answer = api.events().get_event(with(&api.admin, request)).await;
    let read = answer.unwrap().into_inner().event.unwrap();
    assert_eq!(read.id, result.event_id);
    assert_eq!(read.data, data);
    assert!(read.accepted_at.is_some() && read.occurred_at.is_some());
}

#[tokio::test]
async fn wrong_events_are_told_by_their_fields_and_stored_nowhere() {
    let api = start().await;
    type Change = fn(&mut v1::Event);
    let cases: &[(&str, Change)] = &[
        ("event.object_type", |e| e.object_type = String::new()),
        ("event.object_type", |e| {
            e.object_type = "sidehook.test".into()
        }),
        ("event.action", |e| e.action = "a b".into()),
        ("event.data", |e| e.data = "{".into()),
        ("event.data", |e| e.data = Default::default()),
        ("event.data", |e| {
            e.data = format!("\"{}\"", "x".repeat(256 * 1024)).into()
        }),
        ("event.previous_data", |e| e.previous_data = "nope".into()),
        ("event.meta", |e| e.meta = "[]".into()),
        ("event.id", |e| e.id = "ev_1".into()),
        ("event.idempotency_key", |e| {
            e.idempotency_key = "x".repeat(257)
        }),
        ("event.ordering_key", |e| e.ordering_key = "k".into()),
        ("event.deliver_after", |e| {
            e.deliver_after = Some(Default::default())
        }),
        ("event.expires_at", |e| {
            e.expires_at = Some(Default::default())
        }),
        ("event.headers", |e| {
            e.headers = [("a".into(), "b".into())].into()
        }),
    ];
    for (field, change) in cases {
        let mut wrong = event();
        change(&mut wrong);
        assert_field(api.publish(wrong).await, field);
    }
    let none = v1::PublishEventRequest::default();
    assert_field(
        api.events().publish_event(with(&api.admin, none)).await,
        "event",
    );
    for events in [Vec::new(), vec![event(); 1_001]] {
        let request = v1::PublishEventsRequest { events };
        let answer = api.events().publish_events(with(&api.admin, request)).await;
        assert_field(answer, "events");
    }
    for id in ["", "ev_!"] {
        let request = v1::GetEventRequest { id: id.into() };
        assert_field(
            api.events().get_event(with(&api.admin, request)).await,
            "id",
        );
    }
    let request = v1::GetEventRequest {
        id: "ev_0000000000000000000001".into(),
    };
    let answer = api.events().get_event(with(&api.admin, request)).await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
    assert!(api.all_events().await.is_empty());
}

#[tokio::test]
async fn each_event_of_a_batch_succeeds_or_fails_on_its_own() {
    let api = start().await;
    let wrong = v1::Event {
        data: "{".into(),
        ..event()
    };
    let request = v1::PublishEventsRequest {
        events: vec![event(), wrong, event()],
    };
    let answer = api.events().publish_events(with(&api.admin, request)).await;
    let results = answer.unwrap().into_inner().results;
    let error = results[1].error.as_ref().unwrap();
    assert_eq!((error.code, &*error.field_violations[0].field), (3, "data"));
    assert!(results[0].error.is_none() && results[2].error.is_none());
    assert_eq!(api.all_events().await.len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_publishes_once_and_refuses_other_content() {
    let api = start().await;
    api.create(subscription()).await.unwrap();
    let keyed = v1::Event {
        idempotency_key: "k".into(),
        ..event()
    };
    let first = api.publish(keyed.clone()).await.unwrap();
    assert_eq!((first.duplicate, first.matched), (false, 1));
    let again = api.publish(keyed.clone()).await.unwrap();
    assert_eq!((again.duplicate, &again.event_id), (true, &first.event_id));
    let other = v1::Event {
        data: "2".into(),
        ..keyed
    };
    let refused = api.publish(other).await;
    assert_reason(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(api.all_events().await.len(), 1);
    assert_eq!(api.deliveries_of(Default::default()).await.len(), 1);
}

#[tokio::test]
async fn a_stream_answers_every_event_and_raises_its_watermark() {
    let api = start().await;
    let wrong = v1::Event {
        data: "{".into(),
        ..event()
    };
    let batches = (0..20_u64).map(|batch| v1::StreamEventsRequest {
        sequence: batch * 3,
        events: vec![event(), wrong.clone(), event()],
    });
    let batches: Vec<_> = batches.collect();
    let request = with(&api.admin, tokio_stream::iter(batches));
    let mut answers = api
        .events()
        .stream_events(request)
        .await
        .unwrap()
        .into_inner();
    let (mut seen, mut watermark) = (BTreeSet::new(), 0);
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(answer.watermark >= watermark, "it never falls");
        watermark = answer.watermark;
        for (position, result) in (answer.sequence..).zip(answer.results) {
            assert_eq!(result.error.is_some(), position % 3 == 1);
            assert!(seen.insert(position), "{position} was answered before");
        }
        assert!((0..watermark).all(|position| seen.contains(&position)));
    }
    assert_eq!((watermark, seen.len()), (60, 60));
}

#[tokio::test]
async fn a_stream_that_skips_is_ended_after_what_was_right() {
    let api = start().await;
    let batch = |sequence| v1::StreamEventsRequest {
        sequence,
        events: vec![event()],
    };
    let request = with(&api.admin, tokio_stream::iter([batch(0), batch(2)]));
    let mut answers = api
        .events()
        .stream_events(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().watermark, 1);
    assert_field(answers.message().await, "sequence");
    assert_eq!(api.all_events().await.len(), 1);
}

async fn pages(api: &Api, request: v1::ListDeliveriesRequest) -> (Vec<v1::Delivery>, usize) {
    let (mut all, mut count, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = v1::ListDeliveriesRequest {
            page_token,
            ..request.clone()
        };
        let page = api
            .deliveries()
            .list_deliveries(with(&api.admin, request))
            .await;
        let page = page.unwrap().into_inner();
        all.extend(page.deliveries);
        count += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (all, count);
        }
    }
}

/// Publishes 14 events in 7 calls; answers their ids, newest first.
async fn publish_some(api: &Api) -> Vec<String> {
    let mut published = Vec::new();
    for number in 0..7_usize {
        let object_id = number.to_string();
        let one = v1::Event {
            object_id,
            ..event()
        };
        let request = v1::PublishEventsRequest {
            events: vec![one; number % 3 + 1],
        };
        let answer = api.events().publish_events(with(&api.admin, request)).await;
        let results = answer.unwrap().into_inner().results;
        published.extend(results.into_iter().map(|result| result.event_id));
    }
    published.reverse();
    published
}

#[tokio::test]
async fn delivery_lists_show_everything_once_however_small_the_pages() {
    let api = start().await;
    let one = api.create(subscription()).await.unwrap();
    api.create(subscription()).await.unwrap();
    let published = publish_some(&api).await;
    let base = v1::ListDeliveriesRequest::default;
    for page_size in [1, 2, 3, 100] {
        let (all, _) = pages(
            &api,
            v1::ListDeliveriesRequest {
                page_size,
                ..base()
            },
        )
        .await;
        let ids: BTreeSet<_> = all.iter().map(|one| &one.id).collect();
        assert_eq!(all.len(), 2 * published.len());
        assert_eq!(ids.len(), all.len());
        let mut events: Vec<_> = all.iter().map(|one| one.event_id.clone()).collect();
        events.dedup();
        assert_eq!(events, published, "newest first");
        assert!(
            all.iter()
                .all(|one| one.state() == v1::DeliveryState::Queued)
        );
    }
    let subscription_id = one.id.clone();
    let request = v1::ListDeliveriesRequest {
        page_size: 2,
        subscription_id,
        ..base()
    };
    let (all, _) = pages(&api, request).await;
    assert_eq!(all.len(), published.len());
    assert!(
        all.iter()
            .all(|delivery| delivery.subscription_id == one.id)
    );
    let event_id = published[3].clone();
    let request = v1::ListDeliveriesRequest { event_id, ..base() };
    assert_eq!(pages(&api, request).await.0.len(), 2);
    let state = v1::DeliveryState::Dead.into();
    let request = v1::ListDeliveriesRequest { state, ..base() };
    assert!(pages(&api, request).await.0.is_empty());
}

#[tokio::test]
async fn event_lists_show_everything_once_and_filter() {
    let api = start().await;
    let published = publish_some(&api).await;
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListEventsRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = api.events().list_events(with(&api.admin, request)).await;
        let page = page.unwrap().into_inner();
        assert!(page.retained_since.is_some());
        events.extend(page.events.into_iter().map(|event| event.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(events, published);
    let request = v1::ListEventsRequest {
        object_id: "5".into(),
        ..Default::default()
    };
    let page = api.events().list_events(with(&api.admin, request)).await;
    assert_eq!(page.unwrap().into_inner().events.len(), 3);
}

#[tokio::test]
async fn a_log_of_events_that_matched_nothing_is_walked_in_short_pages() {
    let api = start().await;
    api.create(subscription()).await.unwrap();
    let wanted = api.publish(event()).await.unwrap().event_id;
    for _ in 0..LIST_EXAMINED {
        let unmatched = v1::Event {
            object_type: "lead".into(),
            ..event()
        };
        assert_eq!(api.publish(unmatched).await.unwrap().matched, 0);
    }
    let (all, count) = pages(&api, v1::ListDeliveriesRequest::default()).await;
    assert_eq!((all.len(), count), (1, 2), "one page cannot examine all");
    assert_eq!(all[0].event_id, wanted);
}

#[tokio::test]
async fn wrong_questions_about_deliveries_are_told_by_their_fields() {
    let api = start().await;
    api.create(subscription()).await.unwrap();
    api.publish(event()).await.unwrap();
    let list = async |request| {
        let answer = api
            .deliveries()
            .list_deliveries(with(&api.admin, request))
            .await;
        answer.map(tonic::Response::into_inner)
    };
    let base = v1::ListDeliveriesRequest::default;
    let wrong = v1::ListDeliveriesRequest {
        page_size: 501,
        ..base()
    };
    assert_field(list(wrong).await, "page_size");
    let wrong = v1::ListDeliveriesRequest {
        page_token: "x".into(),
        ..base()
    };
    assert_field(list(wrong).await, "page_token");
    let wrong = v1::ListDeliveriesRequest {
        subscription_id: "x".into(),
        ..base()
    };
    assert_field(list(wrong).await, "subscription_id");
    let wrong = v1::ListDeliveriesRequest {
        event_id: "x".into(),
        ..base()
    };
    assert_field(list(wrong).await, "event_id");
    let wrong = v1::ListDeliveriesRequest {
        state: 99,
        ..base()
    };
    assert_field(list(wrong).await, "state");
    let unknown = "whsub_0000000000000000000001".to_owned();
    let wrong = v1::ListDeliveriesRequest {
        subscription_id: unknown,
        ..base()
    };
    assert_reason(list(wrong).await, Code::NotFound, "NOT_FOUND");
    let queued = &list(base()).await.unwrap().deliveries[0];
    let retry = v1::RetryDeliveryRequest {
        id: queued.id.clone(),
    };
    let answer = api
        .deliveries()
        .retry_delivery(with(&api.admin, retry))
        .await;
    assert_reason(answer, Code::FailedPrecondition, "DELIVERY_NOT_ENDED");
    let unknown = v1::GetDeliveryRequest {
        id: "dlv_0000000000000000000001".into(),
    };
    let answer = api
        .deliveries()
        .get_delivery(with(&api.admin, unknown))
        .await;
    assert_reason(answer, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn what_a_deleted_subscription_had_queued_is_cancelled() {
    let api = start().await;
    let created = api.create(subscription()).await.unwrap();
    api.publish(event()).await.unwrap();
    let delete = v1::DeleteSubscriptionRequest {
        id: created.id,
        ..Default::default()
    };
    api.webhooks()
        .delete_subscription(with(&api.admin, delete))
        .await
        .unwrap();
    let delivery = &api.deliveries_of(Default::default()).await[0];
    assert_eq!(delivery.state(), v1::DeliveryState::Cancelled);
    assert_eq!(delivery.reason, "subscription deleted");
    let retry = v1::RetryDeliveryRequest {
        id: delivery.id.clone(),
    };
    let answer = api
        .deliveries()
        .retry_delivery(with(&api.admin, retry))
        .await;
    assert_reason(answer, Code::FailedPrecondition, "SUBSCRIPTION_DELETED");
}
