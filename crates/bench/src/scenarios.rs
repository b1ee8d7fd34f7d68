//! What is measured, in which order.

mod backlog;
mod black_hole;
mod clearing;
mod drain;
mod latency;
mod matching;
mod memory;
mod queued;
mod saturated;
mod stores;

use std::fs;

use sidehook_testkit::System;
use tempfile::TempDir;

pub(crate) use self::{
    backlog::Backlog, black_hole::BlackHole, clearing::Clearing, drain::Drain, latency::Latency,
    matching::Matching, memory::Memory, queued::Queued, saturated::Saturated, stores::StoreFigures,
};
use crate::{
    Arguments, Failure,
    limit::{self, BarePosts, Limit},
    plan::Plan,
    report::Report,
    rig::Rig,
    target::Target,
};

/// The scenarios, as `--only` names them.
const NAMES: [&str; 9] = [
    "saturated",
    "latency",
    "drain",
    "black-hole",
    "stores",
    "backlog",
    "clearing",
    "queued",
    "matching",
];
/// Those that measure the whole system over Redis as it is recommended.
const WHOLE: [&str; 4] = ["saturated", "latency", "drain", "black-hole"];

/// Runs what is wanted and writes the report.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let unknown = |name: &&String| !NAMES.contains(&name.as_str());
    if let Some(name) = arguments.only.iter().find(unknown) {
        return Err(format!("no scenario {name}: there are {}", NAMES.join(", ")).into());
    }
    let only = &arguments.only;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    let mut bench = Bench::start(arguments).await?;
    if WHOLE.into_iter().any(wanted) {
        bench.whole_system(&wanted).await?;
    }
    if wanted("stores") {
        bench.report.stores = bench.stores().await?;
    }
    if wanted("backlog") {
        bench.report.backlog = Some(backlog::measure(&bench.plan).await?);
    }
    if wanted("clearing") {
        bench.report.clearing = Some(clearing::measure(&bench.plan).await?);
    }
    if wanted("queued") {
        bench.report.queued = queued::measure(&bench.plan).await?;
    }
    if wanted("matching") {
        bench.report.matching = matching::measure(&bench.plan)?;
    }
    if !bench.limits.is_empty() {
        bench.report.limit = Some(Limit::of(&bench.limits));
    }
    bench.report.conclude();
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

/// What all scenarios share, and what has been found.
struct Bench {
    plan: Plan,
    target: Target,
    report: Report,
    /// Every measurement of the limit.
    limits: Vec<BarePosts>,
    /// Held for its end alone.
    _folder: TempDir,
}

impl Bench {
    async fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            plan: Plan::of(arguments),
            target: Target::start(folder.path()).await?,
            report: Report::default(),
            limits: Vec::new(),
            _folder: folder,
        })
    }

    /// The limit at this moment.
    async fn limit(&mut self) -> Result<BarePosts, Failure> {
        let measured = limit::measure(&self.target, self.plan.limit_time).await?;
        self.limits.push(measured);
        Ok(measured)
    }

    async fn whole_system(&mut self, wanted: &impl Fn(&str) -> bool) -> Result<(), Failure> {
        let mut rig = Rig::start(System::builder(), &self.target).await?;
        let mut memory = Memory::idle(&rig)?;
        if wanted("saturated") {
            let fanned = self.saturated(&rig, "one", 1).await?;
            self.report.saturated_fanout_1 = Some(fanned);
            let fanned = self.saturated(&rig, "ten", 10).await?;
            self.report.saturated_fanout_10 = Some(fanned);
            memory.after_load(&rig)?;
        }
        if wanted("latency") {
            self.latencies(&rig).await?;
        }
        if wanted("drain") {
            self.report.drain = Some(self.drain(&mut rig).await?);
        }
        if wanted("black-hole") {
            self.report.black_hole = Some(self.black_hole(&rig, &mut memory).await?);
        }
        self.report.memory = Some(memory);
        Ok(())
    }
}
