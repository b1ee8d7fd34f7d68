//! What the control plane is told about tokens.

use core::time::Duration;
use std::path::PathBuf;

use sidehook_runtime::{config::Reader, fetch::Fetch};

use super::{
    claims::ClaimNames,
    source::{KeySource, keys_in_file},
};

/// Whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The only issuer: their `iss`, exactly.
    pub issuer: String,
    /// What we are called in `aud`.
    pub audience: String,
    /// Where the issuer's keys are.
    pub keys: KeySource,
    /// In which claims tenant, user and role are.
    pub claims: ClaimNames,
    /// By how much the issuer's clock may differ from ours.
    pub leeway: Duration,
    /// How often the keys are read again.
    pub refresh: Duration,
}

impl JwtConfig {
    /// The defaults, with these names and keys.
    #[must_use]
    pub fn new(issuer: String, audience: String, keys: KeySource) -> Self {
        Self {
            issuer,
            audience,
            keys,
            claims: ClaimNames::default(),
            leeway: Duration::from_secs(30),
            refresh: Duration::from_secs(300),
        }
    }

    /// Reads the section: `issuer`, `audience`, `jwks_file` or `jwks_url` (with `ca_file`),
    /// `tenant_claim`, `user_claim`, `role_claim`, `leeway` and `refresh`.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let issuer = read_name(r, "issuer");
        let audience = read_name(r, "audience");
        let keys = read_source(r);
        let default = ClaimNames::default();
        let claims = ClaimNames {
            tenant: r.value("tenant_claim", default.tenant),
            user: r.value("user_claim", default.user),
            role: r.value("role_claim", default.role),
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let leeway = r.value_in("leeway", 30 * second, Duration::ZERO..=5 * minute);
        let refresh = r.value_in("refresh", 5 * minute, second..=24 * 60 * minute);
        Some(Self {
            issuer: issuer?,
            audience: audience?,
            keys: keys?,
            claims,
            leeway,
            refresh,
        })
    }
}

fn read_name(r: &mut Reader<'_>, key: &str) -> Option<String> {
    let name: String = r.required(key)?;
    if name.is_empty() {
        r.problem(key, "is empty", "tokens of any would be taken: give a name");
        return None;
    }
    Some(name)
}

fn read_source(r: &mut Reader<'_>) -> Option<KeySource> {
    let file: Option<PathBuf> = r.optional("jwks_file");
    let url: Option<String> = r.optional("jwks_url");
    let ca_file: Option<PathBuf> = r.optional("ca_file");
    match (file, url) {
        (Some(path), None) => {
            if ca_file.is_some() {
                r.problem("ca_file", "is of no use with jwks_file", "leave it out");
            }
            if let Err(error) = keys_in_file(&path) {
                let right = "name a readable file that holds a JSON Web Key Set";
                r.problem("jwks_file", error.to_string(), right);
            }
            Some(KeySource::File(path))
        }
        (None, Some(url)) => {
            if let Err(error) = Fetch::check(&url) {
                let right = "give the https address of a JSON Web Key Set";
                r.problem("jwks_url", error.to_string(), right);
            }
            Some(KeySource::Url { url, ca_file })
        }
        (None, None) => {
            let right = "give jwks_file or jwks_url: where the issuer's keys are";
            r.problem("jwks_url", "is missing", right);
            None
        }
        (Some(_), Some(_)) => {
            let wrong = "jwks_file and jwks_url are both given";
            r.problem("jwks_url", wrong, "give one of them");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use sidehook_runtime::config::Layers;

    use super::*;

    fn read(flags: &[(&'static str, &str)]) -> Result<JwtConfig, String> {
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let read = Layers::new().flags(flags).read(JwtConfig::read);
        read.map_err(|problems| problems.to_string())
    }

    #[test]
    fn issuer_audience_and_keys_are_all_that_is_needed() {
        let url = "https://id.example.com/jwks";
        let config = read(&[("issuer", "me"), ("audience", "you"), ("jwks_url", url)]);
        let keys = KeySource::Url {
            url: url.to_owned(),
            ca_file: None,
        };
        let wanted = JwtConfig::new("me".to_owned(), "you".to_owned(), keys);
        assert_eq!(config, Ok(wanted));
    }

    #[test]
    fn everything_wrong_is_told() {
        let nothing = read(&[]).expect_err("nothing is there");
        let plain = read(&[
            ("issuer", ""),
            ("audience", "you"),
            ("jwks_url", "http://id.example.com/jwks"),
            ("leeway", "1h"),
            ("refresh", "0s"),
        ]);
        let plain = plain.expect_err("much is wrong");
        let both = [
            ("issuer", "me"),
            ("audience", "you"),
            ("jwks_url", "https://a.example/"),
            ("jwks_file", "/nowhere"),
        ];
        let both = read(&both).expect_err("one too many");
        let absent = read(&[
            ("issuer", "me"),
            ("audience", "you"),
            ("jwks_file", "/nowhere"),
        ]);
        let absent = absent.expect_err("no file");
        for (problems, said) in [
            (&nothing, "issuer"),
            (&nothing, "audience"),
            (&nothing, "jwks_url"),
            (&plain, "issuer"),
            (&plain, "this machine alone"),
            (&plain, "leeway"),
            (&plain, "refresh"),
            (&both, "both given"),
            (&absent, "/nowhere"),
        ] {
            assert!(problems.contains(said), "{said} is missing in {problems}");
        }
    }
}
