//! Packing: numbers big end first, reading with checked lengths.

use bytes::{Buf as _, Bytes};
use sidehook_core::{
    address::{Lane, Partition, SegmentId, Sequence},
    id::{AgentId, SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::turn::{Holder, Run};

use crate::error::Fault;

/// Packs values one behind the other.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, number: u8) -> &mut Self {
        self.0.push(number);
        self
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.u8(u8::from(flag))
    }

    pub(crate) fn u16(&mut self, number: u16) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u128(&mut self, number: u128) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    /// A length of at most 4 GiB; what is longer would have been refused long before.
    pub(crate) fn length(&mut self, length: usize) -> &mut Self {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// A time; one before 1970 counts as 1970.
    pub(crate) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.u64(millis(time))
    }

    pub(crate) fn tenant(&mut self, tenant: TenantId) -> &mut Self {
        self.u128(tenant.bits())
    }

    pub(crate) fn version(&mut self, version: Version) -> &mut Self {
        self.u64(version.counter).u64(version.nonce)
    }

    /// A segment, or a lease's name; the partition is told elsewhere.
    pub(crate) fn segment(&mut self, id: SegmentId) -> &mut Self {
        self.u64(id.lane.bits())
            .u32(id.sequence.number())
            .u8(id.ordinal)
    }

    pub(crate) fn holder(&mut self, holder: Holder) -> &mut Self {
        self.u128(holder.agent.bits()).u64(holder.session)
    }

    pub(crate) fn pool(&mut self, pool: &Pool) -> &mut Self {
        let length = u16::try_from(pool.name.len()).unwrap_or(u16::MAX);
        self.tenant(pool.owner)
            .u16(length)
            .bytes(&pool.name.as_bytes()[..usize::from(length)])
    }

    /// A run. At most 128 events, so their number fits.
    pub(crate) fn run(&mut self, run: &Run) -> &mut Self {
        self.tenant(run.tenant)
            .u32(run.subscription.0)
            .flag(run.retry.is_some())
            .u8(run.leases_lost)
            .u32(run.charge)
            .u16(run.generation)
            .segment(run.segment)
            .u8(u8::try_from(run.indices.len()).unwrap_or(u8::MAX))
            .bytes(&run.indices);
        if let Some(retry) = &run.retry {
            self.length(retry.len()).bytes(retry);
        }
        self
    }
}

/// Milliseconds of a time that is kept.
pub(crate) fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

/// Reads packed values from the front.
pub(crate) struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    /// Reads `bytes`, which are a `what` in error messages.
    pub(crate) const fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { bytes, what }
    }

    /// Reads a copy of `bytes`.
    pub(crate) fn copy(what: &'static str, bytes: &[u8]) -> Self {
        Self::new(what, Bytes::copy_from_slice(bytes))
    }

    /// Tells that what is read contradicts itself.
    pub(crate) fn malformed(&self) -> Fault {
        Fault::corrupt(format!("{} is cut short or malformed", self.what))
    }

    /// Insists that all was read.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(self.malformed())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<Bytes, Fault> {
        if self.bytes.len() < size {
            return Err(self.malformed());
        }
        Ok(self.bytes.split_to(size))
    }

    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    fn need(&self, size: usize) -> Result<(), Fault> {
        if self.bytes.len() < size {
            return Err(self.malformed());
        }
        Ok(())
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.need(1)?;
        Ok(self.bytes.get_u8())
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.need(2)?;
        Ok(self.bytes.get_u16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.need(4)?;
        Ok(self.bytes.get_u32())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        self.need(8)?;
        Ok(self.bytes.get_u64())
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Fault> {
        self.need(16)?;
        Ok(self.bytes.get_u128())
    }

    pub(crate) fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.u32()?).map_err(|_| self.malformed())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, Fault> {
        let millis = i64::try_from(self.u64()?).map_err(|_| self.malformed())?;
        Ok(Timestamp::from_millis(millis))
    }

    pub(crate) fn tenant(&mut self) -> Result<TenantId, Fault> {
        Ok(TenantId::from_bits(self.u128()?))
    }

    /// The tenant in a key that begins with its partition.
    pub(crate) fn tenant_in(&mut self, partition: Partition) -> Result<TenantId, Fault> {
        let tenant = self.tenant()?;
        if Partition::of(tenant) == partition {
            return Ok(tenant);
        }
        Err(self.malformed())
    }

    pub(crate) fn number(&mut self) -> Result<SubscriptionNumber, Fault> {
        Ok(SubscriptionNumber(self.u32()?))
    }

    pub(crate) fn version(&mut self) -> Result<Version, Fault> {
        Ok(Version {
            counter: self.u64()?,
            nonce: self.u64()?,
        })
    }

    pub(crate) fn partition(&mut self) -> Result<Partition, Fault> {
        let number = self.u8()?;
        Partition::new(number).ok_or_else(|| self.malformed())
    }

    pub(crate) fn segment(&mut self, partition: Partition) -> Result<SegmentId, Fault> {
        let lane = Lane::from_random(self.u64()?);
        let sequence = Sequence::new(self.u32()?).ok_or_else(|| self.malformed())?;
        Ok(SegmentId {
            partition,
            lane,
            sequence,
            ordinal: self.u8()?,
        })
    }

    pub(crate) fn holder(&mut self) -> Result<Holder, Fault> {
        Ok(Holder {
            agent: AgentId::from_bits(self.u128()?),
            session: self.u64()?,
        })
    }

    pub(crate) fn pool(&mut self) -> Result<Pool, Fault> {
        let owner = self.tenant()?;
        let length = self.u16()?;
        let name = self.take(length.into())?;
        let name = core::str::from_utf8(&name).map_err(|_| self.malformed())?;
        Ok(Pool {
            owner,
            name: name.to_owned(),
        })
    }

    pub(crate) fn run(&mut self, partition: Partition) -> Result<Run, Fault> {
        let tenant = self.tenant()?;
        let subscription = self.number()?;
        let recorded = self.flag()?;
        let leases_lost = self.u8()?;
        let charge = self.u32()?;
        let generation = self.u16()?;
        let segment = self.segment(partition)?;
        let count = usize::from(self.u8()?);
        let indices = self.take(count)?.to_vec();
        let retry = if recorded {
            let length = self.length()?;
            Some(self.take(length)?)
        } else {
            None
        };
        Ok(Run {
            tenant,
            subscription,
            segment,
            indices,
            leases_lost,
            charge,
            generation,
            retry,
        })
    }
}
