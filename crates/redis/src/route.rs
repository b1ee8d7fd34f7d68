//! The way of a worker's commands to the nodes that have their keys.
//!
//! A pipeline is taken apart by node, its parts are sent at one time, and the answers
//! are put back in order. Where a node fails, the answers of its commands say so and
//! the others' stand: what becomes of a partition is decided by its own node alone. One
//! that is silent holds a worker up for a second at most, while others answer.
//!
//! This is our own and not the client library's Cluster connection, for two reasons.
//! `WAIT` covers what its own connection has written: each worker has a connection to
//! each node, writes over it and waits over it, and nobody else's writes are between.
//! And a client for everyone must follow redirections with care, since it cannot know
//! what may be repeated; of us every mutating call carries its stamp or is idempotent
//! (one that takes tokens is not, and is sent once: [`Route::send_once`]),
//! so that `MOVED`, `ASK`, `TRYAGAIN`, `CLUSTERDOWN`, `READONLY` and a broken connection
//! have one answer: look at the map again, and repeat the call as it is. We never send
//! `ASKING`.
//!
//! **While a slot moves** its partition waits. Every script is given a second key, the
//! guard, that never exists (`scripts`). A node refuses a call some of whose keys are
//! missing in a slot that it gives away (`TRYAGAIN`, or `ASK` where all are missing), and
//! one that takes a slot serves nobody who does not ask for it (`MOVED`). With the guard
//! a key is always missing, so that no script begins before the slot is all in one place:
//! none takes a key for absent that has only gone ahead, or has not come yet. Commands
//! with one key are served as long as that key is there, which is right, and refused
//! (`ASK`) when it is not, which is no answer that anything is absent. Redis decides all
//! this before a command runs (`getNodeByQuery`), and no slot begins to move while one
//! runs.
//!
//! **What must be kept** ends with `WAIT`, if replicas are required. Where too few have
//! it, the calls before it are as good as unanswered, and are repeated; a repeated call
//! writes again (`lib_state.lua`), because over a new connection `WAIT` would have nothing
//! to wait for otherwise.

use core::time::Duration;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use sidehook_store::{StoreError, port::Durability};
use tokio::sync::watch;

use crate::{
    ConnectError,
    address::Node,
    connection::Link,
    error,
    slots::Map,
    split::{self, Part},
    system::System,
};

/// Answers after which the map is looked at again.
const DOUBTFUL: [&str; 8] = [
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "READONLY",
    "MASTERDOWN",
    "LOADING",
    // A master without replicas may be one that others have replaced.
    "NOREPLICAS",
];
/// How long a call that was sent to the wrong node waits for the map that says so.
const MOVED: Duration = Duration::from_millis(200);
/// How long a worker waits for a node after another one has answered: what it has for
/// other partitions is held up as long.
const STRAGGLER: Duration = Duration::from_secs(1);

/// What is promised of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    Nothing,
    /// Nothing of it is done twice.
    Once,
    /// What its answers say is kept.
    Kept,
}

/// One worker's connections.
pub(crate) struct Route {
    system: Arc<System>,
    /// Whether what is kept has connections of its own: `WAIT` holds up whatever comes
    /// after it.
    is_apart: bool,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    /// Of the map that they belong to.
    generation: u64,
    /// By node, and by whether they are for what is kept.
    all: HashMap<(Node, bool), Arc<Link>>,
}

impl Route {
    /// Of a worker that does one thing at a time.
    pub(crate) fn of_worker(system: Arc<System>) -> Self {
        Self {
            system,
            is_apart: false,
            links: Mutex::default(),
        }
    }

    /// Of many callers at once.
    pub(crate) fn of_many(system: Arc<System>) -> Self {
        Self {
            is_apart: true,
            ..Self::of_worker(system)
        }
    }

    /// Connects to all nodes for the first time, and says precisely why that fails.
    pub(crate) async fn open(&self) -> Result<(), ConnectError> {
        let map = self.system.map();
        for node in &map.nodes {
            self.link(&map, node, false).open().await?;
        }
        Ok(())
    }

    /// How safely the nodes of its connections keep things, the least of them; `None`
    /// before the first one.
    pub(crate) fn durability(&self) -> Option<Durability> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let levels = links.all.values().filter_map(|link| link.durability());
        levels.reduce(least)
    }

    /// Sends a pipeline and answers a value for each of its commands; errors of servers
    /// are among them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when nothing is known of any of them.
    pub(crate) async fn send(&self, pipe: Pipeline) -> Result<Vec<Value>, StoreError> {
        self.exchange(pipe, Promise::Nothing).await
    }

    /// Sends a pipeline at most once, for what would do more if it were repeated: where a
    /// node does not know itself to be the right one, its answers say so.
    ///
    /// # Errors
    /// As [`Self::send`], and where a connection broke, when some of it may be done.
    pub(crate) async fn send_once(&self, pipe: Pipeline) -> Result<Vec<Value>, StoreError> {
        self.exchange(pipe, Promise::Once).await
    }

    /// Sends a pipeline whose answers promise that something is kept.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_kept(&self, pipe: Pipeline) -> Result<Vec<Value>, StoreError> {
        self.exchange(pipe, Promise::Kept).await
    }

    /// Sends a pipeline whose every command must succeed.
    pub(crate) async fn ask(&self, pipe: Pipeline) -> Result<Vec<Value>, StoreError> {
        all(self.send(pipe).await?)
    }

    /// Sends a pipeline whose every command must succeed and be kept.
    pub(crate) async fn ask_kept(&self, pipe: Pipeline) -> Result<Vec<Value>, StoreError> {
        all(self.send_kept(pipe).await?)
    }

    /// Sends one command that must succeed.
    pub(crate) async fn one(&self, command: Cmd) -> Result<Value, StoreError> {
        Ok(self.ask(single(command)).await?.pop().unwrap_or_default())
    }

    /// Sends one command that must succeed and be kept.
    pub(crate) async fn one_kept(&self, command: Cmd) -> Result<Value, StoreError> {
        let mut values = self.ask_kept(single(command)).await?;
        Ok(values.pop().unwrap_or_default())
    }

    /// Sends one command, which needs no key, to every node; all must answer.
    pub(crate) async fn everywhere(&self, command: Cmd) -> Result<Vec<Value>, StoreError> {
        let map = self.system.map();
        let pipe = single(command);
        let sent = map.nodes.iter().map(|node| {
            let link = self.link(&map, node, false);
            let pipe = &pipe;
            async move { link.send(pipe).await }
        });
        let mut found = Vec::new();
        for values in join_all(sent).await {
            found.extend(values.inspect_err(|_| self.system.doubt(&map))?);
        }
        all(found)
    }

    async fn exchange(&self, pipe: Pipeline, promise: Promise) -> Result<Vec<Value>, StoreError> {
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        let map = self.system.map();
        if let [node] = &map.nodes[..] {
            return self.to_one(&map, node, pipe, promise).await;
        }
        let values = self.to_many(&map, &pipe, promise).await?;
        // The new map is one question away: nobody need hear of it.
        if promise != Promise::Once
            && values
                .iter()
                .any(|value| error::has_code(value, &["MOVED"]))
            && let Some(newer) = self.system.newer(&map, MOVED).await
        {
            return self.to_many(&newer, &pipe, promise).await;
        }
        Ok(values)
    }

    /// Sends all to one node.
    async fn to_one(
        &self,
        map: &Map,
        node: &Node,
        pipe: Pipeline,
        promise: Promise,
    ) -> Result<Vec<Value>, StoreError> {
        let answer = self.to_node(map, node, pipe, promise).await;
        let doubtful = |value: &Value| error::has_code(value, &DOUBTFUL);
        if answer
            .as_ref()
            .map_or(true, |values| values.iter().any(doubtful))
        {
            self.system.doubt(map);
        }
        answer
    }

    /// Sends to each node what concerns it.
    async fn to_many(
        &self,
        map: &Map,
        pipe: &Pipeline,
        promise: Promise,
    ) -> Result<Vec<Value>, StoreError> {
        let answered = watch::Sender::new(false);
        let failure = Mutex::new(None);
        let sent = split::split(pipe, map).into_iter().map(|mut part| {
            let (answered, failure) = (&answered, &failure);
            async move {
                let count = part.rows.len();
                let Some(node) = part.node.map(|at| &map.nodes[at]) else {
                    return (part, vec![error::unserved(); count]);
                };
                let pipe = core::mem::take(&mut part.pipe);
                let answer = tokio::select! {
                    answer = self.to_node(map, node, pipe, promise) => answer,
                    () = self.straggles(answered) => {
                        let why = format!("{node} does not answer as others do");
                        self.link(map, node, promise == Promise::Kept).give_up(&why);
                        Err(error::unavailable(why))
                    }
                };
                let values = match answer {
                    Ok(values) => {
                        answered.send_replace(true);
                        values
                    }
                    Err(error) => {
                        let values = vec![error::unreached(&error); count];
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                        values
                    }
                };
                (part, values)
            }
        });
        let parts = join_all(sent).await;
        self.judge(map, &parts);
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(error) if !*answered.borrow() => Err(error),
            _ => Ok(split::join(parts)),
        }
    }

    /// Waits until a node has taken too long, where another one has answered. Of many
    /// callers none waits for what another one sent.
    async fn straggles(&self, answered: &watch::Sender<bool>) {
        if self.is_apart || answered.subscribe().wait_for(|is| *is).await.is_err() {
            core::future::pending::<()>().await;
        }
        tokio::time::sleep(STRAGGLER).await;
    }

    /// Learns from the answers which slots can be used.
    fn judge(&self, map: &Map, parts: &[(Part, Vec<Value>)]) {
        let (mut usable, mut not, mut why) = (Vec::new(), Vec::new(), String::new());
        for (part, values) in parts {
            for (row, value) in part.rows.iter().zip(values) {
                let is_doubtful = error::has_code(value, &DOUBTFUL)
                    || error::has_code(value, &[error::UNREACHED]);
                if is_doubtful
                    && why.is_empty()
                    && let Value::ServerError(error) = value
                {
                    why = error::text(error);
                }
                if is_doubtful {
                    not.extend(row.slot);
                } else if row.is_script {
                    // What has one key is answered while a slot moves, too.
                    usable.extend(row.slot);
                }
            }
        }
        if !not.is_empty() || !why.is_empty() {
            self.system.doubt(map);
        }
        self.system.note(&usable, &not, &why);
    }

    /// Sends a pipeline to a node, and waits for its replicas if anything is promised.
    async fn to_node(
        &self,
        map: &Map,
        node: &Node,
        mut pipe: Pipeline,
        promise: Promise,
    ) -> Result<Vec<Value>, StoreError> {
        let required = match promise {
            Promise::Nothing | Promise::Once => 0,
            Promise::Kept => self.system.required(),
        };
        let link = self.link(map, node, required > 0);
        if required == 0 {
            let mut values = match promise {
                Promise::Once => link.send_once(&pipe).await?,
                Promise::Nothing | Promise::Kept => link.send(&pipe).await?,
            };
            // The connection that this was sent over may have found the first replicas.
            let required = self.system.required();
            if promise == Promise::Kept && required > 0 {
                withdraw(&mut values, &error::too_few(0, required, ""));
            }
            return Ok(values);
        }
        let timeout = link.patience().as_millis() as u64;
        pipe.cmd("WAIT").arg(required).arg(timeout);
        let mut values = link.send(&pipe).await?;
        let waited = values.pop();
        let is_enough = matches!(waited, Some(Value::Int(have)) if have >= i64::from(required));
        link.replicated(is_enough);
        if is_enough {
            return Ok(values);
        }
        let refusal = match waited {
            Some(Value::Int(have)) => error::too_few(have, required, ""),
            // It is a replica itself by now, for instance: what was executed may be gone.
            Some(Value::ServerError(why)) => error::too_few(0, required, &error::text(&why)),
            _ => error::too_few(0, required, ""),
        };
        withdraw(&mut values, &refusal);
        Ok(values)
    }

    /// The connection to a node; those to nodes that the map has no more are dropped.
    fn link(&self, map: &Map, node: &Node, for_kept: bool) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.generation < map.generation {
            links.generation = map.generation;
            links.all.retain(|(node, _), _| map.nodes.contains(node));
        }
        let name = (node.clone(), self.is_apart && for_kept);
        let made = || Arc::new(Link::new(Arc::clone(&self.system), node.clone()));
        Arc::clone(links.all.entry(name).or_insert_with(made))
    }
}

/// Takes back what was answered: what was refused promises nothing, and stays refused.
fn withdraw(values: &mut [Value], refusal: &Value) {
    for value in values {
        if !matches!(value, Value::ServerError(_)) {
            *value = refusal.clone();
        }
    }
}

/// The lesser level.
pub(crate) const fn least(one: Durability, other: Durability) -> Durability {
    match (one, other) {
        (Durability::Volatile, _) | (_, Durability::Volatile) => Durability::Volatile,
        (Durability::Relaxed, _) | (_, Durability::Relaxed) => Durability::Relaxed,
        _ => Durability::Strict,
    }
}

fn single(command: Cmd) -> Pipeline {
    let mut pipe = Pipeline::new();
    pipe.add_command(command);
    pipe
}

/// Values of which none is an error.
fn all(values: Vec<Value>) -> Result<Vec<Value>, StoreError> {
    for value in &values {
        if let Value::ServerError(error) = value {
            return Err(error::store_error(error));
        }
    }
    Ok(values)
}
