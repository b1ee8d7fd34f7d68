//! What agents may get wrong, and that settings arrive as they were sent.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    signing::{Digest, Scheme},
    subscription::Format,
};

use super::*;
use crate::{subscription, v1};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

fn response(status: u32) -> agent_v1::Outcome {
    agent_v1::Outcome {
        position: 7,
        kind: agent_v1::OutcomeKind::Response.into(),
        response_status: status,
        started_ago_ms: 1_500,
        duration_us: 42,
        retry_after_s: Some(3),
        ..agent_v1::Outcome::default()
    }
}

#[test]
fn an_outcome_is_dated_by_our_own_clock() {
    let (position, outcome) = read_outcome(response(503), NOW).unwrap();
    assert_eq!(position, 7);
    assert_eq!(outcome.kind, OutcomeKind::Response);
    assert_eq!(outcome.response_status, 503);
    assert_eq!(
        outcome.started_at,
        Timestamp::from_millis(1_789_999_998_623)
    );
    assert_eq!(outcome.duration, Duration::from_micros(42));
    assert_eq!(outcome.retry_after, Some(Duration::from_secs(3)));
}

#[test]
fn what_decides_is_refused_when_it_is_wrong() {
    for (proto, error) in [
        (response(0), OutcomeError::Status(0)),
        (response(99), OutcomeError::Status(99)),
        (response(1_000), OutcomeError::Status(1_000)),
        (
            agent_v1::Outcome {
                kind: 0,
                ..response(200)
            },
            OutcomeError::Kind(0),
        ),
        (
            agent_v1::Outcome {
                kind: 99,
                ..response(200)
            },
            OutcomeError::Kind(99),
        ),
        (
            agent_v1::Outcome {
                position: 65_536,
                ..response(200)
            },
            OutcomeError::Position(65_536),
        ),
    ] {
        assert_eq!(read_outcome(proto, NOW), Err(error));
    }
    let timeout = agent_v1::OutcomeKind::Timeout.into();
    let without = agent_v1::Outcome {
        kind: timeout,
        response_status: 0,
        ..response(0)
    };
    assert!(read_outcome(without, NOW).is_ok());
}

#[test]
fn what_describes_is_cut() {
    let proto = agent_v1::Outcome {
        response_body: Bytes::from(vec![b'x'; RESPONSE_BYTES + 1]),
        error_detail: "ä".repeat(251),
        ..response(500)
    };
    let (_, outcome) = read_outcome(proto, NOW).unwrap();
    assert_eq!(outcome.response_body.len(), RESPONSE_BYTES);
    assert_eq!(outcome.error_detail, "ä".repeat(250));
    assert_eq!(cut_detail("x".to_owned() + &"ä".repeat(250)).len(), 499);
}

#[test]
fn every_kind_comes_back() {
    for number in 1..=10 {
        let kind = kind(number).unwrap();
        assert_eq!(i32::from(agent_v1::OutcomeKind::from(kind)), number);
    }
    assert_eq!(kind(0), None);
    assert_eq!(kind(11), None);
}

fn hmac(digest: v1::HmacDigest) -> v1::signing::Scheme {
    v1::signing::Scheme::HmacHeader(v1::HmacHeaderScheme {
        header: String::new(),
        digest: digest.into(),
        prefix: "d=".to_owned(),
    })
}

#[test]
fn settings_come_back() {
    use v1::signing::Scheme as S;
    for (scheme, local_key) in [
        (
            S::StandardWebhooks(v1::StandardWebhooksScheme::default()),
            "mine",
        ),
        (S::Close(v1::CloseScheme {}), ""),
        (hmac(v1::HmacDigest::Sha256), ""),
        (hmac(v1::HmacDigest::Sha1), ""),
        (S::Unsigned(v1::UnsignedScheme {}), ""),
    ] {
        let local_key = local_key.to_owned();
        let proto = v1::Subscription {
            url: "https://example.com/".to_owned(),
            events: vec![v1::EventPattern {
                object_type: "*".into(),
                action: "*".into(),
                extra_filter: String::new(),
            }],
            format: v1::DeliveryFormat::CloudEventsBinary.into(),
            event_header: "X-Event".to_owned(),
            headers: vec![v1::Header {
                name: "X-A".into(),
                value: "b".into(),
            }],
            signing: Some(v1::Signing {
                scheme: Some(scheme),
                local_key,
                keys: Vec::new(),
            }),
            ..v1::Subscription::default()
        };
        let made = subscription::create(&proto, SubscriptionId::from_bits(1), "key", NOW).unwrap();
        let tenant = TenantId::from_bits(9);
        let secrets = [SecretString::from("hush")];
        let sent = settings_to_proto(&made, tenant, &secrets, 5, Some(4));
        let read = Settings::try_from(sent).unwrap();
        assert_eq!(
            (read.key, read.replaces, read.tenant_id),
            (5, Some(4), tenant)
        );
        assert_eq!(read.subscription_id, made.id);
        assert_eq!((&read.url, &read.headers), (&made.url, &made.headers));
        assert_eq!(read.format, Format::CloudEventsBinary);
        assert_eq!(read.event_header, made.event_header);
        assert_eq!(
            (read.timeouts, read.max_in_flight),
            (made.timeouts, made.max_in_flight)
        );
        assert_eq!(
            (read.verify_ssl, &read.signing),
            (made.verify_ssl, &made.signing)
        );
        assert_eq!(read.secrets[0].expose_secret(), "hush");
        assert!(!format!("{read:?}").contains("hush"));
        if let Scheme::HmacHeader {
            digest: Digest::Sha1,
            header,
            ..
        } = &read.signing.scheme
        {
            assert_eq!(header, "X-Signature");
        }
    }
}

fn settings() -> agent_v1::SubscriptionSettings {
    agent_v1::SubscriptionSettings {
        subscription_id: SubscriptionId::from_bits(1).to_string(),
        url: "https://example.com/".to_owned(),
        dns_timeout_ms: 10,
        connect_timeout_ms: 10,
        total_timeout_ms: 10,
        max_in_flight: 1,
        signing: Some(signing(agent_v1::SigningScheme::Unsigned.into(), "")),
        tenant_id: TenantId::from_bits(9).to_string(),
        ..agent_v1::SubscriptionSettings::default()
    }
}

fn signing(scheme: i32, hmac_header: &str) -> agent_v1::SigningSettings {
    agent_v1::SigningSettings {
        scheme,
        hmac_header: hmac_header.to_owned(),
        ..Default::default()
    }
}

#[test]
fn unsigned_must_be_said() {
    let read = Settings::try_from(settings()).unwrap();
    assert_eq!(read.signing.scheme, Scheme::Unsigned);
    let hmac: i32 = agent_v1::SigningScheme::HmacSha256Header.into();
    for (signing, field) in [
        (None, "signing"),
        (Some(signing(0, "")), "signing.scheme"),
        (Some(signing(99, "")), "signing.scheme"),
        (Some(signing(-1, "")), "signing.scheme"),
        (Some(signing(hmac, "")), "signing.hmac_header"),
        (Some(signing(hmac, "Host")), "signing.hmac_header"),
    ] {
        let proto = agent_v1::SubscriptionSettings {
            signing,
            ..settings()
        };
        let error = Settings::try_from(proto).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.is_about_signing());
    }
}

#[test]
fn a_header_that_would_split_the_request_is_refused() {
    let split = agent_v1::SubscriptionSettings {
        headers: vec![agent_v1::HttpHeader {
            name: "X-A".into(),
            value: "a\r\nb".into(),
        }],
        ..settings()
    };
    let error = Settings::try_from(split).unwrap_err();
    assert_eq!(error.field, "headers.value");
    assert!(!error.is_about_signing());
}

#[test]
fn what_the_rules_of_another_version_allow_is_taken() {
    let proto = agent_v1::SubscriptionSettings {
        url: format!("https://example.com/{}", "x".repeat(10_000)),
        headers: vec![agent_v1::HttpHeader {
            name: "X-A".into(),
            value: "b".repeat(10_000),
        }],
        dns_timeout_ms: 0,
        total_timeout_ms: 600_000,
        max_in_flight: 100_000,
        ..settings()
    };
    let read = Settings::try_from(proto.clone()).unwrap();
    assert_eq!(read.url.as_str(), proto.url);
    assert_eq!(read.headers[0].value.as_str(), proto.headers[0].value);
    assert_eq!(read.timeouts.dns(), Duration::from_millis(10));
    assert_eq!(read.timeouts.total(), Duration::from_secs(600));
    assert_eq!(read.max_in_flight, 100_000);
}

proptest! {
    #[test]
    fn no_outcome_panics(
        position: u32,
        kind in -1..12_i32,
        response_status: u32,
        started_ago_ms: u32,
        duration_us: u64,
        error_detail: String,
        retry_after_s: Option<u32>,
        now: i64,
    ) {
        let proto = agent_v1::Outcome {
            position,
            kind,
            response_status,
            started_ago_ms,
            duration_us,
            response_body: Bytes::new(),
            error_detail,
            retry_after_s,
        };
        if let Ok((_, outcome)) = read_outcome(proto, Timestamp::from_millis(now)) {
            prop_assert!(outcome.duration <= DURATION_MAX);
            prop_assert!(outcome.started_at <= Timestamp::from_millis(now));
        }
    }
}
