//! What a body says of a webhook, and what becomes of it.

use super::*;

fn settings() -> DialectSettings {
    DialectSettings::default()
}

fn wanted(body: &str) -> Wanted {
    Wanted::read(body.as_bytes()).expect("a sound body")
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn a_new_webhook_needs_a_url_alone() {
    let body = r#"{"targetUrl":"https://a.example/"}"#;
    let made = wanted(body).create(&settings()).expect("enough");
    assert_eq!(made.status(), SubscriptionStatus::Active);
    assert_eq!(types::shown(&made.events), TYPES);
    assert!(made.headers.is_empty() && made.campaign_id.is_empty());
    assert_eq!(made.format(), v1::DeliveryFormat::Raw);
    let retries = made.retry_policy.expect("set");
    assert_eq!(retries.preset(), v1::RetryPreset::Collect);
    let signing = made.signing.expect("said");
    assert!(matches!(signing.scheme, Some(Scheme::Unsigned(_))));
    for body in ["{}", r#"{"targetUrl":null}"#] {
        let problem = wanted(body).create(&settings()).expect_err("no URL");
        assert_eq!(problem.fields[0].field, "targetUrl", "{body}");
    }
}

#[test]
fn everything_that_is_wrong_is_named() {
    let body = r#"{"targetUrl":"","types":["created","portalSubmitted"],"status":"on",
        "secretToken":"[redacted]","campaign":"x"}"#;
    let problem = Wanted::read(body.as_bytes()).expect_err("five are wrong");
    let mut fields: Vec<_> = problem.fields.iter().map(|one| &*one.field).collect();
    fields.sort_unstable();
    let expected = ["campaign", "secretToken", "status", "targetUrl", "types[1]"];
    assert_eq!(fields, expected);
    assert!(problem.message.contains("portalSubmited, dueDateChanged"));
}

#[test]
fn what_was_read_can_be_sent_back() {
    let body = r#"{"_id":"whsub_1","targetUrl":"https://a.example/","status":"paused",
        "types":["created","created"],"campaignId":"c","secretToken":"t","createdAt":"2022-07-13 15:01:38 UTC"}"#;
    let expected = Wanted {
        url: Some("https://a.example/".to_owned()),
        types: Some(vec!["created"]),
        campaign: Some("c".to_owned()),
        token: Some("t".to_owned()),
        status: Some(SubscriptionStatus::Paused),
    };
    assert_eq!(wanted(body), expected);
}

#[test]
fn a_change_names_what_it_changes_and_keeps_other_headers() {
    let current = v1::Subscription {
        headers: vec![
            header("A", "1"),
            header("X-Secret-Token", "2"),
            header("C", "3"),
        ],
        ..v1::Subscription::default()
    };
    let paused = wanted(r#"{"status":"paused"}"#).lay_over(&current, &settings());
    assert_eq!(paused.expect("sound").mask, ["status"]);
    let campaign = wanted(r#"{"campaignId":null}"#).lay_over(&current, &settings());
    assert_eq!(campaign.expect("sound").mask, ["campaign_id"]);
    let token = wanted(r#"{"secretToken":"4"}"#).lay_over(&current, &settings());
    let expected = [
        header("A", "1"),
        header("X-Secret-Token", "4"),
        header("C", "3"),
    ];
    assert_eq!(token.expect("sound").patch.headers, expected);
    for body in [r#"{"secretToken":""}"#, r#"{"secretToken":null}"#] {
        let none = wanted(body).lay_over(&current, &settings()).expect("sound");
        assert_eq!(none.mask, ["headers"]);
        assert_eq!(none.patch.headers, [header("A", "1"), header("C", "3")]);
    }
    let new = with_token(&[], "5", &settings());
    assert_eq!(new, [header("x-secret-token", "5")]);
}
