//! Why a subscription wants an event or does not, and which events a list shows.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1::{self, MatchVerdict};
use support::{Api, assert_field, assert_reason, event, pattern, start, subscription, with};
use tonic::{Code, Status};

fn filtered(filter: &str) -> v1::EventPattern {
    v1::EventPattern {
        extra_filter: filter.to_owned(),
        ..pattern("opportunity", "*")
    }
}

fn of_user(user: &str) -> String {
    format!(
        r#"{{"type":"field_accessor","field":"user_id","filter":{{"type":"equals","value":"{user}"}}}}"#
    )
}

async fn ask(
    api: &Api,
    request: v1::ExplainEventRequest,
) -> Result<v1::ExplainEventResponse, Status> {
    let mut webhooks = api.webhooks();
    let answer = webhooks.explain_event(with(&api.admin, request)).await?;
    Ok(answer.into_inner())
}

async fn create(api: &Api, change: impl FnOnce(&mut v1::Subscription)) -> String {
    let mut wanted = subscription();
    change(&mut wanted);
    api.create(wanted).await.unwrap().id
}

/// The verdicts of all subscriptions, and whether the event was sent to them.
fn told(answer: &v1::ExplainEventResponse) -> Vec<(String, MatchVerdict, bool)> {
    let all = answer.explanations.iter();
    all.map(|one| (one.subscription_id.clone(), one.verdict(), one.was_matched))
        .collect()
}

/// Subscriptions of all kinds, and an event that some of them want.
struct Scene {
    api: Api,
    matched: String,
    other_type: String,
    other_campaign: String,
    filter: String,
    holds: String,
    paused: String,
    later: String,
    event: v1::Event,
    event_id: String,
}

impl Scene {
    async fn new() -> Self {
        let api = start().await;
        let matched = create(&api, |_| {}).await;
        let other_type = create(&api, |one| one.events = vec![pattern("lead", "*")]).await;
        let other_campaign = create(&api, |one| one.campaign_id = "camp_2".into()).await;
        let filter = create(&api, |one| {
            one.events = vec![pattern("lead", "*"), filtered(&of_user("user_2"))];
        })
        .await;
        let holds = create(&api, |one| one.events = vec![filtered(&of_user("user_1"))]).await;
        let paused = create(&api, |_| {}).await;
        let event = v1::Event {
            user_id: "user_1".into(),
            campaign_id: "camp_1".into(),
            ..event()
        };
        let published = api.publish(event.clone()).await.unwrap();
        assert_eq!(published.matched, 3);
        let pause = v1::PauseSubscriptionRequest {
            id: paused.clone(),
            ..Default::default()
        };
        let mut webhooks = api.webhooks();
        let answer = webhooks.pause_subscription(with(&api.admin, pause)).await;
        answer.unwrap();
        let later = create(&api, |_| {}).await;
        Self {
            api,
            matched,
            other_type,
            other_campaign,
            filter,
            holds,
            paused,
            later,
            event,
            event_id: published.event_id,
        }
    }

    fn of_log(&self) -> v1::ExplainEventRequest {
        v1::ExplainEventRequest {
            event_id: self.event_id.clone(),
            ..Default::default()
        }
    }

    /// What is told of all but the one that came later; of an event of the log also where
    /// it went.
    fn expected(&self, logged: bool) -> Vec<(String, MatchVerdict, bool)> {
        use MatchVerdict::{Filtered, Matched, OtherCampaign, OtherType, Paused};
        let rows = [
            (&self.matched, Matched, true),
            (&self.other_type, OtherType, false),
            (&self.other_campaign, OtherCampaign, false),
            (&self.filter, Filtered, false),
            (&self.holds, Matched, true),
            (&self.paused, Paused, true),
        ];
        let rows = rows.map(|(id, verdict, was)| (id.clone(), verdict, was && logged));
        let mut rows = Vec::from(rows);
        rows.sort();
        rows
    }
}

#[tokio::test]
async fn each_subscription_says_what_is_in_the_way() {
    let scene = Scene::new().await;
    let answer = ask(&scene.api, scene.of_log()).await.unwrap();
    let mut found = told(&answer);
    let (id, verdict, was_matched) = found.pop().unwrap();
    assert_eq!((&id, was_matched), (&scene.later, false));
    // Created in the same millisecond it is as old as the event.
    let later = [MatchVerdict::CreatedLater, MatchVerdict::Matched];
    assert!(later.contains(&verdict), "{verdict:?}");
    found.sort();
    assert_eq!(found, scene.expected(true));
    let explained = |id: &str| {
        let all = answer.explanations.iter();
        let mut found = all.filter(|one| one.subscription_id == id);
        found.next().unwrap().patterns.clone()
    };
    let patterns = explained(&scene.filter);
    assert_eq!(
        (patterns.len(), patterns[0].index, patterns[0].holds),
        (1, 1, false)
    );
    assert_eq!(patterns[0].verdicts.len(), 2);
    assert_eq!(patterns[0].verdicts[1].value, r#""user_1""#);
    assert!(explained(&scene.holds)[0].holds);
    assert!(explained(&scene.matched).is_empty());
}

#[tokio::test]
async fn a_filter_beside_an_entry_that_wants_all_is_in_nobodys_way() {
    let api = start().await;
    let leaf = |value| format!(r#"{{"type":"contains","value":{value}}}"#);
    let leaves: Vec<String> = (1..=100).map(leaf).collect();
    let any = format!(r#"{{"type":"or","filters":[{}]}}"#, leaves.join(","));
    let of_x = format!(r#"{{"type":"field_accessor","field":"x","filter":{any}}}"#);
    let costly = format!(r#"{{"type":"field_accessor","field":"data","filter":{of_x}}}"#);
    let wide = pattern("opportunity", "*");
    for events in [
        vec![wide.clone(), filtered(&costly)],
        vec![filtered(&costly), wide],
    ] {
        create(&api, |one| one.events = events).await;
    }
    let event = v1::Event {
        data: format!(r#"{{"x":[0{}]}}"#, ",0".repeat(100_000)).into(),
        ..event()
    };
    let published = api.publish(event).await.unwrap();
    assert_eq!(published.matched, 2, "no filter is evaluated");
    let request = v1::ExplainEventRequest {
        event_id: published.event_id,
        ..Default::default()
    };
    for one in ask(&api, request).await.unwrap().explanations {
        let found = (one.verdict(), one.was_matched, one.patterns.len());
        assert_eq!(found, (MatchVerdict::Matched, true, 0));
    }
}

#[tokio::test]
async fn an_event_that_is_given_is_explained_as_if_it_came_now() {
    let scene = Scene::new().await;
    let given = v1::ExplainEventRequest {
        event: Some(scene.event.clone()),
        ..Default::default()
    };
    let mut found = told(&ask(&scene.api, given).await.unwrap());
    assert_eq!(found.pop().unwrap().1, MatchVerdict::Matched);
    found.sort();
    assert_eq!(found, scene.expected(false));
}

#[tokio::test]
async fn explanations_come_in_pages() {
    let scene = Scene::new().await;
    let whole = told(&ask(&scene.api, scene.of_log()).await.unwrap());
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ExplainEventRequest {
            page_size: 2,
            page_token,
            ..scene.of_log()
        };
        let page = ask(&scene.api, request).await.unwrap();
        assert!(page.explanations.len() <= 2);
        paged.extend(told(&page));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused() {
    let api = start().await;
    assert_field(
        ask(&api, v1::ExplainEventRequest::default()).await,
        "event_id",
    );
    let published = api.publish(event()).await.unwrap();
    let both = v1::ExplainEventRequest {
        event_id: published.event_id.clone(),
        event: Some(event()),
        ..Default::default()
    };
    assert_field(ask(&api, both).await, "event_id");
    let wrong = v1::ExplainEventRequest {
        event: Some(v1::Event {
            data: "{".into(),
            ..event()
        }),
        ..Default::default()
    };
    assert_field(ask(&api, wrong).await, "event.data");
    let of = |event_id: &str| v1::ExplainEventRequest {
        event_id: event_id.to_owned(),
        ..Default::default()
    };
    assert_field(ask(&api, of("nothing")).await, "event_id");
    let unknown = ask(&api, of("ev_0000000000000000000001")).await;
    assert_reason(unknown, Code::NotFound, "NOT_FOUND");
    let token = v1::ExplainEventRequest {
        page_token: "abc".into(),
        ..of(&published.event_id)
    };
    assert_field(ask(&api, token).await, "page_token");
}

async fn listed(api: &Api, request: v1::ListEventsRequest) -> Result<Vec<String>, Status> {
    let mut events = api.events();
    let answer = events.list_events(with(&api.admin, request)).await?;
    let events = answer.into_inner().events.into_iter();
    Ok(events.map(|event| event.object_id).collect())
}

/// Four events, each with something of its own; the last is about a campaign.
async fn published() -> Api {
    let api = start().await;
    let sent = |object: &str, change: fn(&mut v1::Event)| {
        let mut event = v1::Event {
            object_id: object.to_owned(),
            ..event()
        };
        change(&mut event);
        event
    };
    for event in [
        sent("user", |one| one.user_id = "u".into()),
        sent("lead", |one| one.lead_id = "l".into()),
        sent("request", |one| one.request_id = "r".into()),
        sent("campaign", |one| one.campaign_id = "c".into()),
    ] {
        api.publish(event).await.unwrap();
    }
    api
}

#[tokio::test]
async fn lists_are_filtered_by_what_events_refer_to() {
    let api = published().await;
    let filter = |change: fn(&mut v1::ListEventsRequest)| {
        let mut request = v1::ListEventsRequest::default();
        change(&mut request);
        request
    };
    for (request, found) in [
        (filter(|one| one.user_id = "u".into()), "user"),
        (filter(|one| one.lead_id = "l".into()), "lead"),
        (filter(|one| one.request_id = "r".into()), "request"),
        (filter(|one| one.campaign_id = "c".into()), "campaign"),
    ] {
        assert_eq!(listed(&api, request).await.unwrap(), [found]);
    }
}

#[tokio::test]
async fn lists_are_bounded_by_when_events_came() {
    let api = published().await;
    let all = api.all_events().await;
    let times: Vec<_> = all.iter().map(|event| event.accepted_at.unwrap()).collect();
    let (newest, oldest) = (times[0], times[3]);
    let between = |accepted_from, accepted_before| v1::ListEventsRequest {
        accepted_from,
        accepted_before,
        ..v1::ListEventsRequest::default()
    };
    let since = listed(&api, between(Some(oldest), None)).await.unwrap();
    assert_eq!(since.len(), 4);
    let before = listed(&api, between(None, Some(oldest))).await.unwrap();
    assert!(before.is_empty());
    let newer = |seconds| prost_types::Timestamp {
        seconds: newest.seconds + seconds,
        ..newest
    };
    assert!(
        listed(&api, between(Some(newer(1)), None))
            .await
            .unwrap()
            .is_empty()
    );
    // Far enough for the walk to end at once.
    assert!(
        listed(&api, between(Some(newer(7_200)), None))
            .await
            .unwrap()
            .is_empty()
    );
    let before = listed(&api, between(Some(oldest), Some(newer(1)))).await;
    assert_eq!(before.unwrap().len(), 4);
    let never = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    };
    assert_field(
        listed(&api, between(Some(never), None)).await,
        "accepted_from",
    );
    assert_field(
        listed(&api, between(None, Some(never))).await,
        "accepted_before",
    );
    // A token belongs to its filters.
    let first = v1::ListEventsRequest {
        page_size: 1,
        ..between(Some(oldest), None)
    };
    let mut events = api.events();
    let page = events.list_events(with(&api.admin, first.clone())).await;
    let page_token = page.unwrap().into_inner().next_page_token;
    let other = v1::ListEventsRequest {
        page_token: page_token.clone(),
        ..between(Some(newest), None)
    };
    if newest != oldest {
        assert_field(listed(&api, other).await, "page_token");
    }
    let next = v1::ListEventsRequest {
        page_token,
        ..first
    };
    assert_eq!(listed(&api, next).await.unwrap(), ["request"]);
}
