//! What Redis tells of itself.

use super::Desk;
use crate::Failure;

/// Milliseconds from which on the latency monitor notes a command: its finest.
const MONITORED_MS: &str = "1";
/// Microseconds from which on a command is in the slow log.
const SLOW_US: &str = "100";
/// The slowest script, in microseconds, and how many are in the slow log.
const SLOWEST: &str = "local most, count = 0, 0 \
    for _, entry in ipairs(redis.call('SLOWLOG', 'GET', -1)) do \
      if string.lower(entry[4][1]) == 'evalsha' then \
        count = count + 1 \
        if entry[3] > most then most = entry[3] end \
      end \
    end \
    return {most, count}";

/// What held Redis up longest since the last `watch`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowest {
    /// The slow log's longest script, in microseconds; 0 if none took 100.
    pub(crate) script_us: u64,
    /// The latency monitor's longest event of any kind but writing to disk, in
    /// milliseconds; 0 if none took 1.
    pub(crate) monitored_ms: u64,
}

impl Desk {
    /// Commands executed so far, those of scripts included and these questions not.
    pub(super) async fn commands(&self) -> Result<u64, Failure> {
        let text = self.redis.try_command(&["INFO", "commandstats"]).await?;
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let counts = name != "info";
            counts.then(|| rest.split(',').next()?.parse::<u64>().ok())?
        });
        Ok(calls.sum())
    }

    /// Bytes that Redis has allotted, without what connections and the log's buffer hold.
    pub(crate) async fn memory(&self) -> Result<u64, Failure> {
        let text = self.redis.try_command(&["INFO", "memory"]).await?;
        let field = |name: &str| -> Result<u64, Failure> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value = line.ok_or_else(|| format!("INFO does not tell {name}"))?;
            Ok(value.trim().parse()?)
        };
        let buffers = field("mem_clients_normal:")? + field("mem_aof_buffer:")?;
        Ok(field("used_memory:")?.saturating_sub(buffers))
    }

    /// Forgets what was slow so far, and notes it from now on.
    pub(crate) async fn watch(&self) -> Result<(), Failure> {
        for command in [
            &["CONFIG", "SET", "latency-monitor-threshold", MONITORED_MS][..],
            &["CONFIG", "SET", "slowlog-log-slower-than", SLOW_US],
            &["CONFIG", "SET", "slowlog-max-len", "100000"],
            &["LATENCY", "RESET"],
            &["SLOWLOG", "RESET"],
        ] {
            self.redis.try_command(command).await?;
        }
        Ok(())
    }

    /// What was slow since `watch`.
    pub(crate) async fn slowest(&self) -> Result<Slowest, Failure> {
        // Before the question about the slow log, which is slow itself.
        let latest = self.redis.try_command(&["LATENCY", "LATEST"]).await?;
        // Four lines for each event: its name, when, the latest and the longest.
        let lines: Vec<_> = latest.lines().collect();
        let events = lines
            .chunks(4)
            .filter(|event| !event[0].starts_with("aof-"));
        let longest = events.filter_map(|event| event.get(3)?.parse().ok()).max();
        let told = self.redis.try_command(&["EVAL", SLOWEST, "0"]).await?;
        let script_us = told.lines().next().ok_or("no slow log")?.parse()?;
        Ok(Slowest {
            script_us,
            monitored_ms: longest.unwrap_or(0),
        })
    }
}
