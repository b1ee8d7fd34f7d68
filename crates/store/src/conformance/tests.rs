//! The model under the suite; and the suite under a store that breaks promises.

use super::{StoreFactory, examples, random};
use crate::{model::Model, port::Store};

struct Models;

#[async_trait::async_trait]
impl StoreFactory for Models {
    async fn fresh(&self) -> Box<dyn Store> {
        Box::new(Model::new())
    }
}

#[tokio::test]
async fn the_model_passes_the_examples() {
    examples(&Models).await;
}

#[tokio::test]
async fn the_model_passes_random_sequences() {
    random(&Models, super::SEEDS, super::STEPS).await;
}
