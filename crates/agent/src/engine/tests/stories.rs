//! One story per way that an attempt can go.

use std::time::Duration;

use sidehook_api::agent_v1::{HttpHeader, SigningScheme, SigningSettings, SubscriptionSettings};
use sidehook_core::address::DeliveryId;
use sidehook_core::outcome::OutcomeKind;
use sidehook_core::subscription::Format;
use sidehook_signature::{Scheme, TimeWindow, Verifier};

use super::receiver::{Do, Receiver, answer};
use super::rig::{OPEN, Rig, event, settings, wait_for};
use crate::clock;
use crate::egress::Egress;
use crate::rendering::{self, Rendering, Wants};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn ok() -> Do {
    Do::Answer(answer(200, "", b"thanks"))
}

#[tokio::test]
async fn a_post_carries_the_envelope_the_headers_and_a_valid_signature() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let settings = SubscriptionSettings {
        headers: vec![HttpHeader {
            name: "X-Team".into(),
            value: "sales".into(),
        }],
        signing: Some(SigningSettings {
            scheme: SigningScheme::StandardWebhooks.into(),
            secrets: vec![SECRET.into()],
            ..Default::default()
        }),
        ..settings(&receiver.url())
    };
    for _ in 0..3 {
        let outcome = rig.post(&settings).await;
        assert_eq!((outcome.kind, outcome.status), (OutcomeKind::Response, 200));
        assert_eq!(&outcome.body[..], b"thanks");
    }
    assert_eq!(receiver.connections(), 1, "kept alive");
    let requests = receiver.requests();
    let request = &requests[2];
    assert!(
        request.head.starts_with("POST /hook?a=1 HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    let whole = Wants {
        format: Format::Envelope,
        label: false,
    };
    let expected = [
        Rendering::of(event()).part(whole, &settings.tenant_id).head,
        rendering::tail(whole.format, &settings.subscription_id),
    ];
    assert_eq!(request.body, expected.concat());
    let headers = request.headers();
    let host = receiver.addr.to_string();
    let product = sidehook_runtime::build_info::product("sidehook");
    for wanted in [
        ("host", host.as_str()),
        ("content-type", "application/json"),
        ("user-agent", &product),
        ("x-team", "sales"),
        ("webhook-id", &DeliveryId::from_bits(0).to_string()),
    ] {
        assert!(headers.contains(&wanted), "{wanted:?} in {headers:?}");
    }
    let count = |name| headers.iter().filter(|(other, _)| *other == name).count();
    assert_eq!((count("webhook-signature"), count("webhook-id")), (1, 1));
    let verifier = Verifier::new(&Scheme::StandardWebhooks, &[SECRET]).expect("a key");
    let window = TimeWindow::around(clock::unix_seconds());
    let header = |wanted: &str| {
        let mut headers = headers.iter();
        headers
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| *value)
    };
    verifier
        .verify(header, &[&request.body], window)
        .expect("a valid signature");
}

#[tokio::test]
async fn other_statuses_are_answers_and_redirects_are_not_followed() {
    let mut rig = Rig::new();
    let elsewhere = Receiver::start(&rig.tasks, |_| ok()).await;
    let location = format!("location: {}\r\nretry-after: 5\r\n", elsewhere.url());
    let receiver = Receiver::start(&rig.tasks, move |number| {
        Do::Answer(match number {
            0 => answer(500, "", b"broken"),
            1 => answer(302, &location, b""),
            2 => answer(503, "retry-after: 120\r\n", b""),
            _ => answer(204, "", b""),
        })
    })
    .await;
    let settings = settings(&receiver.url());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let outcome = rig.post(&settings).await;
        assert_eq!(outcome.kind, OutcomeKind::Response);
        seen.push((outcome.status, outcome.retry_after_s, outcome.body.len()));
    }
    assert_eq!(
        seen,
        [
            (500, None, 6),
            (302, None, 0),
            (503, Some(120), 0),
            (204, None, 0)
        ]
    );
    assert!(elsewhere.requests().is_empty());
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_times_out_and_holds_nobody_else() {
    let mut rig = Rig::new();
    let hanging = Receiver::start(&rig.tasks, |_| Do::AnswerAndHang(Vec::new())).await;
    let healthy = Receiver::start(&rig.tasks, |_| ok()).await;
    let hung = SubscriptionSettings {
        max_in_flight: 3,
        total_timeout_ms: 700,
        ..settings(&hanging.url())
    };
    let hung_lease = rig.submit(&hung, 9);
    assert!(wait_for(|| hanging.requests().len() == 3).await);
    rig.submit(&settings(&healthy.url()), 200);
    let outcomes = rig.outcomes(209).await;
    let place_of_last = |is_hung: bool| {
        let of_lane = |lease| (lease == hung_lease.number()) == is_hung;
        outcomes.iter().rposition(|report| of_lane(report.lease))
    };
    assert!(
        place_of_last(false) < place_of_last(true),
        "the healthy one is done while the other still hangs"
    );
    let late = outcomes
        .iter()
        .filter(|report| report.lease == hung_lease.number());
    for report in late {
        assert_eq!(report.outcome.kind, OutcomeKind::Timeout);
        assert!(report.outcome.took >= Duration::from_millis(700));
    }
    assert_eq!(hanging.most_open(), 3, "the window holds");
    assert_eq!(rig.engine.in_flight(), 0);
}

#[tokio::test]
async fn the_body_of_an_answer_has_the_same_deadline_and_a_bound() {
    let mut rig = Rig::new();
    let slow = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nbegun".to_vec();
    let receiver = Receiver::start(&rig.tasks, move |number| match number {
        0 => Do::AnswerAndHang(slow.clone()),
        1 => Do::Answer(answer(200, "", &vec![b'x'; 1 << 20])),
        _ => Do::Answer(answer(200, "", &vec![b'y'; 16 << 10])),
    })
    .await;
    let settings = SubscriptionSettings {
        total_timeout_ms: 400,
        ..settings(&receiver.url())
    };
    assert_eq!(rig.kind_of(&settings).await, OutcomeKind::Timeout);
    let settings = SubscriptionSettings {
        total_timeout_ms: 10_000,
        ..settings
    };
    let huge = rig.post(&settings).await;
    assert_eq!((huge.kind, huge.status), (OutcomeKind::Response, 200));
    assert_eq!(huge.body.len(), 16 << 10);
    let full = rig.post(&settings).await;
    assert_eq!(full.body.len(), 16 << 10);
    assert_eq!(
        receiver.connections(),
        3,
        "what was not read to its end is closed"
    );
    assert!(wait_for(|| receiver.open() == 1).await);
}

#[tokio::test]
async fn a_broken_answer_is_an_outcome_and_never_a_second_request() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |number| match number {
        0 => ok(),
        1 => Do::AnswerAndClose(Vec::new()),
        2 => Do::AnswerAndClose(b"SMTP ready\r\n\r\n".to_vec()),
        3 => Do::AnswerAndClose(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        _ => ok(),
    })
    .await;
    let settings = settings(&receiver.url());
    assert_eq!(rig.kind_of(&settings).await, OutcomeKind::Response);
    for (number, status) in [(1, 0), (2, 0), (3, 200)] {
        let outcome = rig.post(&settings).await;
        assert_eq!(outcome.kind, OutcomeKind::Protocol, "{outcome:?}");
        assert_eq!(outcome.status, status);
        assert!(!outcome.detail.is_empty());
        assert_eq!(receiver.requests().len(), number + 1);
    }
    assert_eq!(rig.kind_of(&settings).await, OutcomeKind::Response);
}

#[tokio::test]
async fn interim_answers_are_read_over_but_not_without_end() {
    let mut rig = Rig::new();
    let early = b"HTTP/1.1 103 E\r\n\r\n";
    let some = [early.repeat(100), answer(200, "", &[b'x'; 16 << 10])].concat();
    let receiver = Receiver::start(&rig.tasks, move |number| match number {
        0..=9 => Do::Answer(some.clone()),
        _ => Do::AnswerForEver(early.repeat(1_000)),
    })
    .await;
    let settings = SubscriptionSettings {
        total_timeout_ms: 30_000,
        ..settings(&receiver.url())
    };
    for _ in 0..10 {
        let outcome = rig.post(&settings).await;
        assert_eq!((outcome.kind, outcome.status), (OutcomeKind::Response, 200));
    }
    assert_eq!(receiver.connections(), 1, "each answer has its own bound");
    let outcome = rig.post(&settings).await;
    assert_eq!(outcome.kind, OutcomeKind::Protocol, "{}", outcome.detail);
    assert!(outcome.detail.contains("interim"), "{}", outcome.detail);
    assert!(wait_for(|| receiver.open() == 0).await);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_costs_no_attempt() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| {
        Do::AnswerAndClose(answer(200, "", b"unannounced close"))
    })
    .await;
    let settings = settings(&receiver.url());
    for number in 1..=20 {
        assert_eq!(rig.kind_of(&settings).await, OutcomeKind::Response);
        assert_eq!(receiver.requests().len(), number);
        assert!(wait_for(|| receiver.open() == 0).await);
    }
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let mut rig = Rig::new();
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    assert_eq!(rig.kind_of(&settings(&url)).await, OutcomeKind::Connect);
    let nowhere = settings("http://receiver.invalid/");
    assert_eq!(rig.kind_of(&nowhere).await, OutcomeKind::Dns);
    for url in ["ftp://example.com/", "not a url", "http://"] {
        let outcome = rig.post(&settings(url)).await;
        assert_eq!(outcome.kind, OutcomeKind::Connect, "{url}");
        assert!(outcome.detail.contains("the URL"), "{}", outcome.detail);
    }
}

#[tokio::test]
async fn settings_that_are_not_understood_post_nothing() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let fine = settings(&receiver.url());
    let header = |name: &str, value: &str| HttpHeader {
        name: name.into(),
        value: value.into(),
    };
    let with_scheme = |scheme| SubscriptionSettings {
        signing: Some(SigningSettings {
            scheme,
            ..Default::default()
        }),
        ..fine.clone()
    };
    for (settings, kind, reason) in [
        (
            SubscriptionSettings {
                signing: None,
                ..fine.clone()
            },
            OutcomeKind::KeyMissing,
            "signing: not given",
        ),
        (
            with_scheme(0),
            OutcomeKind::KeyMissing,
            "signing.scheme: not given",
        ),
        (
            with_scheme(77),
            OutcomeKind::KeyMissing,
            "signing.scheme: not known to this agent",
        ),
        (
            SubscriptionSettings {
                headers: vec![header("X-A", "x\r\nHost: y")],
                ..fine.clone()
            },
            OutcomeKind::Connect,
            "headers.value",
        ),
        (
            SubscriptionSettings {
                headers: vec![header("X A", "x")],
                ..fine.clone()
            },
            OutcomeKind::Connect,
            "is not valid",
        ),
    ] {
        let outcome = rig.post(&settings).await;
        assert_eq!(outcome.kind, kind, "{}", outcome.detail);
        assert!(outcome.detail.contains(reason), "{}", outcome.detail);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn what_frames_a_request_is_not_the_subscriptions_to_say() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let header = |name: &str| HttpHeader {
        name: name.into(),
        value: "mine".into(),
    };
    let kept = SubscriptionSettings {
        headers: ["Transfer-Encoding", "Host", "webhook-id", "X-A"]
            .map(header)
            .into(),
        ..settings(&receiver.url())
    };
    assert_eq!(rig.post(&kept).await.kind, OutcomeKind::Response);
    let requests = receiver.requests();
    let mine = requests[0].headers().into_iter();
    let mine: Vec<_> = mine.filter(|(_, value)| *value == "mine").collect();
    assert_eq!(mine, [("x-a", "mine")]);
}

#[tokio::test]
async fn the_local_rules_are_applied_to_names_and_literals() {
    for egress in [
        Egress::default(),
        Egress {
            allow_loopback: false,
            ..OPEN
        },
    ] {
        let mut rig = Rig::with(egress, None);
        let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
        let port = receiver.addr.port();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let outcome = rig.post(&settings(&format!("http://{host}:{port}/"))).await;
            assert_eq!(
                outcome.kind,
                OutcomeKind::EgressRefused,
                "{host}: {}",
                outcome.detail
            );
        }
        for host in ["2130706433", "0x7f.1", "0"] {
            let outcome = rig.post(&settings(&format!("http://{host}:{port}/"))).await;
            assert_eq!(outcome.kind, OutcomeKind::EgressRefused, "{outcome:?}");
        }
        assert_eq!(receiver.connections(), 0);
    }
    let mut rig = Rig::new();
    let outcome = rig.post(&settings("http://169.254.169.254/latest/")).await;
    assert_eq!(outcome.kind, OutcomeKind::EgressRefused);
}

#[tokio::test]
async fn a_local_key_signs_and_a_missing_one_is_the_agents_fault() {
    let mut rig = Rig::new();
    let receiver = Receiver::start(&rig.tasks, |_| ok()).await;
    let with_key = |name: &str| SubscriptionSettings {
        signing: Some(SigningSettings {
            scheme: SigningScheme::Close.into(),
            local_key: name.into(),
            ..Default::default()
        }),
        ..settings(&receiver.url())
    };
    assert_eq!(
        rig.kind_of(&with_key("billing")).await,
        OutcomeKind::Response
    );
    let outcome = rig.post(&with_key("sales")).await;
    assert_eq!(outcome.kind, OutcomeKind::KeyMissing);
    assert!(outcome.detail.contains("\"sales\""), "{}", outcome.detail);
    let wrong = SubscriptionSettings {
        signing: Some(SigningSettings {
            scheme: SigningScheme::Close.into(),
            secrets: vec!["hunter2".into()],
            ..Default::default()
        }),
        ..settings(&receiver.url())
    };
    let outcome = rig.post(&wrong).await;
    assert_eq!(outcome.kind, OutcomeKind::KeyMissing);
    assert!(!outcome.detail.contains("hunter2"));
    assert_eq!(receiver.requests().len(), 1);
}
