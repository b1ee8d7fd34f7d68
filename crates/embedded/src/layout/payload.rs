//! The payload of a segment, and how it is cut into rows.

use bytes::Bytes;
use sidehook_core::id::TenantId;
use sidehook_store::read::Segment;

use crate::{
    codec::{Reader, Writer},
    error::Fault,
};

/// Packs a segment's payload; a record of no bytes was not accepted.
pub(crate) fn pack_segment(tenant: TenantId, records: &[Bytes]) -> Vec<u8> {
    let bytes: usize = records.iter().map(|record| 4 + record.len()).sum();
    let mut to = Writer::with_capacity(17 + bytes);
    to.tenant(tenant)
        .u8(u8::try_from(records.len()).unwrap_or(u8::MAX));
    for record in records {
        to.length(record.len());
    }
    for record in records {
        to.bytes(record);
    }
    to.finish()
}

/// The engine's page, and what it needs of one beside a value, generously.
const PAGE: usize = 4 * 1024;
const PAGE_HEAD: usize = 64;

/// Cuts a payload into parts that fill their pages. The engine keeps a long value in
/// a page of its own whose size is a power of two: 65 KiB would take 128.
pub(crate) fn cut(mut payload: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while payload.len() + PAGE_HEAD > PAGE {
        let page = 1_usize << (payload.len() + PAGE_HEAD).ilog2();
        let (part, rest) = payload.split_at(page - PAGE_HEAD);
        parts.push(part);
        payload = rest;
    }
    if !payload.is_empty() {
        parts.push(payload);
    }
    parts
}

/// Reads a segment's payload.
pub(crate) fn parse_segment(value: Bytes) -> Result<Segment, Fault> {
    let mut from = Reader::new("a segment", value);
    let tenant = from.tenant()?;
    let lengths = (0..from.u8()?).map(|_| from.length());
    let lengths = lengths.collect::<Result<Vec<_>, Fault>>()?;
    let records = lengths.into_iter().map(|length| from.take(length));
    let records = records.collect::<Result<_, Fault>>()?;
    if !from.is_empty() {
        return Err(from.malformed());
    }
    Ok(Segment { tenant, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_their_pages() {
        for length in (1..70_000)
            .step_by(97)
            .chain([4_032, 4_033, 65_472, 1 << 20, 3 << 20])
        {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let parts = cut(&payload);
            assert_eq!(parts.concat(), payload, "{length}");
            assert!(parts.len() <= 12, "{length}: {} parts", parts.len());
            let pages = parts.iter().map(|part| (part.len() + PAGE_HEAD).max(PAGE));
            let pages: usize = pages.map(usize::next_power_of_two).sum();
            assert!(pages <= length + 2 * PAGE, "{length} takes {pages}");
        }
    }
}
