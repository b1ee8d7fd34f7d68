//! CloudEvents 1.0 by its HTTP binding.
//!
//! | attribute | value |
//! |---|---|
//! | `id` | the event's id: with `source` the same for every receiver and every delivery |
//! | `source` | `/sidehook/` and the tenant's id |
//! | `type` | `object_type.action` |
//! | `subject` | `object_id`, where there is one |
//! | `time` | when it happened, or was accepted |
//! | `subscriptionid`, `organizationid`, `userid`, `leadid`, `requestid`, `campaignid` | extensions, as far as the event has them |
//!
//! In [binary](headers) mode they are headers, each value percent-encoded as the binding says, and the body is the data
//! alone. In [structured](head) mode they are members of a JSON object, and so is the data, byte for byte; what belongs
//! to the subscription stands in the [`tail`], for the order of members means nothing.
//!
//! `previous_data`, `meta` and `changed_fields` are in neither: an attribute is a short text, not a document.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use sidehook_api::v1;

use super::date::occurred;
use super::json::string;
use super::visible::{Spare, visible};

/// Content type of the structured mode.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";

/// Bytes of the head beside its texts and payload: names and a time.
const FRAME_BYTES: usize = 320;

const VERSION: &str = "1.0";

/// Headers of the binary mode that belong to the subscription.
pub(crate) fn subscription_headers(subscription_id: &str) -> [(HeaderName, HeaderValue); 2] {
    [
        ("ce-specversion", VERSION),
        ("ce-subscriptionid", subscription_id),
    ]
    .map(header)
}

/// Headers of the binary mode that belong to the event.
pub(super) fn headers(event: &v1::Event, tenant_id: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(10);
    attributes(event, tenant_id, |_, name, value| {
        headers.push(header((name, value)));
    });
    headers
}

fn header((name, value): (&'static str, &str)) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        visible(value, Spare::Nothing),
    )
}

/// The structured mode's part that belongs to the event, up to its data.
pub(super) fn head(event: &v1::Event, tenant_id: &str) -> Bytes {
    let mut out = Vec::with_capacity(FRAME_BYTES + event.data.len());
    out.extend_from_slice(br#"{"specversion":"#);
    string(&mut out, VERSION);
    attributes(event, tenant_id, |name, _, value| {
        member(&mut out, name, value)
    });
    member(&mut out, "datacontenttype", "application/json");
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(&event.data);
    Bytes::from(out)
}

/// The structured mode's part that belongs to the subscription.
pub(super) fn tail(subscription_id: &str) -> Bytes {
    let mut out = Vec::with_capacity(64);
    member(&mut out, "subscriptionid", subscription_id);
    out.push(b'}');
    Bytes::from(out)
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    string(out, name);
    out.push(b':');
    string(out, value);
}

/// Tells each attribute that the event has: its name, its header's, and its value.
fn attributes(
    event: &v1::Event,
    tenant_id: &str,
    mut tell: impl FnMut(&'static str, &'static str, &str),
) {
    tell("id", "ce-id", &event.id);
    tell("source", "ce-source", &format!("/sidehook/{tenant_id}"));
    let kind = format!("{}.{}", event.object_type, event.action);
    tell("type", "ce-type", &kind);
    tell("time", "ce-time", &format!("{}Z", occurred(event)));
    for (name, header, value) in [
        ("subject", "ce-subject", &event.object_id),
        (
            "organizationid",
            "ce-organizationid",
            &event.organization_id,
        ),
        ("userid", "ce-userid", &event.user_id),
        ("leadid", "ce-leadid", &event.lead_id),
        ("requestid", "ce-requestid", &event.request_id),
        ("campaignid", "ce-campaignid", &event.campaign_id),
    ] {
        if !value.is_empty() {
            tell(name, header, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> v1::Event {
        v1::Event {
            id: "ev_1".into(),
            object_type: "lead".into(),
            action: "created".into(),
            object_id: "Euro € \"50%\" 😀".into(),
            user_id: "user_1".into(),
            lead_id: "lead_1".into(),
            request_id: "req_1".into(),
            campaign_id: "spring".into(),
            organization_id: "orga_1".into(),
            occurred_at: Some(prost_types::Timestamp {
                seconds: 1_547_556_503,
                nanos: 395_000_000,
            }),
            data: r#"{"b" :1.0, "a":[1e2,"é"]}"#.into(),
            previous_data: r#"{"b":2}"#.into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_structured_mode_is_byte_for_byte_this() {
        let body = [head(&event(), "ten_1"), tail("whsub_1")].concat();
        let expected = concat!(
            r#"{"specversion":"1.0","id":"ev_1","source":"/sidehook/ten_1","type":"lead.created","#,
            r#""time":"2019-01-15T12:48:23.395000Z","subject":"Euro € \"50%\" 😀","organizationid":"orga_1","#,
            r#""userid":"user_1","leadid":"lead_1","requestid":"req_1","campaignid":"spring","#,
            r#""datacontenttype":"application/json","data":{"b" :1.0, "a":[1e2,"é"]},"subscriptionid":"whsub_1"}"#,
        );
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
    }

    #[test]
    fn the_binary_modes_headers_are_these() {
        let mut found = headers(&event(), "ten_1");
        found.extend(subscription_headers("whsub_1"));
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
            .collect();
        // The binding's own example of encoding, and a percent sign.
        let subject = "Euro%20%E2%82%AC%20%2250%25%22%20%F0%9F%98%80";
        let expected = [
            ("ce-id", "ev_1"),
            ("ce-source", "/sidehook/ten_1"),
            ("ce-type", "lead.created"),
            ("ce-time", "2019-01-15T12:48:23.395000Z"),
            ("ce-subject", subject),
            ("ce-organizationid", "orga_1"),
            ("ce-userid", "user_1"),
            ("ce-leadid", "lead_1"),
            ("ce-requestid", "req_1"),
            ("ce-campaignid", "spring"),
            ("ce-specversion", "1.0"),
            ("ce-subscriptionid", "whsub_1"),
        ];
        assert_eq!(found, expected);
        let extension = |name: &str| {
            let name = name.strip_prefix("ce-").expect("a prefix");
            name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase())
        };
        assert!(found.iter().all(|(name, _)| extension(name)));
    }

    #[test]
    fn what_an_event_does_not_have_is_not_there() {
        let bare = v1::Event {
            id: "ev_1".into(),
            object_type: "lead".into(),
            action: "created".into(),
            data: "7".into(),
            ..Default::default()
        };
        let names = headers(&bare, "ten_1");
        let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ce-id", "ce-source", "ce-type", "ce-time"]);
        let body = [head(&bare, "ten_1"), tail("whsub_1")].concat();
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(json.get("subject"), None);
        assert_eq!(
            (&json["data"], &json["specversion"]),
            (&7.into(), &"1.0".into())
        );
    }
}
