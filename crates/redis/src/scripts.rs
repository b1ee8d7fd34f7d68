//! The scripts, put together from their libraries, and how they are called.
//!
//! Each call names a guard beside its partition's state: a key that never exists, so
//! that no script runs while its slot moves from one node of a Cluster to another
//! (`route` tells why). Where nothing moves it costs a few bytes.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

use crate::layout;
use sidehook_core::address::Partition;

const STATE: &str = include_str!("scripts/lib_state.lua");
const BUDGET: &str = include_str!("scripts/lib_budget.lua");
const LEASE: &str = include_str!("scripts/lib_lease.lua");
const RING: &str = include_str!("scripts/lib_ring.lua");
const LOG: &str = include_str!("scripts/lib_log.lua");
const HEALTH: &str = include_str!("scripts/lib_health.lua");

/// A script's text and the name by which Redis knows it.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    /// SHA-1 of the text.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

macro_rules! scripts {
    ($($name:ident: $file:literal $(+ $library:ident)*;)*) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| assemble(include_str!($file), &[$($library),*]));)*

        fn all() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    CATALOG: "scripts/catalog.lua" + STATE;
    CLAIM: "scripts/claim.lua" + STATE + RING;
    IMPORT: "scripts/import.lua" + STATE + BUDGET + LEASE;
    INSPECT: "scripts/inspect.lua" + STATE;
    LANE: "scripts/lane.lua" + STATE;
    LEASES: "scripts/leases.lua" + STATE;
    LOCATE: "scripts/locate.lua" + STATE;
    LOG_PAGE: "scripts/log.lua" + STATE;
    PUBLISH: "scripts/publish.lua" + STATE + BUDGET;
    REDELIVER: "scripts/redeliver.lua" + STATE + BUDGET;
    REGISTRY_CLAIM: "scripts/registry_claim.lua";
    REGISTRY_PUT: "scripts/registry_put.lua";
    RELEASE: "scripts/release.lua" + STATE + BUDGET + LEASE;
    RENEW: "scripts/renew.lua" + STATE;
    SETTLE: "scripts/settle.lua" + STATE + BUDGET + LEASE + HEALTH;
    TAKE: "scripts/take.lua" + STATE;
    TICK: "scripts/tick.lua" + STATE + BUDGET + LEASE + LOG;
    WRITE: "scripts/write.lua" + STATE + BUDGET;
}

/// The script's header, then the libraries, then its body.
fn assemble(script: &str, libraries: &[&str]) -> Script {
    let (header, body) = script.split_once('\n').unwrap_or((script, ""));
    let mut source = String::from(header);
    for part in libraries.iter().chain([&body]) {
        source.push('\n');
        source.push_str(part);
    }
    let hash = redis::Script::new(&source).get_hash().to_owned();
    Script { source, hash }
}

/// The texts of all scripts.
pub(crate) fn sources() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|script| script.source.as_str())
}

/// Teaches Redis all scripts.
pub(crate) fn load() -> Pipeline {
    let mut pipe = Pipeline::new();
    for source in sources() {
        pipe.cmd("SCRIPT").arg("LOAD").arg(source);
    }
    pipe
}

/// The guard of the registry's keys.
pub(crate) const SYSTEM_GUARD: &str = "{shsys}:never";

/// A call of a partition's script.
pub(crate) fn call(script: &Script, partition: Partition) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg("EVALSHA")
        .arg(script.hash())
        .arg(2)
        .arg(layout::state_key(partition))
        .arg(layout::key(partition, "never", &[]));
    cmd
}
