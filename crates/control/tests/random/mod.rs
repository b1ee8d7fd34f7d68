//! Requests that follow from dice: bytes, messages of a descriptor, and such messages
//! with something broken in them.

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// How deep messages lie in each other.
const DEPTH_MAX: u32 = 5;
/// Most bytes of a message that is not made of anything.
const NOISE_BYTES_MAX: usize = 300;

/// Passes messages on as the bytes that they are.
#[derive(Clone, Copy)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Texts that mean something somewhere, so that requests get past the first check.
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn new(ids: impl IntoIterator<Item = String>) -> Self {
        let known = [
            "",
            "*",
            "default",
            "platform/default",
            "opportunity",
            "won",
            "https://example.com/",
            "http://127.0.0.1:1/",
            "url",
            "events",
            "retry_policy.max_age",
            "signing.close",
            "{\"a\":[1,null]}",
            "[]",
            "1e999",
            "\u{0}",
            "\u{202e}ß𝄞",
            "X-Name",
            "whsec_MfKQ",
            "whsub_0000000000000000000000",
            "{\"type\":\"and\",\"filters\":[]}",
            "{\"type\":\"field_accessor\",\"field\":\"a\",\"filter\":{\"type\":\"is_null\"}}",
        ];
        let long = ["x".repeat(5_000), "[".repeat(3_000), "a.".repeat(500)];
        let known = known.into_iter().map(str::to_owned);
        Self(known.chain(long).chain(ids).collect())
    }

    fn one(&self, dice: &mut StdRng) -> String {
        if dice.random_bool(0.1) {
            let length = dice.random_range(0..40);
            return (0..length).map(|_| dice.random::<char>()).collect();
        }
        self.0.choose(dice).cloned().unwrap_or_default()
    }
}

/// One request for what takes messages of this kind.
pub(crate) fn request(kind: &MessageDescriptor, words: &Words, dice: &mut StdRng) -> Bytes {
    let share = dice.random_range(0..10);
    if share == 0 {
        let length = dice.random_range(0..NOISE_BYTES_MAX);
        return (0..length).map(|_| dice.random::<u8>()).collect();
    }
    let mut bytes = message(kind, words, dice, 0).encode_to_vec();
    if share < 4 && !bytes.is_empty() {
        for _ in 0..dice.random_range(1..4) {
            let at = dice.random_range(0..bytes.len());
            bytes[at] = dice.random();
        }
        if dice.random_bool(0.3) {
            bytes.truncate(dice.random_range(0..bytes.len()));
        }
    }
    bytes.into()
}

fn message(
    kind: &MessageDescriptor,
    words: &Words,
    dice: &mut StdRng,
    depth: u32,
) -> DynamicMessage {
    let mut made = DynamicMessage::new(kind.clone());
    let share = dice.random_range(0.1..0.9);
    for field in kind.fields() {
        if depth < DEPTH_MAX && dice.random_bool(share) {
            made.set_field(&field, value(&field, words, dice, depth));
        }
    }
    made
}

fn value(field: &FieldDescriptor, words: &Words, dice: &mut StdRng, depth: u32) -> Value {
    let count = dice.random_range(0..4);
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return Value::Map(Default::default());
        };
        let kind = entry.map_entry_value_field().kind();
        let entry = |_| {
            (
                MapKey::String(words.one(dice)),
                single(&kind, words, dice, depth),
            )
        };
        return Value::Map((0..count).map(entry).collect());
    }
    if field.is_list() {
        let one = |_| single(&field.kind(), words, dice, depth);
        return Value::List((0..count).map(one).collect());
    }
    single(&field.kind(), words, dice, depth)
}

fn single(kind: &Kind, words: &Words, dice: &mut StdRng, depth: u32) -> Value {
    match kind {
        Kind::Message(kind) => Value::Message(message(kind, words, dice, depth + 1)),
        Kind::Enum(_) => Value::EnumNumber(*[-1, 0, 1, 2, 3, 77].choose(dice).unwrap_or(&0)),
        Kind::String => Value::String(words.one(dice)),
        Kind::Bytes => Value::Bytes(words.one(dice).into()),
        Kind::Bool => Value::Bool(dice.random()),
        Kind::Float => Value::F32(f32::from_bits(dice.random())),
        Kind::Double => Value::F64(f64::from_bits(dice.random())),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(dice) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(dice)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(dice) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number(dice) as u64),
    }
}

/// Small ones, the ends of what there is, and others.
fn number(dice: &mut StdRng) -> i64 {
    let known = [0, 1, 2, 10, 100, 3_600, -1, i64::MAX, i64::MIN];
    let other = dice.random();
    *known
        .choose(dice)
        .filter(|_| other % 4 != 0)
        .unwrap_or(&other)
}
