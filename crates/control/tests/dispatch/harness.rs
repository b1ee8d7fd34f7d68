//! A replica without its listeners, and an agent that is played by the test.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::pending};
use prost::Message as _;
use sidehook_api::{
    agent_v1::{
        Assign, ConnectRequest, Heartbeat, Hello, LeaseOutcomes, Outcome, OutcomeKind, Outcomes,
        OutcomesAck, Welcome, connect_request, connect_response,
    },
    event, v1,
};
use sidehook_control::{
    agents::{AgentGate, Outgoing},
    allowances::{Allowances, Defaults},
    catalog::Catalogs,
    engine::{DispatchConfig, Engine, OnPause, PublishItem, PublishOutcome},
    sealing::Sealer,
    subscriptions::{Keyed, Subscriptions},
};
use sidehook_core::{
    address::Partition,
    id::{SubscriptionId, TenantId},
    limits::EVENT_BYTES_DEFAULT,
    pool::Pool,
    principal::{Principal, Role},
};
use sidehook_runtime::{
    drain::{self, DrainTrigger},
    tasks::Tasks,
};
use sidehook_store::{Store, budget::Budget, inspect::Inspection};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) const TENANT: TenantId = TenantId::from_bits(0x0dd_ba11);

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Replica {
    pub(crate) engine: Engine,
    pub(crate) gate: AgentGate,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) drain: DrainTrigger,
    pub(crate) store: Arc<dyn Store>,
    tenant: TenantId,
}

pub(crate) fn config() -> DispatchConfig {
    DispatchConfig {
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(5),
        publish_deadline: Duration::from_secs(10),
        ..DispatchConfig::default()
    }
}

pub(crate) fn principal(role: Role) -> Principal {
    Principal {
        tenant: TENANT,
        subject: "key_test".to_owned(),
        role,
    }
}

fn allowances(store: &Arc<dyn Store>, budget: Budget) -> Allowances {
    let defaults = Defaults {
        budget,
        event_bytes: EVENT_BYTES_DEFAULT,
    };
    Allowances::new(Arc::clone(store), defaults)
}

impl Replica {
    pub(crate) async fn start(store: Arc<dyn Store>, config: DispatchConfig) -> Self {
        let (trigger, _) = drain::channel();
        let tasks = Tasks::new(trigger.clone());
        let sealer = Arc::new(Sealer::new(&[7; 32]).expect("a key of the right length"));
        let catalogs = Catalogs::new(Arc::clone(&store), Arc::clone(&sealer));
        let longest = Duration::from_secs(60);
        let allowances = allowances(&store, config.tenant_budget);
        let subscriptions = Subscriptions::new(
            Arc::clone(&store),
            catalogs.clone(),
            allowances.clone(),
            sealer,
            longest,
        );
        let on_pause: Arc<dyn OnPause> = Arc::new(subscriptions.clone());
        let engine_store = Arc::clone(&store);
        let started = Engine::start(config, engine_store, catalogs, allowances, on_pause, &tasks);
        let engine = started.await.expect("the store tells its time");
        Self {
            gate: engine.agents(),
            engine,
            subscriptions,
            drain: trigger,
            store,
            tenant: TENANT,
        }
    }

    /// The same replica, as another tenant uses it.
    pub(crate) fn of(&self, tenant: TenantId) -> Self {
        Self {
            engine: self.engine.clone(),
            gate: self.gate.clone(),
            subscriptions: self.subscriptions.clone(),
            drain: self.drain.clone(),
            store: Arc::clone(&self.store),
            tenant,
        }
    }

    /// A subscription to every `order` event; its first back-off is 100 ms.
    pub(crate) async fn subscribe(&self) -> Keyed {
        self.subscribe_with(|_| {}).await
    }

    /// The same, changed.
    pub(crate) async fn subscribe_with(&self, change: impl Fn(&mut v1::Subscription)) -> Keyed {
        let mut wire = v1::Subscription {
            url: "http://receiver.test/hook".to_owned(),
            events: vec![v1::EventPattern {
                object_type: "order".to_owned(),
                action: "*".to_owned(),
                extra_filter: String::new(),
            }],
            max_in_flight: 1_000,
            retry_policy: Some(v1::RetryPolicy {
                initial_backoff: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 100_000_000,
                }),
                ..v1::RetryPolicy::default()
            }),
            ..v1::Subscription::default()
        };
        change(&mut wire);
        let admin = Principal {
            tenant: self.tenant,
            ..principal(Role::Admin)
        };
        let created = self.subscriptions.create(&admin, &wire, "", 0).await;
        created.expect("a good subscription")
    }

    /// As if another server had sealed its signing keys, with a sealing key of its own.
    pub(crate) async fn seal_elsewhere(&self, id: SubscriptionId) {
        let other = Arc::new(Sealer::new(&[8; 32]).expect("a key of the right length"));
        let catalogs = Catalogs::new(Arc::clone(&self.store), Arc::clone(&other));
        let longest = Duration::from_secs(60);
        let (store, allowances) = (&self.store, allowances(&self.store, Budget::UNLIMITED));
        let elsewhere = Subscriptions::new(Arc::clone(store), catalogs, allowances, other, longest);
        let admin = Principal {
            tenant: self.tenant,
            ..principal(Role::Admin)
        };
        let rotated = elsewhere.rotate(&admin, id, None, "", Duration::ZERO);
        rotated.await.expect("a good subscription");
    }

    pub(crate) async fn publish(&self, count: usize) -> Vec<PublishOutcome> {
        let item = |number: usize| {
            let wire = v1::Event {
                object_type: "order".to_owned(),
                action: "created".to_owned(),
                data: Bytes::from(format!("{{\"number\":{number}}}")),
                ..v1::Event::default()
            };
            PublishItem {
                event: event::from_proto(wire, 10_000).expect("a good event"),
                target: None,
            }
        };
        self.engine
            .publish(self.tenant, (0..count).map(item).collect())
            .await
    }

    pub(crate) async fn inspect(&self) -> Inspection {
        let inspected = self.store.inspect(Partition::of(TENANT)).await;
        let inspected = inspected.expect("the model answers");
        assert_eq!(inspected.faults, Vec::<String>::new());
        inspected
    }

    /// Waits until nothing is queued, lent or waiting.
    pub(crate) async fn settled(&self) {
        let done = async {
            loop {
                let inspected = self.inspect().await;
                if inspected.ready.is_empty()
                    && inspected.leased.is_empty()
                    && inspected.waiting.is_empty()
                {
                    assert_eq!(inspected.in_flight, vec![], "windows are empty again");
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patient("everything to settle", done).await;
    }
}

pub(crate) async fn patient<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(crate) struct Agent {
    pub(crate) outgoing: Outgoing,
    sender: mpsc::Sender<Result<ConnectRequest, tonic::Status>>,
    stamp: u64,
    sequence: u64,
    pub(crate) acks: Vec<OutcomesAck>,
}

pub(crate) fn hello(session_id: u64, capacity: u32) -> Hello {
    Hello {
        protocol: 1,
        agent_id: Bytes::from_static(&[9; 16]),
        boot_id: 1,
        session_id,
        capacity,
        capacity_bytes: 100_000_000,
        name: "test".to_owned(),
        version: "1".to_owned(),
        ..Hello::default()
    }
}

/// The pool `default` of a tenant, or of the platform.
pub(crate) fn pool(owner: TenantId) -> Pool {
    Pool {
        owner,
        name: "default".to_owned(),
    }
}

impl Agent {
    pub(crate) async fn connect(replica: &Replica, hello: Hello) -> (Self, Welcome) {
        Self::connect_as(replica, "key_pool", hello).await
    }

    pub(crate) async fn connect_as(
        replica: &Replica,
        subject: &str,
        hello: Hello,
    ) -> (Self, Welcome) {
        let mut principal = principal(Role::Agent(pool(TENANT)));
        principal.subject = subject.to_owned();
        Self::connect_by(replica, principal, hello).await
    }

    pub(crate) async fn connect_by(
        replica: &Replica,
        principal: Principal,
        hello: Hello,
    ) -> (Self, Welcome) {
        let mut agent = Self::dial(replica, principal, hello).await;
        let Some(connect_response::Frame::Welcome(welcome)) = agent.next().await else {
            panic!("Welcome comes first");
        };
        (agent, welcome)
    }

    /// Says Hello, and does not wait for an answer.
    pub(crate) async fn dial(replica: &Replica, principal: Principal, hello: Hello) -> Self {
        let (sender, receiver) = mpsc::channel(1_000);
        let incoming = ReceiverStream::new(receiver);
        let outgoing = replica
            .gate
            .serve(Arc::new(principal), incoming, pending().boxed());
        let mut agent = Self {
            outgoing,
            sender,
            stamp: 0,
            sequence: 0,
            acks: Vec::new(),
        };
        agent.send(connect_request::Frame::Hello(hello)).await;
        agent
    }

    /// What the session ends with; frames before it are passed over.
    pub(crate) async fn end(&mut self) -> Option<tonic::Status> {
        loop {
            match patient("the end", self.outgoing.next()).await? {
                Ok(_) => {}
                Err(status) => return Some(status),
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: connect_request::Frame) {
        self.stamp += 1;
        let request = ConnectRequest {
            stamp: self.stamp,
            frame: Some(frame),
        };
        self.sender
            .send(Ok(request))
            .await
            .expect("the session reads");
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<connect_response::Frame> {
        let response = patient("a frame", self.outgoing.next()).await?;
        response.expect("no error").frame
    }

    /// The next work; acknowledgements before it are kept.
    pub(crate) async fn work(&mut self) -> Assign {
        loop {
            match self.next().await {
                Some(connect_response::Frame::Assign(assign)) => {
                    assert!(assign.stamp <= self.stamp);
                    return assign;
                }
                Some(connect_response::Frame::OutcomesAck(ack)) => self.acks.push(ack),
                other => panic!("neither work nor acknowledgement: {other:?}"),
            }
        }
    }

    /// The next frame, which is an acknowledgement.
    pub(crate) async fn acknowledged(&mut self) -> OutcomesAck {
        match self.next().await {
            Some(connect_response::Frame::OutcomesAck(ack)) => ack,
            other => panic!("no acknowledgement: {other:?}"),
        }
    }

    /// Makes sure that whatever was sent has been read.
    pub(crate) async fn heard(&mut self) {
        let beat = Heartbeat {
            number: self.stamp,
            in_flight: 0,
        };
        self.send(connect_request::Frame::Heartbeat(beat)).await;
        while self.next().await != Some(connect_response::Frame::Heartbeat(beat)) {}
    }

    /// Reports all deliveries of a lease with the same answer.
    pub(crate) async fn answer(&mut self, assign: &Assign, status: u32) {
        let positions = assign.deliveries.iter().map(|delivery| delivery.position);
        self.report(assign.lease.clone(), positions.collect(), status)
            .await;
    }

    pub(crate) async fn report(&mut self, lease: Bytes, positions: Vec<u32>, status: u32) {
        self.report_all(vec![(lease, positions)], status).await;
    }

    /// Reports deliveries of several leases in one frame, all with the same answer.
    pub(crate) async fn report_all(&mut self, leases: Vec<(Bytes, Vec<u32>)>, status: u32) {
        self.sequence += 1;
        let outcome = |position| Outcome {
            position,
            kind: OutcomeKind::Response.into(),
            response_status: status,
            duration_us: 1_000,
            ..Outcome::default()
        };
        let leases = leases.into_iter().map(|(lease, positions)| LeaseOutcomes {
            lease,
            outcomes: positions.into_iter().map(outcome).collect(),
        });
        let leases = leases.collect();
        let sequence = self.sequence;
        self.send(connect_request::Frame::Outcomes(Outcomes {
            sequence,
            leases,
        }))
        .await;
    }
}

/// The event of a delivery, as the agent reads it.
pub(crate) fn event_of(assign: &Assign, delivery: usize) -> v1::Event {
    let place = assign.deliveries[delivery].event as usize;
    v1::Event::decode(assign.events[place].clone()).expect("an event")
}
