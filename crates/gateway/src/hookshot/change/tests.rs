//! What a body says of a hook, and what becomes of it.

use super::*;

fn settings() -> DialectSettings {
    DialectSettings::default()
}

const LONG: Duration = Duration::from_secs(70);

fn wanted(body: &str) -> Wanted {
    Wanted::read(body.as_bytes()).expect("a sound body")
}

fn wrong(body: &str) -> Vec<String> {
    let problem = Wanted::read(body.as_bytes()).expect_err(body);
    let fields = problem.fields.iter();
    fields
        .map(|one| format!("{}: {}", one.field, one.description))
        .collect()
}

fn header(name: &str, value: &str) -> v1::Header {
    named((name.to_owned(), value.to_owned()))
}

#[test]
fn a_new_hook_needs_a_url_alone() {
    let (made, secret) = wanted(r#"{"url":"https://a.example/"}"#)
        .create(&settings(), LONG)
        .expect("enough");
    assert_eq!(made.status(), SubscriptionStatus::Paused);
    assert!(made.events.is_empty() && made.headers.is_empty() && secret.is_empty());
    assert_eq!(
        made.signing,
        signing(Scheme::Unsigned(v1::UnsignedScheme {}))
    );
    let timeouts = made.timeouts.expect("set");
    assert_eq!(timeouts.connect.expect("set").seconds, 5);
    assert_eq!(timeouts.total.expect("set").seconds, 60);
    assert_eq!(made.format(), v1::DeliveryFormat::Raw);
    assert_eq!(made.event_header, "X-Emperor-Event");
    let retries = made.retry_policy.expect("set");
    assert_eq!(retries.preset(), v1::RetryPreset::Hookshot);
    for body in ["{}", r#"{"active":false}"#] {
        let problem = wanted(body).create(&settings(), LONG).expect_err("no URL");
        assert_eq!(problem.fields[0].description, "can't be blank");
    }
}

#[test]
fn a_server_with_short_leases_waits_as_long_as_they_allow() {
    let (made, _) = wanted(r#"{"url":"https://a.example/"}"#)
        .create(&settings(), Duration::from_secs(3))
        .expect("enough");
    let timeouts = made.timeouts.expect("set");
    assert_eq!(timeouts.connect.expect("set").seconds, 3);
    assert_eq!(timeouts.total.expect("set").seconds, 3);
}

#[test]
fn what_is_wrong_is_said_in_hookshots_words() {
    let pair = "header: colon separated key value pair";
    for (body, expected) in [
        (r#"{"url":""}"#, "url: can't be blank"),
        (r#"{"url":"  "}"#, "url: can't be blank"),
        (r#"{"url":null}"#, "url: can't be blank"),
        (r#"{"config":{"url":null}}"#, "url: can't be blank"),
        (r#"{"header":"nothing"}"#, pair),
        (r#"{"header":": value"}"#, pair),
        (r#"{"header":"Name:"}"#, pair),
        (r#"{"active":null}"#, "active: must be true or false"),
        (r#"{"active":"yes"}"#, "active: must be true or false"),
        (r#"{"events":"*"}"#, "events: must be a list"),
        (r#"{"events":[1]}"#, "events[0]: must be a string"),
        (r#"{"Url":"a"}"#, "Url: is not a field that this takes"),
        (
            r#"{"config":{"uri":"a"}}"#,
            "config.uri: is not a field that this takes",
        ),
        (
            r#"{"secret":"[redacted]"}"#,
            "secret: stands for a secret that was not shown: give the secret itself",
        ),
    ] {
        assert_eq!(wrong(body), [expected], "{body}");
    }
}

#[test]
fn what_was_read_can_be_sent_back() {
    let body = r#"{"id":"x","active":false,"confirmed":false,"events":["a"],"config":{
        "url":"https://a.example/","secret":null,"header":"A: b: c"},"owner_id":"o",
        "tenant_id":"t","created_at":"now","updated_at":null}"#;
    let expected = Wanted {
        active: Some(false),
        events: Some(vec!["a".to_owned()]),
        url: Some("https://a.example/".to_owned()),
        header: Some(Some(("A".to_owned(), "b: c".to_owned()))),
        secret: Some(String::new()),
    };
    assert_eq!(wanted(body), expected);
    let flat = wanted(r#"{"header":"C: d","config":{"header":"A: b","secret":"s"}}"#);
    assert_eq!(flat.header, Some(Some(("C".to_owned(), "d".to_owned()))));
    assert_eq!(flat.secret.as_deref(), Some("s"));
}

#[test]
fn a_change_names_what_it_changes_and_keeps_what_has_no_words() {
    let current = v1::Subscription {
        headers: vec![header("A", "1"), header("B", "2"), header("C", "3")],
        signing: signing(Scheme::Close(v1::CloseScheme {})),
        ..v1::Subscription::default()
    };
    let nothing = wanted("{}").lay_over(&current, &settings());
    assert!(nothing.mask.is_empty() && nothing.secret.is_empty());
    let change = wanted(r#"{"header":"b: 4","secret":""}"#).lay_over(&current, &settings());
    assert_eq!(change.mask, ["headers"], "another scheme stays");
    assert_eq!(change.patch.headers, [header("b", "4"), header("C", "3")]);
    let change = wanted(r#"{"header":null}"#).lay_over(&current, &settings());
    assert_eq!(change.patch.headers, [header("B", "2"), header("C", "3")]);
    let change = wanted(r#"{"secret":"s","active":true}"#).lay_over(&current, &settings());
    assert_eq!(change.mask, ["status", "signing"]);
    assert_eq!(change.patch.signing, signing(signature(&settings())));
    assert_eq!(change.secret, "s");
}

#[test]
fn a_secret_changes_without_its_scheme_and_goes_with_it() {
    let scheme = Scheme::HmacHeader(v1::HmacHeaderScheme {
        header: "X-Hub".to_owned(),
        ..v1::HmacHeaderScheme::default()
    });
    let mut current = v1::Subscription {
        signing: signing(scheme),
        ..v1::Subscription::default()
    };
    let change = wanted(r#"{"secret":"t"}"#).lay_over(&current, &settings());
    assert_eq!((change.mask.len(), &*change.secret), (0, "t"));
    for body in [r#"{"secret":""}"#, r#"{"secret":null}"#] {
        let change = wanted(body).lay_over(&current, &settings());
        assert_eq!(change.mask, ["signing"]);
        let unsigned = signing(Scheme::Unsigned(v1::UnsignedScheme {}));
        assert_eq!(change.patch.signing, unsigned);
    }
    if let Some(signing) = &mut current.signing {
        signing.local_key = "mine".to_owned();
    }
    let change = wanted(r#"{"secret":null}"#).lay_over(&current, &settings());
    assert!(change.mask.is_empty(), "the agent's own key stays");
}
