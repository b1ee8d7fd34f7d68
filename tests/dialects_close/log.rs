//! The event log.

use super::*;

#[tokio::test]
async fn the_log_shows_events_newest_first_in_pages() {
    let tenancy = Tenancy::quiet().await;
    let http = tenancy.close();
    for n in 1..=5 {
        let data = format!(r#"{{"n":{n}}}"#);
        tenancy
            .publish(vec![event_of("lead", "updated", &data)])
            .await;
    }
    let numbers = |page: &Value| {
        let events = page["data"].as_array().expect("a list").iter();
        let numbers = events.map(|event| event["data"]["n"].as_u64().expect("a number"));
        numbers.collect::<Vec<_>>()
    };
    let log = "/api/v1/event/?_limit=2";
    let first = http.get(log).await.expect(200);
    assert_eq!(numbers(&first), [5, 4]);
    assert_eq!(first["cursor_previous"], json!(null));
    let at = |cursor: &Value| format!("{log}&_cursor={}", cursor.as_str().expect("a cursor"));
    let second = http.get(&at(&first["cursor_next"])).await.expect(200);
    assert_eq!(numbers(&second), [3, 2]);
    let third = http.get(&at(&second["cursor_next"])).await.expect(200);
    assert_eq!(
        (numbers(&third), &third["cursor_next"]),
        (vec![1], &json!(null))
    );
    let back = http.get(&at(&third["cursor_previous"])).await.expect(200);
    assert_eq!(numbers(&back), [3, 2]);
    http.get("/api/v1/event/?_limit=51").await.expect(400);
}

#[tokio::test]
async fn the_log_is_filtered_by_object_and_action() {
    let tenancy = Tenancy::quiet().await;
    let lead = v1::Event {
        object_id: "lead_1".to_owned(),
        ..event_of("lead", "updated", "{}")
    };
    tenancy
        .publish(vec![lead, event_of("task", "created", "{}")])
        .await;
    for (query, expected) in [
        ("object_type=lead", 1),
        ("action=created", 1),
        ("object_id=lead_1", 1),
        ("object_type=lead&action=created", 0),
        ("", 2),
    ] {
        let path = format!("/api/v1/event/?{query}");
        let page = tenancy.close().get(&path).await.expect(200);
        let found = page["data"].as_array().expect("a list").len();
        assert_eq!(found, expected, "{query}");
    }
    tenancy
        .close()
        .get("/api/v1/event/?colour=red")
        .await
        .expect(400);
}

#[tokio::test]
async fn an_unknown_event_is_404() {
    let tenancy = Tenancy::quiet().await;
    for id in ["ev_0000000000000000000000", "nonsense"] {
        let told = tenancy.close().get(&format!("/api/v1/event/{id}/")).await;
        assert!(told.expect(404)["error"].is_string());
    }
}

#[tokio::test]
async fn the_log_is_filtered_by_who_and_what_for() {
    let tenancy = Tenancy::quiet().await;
    let one = v1::Event {
        user_id: "user_1".to_owned(),
        lead_id: "lead_1".to_owned(),
        request_id: "req_1".to_owned(),
        ..event_of("lead", "updated", "{}")
    };
    let other = v1::Event {
        user_id: "user_2".to_owned(),
        ..event_of("lead", "updated", "{}")
    };
    tenancy.publish(vec![one, other]).await;
    for (query, expected) in [
        ("user_id=user_1", 1),
        ("user_id=user_3", 0),
        ("lead_id=lead_1", 1),
        ("request_id=req_1", 1),
        ("lead_id=lead_1&user_id=user_2", 0),
    ] {
        let path = format!("/api/v1/event/?{query}");
        let page = tenancy.close().get(&path).await.expect(200);
        let found = page["data"].as_array().expect("a list").len();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn the_log_is_filtered_by_time() {
    let tenancy = Tenancy::quiet().await;
    tenancy
        .publish(vec![event_of("lead", "updated", "{}")])
        .await;
    for (query, expected) in [
        ("date_updated__gt=2018-12-06T19:15:09.590432", 1),
        ("date_updated__gte=2018-12-06", 1),
        ("date_updated__lt=2018-12-06T19:15:09", 0),
        ("date_updated__lte=2018-12-06T19:15:09%2B01:00", 0),
        ("date_updated__gt=2018-12-06&date_updated__lt=2998-12-06", 1),
    ] {
        let path = format!("/api/v1/event/?{query}");
        let page = tenancy.close().get(&path).await.expect(200);
        let found = page["data"].as_array().expect("a list").len();
        assert_eq!(found, expected, "{query}");
    }
    let wrong = "/api/v1/event/?date_updated__gt=yesterday";
    tenancy.close().get(wrong).await.expect(400);
}

#[tokio::test]
async fn who_asks_for_what_is_after_the_last_gets_each_event_once() {
    let tenancy = Tenancy::quiet().await;
    let mut after = "2018-12-06T19:15:09".to_owned();
    // Whatever they say of when they happened: long ago, never, or only tomorrow.
    let moments = [Some(1_544_123_709), None, Some(4_102_444_800), Some(0)];
    for (n, seconds) in moments.into_iter().enumerate() {
        let event = v1::Event {
            occurred_at: seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 1 }),
            ..event_of("lead", "updated", &format!(r#"{{"n":{n}}}"#))
        };
        tenancy.publish(vec![event]).await;
        let path = format!("/api/v1/event/?date_updated__gt={after}");
        let page = tenancy.close().get(&path).await.expect(200);
        let found = page["data"].as_array().expect("a list");
        assert_eq!(found.len(), 1, "{page}");
        assert_eq!(found[0]["data"]["n"], n);
        let updated = found[0]["date_updated"].as_str().expect("a time");
        updated.clone_into(&mut after);
        let path = format!("/api/v1/event/?date_updated__gt={after}");
        let page = tenancy.close().get(&path).await.expect(200);
        assert_eq!(page["data"], json!([]), "seen already");
    }
}
