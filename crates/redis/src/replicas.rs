//! How many replicas must have a write before it is acknowledged, and what that makes
//! of the level.
//!
//! What a master acknowledges alone is lost when it dies and a replica takes its place,
//! whatever it had on its disk. So a server that is strict and has replicas, or has
//! Sentinels that replace it, is asked to `WAIT` for one replica, unless
//! `store.replicas` says otherwise. Once asked for, it is asked for as long as the
//! process lives: a replica that is gone means that nothing is acknowledged, and not
//! that things are kept less safely in silence.

use sidehook_store::port::Durability;

use crate::preflight::Found;

/// What a server's replicas make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Replicas that must have a write.
    pub(crate) required: u32,
    /// How safely things are kept with that.
    pub(crate) durability: Durability,
    /// Why so.
    pub(crate) why: &'static str,
}

/// Judges a server: `setting` is `store.replicas`, `before` what was required so far,
/// and `is_watched` whether Sentinels may replace it.
pub(crate) fn judge(setting: Option<u32>, before: u32, found: &Found, is_watched: bool) -> Judged {
    let has_replicas = found.replicas > 0 || is_watched;
    let own = u32::from(has_replicas && found.durability == Durability::Strict);
    let required = setting.unwrap_or(own.max(before));
    if required == 0 && has_replicas && found.durability == Durability::Strict {
        return Judged {
            required,
            durability: Durability::Relaxed,
            why: "store.replicas is 0 and there are replicas: a failover loses what they do not have yet",
        };
    }
    Judged {
        required,
        durability: found.durability,
        why: found.why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Relaxed, Strict, Volatile};

    #[test]
    fn replicas_are_waited_for_where_they_make_a_difference() {
        for (setting, before, durability, replicas, is_watched, wanted) in [
            // Nothing is set: one where it is strict and there are replicas.
            (None, 0, Strict, 0, false, (0, Strict)),
            (None, 0, Strict, 2, false, (1, Strict)),
            (None, 0, Strict, 0, true, (1, Strict)),
            (None, 0, Relaxed, 2, true, (0, Relaxed)),
            (None, 0, Volatile, 2, false, (0, Volatile)),
            // Once required it stays so.
            (None, 1, Strict, 0, false, (1, Strict)),
            (None, 1, Relaxed, 0, false, (1, Relaxed)),
            // What is set holds, and tells on the level.
            (Some(0), 0, Strict, 0, false, (0, Strict)),
            (Some(0), 0, Strict, 1, false, (0, Relaxed)),
            (Some(0), 0, Strict, 0, true, (0, Relaxed)),
            (Some(0), 0, Volatile, 1, false, (0, Volatile)),
            (Some(2), 0, Relaxed, 0, false, (2, Relaxed)),
            (Some(2), 0, Strict, 0, false, (2, Strict)),
        ] {
            let found = Found {
                durability,
                why: "as it is",
                replicas,
                may_wait: true,
                takes_torn: false,
            };
            let judged = judge(setting, before, &found, is_watched);
            let told = (judged.required, judged.durability);
            assert_eq!(told, wanted, "{setting:?} {before} {found:?} {is_watched}");
            assert_eq!(judged.why == "as it is", judged.durability == durability);
        }
    }
}
