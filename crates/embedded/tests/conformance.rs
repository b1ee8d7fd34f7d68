//! The suite of the port, over the embedded store.

use parking_lot::Mutex;
use redb::{
    Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition, TableHandle as _,
};
use sidehook_embedded::Embedded;
use sidehook_store::{
    Store,
    conformance::{STEPS, StoreFactory, compare, copies, examples, random, seeds},
    model::Model,
    port::Durability,
};
use tempfile::TempDir;

/// A directory for each store, kept until the next one is made.
struct Directories(Durability, Mutex<Option<TempDir>>);

#[async_trait::async_trait]
impl StoreFactory for Directories {
    async fn fresh(&self) -> Box<dyn Store> {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(directory.path(), self.0).expect("it opens");
        *self.1.lock() = Some(directory);
        Box::new(store)
    }

    async fn left(&self) -> Vec<String> {
        let directory = self.1.lock();
        let file = directory.as_ref().expect("one was made").path();
        let database = Database::open(file.join("store.redb")).expect("it was closed");
        let reading = database.begin_read().expect("it can be read");
        let tables = reading.list_tables().expect("it has tables");
        let tables = tables.map(|one| one.name().to_owned());
        let tables = tables.filter(|name| !STAYS.contains(&&**name));
        let left = tables.filter_map(|name| {
            let table = TableDefinition::<&[u8], &[u8]>::new(&name);
            let rows = reading.open_table(table).expect("it is there").len();
            let rows = rows.expect("it can be read");
            (rows > 0).then(|| format!("{name}: {rows}"))
        });
        left.collect()
    }
}

/// What there is of any store: its name and format, the versions of catalogs, and the
/// graves of subscriptions. Lanes end with the process.
const STAYS: [&str; 4] = ["meta", "tenants", "graves", "lanes"];

fn directories(durability: Durability) -> Directories {
    Directories(durability, Mutex::new(None))
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
    random(&directories(Durability::Relaxed), seeds(), STEPS).await;
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
