//! Each script fails at its n-th command, for every n: variants of the scripts are made
//! that do. Redis keeps what a failed script wrote. So a failure before the first write
//! must change nothing, and after any failure and the repeat of the call nothing may be
//! lost or stuck: all deliveries and attempts of a run without failures are there, and
//! everything can be delivered, and every attempt counts once in its subscription's health.
//! Deliveries may then repeat; whatever can be repaired to the byte must be.

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/story.rs"]
mod story;
mod support;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use proxy::Proxy;
use redis::{Value, aio::MultiplexedConnection};
use sidehook_core::{
    address::{DeliveryId, Partition},
    health::Health,
    id::SubscriptionNumber,
};
use sidehook_redis::RedisStore;
use sidehook_store::{Store as _, inspect::Inspection, rules};
use story::{Past, act, ending, stamp, step};
use support::{START, Server, calls, claim, execute, open, tenant};

type Command = Vec<Vec<u8>>;

/// Steps of the story that consist of one operation.
const SINGLE: usize = 13;
/// Steps whose repeat reaches the very bytes of a run without failures: changes of
/// subscriptions, renewals and the registry.
const EXACT: [usize; 6] = [0, 1, 5, 10, 11, 12];

/// Stands in front of a script whose commands are counted.
const COUNTED: &str = "
local killed_, wrote_, made_ = tonumber('NTH'), false, 0
local READS_ = { TIME = 1, HGET = 1, HMGET = 1, EXISTS = 1, STRLEN = 1, LRANGE = 1, LINDEX = 1,
  HSCAN = 1, ZRANGE = 1, ZRANGEBYSCORE = 1, SMEMBERS = 1, ZCARD = 1, GET = 1, GETRANGE = 1, HEXISTS = 1,
  HLEN = 1, PUBLISH = 1 }
local function counted_(name, ...)
  made_ = made_ + 1
  if made_ == killed_ then error('KILLED at ' .. name .. (wrote_ and ' late' or ' early')) end
  if not READS_[name] then wrote_ = true end
  return redis.call(name, ...)
end
";

fn variant(source: &str, nth: usize) -> String {
    let (header, body) = source.split_once('\n').expect("a header");
    let body = body.replace("redis.call", "counted_");
    format!("{header}{}{body}", COUNTED.replace("NTH", &nth.to_string()))
}

/// A run's means.
struct Stage {
    _server: Server,
    client: MultiplexedConnection,
    proxy: Proxy,
    store: RedisStore,
    /// Texts by hash.
    scripts: HashMap<Vec<u8>, String>,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.port).await;
        proxy.record();
        let store = open(&proxy.url()).await;
        // A turn's connection is made by its first turn, and teaches the scripts too.
        let mut scripts = HashMap::new();
        for command in proxy.recorded() {
            if command[0] == b"SCRIPT" {
                let text = String::from_utf8(command[2].clone()).expect("text");
                let hash = redis::Script::new(&text).get_hash().as_bytes().to_vec();
                scripts.insert(hash, text);
            }
        }
        let client = server.client().await;
        Self {
            _server: server,
            client,
            proxy,
            store,
            scripts,
        }
    }

    async fn digest(&mut self) -> String {
        let mut cmd = redis::cmd("DEBUG");
        let digest = cmd.arg("DIGEST").query_async(&mut self.client).await;
        digest.expect("it answers")
    }

    async fn tell(&mut self, number: usize, past: &mut Past) -> String {
        let answer = act(&self.store, &step(number, past), past).await;
        answer.expect("nothing fails")
    }

    /// The story up to, but without, a step.
    async fn before(&mut self, number: usize) -> Past {
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut self.client)
            .await
            .expect("it answers");
        let mut past = Past::default();
        for earlier in 0..number {
            self.tell(earlier, &mut past).await;
        }
        past
    }

    async fn look(&self) -> Inspection {
        let seen = self.store.inspect(Partition::of(tenant())).await;
        seen.expect("it answers")
    }

    async fn health(&self) -> Vec<Health> {
        let numbers = [SubscriptionNumber(1), SubscriptionNumber(2)];
        let told = self.store.health(tenant(), &numbers).await;
        told.expect("it answers")
    }

    /// What must not be lost: deliveries under way, attempts, and what was counted of them.
    async fn holdings(&self) -> Holdings {
        let seen = self.look().await;
        let ready = seen.ready.iter().map(|(_, id)| *id);
        let leased = seen.leased.iter().map(|(_, id, _)| *id);
        let waiting = seen.waiting.iter().map(|(_, id, _)| *id);
        let first = rules::address(Partition::of(tenant()), stamp(1, 1), 0);
        let attempts = self.store.outcomes(&[first.expect("the first")]).await;
        Holdings {
            under_way: ready.chain(leased).chain(waiting).collect(),
            attempts: attempts.expect("it answers").remove(0),
            log: seen.used.values().map(|used| used.log).sum(),
            health: self.health().await,
        }
    }

    /// Delivers everything, long after all leases and retries; what was delivered.
    async fn drain(&self) -> BTreeSet<DeliveryId> {
        let mut delivered = BTreeSet::new();
        let mut settle = None;
        for round in 1..20 {
            let mut one = calls();
            one.settle = settle.take().map(|call| (stamp(77, round), call));
            one.claim = Some((stamp(77, round), claim(50)));
            one.tick = true;
            let now = START + Duration::from_secs(300 + u64::from(round));
            let replies = execute(&self.store, now, one).await;
            assert!(matches!(replies.settle, None | Some(Ok(_))), "{replies:?}");
            assert!(matches!(replies.tick, Some(Ok(_))), "{replies:?}");
            let claimed = replies.claim.expect("asked").expect("it works");
            if let Some(grant) = &claimed.grants[0] {
                let (call, ids) = ending(grant);
                delivered.extend(ids);
                settle = Some(call);
            }
        }
        delivered
    }

    /// Sends a step's commands with scripts that fail at their n-th command; what the
    /// failures say.
    async fn kill(&mut self, commands: &[Command], nth: usize) -> Vec<String> {
        let mut pipe = redis::Pipeline::new();
        for command in commands {
            let mut cmd = redis::Cmd::new();
            if command[0] == b"EVALSHA" {
                let text = variant(&self.scripts[&command[1]], nth);
                cmd.arg("EVAL").arg(text).arg(&command[2..]);
            } else {
                cmd.arg(&command[..]);
            }
            pipe.add_command(cmd);
        }
        use redis::aio::ConnectionLike as _;
        let answers = self.client.req_packed_commands(&pipe, 0, pipe.len()).await;
        let errors = answers
            .expect("it answers")
            .into_iter()
            .filter_map(|value| match value {
                Value::ServerError(error) => {
                    Some(format!("{} {:?}", error.code(), error.details()))
                }
                _ => None,
            });
        errors
            .filter(|text| {
                assert!(text.contains("KILLED"), "{text}");
                true
            })
            .collect()
    }
}

#[derive(Debug)]
struct Holdings {
    under_way: BTreeSet<DeliveryId>,
    attempts: Vec<Bytes>,
    /// Bytes of the log.
    log: u64,
    /// Of both subscriptions.
    health: Vec<Health>,
}

/// What is wrong with a state after a failure and its repeat.
async fn damage(stage: &Stage, whole: &Holdings) -> Option<String> {
    let Holdings {
        attempts, health, ..
    } = stage.holdings().await;
    if health != whole.health {
        let wanted = &whole.health;
        return Some(format!("counted otherwise: {health:?}, not {wanted:?}"));
    }
    if let Some(lost) = whole.attempts.iter().find(|one| !attempts.contains(one)) {
        return Some(format!("an attempt is lost: {lost:?}"));
    }
    let delivered = stage.drain().await;
    let lost: Vec<_> = whole.under_way.difference(&delivered).collect();
    if !lost.is_empty() {
        return Some(format!("lost or stuck: {lost:?}"));
    }
    let mut seen = stage.look().await;
    // What is delivered twice ends twice. What is stored twice counts once, and a queue
    // may be said to owe more than it does: its tenant is forgiven too much, which ends
    // when nothing is left.
    let harmless = ["unfinished", "queues owe {} bytes", "tenants have"];
    let harmless = |fault: &str| harmless.iter().any(|one| fault.contains(one));
    seen.faults.retain(|fault| !harmless(fault));
    let most = whole.log * seen.segments.max(1) as u64;
    let forgiven = seen
        .used
        .values()
        .all(|used| used.pending == 0 && used.log <= most);
    if !forgiven {
        return Some(format!("counted too high for ever: {:?}", seen.used));
    }
    let idle = seen.ready.is_empty() && seen.leased.is_empty() && seen.in_flight.is_empty();
    let idle = idle && seen.waiting.is_empty() && seen.faults.is_empty();
    (!idle).then(|| format!("never at rest: {seen:?}"))
}

#[tokio::test]
async fn nothing_is_lost_with_a_killed_script() {
    let mut stage = Stage::new().await;
    let mut wrong = Vec::new();
    for number in 0..SINGLE {
        let mut past = stage.before(number).await;
        stage.proxy.record();
        stage.tell(number, &mut past).await;
        let mut commands = stage.proxy.recorded();
        commands.retain(|command| matches!(&command[0][..], b"EVALSHA" | b"SET"));
        let wanted = stage.digest().await;
        let whole = stage.holdings().await;
        assert_eq!(
            damage(&stage, &whole).await,
            None,
            "step {number}, unharmed"
        );
        for nth in 1.. {
            let mut past = stage.before(number).await;
            let clean = stage.digest().await;
            let failures = stage.kill(&commands, nth).await;
            if failures.is_empty() {
                assert!(nth > 2, "step {number} has scripts");
                break;
            }
            let early = failures.iter().all(|text| text.contains("early"));
            if early && commands.iter().all(|command| command[0] != b"SET") {
                let after = stage.digest().await;
                assert_eq!(after, clean, "step {number}, killed at {nth}");
            }
            stage.tell(number, &mut past).await;
            let exact = !EXACT.contains(&number) || stage.digest().await == wanted;
            let found = damage(&stage, &whole).await;
            if let Some(found) = found.or((!exact).then(|| "other bytes".to_owned())) {
                wrong.push(format!("step {number}: {failures:?}: {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
