//! An issuer of tokens that signs by itself, without the library that checks them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests: each binary uses a part of it, and a failure shows where it is"
)]

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// One signing key of an issuer.
pub struct Issuer {
    pub kid: String,
    pair: Pair,
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Es256(pair),
        }
    }

    pub fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Rs256(pair),
        }
    }

    pub fn eddsa(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            pair: Pair::EdDsa(Ed25519KeyPair::generate().unwrap()),
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Rs256(_) => "RS256",
            Pair::EdDsa(_) => "EdDSA",
        }
    }

    /// The public key's bytes, as who mistakes it for a secret would use them.
    pub fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rs256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as a set has it.
    pub fn jwk(&self) -> Value {
        let public = self.public();
        let mut key = match &self.pair {
            Pair::Es256(_) => json!({
                "kty": "EC", "crv": "P-256",
                "x": encoded(&public[1..33]), "y": encoded(&public[33..]),
            }),
            Pair::EdDsa(_) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(&public) }),
            Pair::Rs256(_) => {
                let (_, key) = x509_parser::public_key::RSAPublicKey::from_der(&public).unwrap();
                let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
                json!({ "kty": "RSA", "n": encoded(modulus), "e": encoded(key.exponent) })
            }
        };
        key["kid"] = self.kid.clone().into();
        key["use"] = "sig".into();
        key["alg"] = self.algorithm().into();
        key
    }

    /// A token with this header and these claims, signed whatever they say.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(&header.to_string(), claims.to_string().as_bytes())
    }

    pub fn sign_bytes(&self, header: &str, claims: &[u8]) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).unwrap();
                encoded(signature.as_ref())
            }
            Pair::EdDsa(pair) => encoded(pair.sign(message.as_bytes()).as_ref()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let how = &RSA_PKCS1_SHA256;
                pair.sign(how, &random, message.as_bytes(), &mut signature)
                    .unwrap();
                encoded(signature)
            }
        };
        format!("{message}.{signature}")
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "kid": self.kid, "typ": "JWT" })
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

/// A set of keys.
pub fn set(issuers: &[&Issuer]) -> Value {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys })
}

/// A token that a secret signs.
pub fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encoded(tag.as_ref()))
}
