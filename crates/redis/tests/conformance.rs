//! The suite of the port, over Redis.

mod support;

use sidehook_store::{
    Store,
    conformance::{SEEDS, STEPS, StoreFactory, compare, copies, examples, random},
    model::Model,
};
use support::Server;

/// Empties one server again and again.
struct Emptied(Server);

#[async_trait::async_trait]
impl StoreFactory for Emptied {
    async fn fresh(&self) -> Box<dyn Store> {
        let mut client = self.0.client().await;
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut client)
            .await
            .expect("it answers");
        Box::new(self.0.store().await)
    }
}

#[tokio::test]
async fn redis_passes_the_examples() {
    examples(&Emptied(Server::start())).await;
}

#[tokio::test]
async fn redis_passes_random_sequences() {
    random(&Emptied(Server::start()), SEEDS, STEPS).await;
}

#[tokio::test]
async fn redis_answers_as_the_model_does() {
    compare(&Emptied(Server::start()), 0..12, 250).await;
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
async fn redis_copies_into_itself() {
    let stores = Emptied(Server::start());
    copies(&stores, &stores, 0..8, 150).await;
}

#[tokio::test]
async fn redis_copies_into_and_out_of_the_model() {
    let stores = Emptied(Server::start());
    copies(&stores, &Models, 0..4, 150).await;
    copies(&Models, &stores, 0..4, 150).await;
}
