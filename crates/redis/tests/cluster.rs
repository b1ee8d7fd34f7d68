//! The suite of the port, over a Redis Cluster of three nodes.

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use cluster::Emptied;
use sidehook_store::conformance::{STEPS, compare, examples, random, seeds};

#[tokio::test]
async fn a_cluster_passes_the_examples() {
    examples(&Emptied::start().await).await;
}

#[tokio::test]
async fn a_cluster_passes_random_sequences() {
    random(&Emptied::start().await, seeds(), STEPS).await;
}

#[tokio::test]
async fn a_cluster_answers_as_the_model_does() {
    compare(&Emptied::start().await, 0..12, 250).await;
}
