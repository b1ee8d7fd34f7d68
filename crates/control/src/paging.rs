//! Pages of lists: sizes, and tokens that tell where the next page begins.
//!
//! A token carries a position and a checksum over everything that the position means
//! something in: the list, the tenant and the filters. A token that was cut off,
//! typed, or taken from another list is therefore refused as such, instead of being
//! read as some other position. The checksum is no secret: a token gives no access,
//! since whatever lies at a position is checked against the caller like anything else.

use sha2::{Digest as _, Sha256};
use sidehook_core::{id::TenantId, violation::Violations};

/// Bytes of the checksum.
const CHECK_BYTES: usize = 8;

/// A list as one request asks for it: what tokens are bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    /// Which list.
    pub(crate) name: &'static str,
    /// Whose.
    pub(crate) tenant: TenantId,
    /// The filters, in a fixed order.
    pub(crate) filters: &'a [&'a str],
}

impl List<'_> {
    /// The token of a position.
    pub(crate) fn token(&self, position: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(CHECK_BYTES + position.len());
        bytes.extend_from_slice(&self.check(position));
        bytes.extend_from_slice(position);
        hex::encode(bytes)
    }

    /// The position of a token, as `read` understands it; `None` for the first page.
    /// What is wrong is noted as `page_token`.
    pub(crate) fn position<T>(
        &self,
        token: &str,
        violations: &mut Violations,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        if token.is_empty() {
            return None;
        }
        let bytes = hex::decode(token).unwrap_or_default();
        let position = bytes
            .split_at_checked(CHECK_BYTES)
            .filter(|(check, position)| *check == self.check(position))
            .and_then(|(_, position)| read(position));
        if position.is_none() {
            violations.add(
                "page_token",
                "not the token of a page of this list with these filters: give `next_page_token` \
                 of the page before, or nothing for the first page",
            );
        }
        position
    }

    fn check(&self, position: &[u8]) -> [u8; CHECK_BYTES] {
        let mut digest = Sha256::new_with_prefix(self.name);
        digest.update(self.tenant.to_bytes());
        for filter in self.filters {
            digest.update((filter.len() as u64).to_be_bytes());
            digest.update(filter);
        }
        digest.update(position);
        let digest: [u8; 32] = digest.finalize().into();
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&digest[..CHECK_BYTES]);
        check
    }
}

/// The size of a page: as asked for, `default` for 0. More than `max` is noted as
/// `page_size`.
pub(crate) fn page_size(
    asked: u32,
    default: usize,
    max: usize,
    violations: &mut Violations,
) -> usize {
    let size = match asked as usize {
        0 => default,
        size => size,
    };
    if size > max {
        violations.add("page_size", format!("must be at most {max}"));
    }
    size.min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List<'static> = List {
        name: "events",
        tenant: TenantId::from_bits(1),
        filters: &["a", ""],
    };

    fn read(list: List<'_>, token: &str) -> Result<Option<Vec<u8>>, Violations> {
        let mut violations = Violations::new();
        let position = list.position(token, &mut violations, |bytes| Some(bytes.to_vec()));
        violations.into_result(position)
    }

    #[test]
    fn a_token_comes_back_and_no_other_does() {
        let token = LIST.token(b"here");
        assert_eq!(read(LIST, &token), Ok(Some(b"here".to_vec())));
        assert_eq!(read(LIST, ""), Ok(None));
        let other = |list: List<'static>| read(list, &token).expect_err("another list");
        let elsewhere = List {
            name: "deliveries",
            ..LIST
        };
        assert_eq!(other(elsewhere).as_slice()[0].field, "page_token");
        other(List {
            tenant: TenantId::from_bits(2),
            ..LIST
        });
        other(List {
            filters: &["", "a"],
            ..LIST
        });
        for wrong in ["x", "00", &token[2..], &token[..token.len() - 2]] {
            assert!(read(LIST, wrong).is_err(), "{wrong}");
        }
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert!(read(LIST, &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_a_default_and_an_end() {
        let mut violations = Violations::new();
        assert_eq!(page_size(0, 50, 100, &mut violations), 50);
        assert_eq!(page_size(100, 50, 100, &mut violations), 100);
        assert!(violations.is_empty());
        page_size(101, 50, 100, &mut violations);
        assert_eq!(violations.as_slice()[0].field, "page_size");
    }
}
