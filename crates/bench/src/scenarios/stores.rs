//! The same system over other stores than the recommended one: what strict durability
//! costs in Redis, and what the embedded store carries at either level.

use serde::Serialize;
use sidehook_testkit::{System, system::Builder};
use tempfile::TempDir;

use super::{Bench, Latency, Saturated, latency::QUIET};
use crate::{Failure, report::Row, rig::Rig};

/// A store other than Redis with `appendfsync everysec`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Redis with `appendfsync always`.
    RedisStrict,
    /// The embedded store, on disk before each answer.
    EmbeddedStrict,
    /// The embedded store, on disk within a second.
    EmbeddedRelaxed,
}

impl Kind {
    const ALL: [Self; 3] = [
        Self::RedisStrict,
        Self::EmbeddedStrict,
        Self::EmbeddedRelaxed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RedisStrict => "Redis strict",
            Self::EmbeddedStrict => "embedded strict",
            Self::EmbeddedRelaxed => "embedded relaxed",
        }
    }

    fn system(self, folder: &TempDir) -> Builder {
        let builder = System::builder();
        let durability = match self {
            Self::RedisStrict => return builder.redis(&["--appendfsync", "always"]),
            Self::EmbeddedStrict => "strict",
            Self::EmbeddedRelaxed => "relaxed",
        };
        let path = folder.path().join("store");
        builder.store(&format!(
            "embedded = \"{}\"\ndurability = \"{durability}\"",
            path.display()
        ))
    }
}

/// What one of them carries.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct StoreFigures {
    /// Which.
    pub(crate) store: Kind,
    /// Saturated, each event for one subscription.
    pub(crate) saturated: Saturated,
    /// Publish to receipt at 50 events/s.
    pub(crate) latency_at_50: Latency,
}

impl Bench {
    pub(super) async fn stores(&mut self) -> Result<Vec<StoreFigures>, Failure> {
        let mut found = Vec::new();
        for store in Kind::ALL {
            let folder = tempfile::tempdir()?;
            let rig = Rig::start(store.system(&folder), &self.target).await?;
            let saturated = self.saturated(&rig, "one", 1).await?;
            rig.subscribe(&self.target, "paced", "/paced").await?;
            let latency_at_50 = self.latency(&rig, "paced", QUIET).await?;
            found.push(StoreFigures {
                store,
                saturated,
                latency_at_50,
            });
        }
        Ok(found)
    }
}

impl StoreFigures {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let name = self.store.name();
        let what = format!("publish to receipt at {QUIET:.0}/s, {name}");
        let mut rows = Vec::from(self.saturated.plain_rows(name));
        rows.push(Row::new(what, self.latency_at_50.text()));
        rows
    }
}
