//! A Cluster that is emptied again and again.

use sidehook_store::{Store, conformance::StoreFactory};
use sidehook_testkit::redis_cluster::RedisCluster;

use crate::support::open;

/// Three nodes.
pub(crate) struct Emptied(pub(crate) RedisCluster);

impl Emptied {
    /// Starts nodes that keep nothing on disk.
    pub(crate) async fn start() -> Self {
        Self(RedisCluster::start(&["--appendonly", "no"]).await)
    }
}

#[async_trait::async_trait]
impl StoreFactory for Emptied {
    async fn fresh(&self) -> Box<dyn Store> {
        self.0.flush().await;
        Box::new(open(&self.0.url()).await)
    }
}
