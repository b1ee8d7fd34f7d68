//! The flags that say how requests are signed, and the scheme that they stand for.
//!
//! The API replaces a scheme with all it has. A person changes what the flags name: so
//! what a flag leaves open is taken from the scheme in force, as far as that is of the
//! same kind.

use sidehook_api::v1::{self, signing::Scheme as ApiScheme};

use crate::client::Failure;

/// How requests are signed; each flag may be left out.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// How to sign requests
    #[arg(long, value_enum)]
    scheme: Option<Scheme>,
    /// What to sign Standard Webhooks with; implies that scheme
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    /// The header that has the HMAC, `X-Signature` unless given; implies --scheme hmac-header
    #[arg(long, value_name = "NAME")]
    hmac_header: Option<String>,
    /// The digest of that HMAC; implies --scheme hmac-header
    #[arg(long, value_enum)]
    hmac_digest: Option<Digest>,
    /// Text before that HMAC, for example `sha256=`; implies --scheme hmac-header
    #[arg(long, value_name = "TEXT")]
    hmac_prefix: Option<String>,
    /// Sign with the key that the agents' own configuration has under this name; '' for
    /// keys that Sidehook manages
    #[arg(long, value_name = "NAME")]
    local_key: Option<String>,
}

/// How to sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scheme {
    /// Standard Webhooks, the default
    StandardWebhooks,
    /// Close's headers
    Close,
    /// One header with an HMAC of the body
    HmacHeader,
    /// No signature
    Unsigned,
}

/// What Standard Webhooks are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Algorithm {
    /// v1: HMAC-SHA256, with a secret that both sides have
    HmacSha256,
    /// v1a: Ed25519; the receiver needs only the public key
    Ed25519,
}

/// The digest of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Digest {
    /// SHA-256, the default
    Sha256,
    /// SHA-1, for receivers that know nothing else
    Sha1,
}

impl From<Algorithm> for v1::StandardWebhooksAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HmacSha256 => Self::HmacSha256,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<Digest> for v1::HmacDigest {
    fn from(digest: Digest) -> Self {
        match digest {
            Digest::Sha256 => Self::Sha256,
            Digest::Sha1 => Self::Sha1,
        }
    }
}

impl Flags {
    /// Whether what they stand for depends on the scheme in force.
    pub(super) fn need_present(&self) -> bool {
        self.hmac_is_given() || self.scheme == Some(Scheme::HmacHeader)
    }

    fn hmac_is_given(&self) -> bool {
        self.hmac_header.is_some() || self.hmac_digest.is_some() || self.hmac_prefix.is_some()
    }

    /// The kind of scheme that the flags name, if any.
    ///
    /// # Errors
    /// They name several.
    fn kind(&self) -> Result<Option<Scheme>, Failure> {
        let implied = [
            (
                "--algorithm",
                Scheme::StandardWebhooks,
                self.algorithm.is_some(),
            ),
            ("--hmac-…", Scheme::HmacHeader, self.hmac_is_given()),
        ];
        let mut kind = self.scheme;
        for (flag, scheme, _) in implied.into_iter().filter(|(.., given)| *given) {
            if kind.is_some_and(|kind| kind != scheme) {
                let wrong = format!("{flag} does not belong to the scheme that is named beside it");
                let right = "--algorithm is for standard-webhooks, --hmac-… are for hmac-header";
                return Err(Failure::new(wrong).hint(right));
            }
            kind = Some(scheme);
        }
        Ok(kind)
    }

    /// What the flags make of the scheme in force, and the fields of a mask that name
    /// it; `None` if no flag is given.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub(super) fn into_signing(
        self,
        present: Option<&ApiScheme>,
    ) -> Result<(Option<v1::Signing>, Vec<&'static str>), Failure> {
        let kind = self.kind()?;
        let mut mask = Vec::new();
        mask.extend(kind.map(Scheme::path));
        mask.extend(self.local_key.as_ref().map(|_| "signing.local_key"));
        let algorithm = self.algorithm.map(v1::StandardWebhooksAlgorithm::from);
        let scheme = kind.map(|kind| match kind {
            Scheme::StandardWebhooks => ApiScheme::StandardWebhooks(v1::StandardWebhooksScheme {
                algorithm: algorithm.unwrap_or_default().into(),
            }),
            Scheme::Close => ApiScheme::Close(v1::CloseScheme {}),
            Scheme::Unsigned => ApiScheme::Unsigned(v1::UnsignedScheme {}),
            Scheme::HmacHeader => {
                let present = match present {
                    Some(ApiScheme::HmacHeader(scheme)) => scheme.clone(),
                    _ => v1::HmacHeaderScheme::default(),
                };
                let digest = self.hmac_digest.map(v1::HmacDigest::from);
                ApiScheme::HmacHeader(v1::HmacHeaderScheme {
                    header: self.hmac_header.unwrap_or(present.header),
                    digest: digest.map_or(present.digest, i32::from),
                    prefix: self.hmac_prefix.unwrap_or(present.prefix),
                })
            }
        });
        let signing = v1::Signing {
            scheme,
            local_key: self.local_key.unwrap_or_default(),
            ..v1::Signing::default()
        };
        Ok(((!mask.is_empty()).then_some(signing), mask))
    }
}

impl Scheme {
    /// The field of the scheme in a mask.
    const fn path(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "signing.standard_webhooks",
            Self::Close => "signing.close",
            Self::HmacHeader => "signing.hmac_header",
            Self::Unsigned => "signing.unsigned",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    type Made = Result<(Option<v1::Signing>, Vec<&'static str>), Failure>;

    fn made(flags: &[&str], present: Option<&ApiScheme>) -> Made {
        let line = Line::try_parse_from([&["sidehook"], flags].concat());
        line.expect("known flags").flags.into_signing(present)
    }

    fn scheme(flags: &[&str], present: Option<&ApiScheme>) -> ApiScheme {
        let (signing, _) = made(flags, present).expect("they agree");
        signing
            .and_then(|signing| signing.scheme)
            .expect("a scheme")
    }

    #[test]
    fn a_schemes_own_flags_imply_it() {
        assert_eq!(made(&[], None).expect("nothing"), (None, Vec::new()));
        let ed25519 = scheme(&["--algorithm", "ed25519"], None);
        let algorithm = v1::StandardWebhooksAlgorithm::Ed25519.into();
        let expected = v1::StandardWebhooksScheme { algorithm };
        assert_eq!(ed25519, ApiScheme::StandardWebhooks(expected));
        let (signing, mask) = made(&["--local-key", "billing"], None).expect("fine");
        assert_eq!(mask, ["signing.local_key"]);
        assert!(signing.is_some_and(|signing| signing.local_key == "billing"));
        for wrong in [
            &["--scheme", "close", "--algorithm", "ed25519"][..],
            &["--scheme", "standard-webhooks", "--hmac-prefix", "v0="],
            &["--algorithm", "ed25519", "--hmac-header", "X-Own"],
        ] {
            assert!(made(wrong, None).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_left_open_stays_as_it_is() {
        let flags = ["--hmac-header", "X-Own", "--hmac-digest", "sha1"];
        let own = scheme(&flags, None);
        let changed = scheme(&["--hmac-prefix", "sha1="], Some(&own));
        let expected = v1::HmacHeaderScheme {
            header: "X-Own".to_owned(),
            digest: v1::HmacDigest::Sha1.into(),
            prefix: "sha1=".to_owned(),
        };
        assert_eq!(changed, ApiScheme::HmacHeader(expected));
        let other = ApiScheme::Close(v1::CloseScheme {});
        let fresh = scheme(&["--scheme", "hmac-header"], Some(&other));
        assert_eq!(
            fresh,
            ApiScheme::HmacHeader(v1::HmacHeaderScheme::default())
        );
    }
}
