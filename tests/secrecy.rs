//! Logs can be shown to anybody: no secret, no payload and no value of a header is in
//! the log of any process, at any level, in any form in which it could be used.
//!
//! Logs are read when their processes have ended, so that what a queue still held is
//! in them. What the logs do say proves that the search would find something.

use std::{process::Command, time::Duration};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use sidehook_api::v1::{self, HmacHeaderScheme, Role, signing::Scheme};
use sidehook_testkit::{
    agent::Agent,
    client::{Client, event, subscription},
    process::binary,
    receiver::{Behaviour, Receiver},
    system::System,
};

const PATIENCE: Duration = Duration::from_secs(30);
const REDIS_PASSWORD: &str = "redis-password-6f1d0c55";
const WRONG_KEY: &str = "wrong-key-of-a-caller-93aa1e";
const HEADER_VALUE: &str = "header-value-c2b81f40";
const PAYLOAD: &str = "payload-5a0e77d9";
const LOCAL_KEY: &str = "local-hmac-key-0d41c9b3e5f7a860";
const HMAC_KEY: &str = "given-hmac-key-8e2b6a9417cd3f05";
const CLOSE_KEY: &str = "9c1185a5c5e9fc54612808977ee8f548b2258d31f2a94c1e0b7d3a6655443322";
const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// What may be in a log, and is.
const AGENT_NAME: &str = "the-agent-of-this-test";

/// A secret's name, and every text by which it would be given away.
struct Needle {
    name: String,
    forms: Vec<String>,
}

impl Needle {
    fn new(name: &str, secret: &str) -> Self {
        assert!(secret.len() >= 12, "{name} is too short to be searched for");
        let mut forms = vec![secret.to_owned()];
        forms.extend(written(secret.as_bytes()));
        // What stands behind a prefix is the secret as well, and so are the bytes that
        // a text of hex or base64 stands for.
        for text in [Some(secret), secret.rsplit_once('_').map(|(_, rest)| rest)] {
            let Some(text) = text else { continue };
            forms.push(text.to_owned());
            for bytes in [hex::decode(text).ok(), BASE64_STANDARD.decode(text).ok()] {
                forms.extend(bytes.iter().flat_map(|bytes| written(bytes)));
            }
        }
        let name = name.to_owned();
        Self { name, forms }
    }

    fn is_in(&self, log: &str) -> bool {
        self.forms.iter().any(|form| log.contains(form))
    }
}

/// The texts that bytes may be written as.
fn written(bytes: &[u8]) -> Vec<String> {
    let listed = format!("{bytes:?}");
    vec![
        hex::encode(bytes),
        hex::encode_upper(bytes),
        BASE64_STANDARD
            .encode(bytes)
            .trim_end_matches('=')
            .to_owned(),
        BASE64_URL_SAFE_NO_PAD.encode(bytes),
        listed[1..listed.len() - 1].to_owned(),
    ]
}

/// The names of what a log gives away.
fn given_away<'a>(needles: &'a [Needle], log: &str) -> Vec<&'a str> {
    let found = needles.iter().filter(|needle| needle.is_in(log));
    found.map(|needle| needle.name.as_str()).collect()
}

#[test]
fn a_secret_is_found_in_every_form() {
    for secret in [STANDARD_KEY, CLOSE_KEY, HMAC_KEY] {
        let needle = Needle::new("planted", secret);
        let forms = needle.forms.clone();
        let needles = [needle];
        for form in forms {
            let log = format!("INFO something of the name \"{form}\" was seen\n");
            assert_eq!(given_away(&needles, &log), ["planted"], "{form}");
        }
        let log = "INFO something else was seen\n";
        assert_eq!(given_away(&needles, log), [""; 0]);
    }
    let bytes = BASE64_STANDARD.decode(&STANDARD_KEY[6..]).expect("base64");
    let log = format!("TRACE key={bytes:?}");
    let needles = [Needle::new("planted", STANDARD_KEY)];
    assert_eq!(given_away(&needles, &log), ["planted"]);
}

/// Everything that has to stay out, and who knows it.
struct Story {
    system: System,
    agent: Agent,
    receiver: Receiver,
    needles: Vec<Needle>,
}

impl Story {
    async fn begin() -> Self {
        let password = format!(">{REDIS_PASSWORD}");
        let user = ["--user", "hush", "on", &password, "~*", "&*", "+@all"];
        let builder = System::builder().redis(&user).drain_timeout("2s");
        let mut system = builder.without_agent().start().await;
        let signed_on = format!("//hush:{REDIS_PASSWORD}@");
        let change = |text: String| {
            let text = text.replacen("redis://", &format!("redis:{signed_on}"), 1);
            format!("{text}[log]\nlevel = \"trace\"\n")
        };
        system.reconfigure(0, change).await;
        let settings = format!(
            "name = \"{AGENT_NAME}\"\n[egress]\nallow_loopback = true\n[log]\nlevel = \"trace\"\n\
             [[local_keys]]\nname = \"own\"\nsecret = \"{LOCAL_KEY}\"\n"
        );
        let agent = Agent::start(&system, &settings);
        let mut story = Self {
            system,
            agent,
            receiver: Receiver::start(Behaviour::FailFirst(2)).await,
            needles: Vec::new(),
        };
        for (name, secret) in [
            ("Redis' password", REDIS_PASSWORD),
            ("a wrong key", WRONG_KEY),
            ("a header's value", HEADER_VALUE),
            ("a payload", PAYLOAD),
            ("the agent's own key", LOCAL_KEY),
            ("the sealing key", &"5b".repeat(32)),
        ] {
            story.must_not_show(name, secret);
        }
        let keys = [
            ("the admin's key", story.system.client(0).key().to_owned()),
            (
                "the operator's key",
                story.system.operator(0).key().to_owned(),
            ),
            ("the pool token", story.system.token().to_owned()),
        ];
        for (name, key) in keys {
            story.must_not_show(name, &key);
        }
        story
    }

    fn must_not_show(&mut self, name: &str, secret: &str) {
        self.needles.push(Needle::new(name, secret));
    }

    /// Makes a key of each role.
    async fn make_keys(&mut self) {
        for role in [Role::Admin, Role::Publisher, Role::Viewer, Role::Agent] {
            let request = v1::CreateApiKeyRequest {
                tenant_id: self.system.tenant().to_owned(),
                name: "another".to_owned(),
                role: role.into(),
                ..v1::CreateApiKeyRequest::default()
            };
            let made = self
                .system
                .operator(0)
                .admin()
                .create_api_key(request)
                .await;
            let secret = made.expect("a key").into_inner().secret;
            self.must_not_show(&format!("a key of {role:?}"), &secret);
            // Once as a caller's, so that it passes through what checks it.
            let caller = Client::new(self.system.grpc(0), &secret);
            let _ = caller.publish(vec![event("nothing", 1)]).await;
        }
        let stranger = Client::new(self.system.grpc(0), WRONG_KEY);
        let refused = stranger.publish(vec![event("nothing", 1)]).await;
        refused.expect_err("nobody's key");
    }

    /// Subscribes the receiver once with each kind of key, given and made.
    async fn subscribe(&mut self) -> usize {
        let standard = || Scheme::StandardWebhooks(v1::StandardWebhooksScheme::default());
        let mut ed25519 = v1::StandardWebhooksScheme::default();
        ed25519.set_algorithm(v1::StandardWebhooksAlgorithm::Ed25519);
        let header = || Scheme::HmacHeader(HmacHeaderScheme::default());
        let schemes = [
            (standard(), "", ""),
            (standard(), STANDARD_KEY, ""),
            (Scheme::StandardWebhooks(ed25519), "", ""),
            (Scheme::Close(v1::CloseScheme {}), "", ""),
            (Scheme::Close(v1::CloseScheme {}), CLOSE_KEY, ""),
            (header(), "", ""),
            (header(), HMAC_KEY, ""),
            (header(), "", "own"),
        ];
        let count = schemes.len();
        for (number, (scheme, given, local_key)) in schemes.into_iter().enumerate() {
            let wanted = v1::Subscription {
                headers: vec![v1::Header {
                    name: "x-api-key".to_owned(),
                    value: HEADER_VALUE.to_owned(),
                }],
                signing: Some(v1::Signing {
                    scheme: Some(scheme),
                    local_key: local_key.to_owned(),
                    ..v1::Signing::default()
                }),
                retry_policy: Some(v1::RetryPolicy {
                    initial_backoff: Some(prost_types::Duration {
                        seconds: 0,
                        nanos: 100_000_000,
                    }),
                    ..v1::RetryPolicy::default()
                }),
                ..subscription(&self.receiver.url(), "order")
            };
            let request = v1::CreateSubscriptionRequest {
                subscription: Some(wanted),
                signing_secret: given.to_owned(),
                ..v1::CreateSubscriptionRequest::default()
            };
            let mut webhooks = self.system.client(0).webhooks();
            let made = webhooks.create_subscription(request).await;
            let made = made.expect("accepted").into_inner().subscription;
            let made = made.expect("an answer has its subscription");
            for key in made.signing.expect("it signs").keys {
                self.must_not_show(&format!("key of subscription {number}"), &key.secret);
            }
        }
        count
    }

    async fn publish(&self) {
        let mut event = event("order", 1);
        event.data = format!("{{\"text\":\"{PAYLOAD}\"}}").into();
        let patience = async {
            // Redis may be on its way back.
            while self
                .system
                .client(0)
                .publish(vec![event.clone()])
                .await
                .is_err()
            {}
        };
        let in_time = tokio::time::timeout(PATIENCE, patience).await;
        in_time.expect("published within 30 s");
    }

    /// Ends all processes; their logs by name.
    async fn end(&mut self) -> [(&'static str, String); 2] {
        self.agent.process.terminate();
        let ended = self.agent.process.wait_exit(PATIENCE).await;
        assert!(ended.is_some(), "the agent ends");
        let server = self.system.server(0);
        server.terminate();
        let ended = server.wait_exit(PATIENCE).await;
        assert!(ended.is_some(), "the server ends");
        [
            ("agent", self.agent.process.log()),
            ("server", server.log()),
        ]
    }
}

/// What the command-line client says at its most talkative.
fn client(story: &Story, arguments: &[&str]) -> String {
    let mut command = Command::new(binary("sidehook"));
    let server = format!("http://{}", story.system.grpc(0));
    let said = command
        .env_clear()
        .envs([("RUST_LOG", "trace"), ("SIDEHOOK_SERVER", &server)])
        .env("SIDEHOOK_API_KEY", story.system.client(0).key())
        .args(arguments)
        .output()
        .expect("it starts");
    let said = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log() {
    let mut story = Story::begin().await;
    story.make_keys().await;
    let subscriptions = story.subscribe().await;
    story.publish().await;
    assert!(story.receiver.wait_for(subscriptions + 2, PATIENCE).await);
    // A store that goes away is much talked about.
    story
        .system
        .redis
        .as_mut()
        .expect("over Redis")
        .restart()
        .await;
    let before = story.receiver.count();
    story.publish().await;
    let again = before + subscriptions;
    assert!(story.receiver.wait_for(again, PATIENCE).await);
    let received = story.receiver.received();
    assert!(
        received
            .iter()
            .any(|one| one.header("x-api-key") == Some(HEADER_VALUE))
    );

    let said = [
        &["subscription", "list"][..],
        &["deliveries", "list"],
        &["event", "list"],
        &["agents", "list", "--output", "json"],
        &["admin", "key", "list"],
        &["subscription", "get", "nonsense"],
    ]
    .map(|arguments| client(&story, arguments));
    assert!(said[3].contains(AGENT_NAME), "{}", said[3]);
    assert_eq!(
        given_away(&story.needles, &said.concat()),
        [""; 0],
        "client"
    );

    for (process, log) in story.end().await {
        assert!(log.contains("TRACE"), "the {process} logs at trace");
        // The search finds what is there, in what was written last too.
        let there = [Needle::new("name", AGENT_NAME)];
        assert_eq!(given_away(&there, &log), ["name"], "{process}");
        assert!(log.contains("draining cause="), "up to the {process}'s end");
        assert_eq!(given_away(&story.needles, &log), [""; 0], "{process}");
    }
}
