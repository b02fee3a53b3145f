//! The bytes of metrics where prost writes others than the Go library, or reads more than it keeps.
//!
//! An entry of a map without the fields that are zero is the same to every reader of protobuf, and prost leaves them out. The Go
//! library writes both, and reads an entry without a value as a nil pointer: so do we write both. Fields that nobody here knows
//! are skipped by prost, and would be gone with the next write: they are refused.

use super::{super::NotThis, pb::MapMetric};
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_varint, encoded_len_varint, skip_field},
};

const OVERALL: u8 = 0x0A;
const BOARDS: u8 = 0x12;
const KEY: u8 = 0x08;
const VALUE: u8 = 0x12;

/// Writes a map of metrics: the whole first, then the boards in ascending order.
pub(super) fn map(metric: &MapMetric) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16 + metric.boards.len() * 32);
    if let Some(overall) = &metric.overall {
        bytes.put_u8(OVERALL);
        encode_varint(overall.encoded_len() as u64, &mut bytes);
        overall.encode_raw(&mut bytes);
    }
    for (board, value) in &metric.boards {
        let length = value.encoded_len();
        let entry = 2 + encoded_len_varint(*board) + encoded_len_varint(length as u64) + length;
        bytes.put_u8(BOARDS);
        encode_varint(entry as u64, &mut bytes);
        bytes.put_u8(KEY);
        encode_varint(*board, &mut bytes);
        bytes.put_u8(VALUE);
        encode_varint(length as u64, &mut bytes);
        value.encode_raw(&mut bytes);
    }
    bytes.freeze()
}

/// Refuses what has other fields than a metric.
pub(super) fn base_only(bytes: &[u8]) -> Result<(), NotThis> {
    fields(bytes, |field, wire, _| matches!((field, wire), (1..=3, WireType::Varint)).then_some(()).ok_or_else(strange))
}

/// Refuses what has other fields than a map of metrics, down to the metrics.
pub(super) fn map_only(bytes: &[u8]) -> Result<(), NotThis> {
    fields(bytes, |field, wire, inner| match (field, wire) {
        (1, WireType::LengthDelimited) => base_only(inner),
        (2, WireType::LengthDelimited) => fields(inner, |field, wire, value| match (field, wire) {
            (1, WireType::Varint) => Ok(()),
            (2, WireType::LengthDelimited) => base_only(value),
            _ => Err(strange()),
        }),
        _ => Err(strange()),
    })
}

fn strange() -> NotThis {
    NotThis::Broken("it has fields that a metric does not have")
}

/// Shows each field: its number, its wire type, and its bytes when it has a length.
fn fields(mut rest: &[u8], mut check: impl FnMut(u32, WireType, &[u8]) -> Result<(), NotThis>) -> Result<(), NotThis> {
    while !rest.is_empty() {
        let (field, wire) = decode_key(&mut rest).map_err(NotThis::shape)?;
        if wire != WireType::LengthDelimited {
            check(field, wire, &[])?;
            skip_field(wire, field, &mut rest, DecodeContext::default()).map_err(NotThis::shape)?;
            continue;
        }
        let length = decode_varint(&mut rest).map_err(NotThis::shape)?;
        let inner = usize::try_from(length).ok().and_then(|l| rest.split_at_checked(l));
        let (inner, after) = inner.ok_or(NotThis::Broken("it ends in the middle of a field"))?;
        check(field, wire, inner)?;
        rest = after;
    }
    Ok(())
}
