//! Tokens as issuers make them, and as others do.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[path = "../../../../tests/support/issuer.rs"]
mod issuer;

use issuer::{Issuer, encoded, hs256, set};

const NOW: Duration = Duration::from_secs(1_790_000_000);
const TENANT: TenantId = TenantId::from_bits(7);

fn rules() -> Rules {
    Rules {
        issuer: "https://id.example.com".to_owned(),
        audience: "sidehook".to_owned(),
        claims: ClaimNames::default(),
        leeway: Duration::from_secs(30),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.com", "aud": "sidehook", "sub": "ada",
        "tenant": TENANT.to_string(), "role": "member",
        "exp": NOW.as_secs() + 300, "nbf": NOW.as_secs(), "iat": NOW.as_secs(),
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn keys(issuers: &[&Issuer]) -> KeySet {
    KeySet::parse(set(issuers).to_string().as_bytes()).expect("a set")
}

fn judged(text: &str, keys: &KeySet) -> Result<Believed, Refusal> {
    let header = header(text).ok_or(Refusal::UNKNOWN_KEY)?;
    believe(text, &header, keys, &rules(), NOW)
}

#[test]
fn a_good_token_is_believed_whichever_kind_of_key_signed_it() {
    for issuer in [Issuer::es256("a"), Issuer::rs256("b"), Issuer::eddsa("c")] {
        let keys = keys(&[&Issuer::es256("other"), &issuer]);
        let token = judged(&issuer.token(&claims()), &keys).expect("it is good");
        assert_eq!((token.tenant, &*token.subject), (TENANT, "ada"));
        assert_eq!(token.role, Role::Member);
        assert_eq!(token.expires, NOW + Duration::from_secs(300));
        assert!(keys.has(&token.key));
    }
}

#[test]
fn claims_may_be_called_otherwise_and_lists_may_hold_them() {
    let issuer = Issuer::es256("a");
    let keys = keys(&[&issuer]);
    let rules = Rules {
        claims: ClaimNames {
            tenant: "https://acme.example/org".to_owned(),
            user: "email".to_owned(),
            role: "roles".to_owned(),
        },
        ..rules()
    };
    let claims = json!({
        "iss": rules.issuer, "aud": ["other", "sidehook"], "exp": NOW.as_secs() + 1,
        "https://acme.example/org": TENANT.to_string(), "email": "ada@example.com",
        "roles": ["offline_access", "viewer", 7],
    });
    let text = issuer.token(&claims);
    let header = header(&text).expect("a header");
    let token = believe(&text, &header, &keys, &rules, NOW).expect("it is good");
    assert_eq!(
        (&*token.subject, token.role),
        ("ada@example.com", Role::Viewer)
    );
}

#[test]
fn times_count_with_the_leeway_and_not_beyond() {
    let issuer = Issuer::eddsa("a");
    let keys = keys(&[&issuer]);
    let at = |name: &str, seconds: i64| {
        let now = i64::try_from(NOW.as_secs()).expect("small");
        judged(&issuer.token(&with(name, (now + seconds).into())), &keys)
    };
    at("exp", -29).expect("within the leeway");
    at("nbf", 30).expect("within the leeway");
    let expired = Refusal::expired("the token has expired: get a new one");
    assert_eq!(at("exp", -30), Err(expired));
    at("nbf", 31).expect_err("not yet");
    for wrong in [
        json!("soon"),
        json!(-1),
        json!(1e300),
        json!(null),
        json!([]),
    ] {
        judged(&issuer.token(&with("exp", wrong.clone())), &keys).expect_err("no time");
        judged(&issuer.token(&with("nbf", wrong)), &keys).expect_err("no time");
    }
}

#[test]
fn what_is_missing_or_anothers_is_refused() {
    let issuer = Issuer::eddsa("a");
    let keys = keys(&[&issuer]);
    let platform = TenantId::PLATFORM.to_string();
    let long = "x".repeat(SUBJECT_BYTES + 1);
    let wrong = [
        without("iss"),
        without("aud"),
        without("exp"),
        without("sub"),
        without("tenant"),
        without("role"),
        with("iss", json!("https://id.example.com/")),
        with("iss", json!(["https://id.example.com"])),
        with("aud", json!("sidehook2")),
        with("aud", json!(["other"])),
        with("aud", json!([])),
        with("aud", json!({ "sidehook": true })),
        with("tenant", json!("ten_1")),
        with("tenant", json!(platform)),
        with("tenant", json!(7)),
        with("sub", json!("")),
        with("sub", json!("key_0000000000000000000000")),
        with("sub", json!(TENANT.to_string())),
        with("sub", json!("a\nb")),
        with("sub", json!(long)),
        with("sub", json!(7)),
        with("role", json!("operator")),
        with("role", json!("agent")),
        with("role", json!("Admin")),
        with("role", json!(["admin", "viewer"])),
        with("role", json!([])),
        with("role", json!({ "admin": true })),
        json!([]),
        json!("claims"),
    ];
    for claims in wrong {
        judged(&issuer.token(&claims), &keys).expect_err(&claims.to_string());
    }
}

#[test]
fn only_the_keys_own_algorithm_and_only_a_trusted_key_count() {
    let issuer = Issuer::es256("a");
    let stranger = Issuer::es256("a");
    let (claims, keys) = (claims(), keys(&[&issuer]));
    judged(&stranger.token(&claims), &keys).expect_err("another's key under the same name");
    let header = |alg: &str| json!({ "alg": alg, "kid": "a", "typ": "JWT" });
    let signed = issuer.token(&claims);
    let parts: Vec<_> = signed.split('.').collect();
    for alg in ["none", "None", "NONE", ""] {
        let none = format!("{}.{}.", encoded(header(alg).to_string()), parts[1]);
        judged(&none, &keys).expect_err("unsigned");
        let kept = format!(
            "{}.{}.{}",
            encoded(header(alg).to_string()),
            parts[1],
            parts[2]
        );
        judged(&kept, &keys).expect_err("said to be unsigned");
    }
    let jwk = issuer.jwk().to_string();
    for secret in [issuer.public(), jwk.into_bytes(), Vec::new()] {
        let forged = hs256(&header("HS256"), &claims, &secret);
        judged(&forged, &keys).expect_err("a public key is no secret");
    }
    for alg in ["ES384", "RS256", "PS256", "EdDSA"] {
        let renamed = issuer.sign(&header(alg), &claims);
        judged(&renamed, &keys).expect_err("another algorithm than the key's");
    }
    // The key that a token brings along is nobody's.
    let mut brought = stranger.header();
    brought["jwk"] = stranger.jwk();
    brought["kid"] = json!("b");
    judged(&stranger.sign(&brought, &claims), &keys).expect_err("a key of its own");
    let mut critical = issuer.header();
    critical["crit"] = json!(["exp"]);
    judged(&issuer.sign(&critical, &claims), &keys).expect_err("an extension");
    let nameless = json!({ "alg": "ES256" });
    judged(&issuer.sign(&nameless, &claims), &keys).expect("there is one key only");
    let two = KeySet::parse(set(&[&issuer, &Issuer::es256("b")]).to_string().as_bytes());
    let two = two.expect("a set");
    judged(&issuer.sign(&nameless, &claims), &two).expect_err("which key?");
}

#[test]
fn sets_keep_what_checks_tokens_and_pass_over_the_rest() {
    let issuer = Issuer::es256("a");
    let good = issuer.jwk();
    let changed = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    for useless in [
        json!({ "kty": "oct", "k": encoded("secret"), "kid": "a", "alg": "HS256" }),
        changed("use", json!("enc")),
        changed("alg", json!("RS256")),
        changed("alg", json!("HS256")),
        changed("alg", json!("none")),
        changed("crv", json!("P-521")),
        changed("kty", json!("quantum")),
        changed("x", json!("!")),
        json!({}),
        json!(7),
    ] {
        let alone = json!({ "keys": [useless] }).to_string();
        let alone = KeySet::parse(alone.as_bytes()).expect_err(&useless.to_string());
        assert_eq!(alone, super::super::keys::KeySetError::Useless);
        let beside = json!({ "keys": [useless, good] }).to_string();
        let beside = KeySet::parse(beside.as_bytes()).expect("one is good");
        judged(&issuer.token(&claims()), &beside).expect("and checks tokens");
    }
    let mut unnamed = good.clone();
    unnamed.as_object_mut().expect("an object").remove("alg");
    let unnamed = json!({ "keys": [unnamed] }).to_string();
    let unnamed = KeySet::parse(unnamed.as_bytes()).expect("P-256 is for ES256");
    judged(&issuer.token(&claims()), &unnamed).expect("it is good");
    for malformed in ["", "{}", "[]", "{\"keys\":{}}", "keys", "\u{0}"] {
        KeySet::parse(malformed.as_bytes()).expect_err(malformed);
    }
    let many = json!({ "keys": vec![good; 101] }).to_string();
    KeySet::parse(many.as_bytes()).expect_err("too many");
}

#[test]
fn the_malformed_are_refused_by_the_dozen() {
    let issuer = Issuer::eddsa("a");
    let keys = keys(&[&issuer]);
    let good = issuer.token(&claims());
    judged(&good, &keys).expect("it is good");
    let parts: Vec<_> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let other = issuer.token(&with("sub", json!("eve")));
    let others: Vec<_> = other.split('.').collect();
    let header = issuer.header().to_string();
    let mut all = vec![
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{head}..{signature}"),
        format!(".{body}.{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{head}.{body}.{signature}{signature}"),
        format!("{head}.{}.{signature}", others[1]),
        format!("{head}.{body}.{}", others[2]),
        format!("{head} .{body}.{signature}"),
        format!("{head}.{body}.{}", signature.to_uppercase()),
        format!("{}.{body}.{signature}", encoded("{}")),
        format!("{}.{body}.{signature}", encoded("[]")),
        format!("{}.{body}.{signature}", encoded("{\"alg\":7}")),
        format!("{}.{body}.{signature}", encoded("{\"alg\":\"EdDSA\"")),
        format!("{}.{body}.{signature}", encoded([0xff, 0xfe])),
        issuer.sign_bytes(&header, b""),
        issuer.sign_bytes(&header, b"null"),
        issuer.sign_bytes(&header, b"{\"iss\":"),
        issuer.sign_bytes(&header, &[0xff; 64]),
        issuer.sign_bytes(&header, "[".repeat(50_000).as_bytes()),
    ];
    all.extend((0..good.len()).step_by(7).map(|end| good[..end].to_owned()));
    for text in all {
        judged(&text, &keys).expect_err(&text);
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_no_change_is_believed(at in 0_usize..2_000, byte in 0_u8..128, text: String) {
        let issuer = Issuer::eddsa("a");
        let keys = keys(&[&issuer]);
        let _ = judged(&text, &keys);
        let good = issuer.token(&claims());
        let mut changed = good.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = byte;
        let changed = String::from_utf8(changed).expect("ASCII");
        // The last sign of a signature has bits that mean nothing.
        if changed != good && at + 1 < good.len() {
            prop_assert!(judged(&changed, &keys).is_err());
        }
    }
}
