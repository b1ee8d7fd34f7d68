//! Signing keys that Sidehook manages: made, given, rotated, and dropped when over.

use core::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sidehook_api::{record_v1, time::timestamp, v1};
use sidehook_core::{
    id::SubscriptionId,
    limits::{KEY_OVERLAP_DEFAULT, SIGNING_KEYS},
    signing::{Algorithm, Scheme, Signing},
    time::Timestamp,
};
use sidehook_signature::{CloseKey, HmacHeaderKey, StandardKey};

use crate::{
    errors::OperationError,
    sealing::{OpenError, Sealer},
};

/// A signing key in the clear.
#[derive(Clone, Debug)]
pub struct ManagedKey {
    /// Its identifier within its subscription.
    pub id: String,
    /// The secret in its scheme's text form.
    pub secret: SecretString,
    /// When it was made or given.
    pub created_at: Timestamp,
    /// When it stops signing, if it is being rotated out.
    pub expires_at: Option<Timestamp>,
}

impl ManagedKey {
    /// Whether it signs at `now`.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// The key as the API shows it to those who may see it.
    pub(crate) fn to_proto(&self) -> v1::SigningKey {
        let secret = self.secret.expose_secret();
        // Only these have a public half.
        let public =
            (algorithm_of(secret) == Algorithm::Ed25519).then(|| StandardKey::parse(secret));
        let public = public
            .and_then(Result::ok)
            .and_then(|key| key.public_text());
        v1::SigningKey {
            id: self.id.clone(),
            secret: secret.to_owned(),
            public_key: public.unwrap_or_default(),
            created_at: Some(timestamp(self.created_at)),
            expires_at: self.expires_at.map(timestamp),
        }
    }

    /// The key at rest.
    #[allow(
        clippy::needless_update,
        reason = "a later version's keys have more fields: see the feature `later`"
    )]
    pub(crate) fn seal(
        &self,
        sealer: &Sealer,
        subscription: SubscriptionId,
    ) -> Result<record_v1::SealedKey, OperationError> {
        let sealed = sealer.seal(subscription, &self.secret);
        let sealed = sealed.map_err(|error| OperationError::Internal(error.to_string()))?;
        Ok(record_v1::SealedKey {
            id: self.id.clone(),
            sealing_key_id: sealer.key_id().to_owned(),
            sealed,
            created_at_ms: self.created_at.as_millis(),
            expires_at_ms: self.expires_at.map_or(0, Timestamp::as_millis),
            ..record_v1::SealedKey::default()
        })
    }

    /// The key in the clear.
    pub(crate) fn open(
        sealed: record_v1::SealedKey,
        sealer: &Sealer,
        subscription: SubscriptionId,
    ) -> Result<Self, OpenError> {
        let secret = sealer.open(subscription, &sealed.sealing_key_id, &sealed.sealed)?;
        Ok(Self {
            id: sealed.id,
            secret,
            created_at: Timestamp::from_millis(sealed.created_at_ms),
            expires_at: (sealed.expires_at_ms != 0)
                .then(|| Timestamp::from_millis(sealed.expires_at_ms)),
        })
    }
}

/// Whether Sidehook manages the keys of such a signing.
pub(crate) fn is_managed(signing: &Signing) -> bool {
    signing.local_key.is_none() && !matches!(signing.scheme, Scheme::Unsigned | Scheme::Unknown)
}

/// The signing with the algorithm that `secret` is a key of, where its scheme has
/// several.
pub(crate) fn led_by(secret: &str, signing: &Signing) -> Signing {
    let scheme = match &signing.scheme {
        Scheme::StandardWebhooks(_) => Scheme::StandardWebhooks(algorithm_of(secret)),
        other => other.clone(),
    };
    Signing {
        scheme,
        local_key: signing.local_key.clone(),
    }
}

/// The algorithm whose keys begin like `secret`; whether it is a key at all shows when
/// it is read.
fn algorithm_of(secret: &str) -> Algorithm {
    if secret.starts_with("whsk_") {
        Algorithm::Ed25519
    } else {
        Algorithm::HmacSha256
    }
}

/// What the keys of a subscription become when its signing changes from `before` to
/// `after`. Another algorithm of one scheme takes the lead as in a rotation; keys of
/// another scheme fit no longer and give way to a new one.
pub(crate) fn carried_over(
    before: &Signing,
    after: &Signing,
    present: &[ManagedKey],
    now: Timestamp,
) -> Result<Vec<ManagedKey>, OperationError> {
    let same_scheme = is_managed(before) == is_managed(after)
        && core::mem::discriminant(&before.scheme) == core::mem::discriminant(&after.scheme);
    match (&before.scheme, &after.scheme) {
        _ if !same_scheme => first(after, "", "signing", now),
        (Scheme::StandardWebhooks(old), Scheme::StandardWebhooks(new))
            if old != new && is_managed(after) =>
        {
            rotated(after, present, "", KEY_OVERLAP_DEFAULT, now)
        }
        _ => Ok(present.to_vec()),
    }
}

/// The first keys of a subscription: `given`, or a generated one if that is empty; none
/// if its keys are not managed here. What is wrong with `given` is told as `field`.
pub(crate) fn first(
    signing: &Signing,
    given: &str,
    field: &str,
    now: Timestamp,
) -> Result<Vec<ManagedKey>, OperationError> {
    if is_managed(signing) {
        return Ok(vec![new(signing, given, field, now)?]);
    }
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let description = if signing.local_key.is_some() {
        "must be empty: the agent holds the key (`signing.local_key`)"
    } else {
        "must be empty: requests are not signed"
    };
    Err(OperationError::field(field, description))
}

/// The keys after a new one took the lead; the present ones go on for `overlap`.
pub(crate) fn rotated(
    signing: &Signing,
    present: &[ManagedKey],
    given: &str,
    overlap: Duration,
    now: Timestamp,
) -> Result<Vec<ManagedKey>, OperationError> {
    if !is_managed(signing) {
        return Err(OperationError::Precondition {
            reason: "SIGNING_KEYS_NOT_MANAGED",
            message: "Sidehook manages no keys of this subscription: it is not signed, its \
                      agent holds the key (`signing.local_key`), or a later version of the \
                      server chose its scheme"
                .to_owned(),
        });
    }
    let lead = new(signing, given, "new_secret", now)?;
    let end = now + overlap;
    let going: Vec<_> = present
        .iter()
        .map(|key| ManagedKey {
            expires_at: Some(key.expires_at.map_or(end, |planned| planned.min(end))),
            ..key.clone()
        })
        .filter(|key| key.in_force(now))
        .collect();
    let known = |key: &ManagedKey| key.secret.expose_secret() == lead.secret.expose_secret();
    if going.iter().any(known) {
        let description = "this key is in force already: give a new one";
        return Err(OperationError::field("new_secret", description));
    }
    if going.len() >= SIGNING_KEYS {
        return Err(OperationError::Precondition {
            reason: "TOO_MANY_SIGNING_KEYS",
            message: format!(
                "{SIGNING_KEYS} keys are in force: wait until one expires, or rotate with an \
                 overlap of 0"
            ),
        });
    }
    Ok([lead].into_iter().chain(going).collect())
}

fn new(
    signing: &Signing,
    given: &str,
    field: &str,
    now: Timestamp,
) -> Result<ManagedKey, OperationError> {
    let secret =
        match given {
            "" => generate(&signing.scheme)
                .map_err(|error| OperationError::Internal(error.to_string())),
            text => normalise(&signing.scheme, text)
                .map_err(|wrong| OperationError::field(field, wrong)),
        }?;
    Ok(ManagedKey {
        id: hex::encode(rand::random::<[u8; 8]>()),
        secret,
        created_at: now,
        expires_at: None,
    })
}

fn generate(scheme: &Scheme) -> Result<SecretString, sidehook_signature::KeyError> {
    let random = rand::random::<[u8; 32]>();
    Ok(match scheme {
        Scheme::StandardWebhooks(Algorithm::HmacSha256) => {
            StandardKey::from_random(random)?.to_text()
        }
        Scheme::StandardWebhooks(Algorithm::Ed25519) => {
            StandardKey::ed25519_from_random(random)?.to_text()
        }
        Scheme::Close => CloseKey::from_random(random)?.to_text(),
        // The last two need none; callers ask only for managed signings.
        Scheme::HmacHeader { .. } | Scheme::Unsigned | Scheme::Unknown => {
            HmacHeaderKey::from_random(random).to_text()
        }
    })
}

/// A given secret in the one text form of its scheme, or what is wrong with it.
fn normalise(scheme: &Scheme, text: &str) -> Result<SecretString, String> {
    let key = match scheme {
        Scheme::StandardWebhooks(_) => StandardKey::parse(text).map(|key| key.to_text()),
        Scheme::Close => CloseKey::parse(text).map(|key| key.to_text()),
        Scheme::HmacHeader { .. } | Scheme::Unsigned | Scheme::Unknown => {
            HmacHeaderKey::parse(text).map(|key| key.to_text())
        }
    };
    let key = key.map_err(|error| error.to_string())?;
    match (scheme, algorithm_of(key.expose_secret())) {
        (Scheme::StandardWebhooks(Algorithm::Ed25519), Algorithm::HmacSha256) => {
            Err(contradiction("an HMAC-SHA256 secret", "ED25519"))
        }
        (Scheme::StandardWebhooks(Algorithm::HmacSha256), Algorithm::Ed25519) => {
            Err(contradiction("an Ed25519 key", "HMAC_SHA256"))
        }
        _ => Ok(key),
    }
}

fn contradiction(given: &str, asked: &str) -> String {
    format!(
        "is {given}, and `signing.standard_webhooks.algorithm` asks for {asked}: give a key of \
         that algorithm, or name none"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn signing(scheme: Scheme) -> Signing {
        Signing {
            scheme,
            local_key: None,
        }
    }

    #[test]
    fn generated_keys_are_of_their_scheme() {
        let text = |scheme| {
            let keys = first(&signing(scheme), "", "signing_secret", NOW).expect("a key");
            keys[0].to_proto()
        };
        let standard = text(Scheme::StandardWebhooks(Algorithm::HmacSha256));
        assert!(standard.secret.starts_with("whsec_") && standard.public_key.is_empty());
        let public = text(Scheme::StandardWebhooks(Algorithm::Ed25519));
        assert!(public.secret.starts_with("whsk_") && public.public_key.starts_with("whpk_"));
        assert_eq!(text(Scheme::Close).secret.len(), 64);
        let unsigned = first(&signing(Scheme::Unsigned), "", "signing_secret", NOW);
        assert!(unsigned.expect("none needed").is_empty());
    }

    #[test]
    fn a_given_key_that_does_not_fit_is_told_by_its_field() {
        for (scheme, given) in [
            (Scheme::StandardWebhooks(Algorithm::HmacSha256), "whsec_!"),
            (Scheme::Close, "abc"),
            (Scheme::Unsigned, "anything"),
        ] {
            let error = first(&signing(scheme), given, "signing_secret", NOW);
            let Err(OperationError::Invalid(violations)) = error else {
                panic!("accepted {given}");
            };
            assert_eq!(violations.as_slice()[0].field, "signing_secret");
        }
    }

    #[test]
    fn rotation_overlaps_ends_and_is_bounded() {
        let signing = signing(Scheme::Close);
        let mut keys = first(&signing, "", "signing_secret", NOW).expect("a key");
        let old = keys[0].id.clone();
        keys = rotated(&signing, &keys, "", HOUR, NOW).expect("rotated");
        assert_eq!((keys.len(), &keys[1].id), (2, &old));
        assert_eq!(
            (keys[0].expires_at, keys[1].expires_at),
            (None, Some(NOW + HOUR))
        );
        assert!(keys[1].in_force(NOW) && !keys[1].in_force(NOW + HOUR));
        let again = keys[0].secret.expose_secret().to_owned();
        assert!(matches!(
            rotated(&signing, &keys, &again, HOUR, NOW),
            Err(OperationError::Invalid(_))
        ));
        // A second rotation does not prolong what was going already.
        let later = rotated(&signing, &keys, "", 2 * HOUR, NOW).expect("rotated");
        assert_eq!(later[2].expires_at, Some(NOW + HOUR));
        let ended = rotated(&signing, &later, "", HOUR, NOW + 2 * HOUR).expect("rotated");
        assert_eq!(ended.len(), 2, "what was over is gone");
        let at_once = rotated(&signing, &later, "", Duration::ZERO, NOW).expect("rotated");
        assert_eq!(at_once.len(), 1);
        let mut many = later;
        while many.len() < SIGNING_KEYS {
            many = rotated(&signing, &many, "", HOUR, NOW).expect("rotated");
        }
        assert!(matches!(
            rotated(&signing, &many, "", HOUR, NOW),
            Err(OperationError::Precondition {
                reason: "TOO_MANY_SIGNING_KEYS",
                ..
            })
        ));
    }

    #[test]
    fn keys_survive_rest() {
        let sealer = Sealer::new(&[3; 32]).expect("a key");
        let id = SubscriptionId::from_bits(9);
        let keys = first(&signing(Scheme::Close), "", "signing_secret", NOW).expect("a key");
        let sealed = keys[0].seal(&sealer, id).expect("sealed");
        let opened = ManagedKey::open(sealed, &sealer, id).expect("opened");
        assert_eq!(opened.to_proto(), keys[0].to_proto());
    }
}
