//! How many subscriptions and requests there may be.

use super::*;

/// Makes the tenant's limits what these are, beside the defaults.
async fn limit(tenancy: &Tenancy, limits: v1::TenantLimits) {
    let request = v1::UpdateTenantRequest {
        tenant: Some(v1::Tenant {
            id: tenancy.tenant.id.clone(),
            limits: Some(limits),
            ..v1::Tenant::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["limits".to_owned()],
        }),
    };
    let mut admin = tenancy.system.operator(0).admin();
    admin.update_tenant(request).await.expect("changed");
}

#[tokio::test]
async fn the_41st_is_refused_and_there_are_still_40() {
    let tenancy = Tenancy::quiet().await;
    let limits = v1::TenantLimits {
        requests_per_second: 10_000,
        ..v1::TenantLimits::default()
    };
    limit(&tenancy, limits).await;
    let http = tenancy.close();
    for _ in 0..40 {
        made(&http, body(URL)).await;
    }
    let told = http.post(ALL, &body(URL)).await.expect(400);
    assert!(told["errors"][0].is_string(), "{told}");
    assert_eq!(count(&http).await, 40);
    let collect = json!({ "targetUrl": URL });
    tenancy
        .collect()
        .post("/v1/webhooks", &collect)
        .await
        .expect(400);
    let hookshot = json!({ "url": URL });
    tenancy
        .hookshot()
        .post("/hooks", &hookshot)
        .await
        .expect(422);
    assert_eq!(count(&http).await, 40);
}

#[tokio::test]
async fn each_answer_tells_what_is_left_of_the_limit() {
    let tenancy = Tenancy::quiet().await;
    let limits = v1::TenantLimits {
        requests_per_second: 1,
        request_burst: 100,
        ..v1::TenantLimits::default()
    };
    limit(&tenancy, limits).await;
    let http = tenancy.close_with(&tenancy.key(Role::Admin).await);
    let mut left = Vec::new();
    for reply in [
        http.post(ALL, &body(URL)).await,
        http.get(NOBODY).await,
        http.get(ALL).await,
        http.post(ALL, &json!({})).await,
        http.get("/api/v1/webhook/nonsense/").await,
        http.get("/api/v1/webhook/?_limit=x").await,
    ] {
        let told = reply
            .header("ratelimit")
            .expect("on every answer")
            .to_owned();
        let words: Vec<_> = told.split(", ").collect();
        assert_eq!(words.len(), 3, "{told}");
        assert!(words[0].starts_with("limit="), "{told}");
        assert!(words[2].starts_with("reset="), "{told}");
        let remaining = words[1].strip_prefix("remaining=").expect("the second");
        left.push(remaining.parse::<u32>().expect("a number"));
    }
    assert!(left.is_sorted_by(|one, next| one >= next), "{left:?}");
}

#[tokio::test]
async fn too_many_requests_are_429_and_told_when_to_come_again() {
    let tenancy = Tenancy::quiet().await;
    let limits = v1::TenantLimits {
        requests_per_second: 1,
        request_burst: 2,
        ..v1::TenantLimits::default()
    };
    limit(&tenancy, limits).await;
    let key = tenancy.key(Role::Admin).await;
    for (http, path) in [
        (tenancy.close_with(&key), ALL),
        (tenancy.collect_with(&key), "/v1/webhooks"),
        (tenancy.hookshot_with(&key), "/hooks"),
    ] {
        let begun = std::time::Instant::now();
        let refused = loop {
            let reply = http.get(path).await;
            if reply.status == 429 {
                break reply;
            }
            assert_eq!(reply.status, 200);
            assert!(begun.elapsed() < PATIENCE, "nothing is refused");
        };
        assert!(refused.json()["error"].is_string());
        let wait = refused.header("retry-after").expect("told");
        assert!(wait.parse::<u32>().expect("seconds") >= 1, "{wait}");
        assert!(refused.header("ratelimit").is_some());
    }
}
