//! One connection to Redis, made anew when it breaks.
//!
//! A turn worker owns one, so that its pipelines do not queue behind others'. After
//! a failure the next attempt waits for a back-off; calls in between fail at once
//! instead of piling up. A time-out also drops the connection: its commands may
//! still run, and whoever repeats them does so with the same stamps.

use core::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Pipeline, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use sidehook_store::StoreError;
use tokio::{sync::Mutex, time::Instant};

use crate::{error, scripts};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// A connection that comes back.
pub(crate) struct Link {
    client: Client,
    response_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that only the one that failed is dropped.
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(client: Client, response_timeout: Duration) -> Self {
        Self {
            client,
            response_timeout,
            state: Mutex::new(State::default()),
        }
    }

    /// Sends a pipeline and answers a value for each of its commands; errors of the
    /// server are among them. A connection that broke, perhaps long ago and unseen,
    /// is replaced and the pipeline sent once more: all that we send is safe to
    /// repeat.
    pub(crate) async fn send(&self, pipe: &Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        match self.try_send(pipe).await? {
            Ok(values) => Ok(values),
            Err(broken) if broken.is_timeout() => Err(error::exchange_error(&broken)),
            Err(_) => self
                .try_send(pipe)
                .await?
                .map_err(|broken| error::exchange_error(&broken)),
        }
    }

    /// Sends a pipeline once; teaches the server its scripts if it forgot them. The
    /// inner error is that of the exchange, the outer one that of connecting.
    async fn try_send(&self, pipe: &Pipeline) -> Result<RedisResult<Vec<Value>>, StoreError> {
        let (generation, mut connection) = self.connected().await?;
        let answer = match exchange(&mut connection, pipe).await {
            Ok(values) if values.iter().any(|value| has_code(value, "NOSCRIPT")) => {
                // What did run is safe to repeat.
                match exchange(&mut connection, &scripts::load()).await {
                    Ok(_) => exchange(&mut connection, pipe).await,
                    failed => failed,
                }
            }
            answer => answer,
        };
        // A replica answers READONLY: after a failover the name leads elsewhere.
        let replica = |values: &[Value]| values.iter().any(|value| has_code(value, "READONLY"));
        if answer.as_deref().map_or(true, replica) {
            self.lost(generation).await;
        }
        Ok(answer)
    }

    /// Sends a pipeline whose every command must succeed.
    pub(crate) async fn ask(&self, pipe: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let values = self.send(pipe).await?;
        for value in &values {
            if let Value::ServerError(error) = value {
                return Err(error::store_error(error));
            }
        }
        Ok(values)
    }

    async fn lost(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }

    /// The connection; makes one if there is none. Callers wait for one another
    /// here, so that a restart is met by one attempt at a time.
    async fn connected(&self) -> Result<(u64, MultiplexedConnection), StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.generation, connection.clone()));
        }
        if let Some(not_before) = state.not_before
            && let Some(wait) = not_before.checked_duration_since(Instant::now())
            && !wait.is_zero()
        {
            return Err(StoreError::Unavailable {
                detail: "not connected to Redis".to_owned(),
                retry_after: wait,
            });
        }
        match self.connect().await {
            Ok(connection) => {
                state.generation += 1;
                state.failures = 0;
                state.not_before = None;
                state.connection = Some(connection.clone());
                Ok((state.generation, connection))
            }
            Err(failure) => {
                let wait = BACKOFF_FIRST * (1 << state.failures.min(8));
                let wait = wait
                    .min(BACKOFF_LAST)
                    .mul_f64(0.5 + rand::random::<f64>() / 2.0);
                state.failures += 1;
                state.not_before = Some(Instant::now() + wait);
                Err(failure)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.response_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| error::exchange_error(&error))?;
        let loaded = exchange(&mut connection, &scripts::load())
            .await
            .map_err(|error| error::exchange_error(&error))?;
        for value in loaded {
            if let Value::ServerError(failure) = value {
                return Err(error::store_error(&failure));
            }
        }
        Ok(connection)
    }
}

async fn exchange(
    connection: &mut MultiplexedConnection,
    pipe: &Pipeline,
) -> RedisResult<Vec<Value>> {
    connection.req_packed_commands(pipe, 0, pipe.len()).await
}

fn has_code(value: &Value, code: &str) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == code)
}
