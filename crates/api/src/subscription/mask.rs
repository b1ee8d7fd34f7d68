//! The fields of a subscription that an update may change, by their paths.

use sidehook_core::violation::Violations;

use crate::{
    mask::is_short,
    v1::{self, signing::Scheme},
};

/// How a path is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A field of its own: an empty mask stands for all of these that are set.
    Leaf,
    /// A message of leaves: named in a mask it is replaced as a whole.
    Whole,
    /// One of the signing schemes: must be the one that the patch holds, for else
    /// naming it would switch signing off.
    Scheme,
}

struct Field {
    path: &'static str,
    kind: Kind,
    is_set: fn(&v1::Subscription) -> bool,
    copy: fn(&mut v1::Subscription, &v1::Subscription),
}

macro_rules! field {
    ($path:literal, $kind:ident, $is_set:expr, $copy:expr) => {
        Field {
            path: $path,
            kind: Kind::$kind,
            is_set: $is_set,
            copy: $copy,
        }
    };
}

/// A field of a message that holds plain values.
macro_rules! nested {
    ($path:literal, $message:ident . $field:ident, $is_set:expr) => {
        field!(
            $path,
            Leaf,
            |p| p
                .$message
                .as_ref()
                .is_some_and(|message| $is_set(&message.$field)),
            |to, from| {
                let given = from.$message.as_ref().map(|message| message.$field.clone());
                to.$message.get_or_insert_default().$field = given.unwrap_or_default();
            }
        )
    };
}

macro_rules! scheme {
    ($path:literal, $variant:ident) => {
        field!(
            $path,
            Scheme,
            |p| matches!(scheme(p), Some(Scheme::$variant(_))),
            |to, from| {
                to.signing.get_or_insert_default().scheme = scheme(from).cloned();
            }
        )
    };
}

fn scheme(proto: &v1::Subscription) -> Option<&Scheme> {
    proto.signing.as_ref()?.scheme.as_ref()
}

const FIELDS: &[Field] = &[
    field!("url", Leaf, |p| !p.url.is_empty(), |to, from| to
        .url
        .clone_from(&from.url)),
    field!("events", Leaf, |p| !p.events.is_empty(), |to, from| to
        .events
        .clone_from(&from.events)),
    field!(
        "campaign_id",
        Leaf,
        |p| !p.campaign_id.is_empty(),
        |to, from| to.campaign_id.clone_from(&from.campaign_id)
    ),
    field!("status", Leaf, |p| p.status != 0, |to, from| to.status =
        from.status),
    field!("signing", Whole, |p| p.signing.is_some(), |to, from| to
        .signing
        .clone_from(&from.signing)),
    scheme!("signing.standard_webhooks", StandardWebhooks),
    scheme!("signing.close", Close),
    scheme!("signing.hmac_header", HmacHeader),
    scheme!("signing.unsigned", Unsigned),
    nested!("signing.local_key", signing.local_key, |name: &String| {
        !name.is_empty()
    }),
    field!("format", Leaf, |p| p.format != 0, |to, from| to.format =
        from.format),
    field!(
        "event_header",
        Leaf,
        |p| !p.event_header.is_empty(),
        |to, from| to.event_header.clone_from(&from.event_header)
    ),
    field!("headers", Leaf, |p| !p.headers.is_empty(), |to, from| to
        .headers
        .clone_from(&from.headers)),
    field!(
        "verify_ssl",
        Leaf,
        |p| p.verify_ssl.is_some(),
        |to, from| to.verify_ssl = from.verify_ssl
    ),
    field!("pool", Leaf, |p| !p.pool.is_empty(), |to, from| to
        .pool
        .clone_from(&from.pool)),
    field!("timeouts", Whole, |p| p.timeouts.is_some(), |to, from| to
        .timeouts =
        from.timeouts),
    nested!("timeouts.dns", timeouts.dns, Option::is_some),
    nested!("timeouts.connect", timeouts.connect, Option::is_some),
    nested!("timeouts.total", timeouts.total, Option::is_some),
    field!(
        "max_in_flight",
        Leaf,
        |p| p.max_in_flight != 0,
        |to, from| to.max_in_flight = from.max_in_flight
    ),
    field!(
        "retry_policy",
        Whole,
        |p| p.retry_policy.is_some(),
        |to, from| to.retry_policy = from.retry_policy
    ),
    nested!(
        "retry_policy.initial_backoff",
        retry_policy.initial_backoff,
        Option::is_some
    ),
    nested!(
        "retry_policy.max_backoff",
        retry_policy.max_backoff,
        Option::is_some
    ),
    nested!(
        "retry_policy.max_age",
        retry_policy.max_age,
        Option::is_some
    ),
    nested!(
        "retry_policy.max_attempts",
        retry_policy.max_attempts,
        |attempts: &u32| *attempts != 0
    ),
    nested!(
        "retry_policy.on_exhausted",
        retry_policy.on_exhausted,
        |action: &i32| *action != 0
    ),
    nested!(
        "retry_policy.preset",
        retry_policy.preset,
        |preset: &i32| { *preset != 0 }
    ),
    field!(
        "description",
        Leaf,
        |p| !p.description.is_empty(),
        |to, from| to.description.clone_from(&from.description)
    ),
    field!("owner", Leaf, |p| !p.owner.is_empty(), |to, from| to
        .owner
        .clone_from(&from.owner)),
];

const OUTPUT_ONLY: &[&str] = &[
    "id",
    "pause_reason",
    "signing.keys",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
    "etag",
    "fault",
    "health",
];

/// Lays the fields of `patch` that `mask` names over `target`; with an empty mask
/// those that are set. Tells of wrong paths as `update_mask`.
pub(super) fn merge(
    target: &mut v1::Subscription,
    patch: &v1::Subscription,
    mask: &[String],
) -> Violations {
    let mut violations = Violations::new();
    if mask.is_empty() {
        let set = |field: &&Field| field.kind != Kind::Whole && (field.is_set)(patch);
        FIELDS
            .iter()
            .filter(set)
            .for_each(|field| (field.copy)(target, patch));
        return violations;
    }
    if !is_short(mask, &mut violations) {
        return violations;
    }
    let mut copied = Vec::new();
    for path in mask {
        let Some(field) = FIELDS.iter().find(|field| field.path == path) else {
            let what = if OUTPUT_ONLY.contains(&path.as_str()) {
                "is output only"
            } else {
                "is not a field of a subscription that can be changed"
            };
            violations.add("update_mask", format!("`{}` {what}", shorten(path)));
            continue;
        };
        if field.kind == Kind::Scheme && !(field.is_set)(patch) {
            violations.add(
                "update_mask",
                format!("`{path}` is not the scheme that was given"),
            );
            continue;
        }
        if field.path == "status" && !(field.is_set)(patch) {
            violations.add("subscription.status", "required: the mask names it");
            continue;
        }
        // The patch may be large, and is the client's: it is copied once.
        if !copied.contains(&field.path) {
            (field.copy)(target, patch);
            copied.push(field.path);
        }
    }
    violations
}

/// Whether a mask takes a field of its own from the patch, if that has it.
pub(super) fn names(mask: &[String], path: &str) -> bool {
    mask.is_empty() || mask.iter().any(|one| one == path)
}

/// Whether the field that a violation names by its path is the same in both.
pub(super) fn is_unchanged(
    path: &str,
    before: &v1::Subscription,
    after: &v1::Subscription,
) -> bool {
    let names = |field: &&Field| {
        let rest = path.strip_prefix(field.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    // The longest path: a field of its own rather than the message around it.
    let field = FIELDS
        .iter()
        .filter(names)
        .max_by_key(|field| field.path.len());
    field.is_some_and(|field| {
        let mut taken_over = before.clone();
        (field.copy)(&mut taken_over, after);
        taken_over == *before
    })
}

/// A client's own text in an answer: not more of it than helps.
fn shorten(path: &str) -> &str {
    let end = path
        .char_indices()
        .nth(100)
        .map_or(path.len(), |(at, _)| at);
    &path[..end]
}

#[cfg(test)]
pub(super) fn is_known(path: &str) -> bool {
    FIELDS.iter().any(|field| field.path == path) || OUTPUT_ONLY.contains(&path)
}
