//! One connection to one node, made anew when it breaks.
//!
//! A turn worker owns one to each node, so that its pipelines do not queue behind
//! others'. After a failure the next attempt waits for a back-off; calls in between fail
//! at once instead of piling up. The back-off ends with an answer and not with a
//! connection: a server that accepts and then hangs up is no better than one that does
//! not. A time-out also drops the connection: its commands may still run, and whoever
//! repeats them does so with the same stamps.
//!
//! What one connection learns concerns all: after an answer that only a replica
//! gives, each is made anew, and with that the server is looked at again.

use core::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};
use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Pipeline, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use sidehook_store::{StoreError, port::Durability};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    ConnectError,
    address::Node,
    error, preflight, scripts,
    slots::Kind,
    system::{System, code},
};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// The longest time that a write waits for replicas: less than anybody waits for the
/// answer, which comes after it.
const WAIT_MOST: Duration = Duration::from_millis(500);
/// And that after replicas were too few.
const WAIT_AGAIN: Duration = Duration::from_millis(100);
/// Of so many waits in a row that were in vain, one more lasts as long as the first.
const WAIT_WHOLE: u32 = 4;

/// A connection that comes back.
pub(crate) struct Link {
    system: Arc<System>,
    node: Node,
    /// What its last connection found, as [`code`].
    level: AtomicU8,
    /// The last connection that got an answer.
    proven: AtomicU64,
    /// How often in a row the node's replicas were too few when waited for.
    lacks_replicas: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that only the one that failed is dropped.
    generation: u64,
    /// The target's doubts when it was made.
    doubts: u64,
    failures: u32,
    /// Why it is not connected.
    failure: String,
    not_before: Option<Instant>,
}

impl State {
    /// The next attempt is to wait.
    fn back_off(&mut self) {
        let wait = BACKOFF_FIRST * (1 << self.failures.min(8));
        let wait = wait
            .min(BACKOFF_LAST)
            .mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.failures += 1;
        self.not_before = Some(Instant::now() + wait);
    }
}

/// A connection and its number.
type Numbered = (u64, MultiplexedConnection);

impl Link {
    pub(crate) fn new(system: Arc<System>, node: Node) -> Self {
        Self {
            system,
            node,
            level: AtomicU8::new(0),
            proven: AtomicU64::new(0),
            lacks_replicas: AtomicU32::new(0),
            state: Mutex::new(State::default()),
        }
    }

    /// Connects for the first time, and says precisely why that fails.
    pub(crate) async fn open(&self) -> Result<(), ConnectError> {
        let mut state = self.state.lock().await;
        self.renew(&mut state).await.map(drop)
    }

    /// How safe the server of its last connection keeps things; `None` before the
    /// first one.
    pub(crate) fn durability(&self) -> Option<Durability> {
        let level = self.level.load(Ordering::Relaxed);
        let all = [
            Durability::Volatile,
            Durability::Relaxed,
            Durability::Strict,
        ];
        all.into_iter().find(|one| code(*one) == level)
    }

    /// How long to wait for replicas: not long where they were too few just now, since
    /// that holds up whatever a worker has for other nodes; but every so often as long
    /// as ever, since replicas that are back may be slow.
    pub(crate) fn patience(&self) -> Duration {
        let most = WAIT_MOST.min(self.system.response_timeout / 2);
        match self.lacks_replicas.load(Ordering::Relaxed) % WAIT_WHOLE {
            0 => most,
            _ => most.min(WAIT_AGAIN),
        }
    }

    /// Whether enough replicas had what was written last.
    pub(crate) fn replicated(&self, enough: bool) {
        if enough {
            self.lacks_replicas.store(0, Ordering::Relaxed);
        } else {
            self.lacks_replicas.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a pipeline and answers a value for each of its commands; errors of the
    /// server are among them. A connection that broke, perhaps long ago and unseen,
    /// is replaced and the pipeline sent once more: all that comes this way is safe to
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

    /// Sends a pipeline at most once: a connection that breaks is its end.
    pub(crate) async fn send_once(&self, pipe: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let answer = self.try_send(pipe).await?;
        answer.map_err(|broken| error::exchange_error(&broken))
    }

    /// Sends a pipeline once; teaches the server its scripts if it forgot them. The
    /// inner error is that of the exchange, the outer one that of connecting.
    async fn try_send(&self, pipe: &Pipeline) -> Result<RedisResult<Vec<Value>>, StoreError> {
        let (generation, mut connection) = self.connected().await?;
        let answer = match exchange(&mut connection, pipe).await {
            Ok(values)
                if values
                    .iter()
                    .any(|value| error::has_code(value, &["NOSCRIPT"])) =>
            {
                // What did run is safe to repeat; where one script alone is called, none did.
                match exchange(&mut connection, &scripts::load()).await {
                    Ok(_) => exchange(&mut connection, pipe).await,
                    failed => failed,
                }
            }
            answer => answer,
        };
        // A replica answers READONLY: after a failover the name leads elsewhere.
        let replica = |values: &[Value]| {
            values
                .iter()
                .any(|value| error::has_code(value, &["READONLY"]))
        };
        match &answer {
            Ok(values) if replica(values) => self.doubted(generation).await,
            Ok(_) => self.proven.store(generation, Ordering::Relaxed),
            Err(_) => self.lost(generation).await,
        }
        Ok(answer)
    }

    /// A connection broke.
    async fn lost(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation != generation || state.connection.take().is_none() {
            return;
        }
        if self.proven.load(Ordering::Relaxed) == generation {
            // It worked for a while: the first attempt to replace it is free.
            state.failures = 0;
            state.not_before = None;
        } else {
            state.back_off();
            "Redis hangs up at once".clone_into(&mut state.failure);
        }
    }

    /// Whoever waited for an answer has gone: what comes is nobody's, and the node is
    /// treated as one that timed out.
    pub(crate) fn give_up(&self, why: &str) {
        // Otherwise somebody is just finding out.
        if let Ok(mut state) = self.state.try_lock() {
            state.connection = None;
            state.back_off();
            why.clone_into(&mut state.failure);
        }
    }

    /// The server is not what it was. Those who find out on an older connection
    /// raise no doubt of their own.
    async fn doubted(&self, generation: u64) {
        let (present, doubts) = {
            let state = self.state.lock().await;
            (state.generation, state.doubts)
        };
        if present == generation {
            let raised = &self.system.doubts;
            let _ =
                raised.compare_exchange(doubts, doubts + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.lost(generation).await;
    }

    /// The connection; makes one if there is none. Callers wait for one another
    /// here, so that a restart is met by one attempt at a time.
    async fn connected(&self) -> Result<Numbered, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && state.doubts == self.system.doubts.load(Ordering::Relaxed)
        {
            return Ok((state.generation, connection.clone()));
        }
        state.connection = None;
        if let Some(not_before) = state.not_before
            && let Some(wait) = not_before.checked_duration_since(Instant::now())
            && !wait.is_zero()
        {
            return Err(StoreError::Unavailable {
                detail: state.failure.clone(),
                retry_after: wait,
            });
        }
        let renewed = self.renew(&mut state).await;
        renewed.map_err(|failure| error::unusable(&failure))
    }

    async fn renew(&self, state: &mut State) -> Result<Numbered, ConnectError> {
        // Read first: a doubt that arises meanwhile concerns this connection too.
        let doubts = self.system.doubts.load(Ordering::Relaxed);
        match self.connect().await {
            Ok((connection, durability)) => {
                self.level.store(code(durability), Ordering::Relaxed);
                state.generation += 1;
                state.doubts = doubts;
                state.connection = Some(connection.clone());
                Ok((state.generation, connection))
            }
            Err(failure) => {
                state.back_off();
                state.failure = failure.to_string();
                self.system.is_away(&self.node);
                Err(failure)
            }
        }
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Durability), ConnectError> {
        let (system, kind) = (&self.system, self.system.map().kind);
        let timeout = Some(system.response_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(timeout)
            .set_response_timeout(timeout);
        let info = system.address.of(&self.node);
        let connected = system.connect(info, &config).await;
        let mut connection = connected.map_err(|error| self.announced(kind, error))?;
        let failed = |error| error::connect_error(&error);
        let answers = exchange(&mut connection, &preflight::questions()).await;
        let found = preflight::judge(answers.map_err(failed)?, system.declared, kind)?;
        let loaded = exchange(&mut connection, &scripts::load()).await;
        for value in loaded.map_err(failed)? {
            if let Value::ServerError(refusal) = value {
                return Err(preflight::refused(&refusal));
            }
        }
        let judged = system.settle(&self.node, &found)?;
        Ok((connection, judged.durability))
    }

    /// Says who cannot be reached, and who said that it is there.
    fn announced(&self, kind: Kind, error: ConnectError) -> ConnectError {
        let who = match (kind, error) {
            (Kind::Sentinel, ConnectError::Unreachable(why)) => ("the Sentinels announce", why),
            (Kind::Cluster, ConnectError::Unreachable(why)) => ("the Cluster announces", why),
            (_, error) => return error,
        };
        let (node, (who, why)) = (&self.node, who);
        // Later it is no matter of addresses.
        let advice = match self.durability() {
            None => "; announce addresses that can be reached from here",
            Some(_) => "",
        };
        ConnectError::Unreachable(format!("{node}, which {who}: {why}{advice}"))
    }
}

async fn exchange(
    connection: &mut MultiplexedConnection,
    pipe: &Pipeline,
) -> RedisResult<Vec<Value>> {
    connection.req_packed_commands(pipe, 0, pipe.len()).await
}
