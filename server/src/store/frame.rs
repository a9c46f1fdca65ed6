//! One frame of a ledger segment: a mark, a length, a checksum and the payload.
//!
//! The checksum finds accidents; tampering is found by the hash chain above (see
//! [`entry`](super::entry)). The mark lets a search for frames after a damaged one be fast and
//! exact.
//!
//! Layout, little-endian: mark (4 bytes), payload length (u32), CRC-32 of length and payload (u32),
//! payload.

/// Begins every frame; its first byte occurs in no UTF-8 text.
pub(super) const MARK: [u8; 4] = [0xF5, b'U', b'P', b'K'];

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 12;

/// The longest payload taken for one: a transaction's limit, with room for its keys and the
/// encoding.
pub(super) const MAX_PAYLOAD_BYTES: usize = 4 << 20;

/// Adds one frame to `out`.
pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the header of a frame: the payload's length and checksum. `None` if no frame begins here.
pub(super) fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let checksum = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length <= MAX_PAYLOAD_BYTES).then_some((length, checksum))
}

/// The payload of the frame that begins with the first of `bytes`, or `None` if there is no whole
/// and sound one.
pub(super) fn decode(bytes: &[u8]) -> Option<&[u8]> {
    let (length, expected) = header(bytes)?;
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
    let length = u32::try_from(length).ok()?.to_le_bytes();
    (checksum(length, payload) == expected).then_some(payload)
}

/// The payloads of all sound frames that begin anywhere in `bytes`.
pub(super) fn search(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let marks = bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK);
    marks.filter_map(|(at, _)| decode(bytes.get(at..)?))
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(payload);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_every_flipped_bit_is_seen() {
        let mut bytes = Vec::new();
        encode(b"payload", &mut bytes);
        assert_eq!(decode(&bytes), Some(&b"payload"[..]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn a_search_finds_frames_behind_garbage() {
        let mut bytes = b"garbage".to_vec();
        bytes.extend_from_slice(&MARK);
        encode(b"one", &mut bytes);
        bytes.push(0);
        encode(b"two", &mut bytes);
        assert_eq!(search(&bytes).collect::<Vec<_>>(), [b"one", b"two"]);
    }
}
