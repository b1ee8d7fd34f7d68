//! Names of the metadata of answers, which are headers of HTTP too.

/// Of the answers to callers that are known: their tenant's id.
pub const TENANT: &str = "sidehook-tenant";
/// Of the answers of limited RPCs: `limit=100, remaining=50, reset=5`.
pub const RATE_LIMIT: &str = "ratelimit";
