//! The suite of the port, over Redis.

mod support;

use sidehook_store::{
    Store,
    conformance::{STEPS, StoreFactory, compare, copies, examples, random, seeds},
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

    async fn left(&self) -> Vec<String> {
        let mut client = self.0.client().await;
        left(&mut client).await
    }
}

/// Every key, and every field of `state`, but for the layout's version, the graves of
/// subscriptions, the versions of catalogs, and how far the sweeps are.
async fn left(client: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
    let mut asked = redis::cmd("KEYS");
    let keys: Vec<Vec<u8>> = asked.arg("*").query_async(client).await.expect("keys");
    let mut left = Vec::new();
    for key in keys {
        let name = String::from_utf8_lossy(&key).into_owned();
        let word = name.split_once("}:").map_or("", |(_, rest)| rest);
        if word == "state" {
            let mut asked = redis::cmd("HKEYS");
            let fields: Vec<Vec<u8>> = asked.arg(&key).query_async(client).await.expect("fields");
            let stays = |one: &Vec<u8>| {
                one[0] == b't'
                    || ["idem", "lanes", "pad"]
                        .map(str::as_bytes)
                        .contains(&&**one)
            };
            let fields = fields.iter().filter(|one| !stays(one));
            left.extend(fields.map(|one| format!("{name} {}", one.escape_ascii())));
        } else if word != "format" && !word.starts_with("gone:") {
            left.push(name);
        }
    }
    left
}

#[tokio::test]
async fn redis_passes_the_examples() {
    examples(&Emptied(Server::start())).await;
}

#[tokio::test]
async fn redis_passes_random_sequences() {
    random(&Emptied(Server::start()), seeds(), STEPS).await;
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
