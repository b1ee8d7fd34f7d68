//! A control plane of the test's own, two receivers, and an agent between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use secrecy::SecretString;
use sidehook_api::agent_v1::agent_service_server::{AgentService, AgentServiceServer};
use sidehook_api::agent_v1::connect_request::Frame;
use sidehook_api::agent_v1::connect_response::Frame as Answer;
use sidehook_api::agent_v1::{
    Assign, AssignedDelivery, ConnectRequest, ConnectResponse, Hello, LeaseOutcomes, SigningScheme,
    SigningSettings, SubscriptionSettings, Welcome,
};
use sidehook_api::v1::Event;
use sidehook_core::id::{SubscriptionId, TenantId};
use sidehook_runtime::drain;
use sidehook_runtime::probe::Readiness;
use sidehook_runtime::tasks::{OnPanic, TaskHandle, TaskKind, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::egress::Egress;
use crate::{Agent, AgentConfig};

pub(super) const LEASE: &[u8] = b"lease";
pub(super) const TOKEN: &str = "pool-token";
const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: TaskKind = TaskKind::new("test_server", OnPanic::Log).background();
const AGENT: TaskKind = TaskKind::new("test_agent", OnPanic::Log).background();

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl AgentService for Service {
    type ConnectStream = ReceiverStream<Result<ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let (answers, stream) = mpsc::channel(64);
        let accepted = Stream {
            authorization: authorization.unwrap_or_default().to_owned(),
            requests: request.into_inner(),
            answers,
        };
        self.0
            .send(accepted)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// One stream, in the test's hands.
pub(super) struct Stream {
    pub(super) authorization: String,
    pub(super) answers: mpsc::Sender<Result<ConnectResponse, Status>>,
    requests: Streaming<ConnectRequest>,
}

/// Outcomes of several frames.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
    pub(super) leases: Vec<LeaseOutcomes>,
}

impl Stream {
    pub(super) async fn send(&mut self, frame: Answer) {
        let frame = ConnectResponse { frame: Some(frame) };
        self.answers.send(Ok(frame)).await.expect("a live stream");
    }

    pub(super) async fn next_stamped(&mut self) -> (u64, Frame) {
        let message = timeout(PATIENCE, self.requests.message()).await;
        let request = message
            .expect("in time")
            .expect("no error")
            .expect("no end");
        (request.stamp, request.frame.expect("a frame"))
    }

    pub(super) async fn next(&mut self) -> Frame {
        self.next_stamped().await.1
    }

    pub(super) async fn hello(&mut self) -> (u64, Hello) {
        match self.next_stamped().await {
            (stamp, Frame::Hello(hello)) => (stamp, hello),
            (_, other) => panic!("not a Hello: {other:?}"),
        }
    }

    /// Collects outcomes until there are `count`; other frames are passed over.
    pub(super) async fn outcomes(&mut self, count: usize) -> Collected {
        let mut collected = Collected::default();
        let mut seen = 0;
        while seen < count {
            let Frame::Outcomes(outcomes) = self.next().await else {
                continue;
            };
            if collected.first_sequence == 0 {
                collected.first_sequence = outcomes.sequence;
            }
            collected.last_sequence = outcomes.sequence;
            seen += outcomes
                .leases
                .iter()
                .map(|lease| lease.outcomes.len())
                .sum::<usize>();
            collected.leases.extend(outcomes.leases);
        }
        assert_eq!(seen, count);
        collected
    }

    /// Waits until the agent leaves.
    pub(super) async fn ended(&mut self) {
        let leaving = async { while let Ok(Some(_)) = self.requests.message().await {} };
        timeout(PATIENCE, leaving).await.expect("the agent leaves");
    }
}

pub(super) struct Plane {
    pub(super) tasks: Tasks,
    pub(super) receiver: Receiver,
    pub(super) hanging: Receiver,
    pub(super) agent: TaskHandle<()>,
    readiness: Readiness,
    streams: mpsc::Receiver<Stream>,
}

impl Plane {
    pub(super) async fn start() -> Self {
        Self::with(None, None, |_| {}).await
    }

    /// With an agent that keeps its identity in a directory.
    pub(super) async fn with_state(state_dir: PathBuf) -> Self {
        Self::with(None, None, |config| config.state_dir = Some(state_dir)).await
    }

    /// Behind TLS, as this host.
    pub(super) async fn with_tls(identity: Identity, host: &str, ca_file: Option<PathBuf>) -> Self {
        Self::with(Some(identity), Some(host), |config| {
            config.ca_file = ca_file
        })
        .await
    }

    async fn with(
        identity: Option<Identity>,
        host: Option<&str>,
        change: impl FnOnce(&mut AgentConfig),
    ) -> Self {
        let tasks = Tasks::new(drain::channel().0);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if identity.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}:{port}", host.unwrap_or("127.0.0.1"));
        let (accepted, streams) = mpsc::channel(4);
        let mut server = Server::builder();
        if let Some(identity) = identity {
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).expect("a valid identity");
        }
        let server = server
            .add_service(AgentServiceServer::new(Service(accepted)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tasks.spawn(SERVER, server);
        let mut config = AgentConfig::new(url.parse().expect("a URL"), SecretString::from(TOKEN));
        config.name = "test".to_owned();
        config.capacity = 100;
        config.egress = Egress {
            allow_private: false,
            allow_loopback: true,
        };
        change(&mut config);
        let readiness = Readiness::new(tasks.drain());
        let condition = readiness.condition("control_plane");
        let agent = Agent::new(config, tasks.drain(), tasks.clone(), Some(condition));
        let agent = tasks.spawn(AGENT, agent.expect("a valid configuration").run());
        Self {
            receiver: Receiver::start(&tasks, true).await,
            hanging: Receiver::start(&tasks, false).await,
            tasks,
            agent,
            readiness,
            streams,
        }
    }

    pub(super) async fn accept(&mut self) -> Stream {
        let stream = timeout(PATIENCE, self.streams.recv()).await;
        stream.expect("in time").expect("the server lives")
    }

    pub(super) async fn connected(&self) {
        let ready = timeout(PATIENCE, self.readiness.ready()).await;
        ready.expect("a session is accepted");
    }

    /// Waits until the agent is not connected for a reason of its own, and gives it.
    pub(super) async fn unmet(&self) -> String {
        let waiting = async {
            loop {
                match self.readiness.missing().into_iter().next() {
                    Some((_, reason)) if reason != "starting" => return reason,
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(PATIENCE, waiting).await.expect("a reason")
    }
}

/// Counts requests and takes them all, or answers none.
pub(super) struct Receiver {
    addr: SocketAddr,
    answers: bool,
    requests: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(tasks: &Tasks, answers: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, spawner) = (Arc::clone(&requests), tasks.clone());
        tasks.spawn(SERVER, async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                spawner.spawn(SERVER, async move {
                    let mut buffer = vec![0; 65_536];
                    // The agent writes head and body at once, and waits for the answer.
                    while let Ok(1..) = tcp.read(&mut buffer).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        if answers {
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken";
                            let _ = tcp.write_all(answer).await;
                        }
                    }
                });
            }
        });
        Self {
            addr,
            answers,
            requests,
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) async fn wait_for(&self, count: usize) {
        let waiting = async {
            while self.requests() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("requests");
    }
}

pub(super) fn welcome(lease_ms: u32, heartbeat_ms: u32) -> Answer {
    Answer::Welcome(Welcome {
        lease_ms,
        heartbeat_ms,
        dead_leases: vec![],
        agent_id: Bytes::new(),
    })
}

pub(super) fn assign(receiver: &Receiver, stamp: u64, deliveries: u32) -> Answer {
    assign_to(LEASE, receiver, stamp, deliveries)
}

/// Deliveries of one event; to a receiver that hangs one at a time, for half a second.
pub(super) fn assign_to(
    lease: &'static [u8],
    receiver: &Receiver,
    stamp: u64,
    deliveries: u32,
) -> Answer {
    let event = Event {
        id: "ev_1".into(),
        data: "{}".into(),
        ..Default::default()
    };
    let settings = SubscriptionSettings {
        key: 7,
        subscription_id: SubscriptionId::from_bits(receiver.addr.port().into()).to_string(),
        url: format!("http://{}/", receiver.addr),
        dns_timeout_ms: 500,
        connect_timeout_ms: 500,
        total_timeout_ms: if receiver.answers { 10_000 } else { 500 },
        max_in_flight: if receiver.answers { 16 } else { 1 },
        signing: Some(SigningSettings {
            scheme: SigningScheme::Unsigned.into(),
            ..Default::default()
        }),
        tenant_id: TenantId::from_bits(1).to_string(),
        ..Default::default()
    };
    let delivery = |position| AssignedDelivery {
        event: 0,
        settings_key: 7,
        attempt: 1,
        position,
        delivery_id: Bytes::from_static(&[7; 16]),
    };
    Answer::Assign(Assign {
        lease: Bytes::from_static(lease),
        stamp,
        events: vec![event.encode_to_vec().into()],
        settings: vec![settings],
        deliveries: (0..deliveries).map(delivery).collect(),
    })
}
