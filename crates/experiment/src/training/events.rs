//! Metrics as a TensorBoard event file.
//!
//! A file is a row of records: length (u64), masked CRC-32C of the length, data, masked CRC-32C of the
//! data, all little-endian. The data is an `Event` of TensorFlow's `event.proto`, here with the fields
//! `wall_time` (1), `step` (2), `file_version` (3) or `summary` (5), whose values have a `tag` (1) and a
//! `simple_value` (2). A fresh file is written from the records of the store each time, whole, so that
//! it never disagrees with them; times in it are 0, because records have none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use preceptor_store::replace_file;

/// Scalars of each step, by name.
pub(crate) type Scalars = BTreeMap<u64, BTreeMap<String, f64>>;

/// Writes `scalars` as the only event file in `folder`.
pub(crate) fn write(folder: &Path, scalars: &Scalars) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut version = Vec::new();
    put_bytes(&mut version, 3, b"brain.Event:2");
    put_record(&mut bytes, &version);
    for (step, values) in scalars {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            put_key(&mut entry, 2, FIXED_32);
            entry.extend((*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        let mut event = Vec::new();
        put_key(&mut event, 2, VARINT);
        put_varint(&mut event, *step);
        put_bytes(&mut event, 5, &summary);
        put_record(&mut bytes, &event);
    }
    let path = folder.join("events.out.tfevents.0000000000.preceptor");
    replace_file(&path, |temporary| fs::write(temporary, bytes), |error| error)
}

const VARINT: u8 = 0;
const DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

fn put_key(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(out, field, DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
}

/// Returns the CRC-32C, rotated and shifted as the format requires.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // CRC-32C of "123456789" is 0xe3069283.
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), expected);
    }

    #[test]
    fn numbers_have_as_many_bytes_as_they_need() {
        let mut out = Vec::new();
        put_varint(&mut out, 300);
        put_varint(&mut out, 5);
        assert_eq!(out, [0xac, 0x02, 5]);
    }
}
