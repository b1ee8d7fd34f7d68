//! A lease on the wire: 16 bytes that name it and 16 bytes that prove it.

use sidehook_core::address::SegmentId;

/// A lease and its token. To the agent the bytes are opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    /// Which lease: (partition, the claim's lane and sequence, the demand's ordinal).
    pub id: SegmentId,
    /// Random: whoever settles must know it.
    pub token: u128,
}

impl LeaseRef {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;

    /// The bytes: the id's bits and the token, each big end first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.bits().to_be_bytes());
        bytes[16..].copy_from_slice(&self.token.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (id, token) = bytes.split_at_checked(16)?;
        let bits = u128::from_be_bytes(id.try_into().ok()?);
        let id = SegmentId::from_bits(bits).filter(|id| id.bits() == bits)?;
        let token = u128::from_be_bytes(token.try_into().ok()?);
        Some(Self { id, token })
    }
}
