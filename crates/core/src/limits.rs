//! Every limit of the system, in one place.

use core::time::Duration;

/// Partitions that tenants are spread over, fixed at a store's first start.
pub const PARTITIONS: u8 = 64;

/// Longest payload of an event (`data`, `previous_data` and `meta` together), in
/// bytes, unless the server's configuration says otherwise.
pub const EVENT_BYTES_DEFAULT: usize = 256 * 1024;
/// Longest payload that can be configured, in bytes: such an event still fits a message
/// with others, and a store call alone.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(EVENT_BYTES_MAX * 2 < FRAME_BYTES, "two fit a frame");
/// Shortest longest payload that can be configured, in bytes.
pub const EVENT_BYTES_MIN: usize = 1024;
/// Events in one `PublishEvents` call or one message of `StreamEvents`.
pub const PUBLISH_BATCH_EVENTS: usize = 1_000;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an object type or action.
pub const TYPE_BYTES: usize = 100;
/// Bytes of an event's identifiers (object, user, lead, request, campaign, organisation).
pub const REFERENCE_BYTES: usize = 200;
/// Names in `changed_fields`.
pub const CHANGED_FIELDS: usize = 1_000;

/// Subscriptions of one tenant: also the widest fan-out of one event.
pub const SUBSCRIPTIONS_PER_TENANT: usize = 1_000;
/// Subscriptions of a tenant, unless the operator sets another limit.
pub const SUBSCRIPTIONS_DEFAULT: u32 = 40;
/// Subscriptions of a tenant that is an automation platform, unless the operator sets
/// another limit.
pub const SUBSCRIPTIONS_PLATFORM: u32 = 500;
const _: () = assert!(SUBSCRIPTIONS_PLATFORM as usize <= SUBSCRIPTIONS_PER_TENANT);
/// Requests that a key may make in a second, unless the operator sets another limit.
pub const REQUESTS_PER_SECOND_DEFAULT: u32 = 100;
/// Most requests in a second that a key can be allowed: at more, the rounding of times
/// to microseconds would show.
pub const REQUESTS_PER_SECOND_MAX: u32 = 10_000;
/// How many seconds' requests may come at once after a rest, unless the operator sets
/// another limit.
pub const REQUEST_BURST_SECONDS: u32 = 2;
/// Most requests at once that a key can be allowed.
pub const REQUEST_BURST_MAX: u32 = 100_000;
/// Bytes of a destination URL.
pub const URL_BYTES: usize = 2_048;
/// Event patterns of one subscription.
pub const PATTERNS: usize = 100;
/// Nodes of one filter.
pub const FILTER_NODES: usize = 256;
/// Nodes of a filter within each other.
pub const FILTER_DEPTH: usize = 32;
/// Bytes of a filter's JSON text.
pub const FILTER_BYTES: usize = 32 * 1024;
/// Arrays and objects within each other in a filter's JSON: those of its nodes, two each
/// at most, and those of a value.
pub const FILTER_JSON_DEPTH: usize = 2 * FILTER_DEPTH + 32;
/// Bytes of all filters of one subscription together.
pub const SUBSCRIPTION_FILTER_BYTES: usize = 64 * 1024;
/// Bytes of all filters of one tenant together: some 2 KiB for each of 1,000 subscriptions.
/// They are compiled into the memory of every server that works for the tenant.
pub const TENANT_FILTER_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!(SUBSCRIPTION_FILTER_BYTES <= TENANT_FILTER_BYTES);
/// Bytes that an explanation of a filter shows of a value.
pub const FILTER_SHOWN_BYTES: usize = 500;
/// Steps that all filters of a tenant may take on one event, together: nodes evaluated,
/// elements and members looked at, and 8 bytes of text compared are a step each, of some
/// 10 to 35 ns. So an event costs 20 to 70 ms at most, for which it keeps one thread. It is
/// enough for 1,000 filters that each look at nearly 2,000 elements or search 15 KiB of
/// text, and hundreds of times what usual filters take.
pub const FILTER_STEPS: u64 = 2_000_000;
/// Static headers of one subscription.
pub const HEADERS: usize = 20;
/// Bytes of a static header's value.
pub const HEADER_VALUE_BYTES: usize = 1_024;
/// Bytes of a static header's name.
pub const HEADER_NAME_BYTES: usize = 100;
/// Bytes of the text in front of a plain HMAC header's digest.
pub const SIGNATURE_PREFIX_BYTES: usize = 64;
/// Bytes of a subscription's description.
pub const DESCRIPTION_BYTES: usize = 500;
/// Bytes of a subject: of what a caller is called in records.
pub const SUBJECT_BYTES: usize = 200;
/// Bytes of a pool's or local key's name.
pub const NAME_BYTES: usize = 63;
/// Bytes of a tenant's or key's name for people.
pub const DISPLAY_NAME_BYTES: usize = 100;
/// Widest in-flight window of a subscription, in deliveries.
pub const IN_FLIGHT_MAX: u32 = 1_000;
/// In-flight window of a subscription that names none.
pub const IN_FLIGHT_DEFAULT: u32 = 64;
/// Signing keys in force at one time.
pub const SIGNING_KEYS: usize = 5;
/// Longest overlap of signing keys in a rotation.
pub const KEY_OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Overlap of signing keys in a rotation that names none.
pub const KEY_OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Default time limit of an address look-up.
pub const DNS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Default time limit of connecting.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Default time limit of an attempt.
pub const TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest time limit of an attempt.
pub const TOTAL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Shortest of any of the three time limits.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Bytes of a response's body that are read and kept.
pub const RESPONSE_BYTES: usize = 16 * 1024;
/// Bytes of an attempt's error text.
pub const ERROR_DETAIL_BYTES: usize = 500;

/// First back-off of the default retry policy.
pub const BACKOFF_INITIAL_DEFAULT: Duration = Duration::from_secs(5);
/// Shortest first back-off.
pub const BACKOFF_INITIAL_MIN: Duration = Duration::from_millis(100);
/// Longest back-off of the default retry policy.
pub const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(20 * 60);
/// Longest back-off of any retry policy: above the longest delay of a preset's attempts,
/// 3.8 days, and of the next one, 4.5.
pub const BACKOFF_MAX_MAX: Duration = Duration::from_secs(5 * 24 * 3600);
/// Longest lease that can be configured.
pub const LEASE_CONFIGURED_MAX: Duration = Duration::from_secs(3_600);
/// Longest lease that a store lends: what seems longer was lent by a clock that was
/// ahead. The minute above what can be configured is for clocks that differ a little.
/// Raising it concerns servers of earlier versions that share a store: they take longer
/// leases for those of a clock that was ahead, and end them at once.
pub const LEASE_MAX: Duration = Duration::from_secs(3_660);
/// How far a receiver's Retry-After can put a retry off.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a delivery can wait for its next attempt: what seems to wait longer was
/// told by a clock that was ahead. The hour above what can be asked for is for clocks
/// that differ: the time comes from one node's, and is compared with another's. Raising
/// it concerns servers of earlier versions that share a store: they take longer waits for
/// those of a clock that was ahead, and end them at once.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(5 * 24 * 3600 + 3600);
const _: () = assert!(BACKOFF_MAX_MAX.as_secs() < RETRY_WAIT_MAX.as_secs());
const _: () = assert!(RETRY_AFTER_MAX.as_secs() < RETRY_WAIT_MAX.as_secs());
const _: () = assert!(LEASE_CONFIGURED_MAX.as_secs() < LEASE_MAX.as_secs());
/// How long the default retry policy tries, from the first attempt on.
pub const RETRY_AGE_DEFAULT: Duration = Duration::from_secs(72 * 3600);
/// How long any retry policy may try: less than events are kept.
pub const RETRY_AGE_MAX: Duration = Duration::from_secs(28 * 24 * 3600);
/// A delivery that lost its lease this often is dead: it may be killing agents.
pub const LEASES_LOST_MAX: u8 = 5;

/// Bytes of what a subscription's health notes of an attempt.
pub const HEALTH_NOTE_BYTES: usize = 200;

/// Events, outcomes or deliveries that one store call carries.
pub const CALL_RECORDS: usize = 128;
/// Bytes of records that one store call carries; one larger item is allowed alone.
pub const CALL_BYTES: usize = 1024 * 1024;
/// Pairs of event and subscription in one publish: each is a delivery, and each
/// subscription of an event one more write.
pub const CALL_PAIRS: usize = 1_024;
const _: () = assert!(SUBSCRIPTIONS_PER_TENANT <= CALL_PAIRS, "any event fits");
/// Bytes that an event in the log counts for beside its record, about what its place,
/// its idempotency key and its share of a segment take.
pub const EVENT_OVERHEAD: u64 = 256;
/// Bytes that a delivery counts for beside its event, about what its place in a queue and
/// its history take.
pub const DELIVERY_OVERHEAD: u64 = 256;
/// Bytes of unfinished deliveries that a tenant may have, unless the server's
/// configuration says otherwise.
pub const TENANT_PENDING_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
/// Bytes of events that a tenant's log may have, unless the server's configuration says
/// otherwise.
pub const TENANT_LOG_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Smallest of either budget that can be configured, in bytes: room for one call.
pub const TENANT_BYTES_MIN: u64 = 2 * CALL_BYTES as u64;
/// Largest of either budget that can be configured, in bytes.
pub const TENANT_BYTES_MAX: u64 = 1 << 50;
/// Deliveries of one queue that a claim takes in one visit.
pub const CLAIM_QUANTUM: u32 = 16;
/// How long published events stay in the log.
pub const LOG_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Entries that a filtered list examines for one page.
pub const LIST_EXAMINED: usize = 1_000;

/// Wrong fields that one answer tells of.
pub const VIOLATIONS: usize = 50;

/// How long the record of an agent that is gone is kept.
pub const AGENT_RECORD_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Deliveries that an agent may ask for at one time.
pub const AGENT_CAPACITY_MAX: u32 = 65_536;
/// Bytes of events that an agent may ask for at one time.
pub const AGENT_CAPACITY_BYTES_MAX: u64 = 1 << 30;
/// Tenants whose shares the demands of one claim may name.
pub const CLAIM_SHARES: usize = 1_024;
/// Earlier sessions that a Hello names as closed: the newest ones. The leases of older
/// ones run out by time.
pub const CLOSED_SESSIONS_MAX: usize = 64;
/// Largest frame on an agent's stream and largest gRPC message, in bytes.
pub const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Deliveries in one Assign frame.
pub const ASSIGN_DELIVERIES: usize = CALL_RECORDS;
