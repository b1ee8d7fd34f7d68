//! What the next version sends, as far as this one can play it: with the feature
//! `later` every message on the wire has a field that no other build knows.

use core::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{Codec as Port, EncodeBuf, Encoder as EncoderPort},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Number of the field.
const FIELD: u32 = 1_000;
/// What is in it.
const TEXT: &str = "sent by a later version";

/// Encodes messages with the field; decodes as ever.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Port for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::default().decoder()
    }
}

/// Encodes messages with the field.
#[derive(Clone, Debug)]
pub struct Encoder<T>(PhantomData<T>);

impl<T: Message> EncoderPort for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode_raw(to);
        prost::encoding::string::encode(FIELD, &TEXT.to_owned(), to);
        Ok(())
    }
}
