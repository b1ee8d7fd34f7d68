//! What is left of a deleted subscription: its deliveries, under its id.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use sidehook_api::v1;
use support::{Api, assert_reason, event, start, subscription, with};
use tonic::Code;

async fn delete(api: &Api, id: &str) {
    let request = v1::DeleteSubscriptionRequest {
        id: id.into(),
        etag: String::new(),
    };
    let mut webhooks = api.webhooks();
    let deleted = webhooks.delete_subscription(with(&api.admin, request));
    deleted.await.unwrap();
}

fn only(id: &str) -> v1::ListDeliveriesRequest {
    v1::ListDeliveriesRequest {
        subscription_id: id.into(),
        ..v1::ListDeliveriesRequest::default()
    }
}

#[tokio::test]
async fn deliveries_of_a_deleted_subscription_are_found_under_its_id() {
    let api = start().await;
    let gone = api.create(subscription()).await.unwrap().id;
    let kept = api.create(subscription()).await.unwrap().id;
    api.publish(event()).await.unwrap();
    delete(&api, &gone).await;

    let all = api
        .deliveries_of(v1::ListDeliveriesRequest::default())
        .await;
    let mut owners: Vec<_> = all.iter().map(|one| &one.subscription_id).collect();
    let mut expected = vec![&gone, &kept];
    owners.sort();
    expected.sort();
    assert_eq!(owners, expected);
    for id in [&gone, &kept] {
        let found = api.deliveries_of(only(id)).await;
        assert_eq!((found.len(), &found[0].subscription_id), (1, id));
    }
    let id = api.deliveries_of(only(&gone)).await[0].id.clone();
    let mut deliveries = api.deliveries();
    let got = deliveries.get_delivery(with(&api.admin, v1::GetDeliveryRequest { id }));
    let got = got.await.unwrap().into_inner().delivery.unwrap();
    assert_eq!(got.state(), v1::DeliveryState::Cancelled);
    assert_eq!(got.subscription_id, gone);
}

#[tokio::test]
async fn what_never_was_the_tenants_stays_unknown() {
    let api = start().await;
    let gone = api.create(subscription()).await.unwrap().id;
    delete(&api, &gone).await;
    let other = api.new_tenant("Other").await;
    let (_, foreigner) = api.key(&other, v1::Role::Admin).await;
    let never = "whsub_0000000000000000000001";
    for (key, id) in [(&foreigner, &*gone), (&api.admin, never)] {
        let answer = api.deliveries().list_deliveries(with(key, only(id))).await;
        assert_reason(answer, Code::NotFound, "NOT_FOUND");
    }
}
