//! What a token says, and whether it may be believed: pure, with the time as an argument.
//!
//! A token is believed if a trusted key signed it with that key's own algorithm, and it
//! was issued by our issuer, for us, and for now. `exp` is required: a token without an
//! end could not be taken back. A header that names extensions which must be understood
//! (`crit`) is refused, since none is; keys and addresses of keys that a token brings
//! along (`jwk`, `jku`, `x5u`, `x5c`) are not looked at.

use core::time::Duration;

use jsonwebtoken::{Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sidehook_core::{id::TenantId, limits::SUBJECT_BYTES, principal::Role, text::is_plain};

use super::keys::{KeySet, TrustedKey};
use crate::auth::{refusal::Refusal, subject::is_id_of_no_user};

/// A moment of a token lies before this: in the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// Names of the claims that tell whose, who and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The claim that holds the tenant's id.
    pub tenant: String,
    /// The claim that holds the subject.
    pub user: String,
    /// The claim that holds the role.
    pub role: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            tenant: "tenant".to_owned(),
            user: "sub".to_owned(),
            role: "role".to_owned(),
        }
    }
}

/// What a token must say.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) claims: ClaimNames,
    /// By how much the issuer's clock may differ from ours.
    pub(super) leeway: Duration,
}

/// A token that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Believed {
    /// Whose tenant.
    pub(crate) tenant: TenantId,
    /// Who.
    pub(crate) subject: String,
    /// What they may do.
    pub(crate) role: Role,
    /// Until when, since the epoch.
    pub(crate) expires: Duration,
    /// With which key it was signed.
    pub(super) key: [u8; 32],
}

/// The header of a text that has the form of a token.
pub(super) fn header(text: &str) -> Option<Header> {
    decode_header(text).ok()
}

/// Believes a token, or says why not.
pub(super) fn believe(
    text: &str,
    header: &Header,
    keys: &KeySet,
    rules: &Rules,
    now: Duration,
) -> Result<Believed, Refusal> {
    if header.crit.is_some() {
        return Err(Refusal::invalid(
            "the token asks for an extension that this server does not know",
        ));
    }
    let (claims, key) = signed(text, header, keys)?;
    let issuer = claims.get("iss").and_then(Value::as_str);
    if issuer != Some(&rules.issuer) {
        return Err(Refusal::invalid("the token is another issuer's"));
    }
    if !is_for(claims.get("aud"), &rules.audience) {
        return Err(Refusal::invalid("the token is for another audience"));
    }
    let expires = moment(&claims, "exp")?.ok_or(Refusal::invalid("the token has no end: `exp`"))?;
    if expires + rules.leeway <= now {
        return Err(Refusal::expired("the token has expired: get a new one"));
    }
    if moment(&claims, "nbf")?.is_some_and(|begins| begins > now + rules.leeway) {
        return Err(Refusal::invalid("the token is not valid yet"));
    }
    let tenant = text_of(&claims, &rules.claims.tenant).and_then(|id| id.parse().ok());
    let tenant = tenant.filter(|tenant| *tenant != TenantId::PLATFORM);
    let subject = text_of(&claims, &rules.claims.user);
    let subject = subject.filter(|name| (1..=SUBJECT_BYTES).contains(&name.len()));
    let subject = subject.filter(|name| is_plain(name) && !is_id_of_no_user(name));
    Ok(Believed {
        tenant: tenant.ok_or(Refusal::invalid("the token names no tenant of ours"))?,
        subject: subject
            .ok_or(Refusal::invalid("the token names no user, or none that fits"))?
            .to_owned(),
        role: claims
            .get(&rules.claims.role)
            .and_then(role)
            .ok_or(Refusal::invalid(
                "the token gives no role, or not exactly one of admin, member, publisher and viewer",
            ))?,
        expires,
        key: key.print,
    })
}

/// The claims, if a trusted key signed them.
fn signed<'a>(
    text: &str,
    header: &Header,
    keys: &'a KeySet,
) -> Result<(Map<String, Value>, &'a TrustedKey), Refusal> {
    let id = header.kid.as_deref();
    let mut fitting = keys.called(id).filter(|key| key.algorithm == header.alg);
    let first = fitting.next().ok_or(Refusal::invalid(
        "the token was signed with a key, or in a way, that is not trusted",
    ))?;
    let mut others = fitting.peekable();
    if id.is_none() && others.peek().is_some() {
        return Err(Refusal::invalid(
            "the token does not say which key signed it, and there are several: `kid`",
        ));
    }
    for key in core::iter::once(first).chain(others) {
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        // The claims are looked at here, with the time that the caller gives.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        if let Ok(token) = decode(text, &key.key, &validation) {
            return Ok((token.claims, key));
        }
    }
    Err(Refusal::invalid(
        "the token's signature is wrong, or its claims cannot be read",
    ))
}

fn is_for(audience: Option<&Value>, ours: &str) -> bool {
    match audience {
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(ours)),
        _ => false,
    }
}

fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|s| (0.0..SECONDS_MAX).contains(s));
    let seconds = seconds.ok_or(Refusal::invalid("a time in the token is none"))?;
    Ok(Some(Duration::from_secs_f64(seconds)))
}

fn text_of<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// One role: a word, or a list in which exactly one word is a role's.
fn role(value: &Value) -> Option<Role> {
    match value {
        Value::String(word) => tenant_role(word),
        Value::Array(words) => {
            let words = words.iter().filter_map(Value::as_str);
            let mut roles = words.filter_map(tenant_role);
            let first = roles.next()?;
            roles.next().is_none().then_some(first)
        }
        _ => None,
    }
}

/// The role within a tenant that a word names.
pub(in crate::auth) fn tenant_role(word: &str) -> Option<Role> {
    Some(match word {
        "admin" => Role::Admin,
        "member" => Role::Member,
        "publisher" => Role::Publisher,
        "viewer" => Role::Viewer,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
