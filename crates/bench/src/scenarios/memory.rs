//! Resident memory of the processes, and the size of the agent's binary.

use std::fs;

use serde::Serialize;
use sidehook_testkit::binary;

use crate::{Failure, proc_stat::resident_kib, report::Row, rig::Rig};

/// Resident memory, in KiB; 0 where it was not asked for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// The agent before any delivery but one.
    pub(crate) agent_idle: u64,
    /// The agent with the deliveries of the black hole in flight.
    pub(crate) agent_hanging: u64,
    /// The agent after the saturated runs.
    pub(crate) agent_after_load: u64,
    /// The control plane before any event but one.
    pub(crate) control_idle: u64,
    /// The control plane after the saturated runs.
    pub(crate) control_after_load: u64,
    /// Redis after the saturated runs.
    pub(crate) redis_after_load: u64,
    /// Size of the agent's binary, in bytes.
    pub(crate) agent_binary_bytes: u64,
}

impl Memory {
    pub(super) fn idle(rig: &Rig) -> Result<Self, Failure> {
        Ok(Self {
            agent_idle: resident_kib(rig.agent()?)?,
            control_idle: resident_kib(rig.control())?,
            agent_binary_bytes: fs::metadata(binary("sidehook-agent"))?.len(),
            ..Self::default()
        })
    }

    pub(super) fn after_load(&mut self, rig: &Rig) -> Result<(), Failure> {
        self.agent_after_load = resident_kib(rig.agent()?)?;
        self.control_after_load = resident_kib(rig.control())?;
        self.redis_after_load = rig.redis().map_or(Ok(0), resident_kib)?;
        Ok(())
    }

    /// The most that it ever was.
    pub(super) fn hanging(&mut self, rig: &Rig) -> Result<(), Failure> {
        self.agent_hanging = self.agent_hanging.max(resident_kib(rig.agent()?)?);
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let mebibytes = |kib: u64| kib.div_ceil(1024);
        let mut rows = Vec::new();
        let mut row = |what: &str, figures: &[(&str, u64)]| {
            let known = figures.iter().filter(|(_, kib)| *kib > 0);
            let texts: Vec<_> = known
                .map(|(when, kib)| format!("{} {when}", mebibytes(*kib)))
                .collect();
            rows.push(Row::new(what, texts.join(", ")));
        };
        row(
            "agent, resident MiB",
            &[
                ("idle", self.agent_idle),
                ("hanging", self.agent_hanging),
                ("after load", self.agent_after_load),
            ],
        );
        row(
            "control plane, resident MiB",
            &[
                ("idle", self.control_idle),
                ("after load", self.control_after_load),
            ],
        );
        if self.redis_after_load > 0 {
            row(
                "Redis, resident MiB",
                &[("after load", self.redis_after_load)],
            );
        }
        let kib = self.agent_binary_bytes / 1024;
        rows.push(Row::new("agent's binary", format!("{kib} KiB")));
        rows
    }
}
