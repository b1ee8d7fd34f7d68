//! What a receiver gets in each format, and what it can verify of it.

use serde_json::{Value, json};
use sidehook_api::agent_v1::{HttpHeader, SigningScheme, SigningSettings, SubscriptionSettings};
use sidehook_api::v1::DeliveryFormat;
use sidehook_core::outcome::OutcomeKind;
use sidehook_signature::{Scheme, TimeWindow, Verifier};

use super::receiver::{Do, Received, Receiver, answer};
use super::rig::{Rig, event, settings};
use crate::clock;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn header<'a>(request: &'a Received, wanted: &str) -> Option<&'a str> {
    let mut found = request
        .headers()
        .into_iter()
        .filter(|(name, _)| *name == wanted);
    let value = found.next().map(|(_, value)| value);
    assert_eq!(found.next(), None, "{wanted} twice");
    value
}

fn verify(request: &Received) {
    let verifier = Verifier::new(&Scheme::StandardWebhooks, &[SECRET]).expect("a key");
    let window = TimeWindow::around(clock::unix_seconds());
    verifier
        .verify(|name| header(request, name), &[&request.body], window)
        .expect("signed as it was sent");
}

fn in_format(url: &str, format: DeliveryFormat) -> SubscriptionSettings {
    SubscriptionSettings {
        format: format.into(),
        event_header: "X-Emperor-Event".to_owned(),
        signing: Some(SigningSettings {
            scheme: SigningScheme::StandardWebhooks.into(),
            secrets: vec![SECRET.into()],
            ..Default::default()
        }),
        ..settings(url)
    }
}

#[tokio::test]
async fn every_format_arrives_as_it_is_promised_and_signed() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| Do::Answer(answer(200, "", b""))).await;
    let formats = [
        DeliveryFormat::Unspecified,
        DeliveryFormat::Envelope,
        DeliveryFormat::Raw,
        DeliveryFormat::CloudEventsBinary,
        DeliveryFormat::CloudEventsStructured,
    ];
    for format in formats {
        let outcome = rig.post(&in_format(&receiver.url(), format)).await;
        assert_eq!(outcome.kind, OutcomeKind::Response, "{}", outcome.detail);
    }
    let requests = receiver.requests();
    for request in &requests {
        verify(request);
        assert_eq!(header(request, "x-emperor-event"), Some("lead:created"));
        let length = request.body.len().to_string();
        assert_eq!(header(request, "content-length"), Some(&*length));
    }
    let [unspecified, envelope, raw, binary, structured] = &requests[..] else {
        panic!("{} requests", requests.len());
    };
    let data = event().data;
    for request in [unspecified, envelope, raw, binary] {
        assert_eq!(header(request, "content-type"), Some("application/json"));
    }
    assert_eq!(unspecified.body, envelope.body);
    let json: Value = serde_json::from_slice(&envelope.body).expect("JSON");
    assert_eq!(json["event"]["data"], json!({"name": "KLine"}));
    assert_eq!(raw.body, data);
    assert_eq!(header(raw, "ce-id"), None);
    assert_eq!(binary.body, data);
    let id = settings(&receiver.url()).subscription_id;
    let source = format!("/sidehook/{}", settings(&receiver.url()).tenant_id);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "ev_1"),
        ("ce-type", "lead.created"),
        ("ce-source", &source),
        ("ce-subscriptionid", &id),
    ] {
        assert_eq!(header(binary, name), Some(value));
    }
    let kind = "application/cloudevents+json";
    assert_eq!(header(structured, "content-type"), Some(kind));
    let json: Value = serde_json::from_slice(&structured.body).expect("JSON");
    assert_eq!(json["type"], "lead.created");
    assert_eq!(
        (&json["source"], &json["subscriptionid"]),
        (&json!(source), &json!(id))
    );
    let inlined = structured.body.windows(data.len());
    assert!(
        inlined.into_iter().any(|bytes| bytes == data),
        "byte for byte"
    );
}

#[tokio::test]
async fn what_the_format_says_no_static_header_says_otherwise() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| Do::Answer(answer(200, "", b""))).await;
    let mine = |name: &str| HttpHeader {
        name: name.into(),
        value: "mine".into(),
    };
    // As a record of other rules may have it.
    let clashing = SubscriptionSettings {
        headers: ["CE-Id", "ce-subject", "X-Emperor-Event", "X-A"]
            .map(mine)
            .into(),
        ..in_format(&receiver.url(), DeliveryFormat::CloudEventsBinary)
    };
    assert_eq!(rig.kind_of(&clashing).await, OutcomeKind::Response);
    let requests = receiver.requests();
    let all = requests[0].headers().into_iter();
    let mine: Vec<_> = all.filter(|(_, value)| *value == "mine").collect();
    assert_eq!(mine, [("x-a", "mine")]);
    assert_eq!(header(&requests[0], "ce-id"), Some("ev_1"));
    verify(&requests[0]);
}

#[tokio::test]
async fn a_format_that_is_not_known_waits_for_an_agent_that_knows_it() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| Do::Answer(answer(200, "", b""))).await;
    let later = SubscriptionSettings {
        format: 77,
        ..settings(&receiver.url())
    };
    assert_eq!(rig.kind_of(&later).await, OutcomeKind::NotStarted);
    let unsendable = SubscriptionSettings {
        event_header: "X Event".to_owned(),
        ..settings(&receiver.url())
    };
    assert_eq!(rig.kind_of(&unsendable).await, OutcomeKind::Connect);
    assert_eq!(receiver.connections(), 0);
}
