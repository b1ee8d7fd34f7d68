//! What the foreign APIs leave open, and a deployment may choose.
//!
//! Their public texts do not say under which name Collect sends its token, or which digest
//! Hookshot signs with. A choice concerns what is made from then on: a subscription keeps
//! the headers that it has.

use sidehook_api::v1::HmacDigest;
use sidehook_core::subscription::HeaderName;
use sidehook_runtime::config::Reader;

/// The choices of this deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectSettings {
    /// Header in which Collect's `secretToken` is sent.
    pub collect_token_header: String,
    /// Header in which deliveries of hooks say `subject:action`.
    pub hookshot_event_header: String,
    /// Digest of the header `X-Signature` of hooks.
    pub hookshot_digest: HmacDigest,
}

impl Default for DialectSettings {
    fn default() -> Self {
        Self {
            collect_token_header: "x-secret-token".to_owned(),
            hookshot_event_header: "X-Emperor-Event".to_owned(),
            hookshot_digest: HmacDigest::Sha256,
        }
    }
}

impl DialectSettings {
    /// Reads the sections `collect` (`token_header`) and `hookshot` (`event_header`,
    /// `digest`: `sha256` or `sha1`).
    pub(crate) fn read(r: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let collect_token_header = r.section("collect", |r| {
            header(r, "token_header", default.collect_token_header)
        });
        let digests = [("sha256", HmacDigest::Sha256), ("sha1", HmacDigest::Sha1)];
        let (hookshot_event_header, hookshot_digest) = r.section("hookshot", |r| {
            let name = header(r, "event_header", default.hookshot_event_header);
            (name, r.choice("digest", &digests, default.hookshot_digest))
        });
        Self {
            collect_token_header,
            hookshot_event_header,
            hookshot_digest,
        }
    }
}

/// The name of a header that a subscription may have.
fn header(r: &mut Reader<'_>, key: &str, default: String) -> String {
    let name: String = r.value(key, default);
    if let Err(error) = name.parse::<HeaderName>() {
        r.problem(
            key,
            format!("`{name}` is no header for this"),
            error.to_string(),
        );
    }
    name
}
