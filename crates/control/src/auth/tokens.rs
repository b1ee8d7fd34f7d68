//! Bearer tokens (JWT) of another issuer: whose keys are read, and read again.
//!
//! The issuer publishes its keys as a set, and replaces them now and then. The set is read
//! at the start, every `refresh`, and when a token names a key that is not in it; for such
//! tokens at most once every `AGAIN`, since anybody can name a key that nobody has. While
//! one is read on its account a token waits, at most as long as a fetch may take. A set
//! that cannot be read, or is of no use, leaves the present one in force: an issuer that is
//! away makes no new tokens, and those that it made are not worse for it.
//!
//! Nothing of a token is kept but what it says, and that no longer than its `exp`.

mod claims;
mod config;
mod keys;
mod source;

use core::time::Duration;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::Header;
use parking_lot::{Mutex, RwLock};
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use claims::ClaimNames;
pub(super) use claims::{Believed, tenant_role};
pub use config::JwtConfig;
pub use source::{KeySource, KeySourceError};

use self::{
    claims::{Rules, believe, header},
    keys::KeySet,
    source::{FETCHED_WITHIN, Reader, keys_in_file},
};
use super::refusal::Refusal;
use crate::errors::OperationError;

/// Without it keys that were replaced would be trusted for ever.
const KEYS: TaskKind = TaskKind::new("token_keys", OnPanic::Abort).background();

/// How soon after a reading an unknown key may cause another one, and how soon one that
/// failed is repeated while there are no keys at all.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of the longest token that is looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Whose tokens are believed.
pub(crate) struct Tokens {
    rules: Rules,
    reader: Reader,
    refresh: Duration,
    keys: RwLock<Arc<KeySet>>,
    read_at: Mutex<Option<Instant>>,
    wanted: Notify,
    readings: watch::Sender<u64>,
}

impl Tokens {
    /// Believes tokens as `config` says. Keys in a file are read at once, those at an
    /// address by [`follow`](Self::follow).
    ///
    /// # Errors
    /// The keys are where none can be read.
    pub(crate) fn new(config: &JwtConfig) -> Result<Self, KeySourceError> {
        let keys = match &config.keys {
            KeySource::File(path) => keys_in_file(path)?,
            KeySource::Url { .. } => KeySet::default(),
        };
        Ok(Self {
            rules: Rules {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                claims: config.claims.clone(),
                leeway: config.leeway,
            },
            reader: Reader::new(&config.keys)?,
            refresh: config.refresh,
            keys: RwLock::new(Arc::new(keys)),
            read_at: Mutex::new(None),
            wanted: Notify::new(),
            readings: watch::channel(0).0,
        })
    }

    /// Keeps reading the keys.
    pub(crate) fn follow(self: &Arc<Self>, tasks: &Tasks) {
        let tokens = Arc::clone(self);
        tasks.spawn(KEYS, async move {
            loop {
                tokens.read().await;
                let pause = if tokens.keys().is_empty() {
                    tokens.again()
                } else {
                    tokens.refresh
                };
                let pause = tokio::time::sleep(pause);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        // A wish that a reading was under way for is fulfilled by then.
                        () = tokens.wanted.notified() => if !tokens.is_early() { break },
                    }
                }
            }
        });
    }

    /// Believes a text that has the form of a token; `None` if it has not.
    ///
    /// # Errors
    /// The inner error is why the token is refused; the outer one, UNAVAILABLE, that
    /// nobody can tell yet.
    pub(super) async fn believe(
        &self,
        text: &str,
    ) -> Result<Option<Result<Believed, Refusal>>, OperationError> {
        let Some(header) = header(text) else {
            return Ok(None);
        };
        if text.len() > TOKEN_BYTES_MAX {
            return Ok(Some(Err(Refusal::invalid("the token is too long"))));
        }
        let mut keys = self.keys();
        if !knows(&keys, &header) {
            keys = self.anew().await;
        }
        if keys.is_empty() {
            return Err(OperationError::Unavailable {
                message: "the keys that tokens are checked with could not be read yet".to_owned(),
                retry_after: AGAIN,
            });
        }
        Ok(Some(believe(text, &header, &keys, &self.rules, now())))
    }

    /// How long a token that was believed may still be used, and how long of that it may
    /// be remembered.
    ///
    /// # Errors
    /// It has expired, or its key is not trusted any more.
    pub(super) fn left(&self, token: &Believed) -> Result<(Duration, Duration), Refusal> {
        if !self.keys().has(&token.key) {
            return Err(Refusal::invalid(
                "the token was signed with a key that is not trusted any more",
            ));
        }
        let now = now();
        let usable = (token.expires + self.rules.leeway).saturating_sub(now);
        if usable.is_zero() {
            return Err(Refusal::expired("the token has expired: get a new one"));
        }
        Ok((usable, token.expires.saturating_sub(now)))
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read())
    }

    /// The keys after another reading, if it is time for one.
    async fn anew(&self) -> Arc<KeySet> {
        let mut readings = self.readings.subscribe();
        if !self.is_early() {
            self.wanted.notify_one();
            // The reading itself ends in time; a second more for the turn to begin it.
            let within = FETCHED_WITHIN + Duration::from_secs(1);
            let _ = tokio::time::timeout(within, readings.changed()).await;
        }
        self.keys()
    }

    fn again(&self) -> Duration {
        AGAIN.min(self.refresh)
    }

    /// Whether the last reading was a moment ago.
    fn is_early(&self) -> bool {
        let read_at = *self.read_at.lock();
        read_at.is_some_and(|at| at.elapsed() < self.again())
    }

    async fn read(&self) {
        match self.reader.read().await {
            Ok(keys) => *self.keys.write() = Arc::new(keys),
            Err(error) => {
                tracing::warn!(%error, "the keys of tokens cannot be read; those that are known stay");
            }
        }
        *self.read_at.lock() = Some(Instant::now());
        self.readings
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Whether a token's key may be in the set.
fn knows(keys: &KeySet, header: &Header) -> bool {
    keys.called(header.kid.as_deref()).next().is_some()
}

/// The time by which issuers and we agree, since the epoch.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
