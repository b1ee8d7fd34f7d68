//! A control plane over the model, and callers of it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests: each binary uses a part of it, and a failure shows where it is"
)]

use std::sync::{Arc, OnceLock};

use secrecy::SecretString;
use sidehook_api::registry::TenantLimits;
use sidehook_api::v1::{
    self, admin_service_client::AdminServiceClient,
    agent_admin_service_client::AgentAdminServiceClient,
    delivery_service_client::DeliveryServiceClient, event_service_client::EventServiceClient,
    webhook_service_client::WebhookServiceClient,
};
use sidehook_control::server::{ControlPlane, ControlPlaneConfig, StartError};
use sidehook_runtime::{drain, listen::ListenConfig, probe::Metrics, tasks::Tasks};
use sidehook_store::model::Model;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

pub const OPERATOR: &str = "operator-key-of-the-tests";

/// A running control plane with one tenant.
pub struct Api {
    pub plane: ControlPlane,
    pub channel: Channel,
    pub store: Arc<Model>,
    pub tasks: Tasks,
    pub tenant: String,
    pub admin: String,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.trigger().end();
    }
}

fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::install().unwrap()).clone()
}

pub async fn start() -> Api {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut ControlPlaneConfig)) -> Api {
    let mut api = over(Arc::new(Model::new()), change).await;
    api.tenant = api.new_tenant("Acme").await;
    api.admin = api.key(&api.tenant, v1::Role::Admin).await.1;
    api
}

/// A replica over a store that exists, without a tenant of its own.
pub async fn over(store: Arc<Model>, change: impl FnOnce(&mut ControlPlaneConfig)) -> Api {
    let tasks = Tasks::new(drain::channel().0);
    let plane = plane_over(store.clone(), &tasks, change).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", plane.grpc)).unwrap();
    Api {
        channel: channel.connect_lazy(),
        plane,
        store,
        tasks,
        tenant: String::new(),
        admin: String::new(),
    }
}

/// Tries to start a control plane over a store.
pub async fn plane_over(
    store: Arc<Model>,
    tasks: &Tasks,
    change: impl FnOnce(&mut ControlPlaneConfig),
) -> Result<ControlPlane, StartError> {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = ControlPlaneConfig::new(SecretString::from("07".repeat(32)));
    (config.grpc, config.agents) = (ListenConfig::new(any), ListenConfig::new(any));
    config.http = any;
    config.operator_key = Some(OPERATOR.into());
    change(&mut config);
    ControlPlane::start(config, store, metrics(), tasks).await
}

/// A request that bears a key.
pub fn with<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

impl Api {
    pub fn webhooks(&self) -> WebhookServiceClient<Channel> {
        WebhookServiceClient::new(self.channel.clone())
    }

    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub fn deliveries(&self) -> DeliveryServiceClient<Channel> {
        DeliveryServiceClient::new(self.channel.clone())
    }

    pub fn agents(&self) -> AgentAdminServiceClient<Channel> {
        AgentAdminServiceClient::new(self.channel.clone())
    }

    pub fn operator(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub async fn new_tenant(&self, name: &str) -> String {
        let request = v1::CreateTenantRequest {
            name: name.into(),
            limits: Some(TenantLimits::WIDEST.to_proto()),
            platform: false,
        };
        let answer = self.operator().create_tenant(with(OPERATOR, request)).await;
        answer.unwrap().into_inner().tenant.unwrap().id
    }

    /// Makes a key; answers its id and its secret.
    pub async fn key(&self, tenant: &str, role: v1::Role) -> (String, String) {
        let request = v1::CreateApiKeyRequest {
            tenant_id: tenant.into(),
            name: "test".into(),
            role: role.into(),
            ..v1::CreateApiKeyRequest::default()
        };
        let answer = self
            .operator()
            .create_api_key(with(OPERATOR, request))
            .await;
        let answer = answer.unwrap().into_inner();
        (answer.api_key.unwrap().id, answer.secret)
    }

    pub async fn create(&self, proto: v1::Subscription) -> Result<v1::Subscription, Status> {
        self.create_with(proto, "").await
    }

    pub async fn create_with(
        &self,
        proto: v1::Subscription,
        secret: &str,
    ) -> Result<v1::Subscription, Status> {
        let request = v1::CreateSubscriptionRequest {
            subscription: Some(proto),
            signing_secret: secret.into(),
            ..Default::default()
        };
        let answer = self
            .webhooks()
            .create_subscription(with(&self.admin, request))
            .await;
        Ok(answer?.into_inner().subscription.unwrap())
    }

    pub async fn update(
        &self,
        patch: v1::Subscription,
        mask: &[&str],
    ) -> Result<v1::Subscription, Status> {
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(patch),
            update_mask: Some(prost_types::FieldMask {
                paths: mask.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..Default::default()
        };
        let answer = self
            .webhooks()
            .update_subscription(with(&self.admin, request))
            .await;
        Ok(answer?.into_inner().subscription.unwrap())
    }

    pub async fn get(&self, key: &str, id: &str) -> Result<v1::Subscription, Status> {
        let request = v1::GetSubscriptionRequest { id: id.into() };
        let answer = self.webhooks().get_subscription(with(key, request)).await?;
        Ok(answer.into_inner().subscription.unwrap())
    }

    pub async fn list(&self) -> Vec<v1::Subscription> {
        let request = v1::ListSubscriptionsRequest::default();
        let answer = self
            .webhooks()
            .list_subscriptions(with(&self.admin, request))
            .await;
        answer.unwrap().into_inner().subscriptions
    }

    pub async fn publish(&self, event: v1::Event) -> Result<v1::PublishResult, Status> {
        let request = v1::PublishEventRequest { event: Some(event) };
        let answer = self
            .events()
            .publish_event(with(&self.admin, request))
            .await?;
        Ok(answer.into_inner().result.unwrap())
    }

    pub async fn all_events(&self) -> Vec<v1::Event> {
        let request = v1::ListEventsRequest::default();
        let answer = self.events().list_events(with(&self.admin, request)).await;
        answer.unwrap().into_inner().events
    }

    pub async fn deliveries_of(&self, request: v1::ListDeliveriesRequest) -> Vec<v1::Delivery> {
        let answer = self
            .deliveries()
            .list_deliveries(with(&self.admin, request))
            .await;
        answer.unwrap().into_inner().deliveries
    }
}

/// A subscription as a client would ask for it.
pub fn subscription() -> v1::Subscription {
    v1::Subscription {
        url: "https://example.com/hook".into(),
        events: vec![pattern("opportunity", "*")],
        ..v1::Subscription::default()
    }
}

pub fn pattern(object_type: &str, action: &str) -> v1::EventPattern {
    v1::EventPattern {
        object_type: object_type.into(),
        action: action.into(),
        extra_filter: String::new(),
    }
}

pub fn event() -> v1::Event {
    v1::Event {
        object_type: "opportunity".into(),
        action: "won".into(),
        object_id: "oppo_1".into(),
        data: r#"{"value": 1}"#.into(),
        ..v1::Event::default()
    }
}

/// Asserts that fields were refused, this one among them.
#[track_caller]
pub fn assert_field<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let status = answer.expect_err(field);
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
    let details = status.get_error_details();
    let found = details.bad_request().expect(field).field_violations.clone();
    let found: Vec<_> = found.into_iter().map(|one| one.field).collect();
    assert!(
        found.iter().any(|one| one == field),
        "{field} is not in {found:?}"
    );
    assert!(status.message().contains(field), "{}", status.message());
}

/// Asserts the code and the reason of an error.
#[track_caller]
pub fn assert_reason<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) {
    let status = answer.expect_err(reason);
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has a reason");
    assert_eq!((&*info.reason, &*info.domain), (reason, "sidehook"));
}
