//! What is measured, in which order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use sidehook_api::v1::{self, admin_service_client::AdminServiceClient};

use crate::{
    Arguments, Failure,
    limit::posts_per_second,
    load::{Caller, Pace, publish},
    measure::{cpu, resident_kib},
    process::{System, beside_this},
    report::{Backlog, BlackHole, Latency, Report, Saturated},
    stats::{Summary, median},
};

/// Events of a publishing batch when saturated.
const BATCH: usize = 64;
/// Deliveries left hanging beside the healthy receiver.
const HANGING: u64 = 1_000;
/// Longest wait for what must arrive.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs everything and writes the report.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut bench = Bench::start(arguments).await?;
    bench.memory_idle()?;
    bench.limit().await?;
    let wanted = |name: &str| name.contains(&arguments.only);
    if wanted("saturated") {
        bench.report.saturated_fanout_1 = Some(bench.saturated("one", 1).await?);
        bench.report.saturated_fanout_10 = Some(bench.saturated("ten", 10).await?);
        bench.memory_after_load()?;
    }
    if wanted("latency") {
        bench.latencies().await?;
    }
    if wanted("backlog") {
        bench.report.backlog = Some(bench.backlog().await?);
    }
    if wanted("black-hole") {
        bench.report.black_hole = Some(bench.black_hole().await?);
    }
    println_report(&bench.report);
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(
        &arguments.output,
        serde_json::to_string_pretty(&bench.report)?,
    )?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn println_report(report: &Report) {
    println!("{}", report.table());
}

struct Bench<'a> {
    arguments: &'a Arguments,
    system: System,
    caller: Caller,
    token: String,
    report: Report,
}

#[derive(Deserialize)]
struct Received {
    received: u64,
    hanging: u64,
    delay_us: Summary,
}

impl<'a> Bench<'a> {
    async fn start(arguments: &'a Arguments) -> Result<Self, Failure> {
        let mut system = System::start().await?;
        let operator = Caller::new(&system, &system.credentials().operator_key).await?;
        let mut admin = AdminServiceClient::new(operator.channel());
        let request = v1::CreateTenantRequest {
            name: "bench".into(),
        };
        let tenant = admin
            .create_tenant(operator.request(request))
            .await?
            .into_inner();
        let tenant_id = tenant.tenant.ok_or("no tenant in the answer")?.id;
        let mut secrets = Vec::new();
        for role in [v1::Role::Admin, v1::Role::Agent] {
            let request = v1::CreateApiKeyRequest {
                tenant_id: tenant_id.clone(),
                name: "bench".into(),
                role: role.into(),
                ..v1::CreateApiKeyRequest::default()
            };
            let key = admin
                .create_api_key(operator.request(request))
                .await?
                .into_inner();
            secrets.push(key.secret);
        }
        let token = secrets.pop().ok_or("no pool token")?;
        let key = secrets.pop().ok_or("no API key")?;
        system.start_agent(&token)?;
        let caller = Caller::new(&system, &key).await?;
        let agent_binary_bytes = std::fs::metadata(beside_this("sidehook-agent")?)?.len();
        let report = Report {
            runs: arguments.runs,
            agent_binary_bytes,
            ..Report::default()
        };
        let bench = Self {
            arguments,
            system,
            caller,
            token,
            report,
        };
        bench.warm_up().await?;
        Ok(bench)
    }

    /// One event all the way, so that nothing starts during a measurement.
    async fn warm_up(&self) -> Result<(), Failure> {
        self.subscribe("warm-up", "/warm-up", Duration::from_secs(30))
            .await?;
        self.reset().await?;
        let pace = Pace::Saturate {
            batch: 1,
            events: 1,
            time: Duration::from_secs(5),
        };
        publish(&self.caller, "warm-up", pace).await?;
        self.wait_for(|stats| stats.received >= 1).await?;
        Ok(())
    }

    async fn limit(&mut self) -> Result<(), Failure> {
        // What a delivery of the benchmark's event weighs on the wire.
        let body = Bytes::from(vec![b'x'; 1024]);
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs {
            let time = Duration::from_secs(self.arguments.seconds.min(5));
            runs.push(posts_per_second(self.system.receiver_port, &body, time).await?);
        }
        self.report.limit_posts_per_second = median(runs);
        Ok(())
    }

    async fn saturated(&self, object_type: &str, fanout: u32) -> Result<Saturated, Failure> {
        for index in 0..fanout {
            let path = format!("/{object_type}/{index}");
            self.subscribe(object_type, &path, Duration::from_secs(30))
                .await?;
        }
        let mut runs: Vec<Saturated> = Vec::new();
        for _ in 0..self.arguments.runs {
            self.reset().await?;
            let before = self.cpu()?;
            let start = Instant::now();
            // A fixed count, timed until the last is received: publishing is faster
            // than delivering, and a fixed time would measure its backlog.
            let events = self.arguments.events / u64::from(fanout);
            let pace = Pace::Saturate {
                batch: BATCH,
                events,
                time: PATIENCE,
            };
            let accepted = publish(&self.caller, object_type, pace).await?;
            let expected = accepted * u64::from(fanout);
            let stats = self.wait_for(|stats| stats.received >= expected).await?;
            let after = self.cpu()?;
            runs.push(self.saturated_run(&stats, start.elapsed(), before, after));
        }
        Ok(Saturated::median(&runs))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    fn saturated_run(
        &self,
        stats: &Received,
        elapsed: Duration,
        before: [Duration; 3],
        after: [Duration; 3],
    ) -> Saturated {
        let deliveries = stats.received as f64;
        let per_delivery = |process: usize| {
            after[process].saturating_sub(before[process]).as_secs_f64() * 1e6 / deliveries
        };
        let rate = deliveries / elapsed.as_secs_f64();
        Saturated {
            deliveries_per_second: rate,
            ratio_to_limit: rate / self.report.limit_posts_per_second,
            control_cpu_us: per_delivery(0),
            agent_cpu_us: per_delivery(1),
            redis_cpu_us: per_delivery(2),
        }
    }

    async fn latencies(&mut self) -> Result<(), Failure> {
        self.subscribe("paced", "/paced", Duration::from_secs(30))
            .await?;
        self.report.latency_at_50 = Some(self.latency("paced", 50.0).await?);
        if let Some(saturated) = &self.report.saturated_fanout_1 {
            let rate = saturated.deliveries_per_second * 0.2;
            self.report.latency_at_20_percent = Some(self.latency("paced", rate).await?);
        }
        Ok(())
    }

    async fn latency(&self, object_type: &str, per_second: f64) -> Result<Latency, Failure> {
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs {
            self.reset().await?;
            let time = Duration::from_secs(self.arguments.seconds);
            let accepted =
                publish(&self.caller, object_type, Pace::Steady { per_second, time }).await?;
            runs.push(
                self.wait_for(|stats| stats.received >= accepted)
                    .await?
                    .delay_us,
            );
        }
        runs.sort_by_key(|run| run.p99);
        let publish_to_receipt_us = runs.get(runs.len() / 2).copied().unwrap_or_default();
        Ok(Latency {
            events_per_second: per_second,
            publish_to_receipt_us,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    async fn backlog(&mut self) -> Result<Backlog, Failure> {
        self.subscribe("backlog", "/backlog", Duration::from_secs(30))
            .await?;
        self.system.stop_agent();
        self.reset().await?;
        let events = self.arguments.backlog;
        let pace = Pace::Saturate {
            batch: BATCH,
            events,
            time: PATIENCE,
        };
        let accepted = publish(&self.caller, "backlog", pace).await?;
        let start = Instant::now();
        self.system.start_agent(&self.token)?;
        self.wait_for(|stats| stats.received >= accepted).await?;
        let seconds = start.elapsed().as_secs_f64();
        let ratio = accepted as f64 / seconds / self.report.limit_posts_per_second;
        Ok(Backlog {
            deliveries: accepted,
            seconds,
            ratio_to_limit: ratio,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    async fn black_hole(&mut self) -> Result<BlackHole, Failure> {
        self.subscribe("healthy", "/healthy", Duration::from_secs(30))
            .await?;
        let alone = self
            .latency("healthy", 50.0)
            .await?
            .publish_to_receipt_us
            .p99;
        // A window of 1,000, so that all of them hang at the agent at one time.
        let id = self
            .subscribe("hole", "/hang", Duration::from_secs(60))
            .await?;
        self.widen(&id).await?;
        let pace = Pace::Saturate {
            batch: BATCH,
            events: HANGING,
            time: PATIENCE,
        };
        publish(&self.caller, "hole", pace).await?;
        self.wait_for(|stats| stats.hanging >= HANGING).await?;
        self.report.memory.agent_1000_in_flight = resident_kib(self.system.agent()?.id())?;
        let beside = self
            .latency("healthy", 50.0)
            .await?
            .publish_to_receipt_us
            .p99;
        let ratio = beside as f64 / (alone.max(1)) as f64;
        Ok(BlackHole {
            hanging: HANGING,
            alone_p99_us: alone,
            beside_p99_us: beside,
            ratio,
        })
    }

    async fn subscribe(
        &self,
        object_type: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<String, Failure> {
        let url = format!("http://127.0.0.1:{}{path}", self.system.receiver_port);
        self.caller.subscribe(url, object_type, timeout).await
    }

    async fn widen(&self, id: &str) -> Result<(), Failure> {
        let mut webhooks =
            v1::webhook_service_client::WebhookServiceClient::new(self.caller.channel());
        let request = v1::UpdateSubscriptionRequest {
            subscription: Some(v1::Subscription {
                id: id.to_owned(),
                max_in_flight: 1_000,
                ..v1::Subscription::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["max_in_flight".into()],
            }),
        };
        webhooks
            .update_subscription(self.caller.request(request))
            .await?;
        Ok(())
    }

    fn cpu(&self) -> Result<[Duration; 3], Failure> {
        let system = &self.system;
        Ok([
            cpu(system.control.id())?,
            cpu(system.agent()?.id())?,
            cpu(system.redis.id())?,
        ])
    }

    fn memory_idle(&mut self) -> Result<(), Failure> {
        self.report.memory.agent_idle = resident_kib(self.system.agent()?.id())?;
        self.report.memory.control_idle = resident_kib(self.system.control.id())?;
        Ok(())
    }

    fn memory_after_load(&mut self) -> Result<(), Failure> {
        self.report.memory.agent_after_load = resident_kib(self.system.agent()?.id())?;
        self.report.memory.control_after_load = resident_kib(self.system.control.id())?;
        self.report.memory.redis_after_load = resident_kib(self.system.redis.id())?;
        Ok(())
    }

    async fn reset(&self) -> Result<(), Failure> {
        self.ask("/reset").await.map(drop)
    }

    async fn wait_for(&self, done: impl Fn(&Received) -> bool) -> Result<Received, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats: Received = serde_json::from_slice(&self.ask("/counts").await?)?;
            if done(&stats) {
                return Ok(serde_json::from_slice(&self.ask("/stats").await?)?);
            }
            if Instant::now() > deadline {
                return Err(
                    format!("only {} deliveries after {PATIENCE:?}", stats.received).into(),
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask(&self, path: &str) -> Result<Bytes, Failure> {
        let address = ("127.0.0.1", self.system.receiver_port);
        let stream = tokio::net::TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())?;
        Ok(sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes())
    }
}

impl Saturated {
    fn median(runs: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(runs.iter().map(field).collect());
        Self {
            deliveries_per_second: of(|run| run.deliveries_per_second),
            ratio_to_limit: of(|run| run.ratio_to_limit),
            control_cpu_us: of(|run| run.control_cpu_us),
            agent_cpu_us: of(|run| run.agent_cpu_us),
            redis_cpu_us: of(|run| run.redis_cpu_us),
        }
    }
}
