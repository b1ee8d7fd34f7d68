//! What holds for every scheme, and how bad input is refused.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use secrecy::ExposeSecret;
use sidehook_signature::{
    CloseKey, HmacDigest, HmacHeader, HmacHeaderError, HmacHeaderKey, KEYS_MAX, KeyError, Scheme,
    Signer, SignerError, StandardKey, TimeWindow, Verifier, VerifyError,
};

const NOW: i64 = 1_700_000_000;

/// Every scheme with a key made of `random`.
fn schemes(random: [u8; 32]) -> Vec<(Scheme, String)> {
    let plain = HmacHeaderKey::from_random(random).to_text();
    let header = |digest, prefix| {
        Scheme::HmacHeader(HmacHeader::new("X-Signature", digest, prefix).unwrap())
    };
    [
        (
            Scheme::StandardWebhooks,
            StandardKey::from_random(random).unwrap().to_text(),
        ),
        (
            Scheme::StandardWebhooks,
            StandardKey::ed25519_from_random(random).unwrap().to_text(),
        ),
        (
            Scheme::Close,
            CloseKey::from_random(random).unwrap().to_text(),
        ),
        (header(HmacDigest::Sha256, "sha256="), plain.clone()),
        (header(HmacDigest::Sha1, ""), plain),
    ]
    .into_iter()
    .map(|(scheme, secret)| (scheme, secret.expose_secret().to_owned()))
    .collect()
}

fn sign(scheme: &Scheme, secret: &str, body: &[&[u8]]) -> Vec<(String, String)> {
    let signer = Signer::new(scheme, &[secret]).unwrap();
    let signed = signer.sign("ev_1", NOW, body);
    assert!(
        signed
            .iter()
            .map(|header| header.0)
            .eq(signer.header_names())
    );
    signed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect()
}

fn verify(
    scheme: &Scheme,
    secrets: &[&str],
    headers: &[(String, String)],
    body: &[&[u8]],
    window: TimeWindow,
) -> Result<(), VerifyError> {
    let lookup = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    Verifier::new(scheme, secrets)
        .unwrap()
        .verify(lookup, body, window)
}

/// `text` with one bit of one character flipped; None if that is no text.
fn flip(text: &str, bit: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = bit % (bytes.len() * 8);
    bytes[at / 8] ^= 1 << (at % 8);
    String::from_utf8(bytes).ok()
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_slices_do_not_matter(
        random in any::<[u8; 32]>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let cut = |index: prop::sample::Index| index.index(body.len() + 1);
        let (first, second) = (cut(cuts.0).min(cut(cuts.1)), cut(cuts.0).max(cut(cuts.1)));
        let slices = [&body[..first], &body[first..second], &body[second..]];
        for (scheme, secret) in schemes(random) {
            let whole = sign(&scheme, &secret, &[&body]);
            prop_assert_eq!(&whole, &sign(&scheme, &secret, &slices));
            let window = TimeWindow::around(NOW);
            prop_assert_eq!(verify(&scheme, &[&secret], &whole, &slices, window), Ok(()));
        }
    }

    #[test]
    fn any_flipped_bit_fails(
        random in any::<[u8; 32]>(),
        body in prop::collection::vec(any::<u8>(), 1..100),
        bit in any::<prop::sample::Index>(),
    ) {
        let window = TimeWindow { now_seconds: NOW, tolerance_seconds: u64::MAX };
        for (scheme, secret) in schemes(random) {
            let signed = sign(&scheme, &secret, &[&body]);
            let mut other = body.clone();
            let at = bit.index(body.len() * 8);
            other[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(
                verify(&scheme, &[&secret], &signed, &[&other], window),
                Err(VerifyError::Mismatch)
            );
            for header in 0..signed.len() {
                let mut forged = signed.clone();
                let Some(value) = flip(&forged[header].1, bit.index(usize::MAX)) else { continue };
                forged[header].1 = value;
                prop_assert!(verify(&scheme, &[&secret], &forged, &[&body], window).is_err());
            }
        }
    }

    #[test]
    fn keys_parse_without_panic_and_are_written_as_they_were_read(
        standard in "(whsec_|whsk_|whpk_)?[A-Za-z0-9+/]{0,90}={0,2}",
        hex in "[0-9a-fA-F]{64}",
        noise in ".{0,70}",
    ) {
        if let Ok(key) = StandardKey::parse(&standard) {
            let written = key.to_text();
            prop_assert_eq!(written.expose_secret(), &standard);
        }
        let written = CloseKey::parse(&hex).unwrap().to_text();
        prop_assert_eq!(written.expose_secret(), &hex.to_lowercase());
        prop_assert!(StandardKey::parse(&noise).is_err());
        prop_assert!(CloseKey::parse(&noise).is_err());
    }
}

#[test]
fn one_of_several_known_keys_suffices_and_a_foreign_one_does_not() {
    for ((scheme, old), (_, new)) in schemes([1; 32]).into_iter().zip(schemes([2; 32])) {
        let signed = sign(&scheme, &old, &[b"{}"]);
        let window = TimeWindow::around(NOW);
        assert_eq!(
            verify(&scheme, &[&new, &old], &signed, &[b"{}"], window),
            Ok(())
        );
        let refused = verify(&scheme, &[&new], &signed, &[b"{}"], window);
        assert_eq!(refused, Err(VerifyError::Mismatch));
    }
}

#[test]
fn the_window_holds_at_its_edges() {
    for (scheme, secret) in schemes([3; 32]) {
        if matches!(scheme, Scheme::HmacHeader(_)) {
            continue; // signs no time
        }
        let signed = sign(&scheme, &secret, &[b"{}"]);
        let at = |now| {
            verify(
                &scheme,
                &[&secret],
                &signed,
                &[b"{}"],
                TimeWindow::around(now),
            )
        };
        assert_eq!(at(NOW + 300), Ok(()));
        assert_eq!(at(NOW - 300), Ok(()));
        let (by_seconds, tolerance_seconds) = (301, 300);
        assert_eq!(
            at(NOW + 301),
            Err(VerifyError::TooOld {
                by_seconds,
                tolerance_seconds
            })
        );
        assert_eq!(
            at(NOW - 301),
            Err(VerifyError::TooNew {
                by_seconds,
                tolerance_seconds
            })
        );
        assert!(at(i64::MIN).is_err());
    }
}

#[test]
fn a_missing_header_is_named() {
    for (scheme, secret) in schemes([4; 32]) {
        let signed = sign(&scheme, &secret, &[b"{}"]);
        for absent in 0..signed.len() {
            let mut rest = signed.clone();
            let (name, _) = rest.remove(absent);
            let refused = verify(
                &scheme,
                &[&secret],
                &rest,
                &[b"{}"],
                TimeWindow::around(NOW),
            );
            assert_eq!(refused, Err(VerifyError::MissingHeader { name }));
        }
    }
}

#[test]
fn bad_keys_are_refused_with_the_cause() {
    let standard = |text: &str| StandardKey::parse(text).unwrap_err().to_string();
    assert_eq!(
        standard("abc"),
        "signing key: must begin with `whsec_` or `whsk_`"
    );
    assert_eq!(
        standard("whsec_ab*d"),
        "signing key: not valid base64 at position 8"
    );
    assert_eq!(standard("whsec_AAA"), KeyError::Base64Padding.to_string());
    assert_eq!(
        standard("whsec_AAAA"),
        "signing key: too short: 3 bytes, must be 24 to 64"
    );
    let long = format!("whsec_{}", "AAAA".repeat(22));
    assert_eq!(
        standard(&long),
        "signing key: too long: 66 bytes, must be 24 to 64"
    );
    let private = "signing key: an Ed25519 private key has 32 or 64 bytes, not 24";
    assert_eq!(standard(&format!("whsk_{}", "AAAA".repeat(8))), private);
    // 64 bytes of which the second half is not the first one's public key.
    let torn = format!("whsk_{}AA==", "AAAA".repeat(21));
    assert_eq!(StandardKey::parse(&torn).unwrap_err(), KeyError::Rejected);

    let close = |text: &str| CloseKey::parse(text).unwrap_err().to_string();
    assert_eq!(close("00g0"), "signing key: not valid hex at position 2");
    assert_eq!(close("00é"), "signing key: not valid hex at position 2");
    assert_eq!(close("000"), "signing key: odd number of hex digits (3)");
    assert_eq!(
        close("00"),
        "signing key: too short: 1 bytes, must be 32 to 32"
    );
    assert!(matches!(
        HmacHeaderKey::parse(""),
        Err(KeyError::TooShort { .. })
    ));
}

#[test]
fn bad_settings_are_refused_with_the_cause() {
    let header = |name, prefix| HmacHeader::new(name, HmacDigest::Sha256, prefix).unwrap_err();
    assert_eq!(
        header("X Sig", ""),
        HmacHeaderError::NameCharacter { position: 1 }
    );
    assert_eq!(
        header("", "a\r\n"),
        HmacHeaderError::PrefixCharacter { position: 1 }
    );
    assert_eq!(
        header("", " a"),
        HmacHeaderError::PrefixCharacter { position: 0 }
    );

    let build = |secrets: &[&str]| Signer::new(&Scheme::Close, secrets).unwrap_err();
    let (key, count) = ("00".repeat(32), KEYS_MAX + 1);
    assert_eq!(build(&[]), SignerError::NoKey);
    assert_eq!(
        build(&vec![key.as_str(); count]),
        SignerError::TooManyKeys { count }
    );
    assert_eq!(
        build(&[&key, "0x"]).to_string(),
        "key 1: signing key: not valid hex at position 1"
    );
    let verifier = Verifier::new::<&str>(&Scheme::Unsigned, &[]);
    assert_eq!(verifier.unwrap_err(), SignerError::Unsigned);
}

#[test]
fn debug_shows_no_secret() {
    for (scheme, secret) in schemes([0xa5; 32]) {
        let signer = format!("{:?}", Signer::new(&scheme, &[&secret]).unwrap());
        let verifier = format!("{:?}", Verifier::new(&scheme, &[&secret]).unwrap());
        for shown in [signer, verifier] {
            let body = secret
                .trim_start_matches("whsec_")
                .trim_start_matches("whsk_");
            // Neither the text, nor the key's bytes in hex or decimal.
            for form in [body, "a5a5", "165, 165"] {
                assert!(
                    !shown.to_lowercase().contains(&form.to_lowercase()),
                    "{shown}"
                );
            }
        }
    }
}
