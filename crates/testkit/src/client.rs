//! A caller of the API with its key.

use std::net::SocketAddr;

use bytes::Bytes;
use sidehook_api::v1::{
    self, admin_service_client::AdminServiceClient, agent_admin_service_client,
    delivery_service_client, event_service_client, webhook_service_client,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig},
};

use agent_admin_service_client::AgentAdminServiceClient;
use delivery_service_client::DeliveryServiceClient;
use event_service_client::EventServiceClient;
use webhook_service_client::WebhookServiceClient;

/// Adds `authorization: Bearer …` to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The channel of a client with its key.
pub type Authorised = InterceptedService<Channel, Bearer>;

/// A caller of one replica; clones share the connection, which reconnects by itself.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    bearer: Bearer,
    key: String,
}

impl Client {
    /// A caller of the replica at `address`. Connects at its first call.
    ///
    /// # Panics
    ///
    /// If `key` cannot be in a header.
    #[must_use]
    pub fn new(address: SocketAddr, key: &str) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}"));
        let endpoint = endpoint.expect("an address makes a URL").tcp_nodelay(true);
        let bearer = format!("Bearer {key}").parse();
        Self {
            channel: endpoint.connect_lazy(),
            bearer: Bearer(bearer.expect("a key of visible ASCII")),
            key: key.to_owned(),
        }
    }

    /// As `new`, over TLS, trusting the certificate `ca` (PEM) and nothing else.
    ///
    /// # Panics
    ///
    /// If `key` cannot be in a header or `ca` is no certificate.
    #[must_use]
    pub fn over_tls(address: SocketAddr, key: &str, ca: &str) -> Self {
        let endpoint = Channel::from_shared(format!("https://{address}"));
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = endpoint.expect("an address makes a URL").tls_config(tls);
        Self {
            channel: endpoint.expect("a certificate").connect_lazy(),
            ..Self::new(address, key)
        }
    }

    /// The secret that it presents.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Subscriptions.
    #[must_use]
    pub fn webhooks(&self) -> WebhookServiceClient<Authorised> {
        WebhookServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Publishing and reading events.
    #[must_use]
    pub fn events(&self) -> EventServiceClient<Authorised> {
        EventServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Deliveries and their attempts.
    #[must_use]
    pub fn deliveries(&self) -> DeliveryServiceClient<Authorised> {
        DeliveryServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Agents and pools.
    #[must_use]
    pub fn agents(&self) -> AgentAdminServiceClient<Authorised> {
        AgentAdminServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Tenants and keys; for the operator's key.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Authorised> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Subscribes `url` to all actions on `object_type`.
    ///
    /// # Panics
    ///
    /// If the subscription is refused.
    pub async fn subscribe(&self, url: &str, object_type: &str) -> v1::Subscription {
        self.create(subscription(url, object_type)).await
    }

    /// Creates a subscription with a generated signing key.
    ///
    /// # Panics
    ///
    /// If the subscription is refused.
    pub async fn create(&self, subscription: v1::Subscription) -> v1::Subscription {
        let request = v1::CreateSubscriptionRequest {
            subscription: Some(subscription),
            ..v1::CreateSubscriptionRequest::default()
        };
        let answer = self.webhooks().create_subscription(request).await;
        let answer = answer.expect("the subscription is accepted").into_inner();
        answer.subscription.expect("an answer has its subscription")
    }

    /// Publishes up to 1,000 events in one call and answers what became of each.
    ///
    /// # Errors
    ///
    /// The status of the call; that of a single event is in its result.
    pub async fn publish(&self, events: Vec<v1::Event>) -> Result<Vec<v1::PublishResult>, Status> {
        let request = v1::PublishEventsRequest { events };
        let answer = self.events().publish_events(request).await?;
        Ok(answer.into_inner().results)
    }
}

/// A subscription of `url` to all actions on `object_type`, to be changed and created.
#[must_use]
pub fn subscription(url: &str, object_type: &str) -> v1::Subscription {
    v1::Subscription {
        url: url.to_owned(),
        events: vec![v1::EventPattern {
            object_type: object_type.to_owned(),
            action: "*".to_owned(),
            extra_filter: String::new(),
        }],
        ..v1::Subscription::default()
    }
}

/// The `n`th event on `object_type`: its object is `object_<n>`, its data `{"n":<n>}`.
#[must_use]
pub fn event(object_type: &str, n: u64) -> v1::Event {
    v1::Event {
        object_type: object_type.to_owned(),
        action: "updated".to_owned(),
        object_id: format!("object_{n}"),
        data: Bytes::from(format!(r#"{{"n":{n}}}"#)),
        ..v1::Event::default()
    }
}

/// An event of this kind with this data, JSON.
#[must_use]
pub fn event_of(object_type: &str, action: &str, data: &str) -> v1::Event {
    v1::Event {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        data: Bytes::from(data.to_owned()),
        ..v1::Event::default()
    }
}
