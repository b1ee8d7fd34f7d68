//! What a deployment may choose of the dialects.

use super::*;

#[tokio::test]
async fn names_of_headers_and_the_digest_are_the_deployments() {
    let mut system = System::builder().embedded().start().await;
    let chosen = "\n[gateway.collect]\ntoken_header = \"X-Collect-Token\"\n\
                  [gateway.hookshot]\nevent_header = \"X-Event\"\ndigest = \"sha1\"\n";
    system.reconfigure(0, |text| text + chosen).await;
    let key = system.client(0).key().to_owned();
    let http = Http::anonymous(system.gateway(0));
    let receiver = Receiver::start(Behaviour::Ok).await;
    let body = json!({ "targetUrl": receiver.url(), "secretToken": "t" });
    let collect = http.authorized(&basic("", &key));
    collect.post("/v1/webhooks", &body).await.expect(200);
    let hooks = Receiver::start(Behaviour::Ok).await;
    let body = json!({ "url": hooks.url(), "secret": "s", "active": true, "events": ["*"] });
    let hookshot = http.authorized(&format!("Bearer {key}"));
    hookshot.post("/hooks", &body).await.expect(201);
    let event = event_of("collect", "created", "{}");
    let results = system.client(0).publish(vec![event]).await;
    assert_eq!(results.expect("published")[0].matched, 2);
    for one in [&receiver, &hooks] {
        assert!(one.wait_for(1, Duration::from_secs(30)).await);
    }
    let token = &receiver.received()[0];
    assert_eq!(token.header("x-collect-token"), Some("t"));
    let hook = &hooks.received()[0];
    assert_eq!(hook.header("x-event"), Some("collect:created"));
    let signature = hook.header("x-signature").expect("signed");
    assert_eq!(signature.len(), 40, "SHA-1: {signature}");
}
