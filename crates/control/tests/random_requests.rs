//! Every RPC of every service, given what nobody would send: random bytes, messages made
//! from the descriptors, and such messages with bytes changed or cut off. Whatever comes,
//! the caller is at fault and is told so, and nothing stays behind in memory.
//!
//! The requests follow from a seed, `SIDEHOOK_SEED`; `SIDEHOOK_REQUESTS` is how many each
//! RPC gets.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing test shows where, and of which seed"
)]

mod random;
mod support;

use core::time::Duration;
use std::{collections::BTreeMap, env};

use bytes::Bytes;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use rand::{SeedableRng as _, rngs::StdRng};
use random::{Raw, Words};
use sidehook_api::{DESCRIPTORS, v1};
use support::{Api, OPERATOR, event, start, subscription, with};
use tonic::{Code, Status, client::Grpc, transport::Channel};

const REQUESTS: u64 = 150;
const PATIENCE: Duration = Duration::from_secs(60);
/// How much memory may grow over all requests but the first ones, which fill caches.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    pages * 4096
}

/// Everything that the ports of people and agents serve, with who calls it there.
struct Target {
    method: MethodDescriptor,
    channel: Channel,
    key: String,
}

async fn targets(api: &Api) -> Vec<Target> {
    let agents = Channel::from_shared(format!("http://{}", api.plane.agents)).unwrap();
    let agents = agents.connect_lazy();
    let token = api.key(&api.tenant, v1::Role::Agent).await.1;
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services: Vec<_> = pool.services().collect();
    let target = |method: MethodDescriptor| {
        let service = method.parent_service().full_name().to_owned();
        let (channel, key) = match &*service {
            "sidehook.v1.AdminService" => (&api.channel, OPERATOR),
            name if name.starts_with("sidehook.agent.") => (&agents, &*token),
            _ => (&api.channel, &*api.admin),
        };
        Target {
            method,
            channel: channel.clone(),
            key: key.to_owned(),
        }
    };
    let methods = services.iter().flat_map(|service| service.methods());
    methods.map(target).collect()
}

/// Sends messages, and answers how the call ended; of a stream that goes on it is enough
/// that it began.
async fn call(target: &Target, messages: Vec<Bytes>) -> Result<(), Status> {
    let (service, name) = (target.method.parent_service(), target.method.name());
    let path = format!("/{}/{name}", service.full_name());
    let mut grpc = Grpc::new(target.channel.clone());
    grpc.ready().await.unwrap();
    let request = with(&target.key, tokio_stream::iter(messages));
    let answers = grpc.streaming(request, path.parse().unwrap(), Raw).await?;
    let goes_on = target.method.is_server_streaming();
    let mut answers = answers.into_inner();
    while answers.message().await?.is_some() && !goes_on {}
    Ok(())
}

/// Makes and sends `count` requests to each target; answers how often each code came.
async fn send(
    targets: &[Target],
    count: u64,
    words: &Words,
    dice: &mut StdRng,
) -> BTreeMap<String, u64> {
    let mut codes = BTreeMap::new();
    for round in 0..count {
        for target in targets {
            let several = if target.method.is_client_streaming() {
                3
            } else {
                1
            };
            let input = target.method.input();
            let make = |_| random::request(&input, words, dice);
            let messages: Vec<_> = (0..several).map(make).collect();
            let answer = tokio::time::timeout(PATIENCE, call(target, messages.clone())).await;
            let name = target.method.full_name();
            let answer = answer.unwrap_or_else(|_| panic!("{name} does not answer {messages:?}"));
            let code = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
            let theirs = !matches!(
                code,
                Code::Internal
                    | Code::Unknown
                    | Code::Unavailable
                    | Code::DataLoss
                    | Code::Unimplemented
            );
            assert!(theirs, "round {round}, {name}: {answer:?} to {messages:?}");
            *codes.entry(format!("{code:?}")).or_default() += 1;
        }
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_the_callers_affair_and_leaves_nothing_behind() {
    let (seed, count) = (
        number("SIDEHOOK_SEED", 7),
        number("SIDEHOOK_REQUESTS", REQUESTS),
    );
    println!("seed {seed}, {count} requests for each RPC");
    let api = start().await;
    let present = api.create(subscription()).await.unwrap();
    let published = api.publish(event()).await.unwrap().event_id;
    let words = Words::new([present.id, published]);
    let targets = targets(&api).await;
    assert!(targets.len() > 25, "all RPCs: {}", targets.len());
    let mut dice = StdRng::seed_from_u64(seed);
    let first = (count / 5).max(10);
    send(&targets, first, &words, &mut dice).await;
    let before = resident_bytes();
    let codes = send(&targets, count, &words, &mut dice).await;
    let after = resident_bytes();
    println!("{codes:?}, resident {before} then {after} bytes");
    for code in ["Ok", "InvalidArgument", "NotFound"] {
        assert!(codes.contains_key(code), "some were {code}: {codes:?}");
    }
    let grown = after.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more: {codes:?}");
    // It goes on as before.
    api.publish(event()).await.unwrap();
}
