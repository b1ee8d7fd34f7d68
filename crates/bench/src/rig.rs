//! The system under measurement: control plane, agent and store as processes.

use std::time::Duration;

use sidehook_api::v1;
use sidehook_testkit::{Client, System, client::subscription, system::Builder};

use crate::{
    Failure,
    load::{Pace, publish},
    proc_stat::cpu,
    target::Target,
};

/// Deliveries that the agent takes at one time.
const CAPACITY: u32 = 4_096;
/// Events of a publishing batch when saturated.
pub(crate) const BATCH: usize = 64;
/// Time-out of subscriptions, but those that are to hang.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One system, and its publisher.
pub(crate) struct Rig {
    pub(crate) system: System,
    pub(crate) client: Client,
}

/// CPU time of each process.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) control: Duration,
    pub(crate) agent: Duration,
    /// Nothing where the store is embedded.
    pub(crate) redis: Duration,
}

impl Rig {
    /// Starts a system, and sends one event all the way, so that nothing starts during a
    /// measurement.
    pub(crate) async fn start(builder: Builder, target: &Target) -> Result<Self, Failure> {
        let system = builder.capacity(CAPACITY).start().await;
        let client = system.client(0);
        let rig = Self { system, client };
        rig.subscribe(target, "warm_up", "/warm-up").await?;
        target.reset().await?;
        let (batch, events) = (1, 1);
        rig.publish("warm_up", Pace::Saturate { batch, events })
            .await?;
        target.wait_for(|counts| counts.received >= 1).await?;
        Ok(rig)
    }

    /// Subscribes a path of the receiver to an object type.
    pub(crate) async fn subscribe(
        &self,
        target: &Target,
        object_type: &str,
        path: &str,
    ) -> Result<(), Failure> {
        let wanted = wanted(target, object_type, path, TIMEOUT)?;
        self.client.create(wanted).await;
        Ok(())
    }

    /// Publishes; answers how many events were accepted.
    pub(crate) async fn publish(&self, object_type: &str, pace: Pace) -> Result<u64, Failure> {
        publish(&self.client, object_type, pace).await
    }

    /// The control plane's process id.
    pub(crate) fn control(&self) -> u32 {
        self.system.server_id(0)
    }

    /// The agent's process id.
    pub(crate) fn agent(&self) -> Result<u32, Failure> {
        let agent = self.system.agent().ok_or("the agent is not running")?;
        Ok(agent.id())
    }

    /// Redis' process id, where there is one.
    pub(crate) fn redis(&self) -> Option<u32> {
        self.system.redis.as_ref().map(|redis| redis.id())
    }

    pub(crate) fn cpu(&self) -> Result<Cpu, Failure> {
        Ok(Cpu {
            control: cpu(self.control())?,
            agent: cpu(self.agent()?)?,
            redis: self.redis().map_or(Ok(Duration::ZERO), cpu)?,
        })
    }
}

/// A subscription of a path of the receiver with a time-out.
pub(crate) fn wanted(
    target: &Target,
    object_type: &str,
    path: &str,
    timeout: Duration,
) -> Result<v1::Subscription, Failure> {
    let url = format!("http://{}{path}", target.address);
    let mut wanted = subscription(&url, object_type);
    wanted.timeouts = Some(v1::Timeouts {
        total: Some(timeout.try_into()?),
        ..v1::Timeouts::default()
    });
    Ok(wanted)
}
