//! Formats and the header that says what an event is: headers that clash are refused.

use sidehook_core::subscription::Format;

use super::*;

const FORMATS: [(v1::DeliveryFormat, Format); 5] = [
    (v1::DeliveryFormat::Unspecified, Format::Envelope),
    (v1::DeliveryFormat::Envelope, Format::Envelope),
    (v1::DeliveryFormat::Raw, Format::Raw),
    (
        v1::DeliveryFormat::CloudEventsBinary,
        Format::CloudEventsBinary,
    ),
    (
        v1::DeliveryFormat::CloudEventsStructured,
        Format::CloudEventsStructured,
    ),
];

fn binary() -> v1::Subscription {
    v1::Subscription {
        format: v1::DeliveryFormat::CloudEventsBinary.into(),
        ..minimal()
    }
}

#[test]
fn formats_are_given_shown_and_changed() {
    for (wire, format) in FORMATS {
        let proto = v1::Subscription {
            format: wire.into(),
            event_header: "X-Emperor-Event".to_owned(),
            ..minimal()
        };
        let made = new(&proto).unwrap();
        assert_eq!(made.format, format);
        let shown = to_proto(&made);
        assert_eq!(new(&shown_again(&shown)).unwrap(), made);
        assert_eq!(shown.event_header, "X-Emperor-Event");
        for mask in [&["format", "event_header"][..], &[]] {
            let current = new(&minimal()).unwrap();
            let changed = update(&current, &proto, mask);
            assert_eq!(changed.event_header, made.event_header);
            assert_eq!(changed.format, format);
        }
        let nothing = v1::Subscription::default();
        let reset = update(&made, &nothing, &["format", "event_header"]);
        assert_eq!(reset, new(&minimal()).unwrap());
    }
}

/// What was shown, without what only the server says.
fn shown_again(shown: &v1::Subscription) -> v1::Subscription {
    v1::Subscription {
        format: shown.format,
        event_header: shown.event_header.clone(),
        ..minimal()
    }
}

fn hmac(header: &str) -> Option<v1::Signing> {
    let scheme = v1::HmacHeaderScheme {
        header: header.to_owned(),
        ..v1::HmacHeaderScheme::default()
    };
    Some(v1::Signing {
        scheme: Some(v1::signing::Scheme::HmacHeader(scheme)),
        ..v1::Signing::default()
    })
}

#[test]
fn headers_that_clash_are_refused() {
    let event_header = "X-Event".to_owned();
    for (proto, field) in [
        (
            v1::Subscription {
                event_header: event_header.clone(),
                headers: vec![header("x-event", "1")],
                ..minimal()
            },
            "headers[0].name",
        ),
        (
            v1::Subscription {
                event_header,
                signing: hmac("x-event"),
                ..minimal()
            },
            "event_header",
        ),
        (
            v1::Subscription {
                headers: vec![header("CE-Id", "1")],
                ..binary()
            },
            "headers[0].name",
        ),
        (
            v1::Subscription {
                event_header: "ce-type".to_owned(),
                ..binary()
            },
            "event_header",
        ),
        (
            v1::Subscription {
                signing: hmac("Ce-Signature"),
                ..binary()
            },
            "signing.hmac_header.header",
        ),
        (
            v1::Subscription {
                event_header: "Content-Type".to_owned(),
                ..minimal()
            },
            "event_header",
        ),
        (
            v1::Subscription {
                format: 77,
                ..minimal()
            },
            "format",
        ),
    ] {
        assert_eq!(fields(new(&proto)), [format!("subscription.{field}")]);
    }
}

#[test]
fn a_format_cannot_take_a_header_that_is_given_already() {
    let raw = v1::Subscription {
        format: v1::DeliveryFormat::Raw.into(),
        headers: vec![header("ce-id", "1")],
        ..minimal()
    };
    let current = new(&raw).unwrap();
    let changed = apply_update(&current, &binary(), &paths(&["format"]));
    assert_eq!(fields(changed), ["subscription.headers[0].name"]);
}

#[test]
fn a_format_of_a_later_version_stays_until_another_is_named() {
    let current = Subscription {
        format: Format::Unknown,
        ..new(&minimal()).unwrap()
    };
    let patch = v1::Subscription {
        description: "changed".to_owned(),
        ..v1::Subscription::default()
    };
    for mask in [&["description"][..], &["description", "format"]] {
        assert_eq!(update(&current, &patch, mask).format, Format::Unknown);
    }
    let raw = v1::Subscription {
        format: v1::DeliveryFormat::Raw.into(),
        ..v1::Subscription::default()
    };
    assert_eq!(update(&current, &raw, &[]).format, Format::Raw);
}
