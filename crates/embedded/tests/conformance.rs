//! The suite of the port, over the embedded store.

use parking_lot::Mutex;
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store,
    conformance::{SEEDS, STEPS, StoreFactory, compare, copies, examples, random},
    model::Model,
    port::Durability,
};
use tempfile::TempDir;

/// A directory for each store, kept until all are over.
struct Directories(Durability, Mutex<Vec<TempDir>>);

#[async_trait::async_trait]
impl StoreFactory for Directories {
    async fn fresh(&self) -> Box<dyn Store> {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(directory.path(), self.0).expect("it opens");
        self.1.lock().push(directory);
        Box::new(store)
    }
}

fn directories(durability: Durability) -> Directories {
    Directories(durability, Mutex::new(Vec::new()))
}

#[tokio::test]
async fn it_passes_the_examples() {
    examples(&directories(Durability::Relaxed)).await;
}

#[tokio::test]
async fn it_passes_the_examples_at_the_strict_level() {
    examples(&directories(Durability::Strict)).await;
}

#[tokio::test]
async fn it_passes_random_sequences() {
    random(&directories(Durability::Relaxed), SEEDS, STEPS).await;
}

#[tokio::test]
async fn it_answers_as_the_model_does() {
    compare(&directories(Durability::Relaxed), 0..12, 250).await;
}

/// Stores of the other kind.
struct Models;

#[async_trait::async_trait]
impl StoreFactory for Models {
    async fn fresh(&self) -> Box<dyn Store> {
        Box::new(Model::new())
    }
}

#[tokio::test]
async fn it_copies_into_itself() {
    let stores = directories(Durability::Relaxed);
    copies(&stores, &stores, 0..8, 150).await;
}

#[tokio::test]
async fn it_copies_into_and_out_of_the_model() {
    let stores = directories(Durability::Relaxed);
    copies(&stores, &Models, 0..4, 150).await;
    copies(&Models, &stores, 0..4, 150).await;
}
