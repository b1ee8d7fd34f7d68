//! The control plane as a whole: ports, health, reflection, replicas, the drain.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sidehook_api::v1;
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_runtime::{
    drain::{self, Outcome},
    tasks::Tasks,
    tls::TlsFiles,
};
use sidehook_store::{Store as _, model::Model};
use support::{Api, assert_reason, event, over, plane_over, start, start_with, subscription, with};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_stream::StreamExt as _;
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

async fn channel(addr: std::net::SocketAddr) -> Channel {
    let channel = Channel::from_shared(format!("http://{addr}")).unwrap();
    channel.connect().await.unwrap()
}

/// Waits for a condition, not for ever.
async fn until(condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    let met = tokio::time::timeout(Duration::from_secs(20), met).await;
    met.expect("the condition is met in time");
}

#[tokio::test]
async fn health_and_reflection_answer_without_a_key_on_both_ports() {
    let api = start().await;
    api.plane.readiness.ready().await;
    for (addr, service) in [
        (api.plane.grpc, "sidehook.v1.EventService"),
        (api.plane.agents, "sidehook.agent.v1.AgentService"),
    ] {
        let channel = channel(addr).await;
        for name in ["", service] {
            let request = HealthCheckRequest {
                service: name.into(),
            };
            let mut health = HealthClient::new(channel.clone());
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving);
        }
        assert!(reflected(channel).await.contains(service));
    }
}

/// The services that a port's reflection names.
async fn reflected(channel: Channel) -> BTreeSet<String> {
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(tokio_stream::iter([request]));
    let answer = answers.await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.unwrap().message_response else {
        panic!("no list of services");
    };
    list.service.into_iter().map(|one| one.name).collect()
}

/// The same in the older version.
async fn reflected_before(channel: Channel) -> BTreeSet<String> {
    use v1alpha::{
        server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(tokio_stream::iter([request]));
    let answer = answers.await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.unwrap().message_response else {
        panic!("no list of services");
    };
    list.service.into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn reflection_names_what_the_port_serves_and_nothing_else() {
    let api = start().await;
    let people = [
        "sidehook.v1.AdminService",
        "sidehook.v1.AgentAdminService",
        "sidehook.v1.DeliveryService",
        "sidehook.v1.EventService",
        "sidehook.v1.WebhookService",
    ];
    let agents = ["sidehook.agent.v1.AgentService"];
    for (addr, own) in [(api.plane.grpc, &people[..]), (api.plane.agents, &agents)] {
        let everywhere = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        let served = everywhere.iter().chain(own);
        let served: BTreeSet<_> = served.map(|name| (*name).to_owned()).collect();
        let channel = channel(addr).await;
        assert_eq!(reflected(channel.clone()).await, served);
        assert_eq!(reflected_before(channel).await, served);
    }
}

#[tokio::test]
async fn the_agents_port_has_nothing_for_people() {
    let api = start().await;
    let channel = channel(api.plane.agents).await;
    let mut events = v1::event_service_client::EventServiceClient::new(channel);
    let request = v1::ListEventsRequest::default();
    let answer = events.list_events(Request::new(request.clone())).await;
    assert_reason(answer, Code::Unauthenticated, "NO_CREDENTIAL");
    let answer = events.list_events(with(&api.admin, request)).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn both_ports_speak_tls_when_they_have_a_certificate() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, issued.cert.pem()).unwrap();
    std::fs::write(&key_file, issued.signing_key.serialize_pem()).unwrap();
    let tls = TlsFiles {
        cert_file,
        key_file,
        client_ca_file: None,
        client_cert_required: false,
    };
    let api = over(Arc::new(Model::new()), |config| {
        config.grpc.tls = Some(tls.clone());
        config.agents.tls = Some(tls);
    })
    .await;
    for addr in [api.plane.grpc, api.plane.agents] {
        let plain = Channel::from_shared(format!("http://{addr}"))
            .unwrap()
            .connect_lazy();
        let check = || HealthCheckRequest::default();
        assert!(HealthClient::new(plain).check(check()).await.is_err());
        let authority = Certificate::from_pem(issued.cert.pem());
        let tls = ClientTlsConfig::new()
            .ca_certificate(authority)
            .domain_name("localhost");
        let secure = Channel::from_shared(format!("https://{addr}")).unwrap();
        let secure = secure.tls_config(tls).unwrap().connect().await.unwrap();
        HealthClient::new(secure).check(check()).await.unwrap();
    }
}

#[tokio::test]
async fn every_replica_sees_a_change_at_once() {
    let one = start().await;
    let mut two = over(one.store.clone(), |_| {}).await;
    (two.tenant, two.admin) = (one.tenant.clone(), one.admin.clone());
    for _ in 0..30 {
        let created = one.create(subscription()).await.unwrap();
        assert_eq!(two.publish(event()).await.unwrap().matched, 1);
        let pause = v1::PauseSubscriptionRequest {
            id: created.id.clone(),
            etag: two.get(&two.admin, &created.id).await.unwrap().etag,
        };
        let paused = two
            .webhooks()
            .pause_subscription(with(&two.admin, pause))
            .await;
        assert_eq!(one.publish(event()).await.unwrap().matched, 0);
        let delete = v1::DeleteSubscriptionRequest {
            id: created.id,
            etag: paused.unwrap().into_inner().subscription.unwrap().etag,
        };
        one.webhooks()
            .delete_subscription(with(&one.admin, delete))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_replica_with_another_sealing_key_does_not_start_and_says_why() {
    let one = start().await;
    let tasks = Tasks::new(drain::channel().0);
    let other = plane_over(one.store.clone(), &tasks, |config| {
        config.sealing_key = "08".repeat(32).into();
    });
    let refused = other.await.unwrap_err().to_string();
    assert!(
        refused.starts_with("sealing_key: ") && refused.contains("give it the key that they have"),
        "{refused}"
    );
    plane_over(one.store.clone(), &tasks, |_| {}).await.unwrap();
    tasks.trigger().end();
}

#[tokio::test]
async fn a_drain_ends_streams_and_then_the_process() {
    let api = start().await;
    let watch = v1::WatchDeliveriesRequest::default();
    let watch = api
        .deliveries()
        .watch_deliveries(with(&api.admin, watch))
        .await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let (batches, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let publish = api.events().stream_events(with(&api.admin, stream)).await;
    let mut publish = publish.unwrap().into_inner();
    let batch = v1::StreamEventsRequest {
        sequence: 0,
        events: vec![event()],
    };
    batches.send(batch).await.unwrap();
    assert_eq!(publish.message().await.unwrap().unwrap().watermark, 1);
    api.tasks.trigger().drain("test");
    assert_reason(watch.message().await, Code::Unavailable, "UNAVAILABLE");
    assert_reason(publish.message().await, Code::Unavailable, "UNAVAILABLE");
    assert_eq!(
        api.tasks.finish(Duration::from_secs(10)).await,
        Outcome::Clean
    );
    assert!(TcpStream::connect(api.plane.grpc).await.is_err());
}

const BATCHES: u64 = 60;
const EVENTS: u64 = 40;

/// A client that has published on a stream and taken few answers.
async fn stalled(api: &Api) -> tonic::Streaming<v1::StreamEventsResponse> {
    api.create(subscription()).await.unwrap();
    let addr = format!("http://{}", api.plane.grpc);
    let channel = Channel::from_shared(addr).unwrap();
    // Its window lets about one answer through.
    let channel = channel.initial_stream_window_size(2_048).connect_lazy();
    let batches = (0..BATCHES).map(|number| v1::StreamEventsRequest {
        sequence: number * EVENTS,
        events: vec![event(); EVENTS as usize],
    });
    let batches = tokio_stream::iter(batches).chain(tokio_stream::pending());
    let mut events = v1::event_service_client::EventServiceClient::new(channel);
    let answers = events.stream_events(with(&api.admin, batches)).await;
    let tenant: TenantId = api.tenant.parse().unwrap();
    let queued = async || {
        let inspected = api.store.inspect(Partition::of(tenant)).await;
        inspected.unwrap().ready.len() as u64
    };
    until(async || queued().await == BATCHES * EVENTS).await;
    answers.unwrap().into_inner()
}

#[tokio::test]
async fn a_client_that_takes_its_answers_late_gets_all_and_the_end() {
    let api = start().await;
    let mut answers = stalled(&api).await;
    api.tasks.trigger().drain("test");
    until(async || !api.tasks.live().contains_key("publish_stream")).await;
    for _ in 0..BATCHES {
        assert!(answers.message().await.unwrap().is_some());
    }
    assert_reason(answers.message().await, Code::Unavailable, "UNAVAILABLE");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_does_not_hold_a_drain_up() {
    let api = start_with(|config| config.drain_timeout = Duration::from_millis(500)).await;
    let _answers = stalled(&api).await;
    ends_in_order(&api).await;
}

/// Drains; whoever is connected must not hold it up.
async fn ends_in_order(api: &Api) {
    api.tasks.trigger().drain("test");
    let ended = api.tasks.finish(Duration::from_secs(5)).await;
    assert_eq!(ended, Outcome::Clean);
}

#[tokio::test]
async fn peers_that_ask_nothing_do_not_hold_a_drain_up() {
    let api = start().await;
    let mut silent = TcpStream::connect(api.plane.grpc).await.unwrap();
    let mut deaf = TcpStream::connect(api.plane.agents).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    deaf.write_all(&settings).await.unwrap();
    // The first answer: the connection is served.
    deaf.read_u8().await.unwrap();
    ends_in_order(&api).await;
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_watch_that_needs_no_key_does_not_hold_a_drain_up() {
    let api = start().await;
    let mut health = HealthClient::new(channel(api.plane.grpc).await);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    until_serving(&mut watch).await;
    ends_in_order(&api).await;
    let told = watch.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
}

async fn until_serving(watch: &mut tonic::Streaming<HealthCheckResponse>) {
    while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
}

#[tokio::test]
async fn a_request_under_way_is_answered_during_the_drain() {
    let api = start().await;
    let (batches, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let answers = api.events().stream_events(with(&api.admin, stream)).await;
    let mut answers = answers.unwrap().into_inner();
    let batch = v1::StreamEventsRequest {
        sequence: 0,
        events: vec![event(); 100],
    };
    batches.send(batch).await.unwrap();
    until(async || !api.all_events().await.is_empty()).await;
    ends_in_order(&api).await;
    assert_eq!(answers.message().await.unwrap().unwrap().watermark, 100);
    assert_reason(answers.message().await, Code::Unavailable, "UNAVAILABLE");
}

#[tokio::test]
async fn every_figure_says_what_it_is() {
    let api = start().await;
    api.publish(event()).await.unwrap();
    let mut tcp = TcpStream::connect(api.plane.http).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let types = answer
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let types: Vec<_> = types.filter_map(|line| line.split_once(' ')).collect();
    for expected in ["sidehook_rpcs_total", "sidehook_connections"] {
        assert!(types.iter().any(|(name, _)| *name == expected), "{types:?}");
    }
    for (name, kind) in types {
        assert!(answer.contains(&format!("# HELP {name} ")), "{name}");
        assert!(name.starts_with("sidehook_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
    }
}
