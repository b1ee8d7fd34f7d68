//! What is measured, in which order.

mod backlog;
mod black_hole;
mod latency;
mod saturated;

use std::{fs, time::Duration};

use bytes::Bytes;
use sidehook_api::v1;
use sidehook_testkit::{
    client::{Client, subscription},
    process::binary,
    system::System,
};
use tempfile::TempDir;

use crate::{
    Arguments, Failure,
    bare_client::posts_per_second,
    load::{Pace, publish},
    proc_stat::{cpu, resident_kib},
    report::Report,
    stats::median,
    target::Target,
};

/// Deliveries that the agent takes at one time.
const CAPACITY: u32 = 4_096;
/// Events of a publishing batch when saturated.
const BATCH: usize = 64;
/// Time-out of subscriptions, but those that are to hang.
const TIMEOUT: Duration = Duration::from_secs(30);

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
        fs::create_dir_all(folder)?;
    }
    let json = serde_json::to_string_pretty(&bench.report)?;
    fs::write(&arguments.output, json)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn println_report(report: &Report) {
    println!("{}", report.table());
}

/// The system under measurement, and what has been found.
struct Bench<'a> {
    arguments: &'a Arguments,
    system: System,
    client: Client,
    target: Target,
    report: Report,
    /// Held for its end alone.
    _folder: TempDir,
}

impl<'a> Bench<'a> {
    async fn start(arguments: &'a Arguments) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let target = Target::start(folder.path()).await?;
        let system = System::builder().capacity(CAPACITY).start().await;
        let report = Report {
            runs: arguments.runs,
            agent_binary_bytes: fs::metadata(binary("sidehook-agent"))?.len(),
            ..Report::default()
        };
        let bench = Self {
            arguments,
            client: system.client(0),
            system,
            target,
            report,
            _folder: folder,
        };
        bench.warm_up().await?;
        Ok(bench)
    }

    /// One event all the way, so that nothing starts during a measurement.
    async fn warm_up(&self) -> Result<(), Failure> {
        self.subscribe("warm_up", "/warm-up").await?;
        self.target.reset().await?;
        let pace = Pace::Saturate {
            batch: 1,
            events: 1,
        };
        publish(&self.client, "warm_up", pace).await?;
        self.target.wait_for(|counts| counts.received >= 1).await?;
        Ok(())
    }

    async fn limit(&mut self) -> Result<(), Failure> {
        // What a delivery of the benchmark's event weighs on the wire.
        let body = Bytes::from(vec![b'x'; 1024]);
        let time = Duration::from_secs(self.arguments.seconds.min(5));
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs {
            runs.push(posts_per_second(self.target.address, &body, time).await?);
        }
        self.report.limit_posts_per_second = median(runs);
        Ok(())
    }

    async fn subscribe(&self, object_type: &str, path: &str) -> Result<(), Failure> {
        let wanted = self.subscription(object_type, path, TIMEOUT)?;
        self.client.create(wanted).await;
        Ok(())
    }

    fn subscription(
        &self,
        object_type: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<v1::Subscription, Failure> {
        let url = format!("http://{}{path}", self.target.address);
        let mut wanted = subscription(&url, object_type);
        wanted.timeouts = Some(v1::Timeouts {
            total: Some(timeout.try_into()?),
            ..v1::Timeouts::default()
        });
        Ok(wanted)
    }

    /// Process ids of control plane, agent and Redis.
    fn processes(&self) -> Result<[u32; 3], Failure> {
        let agent = self.system.agent().ok_or("the agent is not running")?;
        let redis = self.system.redis.as_ref();
        let redis = redis.ok_or("Redis is not running")?;
        Ok([self.system.server_id(0), agent.id(), redis.id()])
    }

    fn cpu(&self) -> Result<[Duration; 3], Failure> {
        let [control, agent, redis] = self.processes()?;
        Ok([cpu(control)?, cpu(agent)?, cpu(redis)?])
    }

    fn memory_idle(&mut self) -> Result<(), Failure> {
        let [control, agent, _] = self.processes()?;
        self.report.memory.agent_idle = resident_kib(agent)?;
        self.report.memory.control_idle = resident_kib(control)?;
        Ok(())
    }

    fn memory_after_load(&mut self) -> Result<(), Failure> {
        let [control, agent, redis] = self.processes()?;
        self.report.memory.agent_after_load = resident_kib(agent)?;
        self.report.memory.control_after_load = resident_kib(control)?;
        self.report.memory.redis_after_load = resident_kib(redis)?;
        Ok(())
    }
}
