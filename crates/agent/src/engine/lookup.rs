//! Names to addresses, as the platform sees them.
//!
//! `getaddrinfo` is the only one that knows what the owner of the machine set up: `/etc/hosts`, search domains, and
//! whatever NSS asks besides DNS; a resolver of our own would not reach what only the company's network can name. Its
//! price is a thread that is blocked for as long as a name server is silent and that nobody can call back. So:
//! * a name is looked up once at a time, and everybody who wants it meanwhile waits for the same answer;
//! * so many look-ups are under way at most, and so many of them for one tenant, whose silent name servers thus leave
//!   room for everybody else's names;
//! * who finds no room waits, and that is this machine's lack and not the receiver's failure.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sidehook_core::outcome::OutcomeKind;
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::failure::Failure;

/// It lives as long as its thread is blocked, whether or not somebody still waits for it.
const LOOK_UP: TaskKind = TaskKind::new("look_up", OnPanic::Log).background();

/// Look-ups under way: a quarter of the threads that Tokio blocks at most.
const UNDER_WAY_MAX: usize = 128;
/// Of these, for one tenant.
const UNDER_WAY_PER_TENANT: usize = 32;

type Addresses = io::Result<Vec<IpAddr>>;
type Answer = Option<Result<Vec<IpAddr>, Failure>>;
type Resolving = Pin<Box<dyn Future<Output = Addresses> + Send>>;

/// Looks names up. Cheap to clone.
#[derive(Clone)]
pub(super) struct LookUps(Arc<Shared>);

struct Shared {
    tasks: Tasks,
    resolve: Box<dyn Fn(String) -> Resolving + Send + Sync>,
    under_way: Mutex<HashMap<String, LookUp>>,
    ended: Notify,
}

struct LookUp {
    /// Whoever asked first.
    tenant: String,
    answer: watch::Receiver<Answer>,
}

/// A look-up that is under way, and is not any more on drop.
struct UnderWay {
    shared: Arc<Shared>,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.under_way.lock().remove(&self.name);
        self.shared.ended.notify_waiters();
    }
}

impl LookUps {
    /// Through the platform's resolver.
    pub(super) fn new(tasks: Tasks) -> Self {
        Self::through(tasks, |name| {
            Box::pin(async move {
                let found = lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    fn through(
        tasks: Tasks,
        resolve: impl Fn(String) -> Resolving + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            tasks,
            resolve: Box::new(resolve),
            under_way: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// The addresses of `name`, wanted by `tenant`. Waits at most `patience` for room, and then at most `limit` for
    /// the answer.
    pub(super) async fn addresses(
        &self,
        tenant: &str,
        name: &str,
        patience: Duration,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, Failure> {
        let Ok(mut answer) = timeout(patience, self.asked(tenant, name)).await else {
            let detail = format!("too many look-ups are under way: no room within {patience:?}");
            return Err(Failure::new(OutcomeKind::NotStarted, detail));
        };
        match timeout(limit, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(given_up())),
            Ok(Err(_)) => Err(given_up()),
            Err(_) => {
                let detail = format!("no answer within {limit:?}");
                Err(Failure::new(OutcomeKind::Dns, detail))
            }
        }
    }

    /// Where the answer will be, as soon as there is room to ask.
    async fn asked(&self, tenant: &str, name: &str) -> watch::Receiver<Answer> {
        loop {
            let mut ended = pin!(self.0.ended.notified());
            // In line before looking, so that no end is missed.
            ended.as_mut().enable();
            if let Some(answer) = self.ask(tenant, name) {
                return answer;
            }
            ended.await;
        }
    }

    /// Joins the look-up that is under way or begins one; `None` without room for it.
    fn ask(&self, tenant: &str, name: &str) -> Option<watch::Receiver<Answer>> {
        let mut under_way = self.0.under_way.lock();
        if let Some(look_up) = under_way.get(name) {
            return Some(look_up.answer.clone());
        }
        let of_tenant = under_way.values().filter(|it| it.tenant == tenant).count();
        if under_way.len() >= UNDER_WAY_MAX || of_tenant >= UNDER_WAY_PER_TENANT {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        let look_up = LookUp {
            tenant: tenant.to_owned(),
            answer: answer.clone(),
        };
        under_way.insert(name.to_owned(), look_up);
        drop(under_way);
        let guard = UnderWay {
            shared: Arc::clone(&self.0),
            name: name.to_owned(),
        };
        let resolving = (self.0.resolve)(name.to_owned());
        self.0.tasks.spawn(LOOK_UP, async move {
            let _guard = guard;
            let found = resolving.await.map_err(|error| Failure::look_up(&error));
            // Nobody may be waiting any more.
            let _ = sender.send(Some(found));
        });
        Some(answer)
    }
}

fn given_up() -> Failure {
    Failure::new(OutcomeKind::NotStarted, "the look-up was given up")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use sidehook_runtime::drain;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    /// Name servers: those of `silent…` answer once they are `released`.
    struct Servers {
        asked: AtomicUsize,
        released: Semaphore,
    }

    fn look_ups() -> (LookUps, Arc<Servers>) {
        let servers = Arc::new(Servers {
            asked: AtomicUsize::new(0),
            released: Semaphore::new(0),
        });
        let behind = Arc::clone(&servers);
        let tasks = Tasks::new(drain::channel().0);
        let look_ups = LookUps::through(tasks, move |name| {
            let servers = Arc::clone(&behind);
            servers.asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if name.starts_with("silent") {
                    let released = servers.released.acquire().await;
                    released.map_err(io::Error::other)?.forget();
                }
                Ok(vec![IpAddr::from([192, 0, 2, 1])])
            })
        });
        (look_ups, servers)
    }

    fn kind(result: Result<Vec<IpAddr>, Failure>) -> Result<usize, OutcomeKind> {
        result
            .map(|found| found.len())
            .map_err(|failure| failure.kind)
    }

    #[tokio::test]
    async fn a_silent_name_holds_one_thread_however_often_it_is_tried() {
        let (look_ups, servers) = look_ups();
        let attempts = (0..200).map(|_| look_ups.addresses("ten_a", "silent.example", LONG, SHORT));
        for result in join_all(attempts).await {
            assert_eq!(kind(result), Err(OutcomeKind::Dns));
        }
        assert_eq!(servers.asked.load(Ordering::SeqCst), 1);
        let waiting = look_ups.addresses("ten_b", "silent.example", LONG, LONG);
        let release = async { servers.released.add_permits(1) };
        assert_eq!(kind(tokio::join!(waiting, release).0), Ok(1));
        assert!(look_ups.0.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn one_tenants_silent_names_leave_room_and_waiting_for_room_is_not_the_receivers_fault() {
        let (look_ups, servers) = look_ups();
        let names: Vec<_> = (0..200).map(|n| format!("silent{n}.example")).collect();
        let attempts = names
            .iter()
            .map(|name| look_ups.addresses("ten_a", name, SHORT, SHORT));
        let ends: Vec<_> = join_all(attempts).await.into_iter().map(kind).collect();
        let of = |kind| ends.iter().filter(|end| **end == Err(kind)).count();
        assert_eq!(of(OutcomeKind::Dns), UNDER_WAY_PER_TENANT);
        assert_eq!(of(OutcomeKind::NotStarted), 200 - UNDER_WAY_PER_TENANT);
        let other = look_ups.addresses("ten_b", "quick.example", LONG, LONG);
        assert_eq!(kind(other.await), Ok(1));
        let waiting = look_ups.addresses("ten_a", "quick.example", LONG, LONG);
        let release = async { servers.released.add_permits(1) };
        assert_eq!(kind(tokio::join!(waiting, release).0), Ok(1), "room again");
    }

    #[tokio::test]
    async fn all_tenants_together_have_a_bound() {
        let (look_ups, servers) = look_ups();
        let names: Vec<_> = (0..200).map(|n| format!("silent{n}.example")).collect();
        let attempts = names
            .iter()
            .map(|name| look_ups.addresses(name, name, SHORT, SHORT));
        join_all(attempts).await;
        assert_eq!(servers.asked.load(Ordering::SeqCst), UNDER_WAY_MAX);
    }

    #[tokio::test]
    async fn a_look_up_that_panics_is_given_up_and_makes_room() {
        let tasks = Tasks::new(drain::channel().0);
        let look_ups = LookUps::through(tasks, |_| Box::pin(async { panic!("in a test") }));
        let result = look_ups.addresses("ten_a", "a.example", LONG, LONG).await;
        assert_eq!(kind(result), Err(OutcomeKind::NotStarted));
        assert!(look_ups.0.under_way.lock().is_empty());
    }
}
