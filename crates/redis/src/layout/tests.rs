//! Round trips of every packed format.

use super::*;

fn an_address() -> SegmentId {
    SegmentId {
        partition: Partition::new(7).expect("below 64"),
        lane: Lane::from_random(0x0123_4567_89ab_cdef),
        sequence: Sequence::new(77).expect("in range"),
        ordinal: 5,
    }
}

#[test]
fn names_come_back() {
    let id = an_address();
    let packed = Bytes::copy_from_slice(&segment(id));
    let read = parse_lease_id(id.partition, packed);
    assert_eq!(read, Ok(LeaseId(id)));
    let tenant = TenantId::from_bits(1 << 100);
    let delivery = DeliveryId::new(id, 3, SubscriptionNumber(9), 2);
    let name = [
        &queue(tenant, SubscriptionNumber(9))[..],
        &place(delivery).expect("made by a server"),
    ]
    .concat();
    let read = Reader::new("a name", name.into()).delivery(id.partition);
    assert_eq!(read, Ok((tenant, delivery)));
    let stamp = [3; 12];
    let block = block_id(id.partition, &stamp);
    assert_eq!(parse_block_id(&block), Some((id.partition, &stamp[..])));
    assert_eq!(parse_block_id(&BlockId(Bytes::from_static(b"?"))), None);
}

#[test]
fn packed_order_is_the_order_of_addresses() {
    let low = an_address();
    let high = SegmentId {
        sequence: Sequence::new(256).expect("in range"),
        ordinal: 0,
        ..low
    };
    assert_eq!(segment(low).cmp(&segment(high)), low.cmp(&high));
}

#[test]
fn segments_come_back_and_rejected_events_are_empty() {
    let tenant = TenantId::from_bits(11);
    let records = [
        Bytes::from_static(b"one"),
        Bytes::new(),
        Bytes::from_static(b"three"),
    ];
    let mut packed = pack_segment(tenant, records.iter());
    let read = parse_segment(packed.clone().into()).expect("just packed");
    assert_eq!(read.tenant, tenant);
    assert_eq!(read.records, records);
    // As the publish script marks a duplicate.
    packed[17 + EVENT_ROW * 2] = 0;
    let read = parse_segment(packed.clone().into()).expect("just packed");
    assert_eq!(read.records[2], Bytes::new());
    packed.truncate(packed.len() - 4);
    assert!(parse_segment(packed.into()).is_err(), "cut short");
}

#[test]
fn pools_holders_and_versions_come_back() {
    let of = Pool {
        owner: TenantId::from_bits(5),
        name: "edge-1".to_owned(),
    };
    assert_eq!(Reader::new("a pool", pool(&of).into()).pool(), Ok(of));
    let by = Holder {
        agent: AgentId::from_bits(4),
        session: u64::MAX,
    };
    let packed = Bytes::copy_from_slice(&holder(by));
    assert_eq!(Reader::new("a holder", packed).holder(), Ok(by));
    let of = Version {
        counter: 3,
        nonce: u64::MAX,
    };
    let packed = Bytes::copy_from_slice(&version(of));
    assert_eq!(Reader::new("a version", packed).version(), Ok(of));
}

#[test]
fn history_records_come_back() {
    let mut block = BytesMut::new();
    let tenant = TenantId::from_bits(1);
    put_record(&mut block, tenant, b"first");
    put_record(&mut block, tenant, b"");
    let mut reader = Reader::new("a block", block.freeze());
    assert_eq!(
        reader.record().map(|one| one.record),
        Ok(Bytes::from_static(b"first"))
    );
    assert_eq!(reader.record().map(|one| one.record), Ok(Bytes::new()));
    assert!(reader.is_empty());
}
