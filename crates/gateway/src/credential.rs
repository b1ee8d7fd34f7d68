//! Where the key stands in a request, and how it goes on to the RPCs.
//!
//! Each dialect has its form; underneath there is one kind of key. What is no key at all
//! is refused here; whether it is a valid one, and what it may do, the RPC's guard says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};

use crate::problem::Problem;

/// A place for the key in the header `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The user name of HTTP Basic. The password is not looked at.
    BasicUser,
    /// The password of HTTP Basic. The user name is not looked at.
    BasicPassword,
    /// A bearer token.
    Bearer,
}

impl Form {
    /// Name of the security scheme in `/openapi.json`.
    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::BasicUser => "basicUser",
            Self::BasicPassword => "basicPassword",
            Self::Bearer => "bearer",
        }
    }

    /// What a client is asked for.
    pub(crate) const fn challenge(self) -> &'static str {
        match self {
            Self::BasicUser | Self::BasicPassword => r#"Basic realm="sidehook", charset="UTF-8""#,
            Self::Bearer => r#"Bearer realm="sidehook""#,
        }
    }

    /// What a client has to do, for people.
    const fn advice(self) -> &'static str {
        match self {
            Self::BasicUser => "the API key as the user name of HTTP Basic authentication",
            Self::BasicPassword => "the API key as the password of HTTP Basic authentication",
            Self::Bearer => "the header `Authorization: Bearer KEY`",
        }
    }

    fn key(self, scheme: &str, given: &str) -> Option<String> {
        if self == Self::Bearer {
            return (scheme.eq_ignore_ascii_case("bearer")).then(|| given.to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(given).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let key = if self == Self::BasicUser {
            user
        } else {
            password
        };
        Some(key.to_owned())
    }
}

/// The key of a request in one of these forms, as the metadata of an RPC.
///
/// # Errors
/// There is none.
pub(crate) fn bearer(forms: &[Form], headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let missing = || {
        let ways: Vec<_> = forms.iter().map(|form| form.advice()).collect();
        Problem::unauthenticated(format!("no key was given: send {}", ways.join(", or ")))
    };
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return Err(missing());
    };
    let (scheme, given) = only
        .to_str()
        .ok()
        .and_then(|text| text.trim().split_once(' '))
        .ok_or_else(missing)?;
    let mut keys = forms
        .iter()
        .filter_map(|form| form.key(scheme, given.trim()));
    let key = keys
        .find(|key| !key.trim().is_empty())
        .ok_or_else(missing)?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Problem::unauthenticated("that is no API key".to_owned()))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(forms: &[Form], given: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(given).expect("a header's value");
        headers.insert(header::AUTHORIZATION, value);
        let bearer = bearer(forms, &headers).ok()?;
        Some(bearer.to_str().expect("text").to_owned())
    }

    #[test]
    fn each_form_finds_the_key_in_its_place() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let close = &[Form::BasicUser, Form::Bearer];
        assert_eq!(key_of(close, &basic("k1:")).as_deref(), Some("Bearer k1"));
        assert_eq!(key_of(close, "bearer  k2").as_deref(), Some("Bearer k2"));
        let collect = &[Form::BasicPassword];
        for pair in [":k3", "username:k3"] {
            let found = key_of(collect, &basic(pair));
            assert_eq!(found.as_deref(), Some("Bearer k3"), "{pair}");
        }
        assert_eq!(key_of(&[Form::Bearer], &basic("k1:k2")), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let basic = |pair: &[u8]| format!("Basic {}", STANDARD.encode(pair));
        let forms = &[Form::BasicUser, Form::Bearer];
        for given in [
            "",
            "k1",
            "Bearer",
            "Bearer ",
            "Basic !!!",
            "Digest k1",
            &basic(b":k1"),
            &basic(b"no colon"),
            &basic(b"\xff\xfe:"),
            &basic(b"a\nb:"),
        ] {
            assert_eq!(key_of(forms, given), None, "{given}");
        }
        let mut twice = HeaderMap::new();
        for key in ["Bearer k1", "Bearer k2"] {
            twice.append(header::AUTHORIZATION, HeaderValue::from_static(key));
        }
        assert!(bearer(forms, &twice).is_err());
        assert!(bearer(forms, &HeaderMap::new()).is_err());
    }
}
