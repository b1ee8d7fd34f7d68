//! The figures: a table for people, and `bench.json` for programs.

use serde::Serialize;

use crate::{
    limit::Limit,
    scenarios::{
        Backlog, BlackHole, Clearing, Drain, Latency, Matching, Memory, Queued, Saturated,
        StoreFigures,
    },
};

/// Everything that was measured. The keys of `bench.json` are these fields' names; what
/// was not asked for is null.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The bare client: what all ratios to the limit refer to.
    pub(crate) limit: Option<Limit>,
    /// Saturated, each event for one subscription.
    pub(crate) saturated_fanout_1: Option<Saturated>,
    /// Saturated, each event for ten subscriptions.
    pub(crate) saturated_fanout_10: Option<Saturated>,
    /// Publish to receipt at 50 events/s.
    pub(crate) latency_at_50: Option<Latency>,
    /// Publish to receipt at a fifth of the saturated rate.
    pub(crate) latency_at_20_percent: Option<Latency>,
    /// Draining what was published while no agent was there.
    pub(crate) drain: Option<Drain>,
    /// A healthy receiver beside one that never answers.
    pub(crate) black_hole: Option<BlackHole>,
    /// The same system over other stores.
    pub(crate) stores: Vec<StoreFigures>,
    /// Claim and settle at a long backlog against a short one.
    pub(crate) backlog: Option<Backlog>,
    /// Clearing a deleted subscription's queue.
    pub(crate) clearing: Option<Clearing>,
    /// Memory of what is queued.
    pub(crate) queued: Vec<Queued>,
    /// Matching one event against many filters.
    pub(crate) matching: Vec<Matching>,
    /// Resident memory of the processes.
    pub(crate) memory: Option<Memory>,
    /// The table, with what was met.
    pub(crate) rows: Vec<Row>,
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What it gave.
    pub(crate) measured: String,
    /// What it should give, where there is a goal.
    pub(crate) goal: Option<String>,
    /// Whether it does.
    pub(crate) met: Option<bool>,
}

impl Row {
    /// A line without a goal.
    pub(crate) fn new(what: impl Into<String>, measured: String) -> Self {
        Self {
            what: what.into(),
            measured,
            goal: None,
            met: None,
        }
    }

    /// With a goal in words, and whether it was met.
    pub(crate) fn goal(mut self, goal: &str, met: bool) -> Self {
        self.goal = Some(goal.to_owned());
        self.met = Some(met);
        self
    }

    const fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        }
    }
}

impl Report {
    /// Gathers the lines of everything that was measured.
    pub(crate) fn conclude(&mut self) {
        let mut rows = Vec::new();
        rows.extend(self.limit.iter().map(Limit::row));
        for (name, one) in [
            ("one subscription", &self.saturated_fanout_1),
            ("fan-out 10", &self.saturated_fanout_10),
        ] {
            rows.extend(one.iter().flat_map(|one| one.rows(name)));
        }
        let latencies = [&self.latency_at_50, &self.latency_at_20_percent];
        rows.extend(latencies.into_iter().flatten().map(Latency::row));
        rows.extend(self.drain.iter().map(Drain::row));
        rows.extend(self.black_hole.iter().map(BlackHole::row));
        rows.extend(self.stores.iter().flat_map(StoreFigures::rows));
        rows.extend(self.backlog.iter().flat_map(Backlog::rows));
        rows.extend(self.clearing.iter().map(Clearing::row));
        rows.extend(self.queued.iter().map(Queued::row));
        rows.extend(self.matching.iter().map(Matching::row));
        rows.extend(self.memory.iter().flat_map(Memory::rows));
        self.rows = rows;
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let width = |of: fn(&Row) -> &str| {
            let lengths = self.rows.iter().map(|row| of(row).chars().count());
            lengths.max().unwrap_or(0)
        };
        let what = width(|row| &row.what);
        let measured = width(|row| &row.measured);
        let line = |row: &Row| {
            let goal = row.goal.as_deref().unwrap_or_default();
            let verdict = row.verdict();
            let line = format!(
                "{:<what$}  {:<measured$}  {goal:<9}  {verdict}",
                row.what, row.measured
            );
            line.trim_end().to_owned()
        };
        let lines: Vec<_> = self.rows.iter().map(line).collect();
        lines.join("\n")
    }
}

/// A share in per cent, with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Microseconds as milliseconds, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn milliseconds(microseconds: u64) -> String {
    format!("{:.1}", microseconds as f64 / 1000.0)
}
