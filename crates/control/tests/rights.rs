//! Every RPC with every kind of identity, from the descriptors.
//!
//! What each may do is written down here a second time, by hand and from the side of the
//! roles: a row that is wrong in the server's table is not wrong here in the same way.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::time::{Duration, SystemTime};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::stream;
use prost::Message as _;
use sidehook_api::v1;
use sidehook_store::Store as _;
use support::{Api, OPERATOR, start, with};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_types::StatusExt as _;

/// Bytes as they are: an empty message of whatever kind.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What a role is for, in words.
fn may(role: &str, service: &str, method: &str) -> bool {
    let reads = matches!(
        (service, &method[..3]),
        (
            "WebhookService" | "EventService" | "DeliveryService",
            "Get" | "Lis"
        )
    ) || matches!(method, "WatchDeliveries" | "TestFilter" | "ExplainEvent");
    let publishes = matches!(method, "PublishEvent" | "PublishEvents" | "StreamEvents");
    let manages = service == "WebhookService" && !reads || method == "RetryDelivery";
    match role {
        "admin" => service != "AdminService" && service != "AgentService",
        "member" => reads || manages || service == "AgentAdminService",
        "publisher" => publishes,
        "viewer" => reads || service == "AgentAdminService",
        "agent" => service == "AgentService",
        "operator" => service == "AdminService" || service == "AgentAdminService",
        _ => false,
    }
}

/// The methods of all services, by service.
fn methods() -> Vec<(String, String, String)> {
    let files = prost_types::FileDescriptorSet::decode(sidehook_api::DESCRIPTORS).unwrap();
    let mut all = Vec::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                all.push((path, service.name().to_owned(), method.name().to_owned()));
            }
        }
    }
    all
}

/// Calls an RPC with an empty message, and tells how it was refused at the door.
async fn call(channel: Channel, path: &str, key: Option<&str>) -> Option<(Code, String)> {
    let mut request = Request::new(stream::iter([Bytes::new()]));
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    let refused = client.streaming(request, path, Raw).await.err()?;
    let details = refused.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    let reason = reason.unwrap_or_default();
    let at_the_door = matches!(
        reason.as_str(),
        "NO_CREDENTIAL" | "INVALID_CREDENTIAL" | "EXPIRED_CREDENTIAL" | "RIGHT_MISSING"
    );
    at_the_door.then(|| (refused.code(), reason))
}

/// Each role's key, and the credentials of nobody with the reason why.
async fn identities(
    api: &Api,
) -> (
    Vec<(&'static str, String)>,
    Vec<(&'static str, Option<String>)>,
) {
    let mut known = vec![
        ("admin", api.admin.clone()),
        ("operator", OPERATOR.to_owned()),
    ];
    for (name, role) in [
        ("member", v1::Role::Member),
        ("publisher", v1::Role::Publisher),
        ("viewer", v1::Role::Viewer),
        ("agent", v1::Role::Agent),
    ] {
        known.push((name, api.key(&api.tenant, role).await.1));
    }
    let (id, revoked) = api.key(&api.tenant, v1::Role::Admin).await;
    let request = v1::RevokeApiKeyRequest { id };
    let done = api.operator().revoke_api_key(with(OPERATOR, request)).await;
    done.unwrap();
    let end = SystemTime::now() + Duration::from_millis(100);
    let request = v1::CreateApiKeyRequest {
        tenant_id: api.tenant.clone(),
        name: "short".into(),
        role: v1::Role::Admin.into(),
        expires_at: Some(end.into()),
        ..Default::default()
    };
    let made = api.operator().create_api_key(with(OPERATOR, request)).await;
    let expired = made.unwrap().into_inner().secret;
    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    while u128::try_from(api.store.now().await.unwrap().as_millis()).unwrap() <= end.as_millis() {
        tokio::task::yield_now().await;
    }
    let nobody = vec![
        ("NO_CREDENTIAL", None),
        ("INVALID_CREDENTIAL", Some("shk_0000".to_owned())),
        ("INVALID_CREDENTIAL", Some(revoked)),
        ("EXPIRED_CREDENTIAL", Some(expired)),
    ];
    (known, nobody)
}

#[tokio::test]
async fn each_identity_may_call_what_its_role_is_for_and_nothing_else() {
    let api = start().await;
    let agents = Channel::from_shared(format!("http://{}", api.plane.agents)).unwrap();
    let agents = agents.connect_lazy();
    let (known, nobody) = identities(&api).await;
    let methods = methods();
    assert!(methods.len() > 25, "all services are there");
    let mut allowed = 0;
    for (path, service, method) in &methods {
        let channel = if service == "AgentService" {
            &agents
        } else {
            &api.channel
        };
        for (role, key) in &known {
            let refused = call(channel.clone(), path, Some(key)).await;
            if may(role, service, method) {
                assert_eq!(refused, None, "{role} may call {path}");
                allowed += 1;
            } else {
                let wanted = (Code::PermissionDenied, "RIGHT_MISSING".to_owned());
                assert_eq!(refused, Some(wanted), "{role} may not call {path}");
            }
        }
        for (reason, key) in &nobody {
            let refused = call(channel.clone(), path, key.as_deref()).await;
            let wanted = (Code::Unauthenticated, (*reason).to_owned());
            assert_eq!(refused, Some(wanted), "nobody may call {path}");
        }
    }
    assert!(allowed > methods.len(), "each RPC is for somebody");
}
