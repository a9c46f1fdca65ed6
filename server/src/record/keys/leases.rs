//! Keys of leases: the seats that cool, by time and by device.

use chrono::{DateTime, Utc};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;

use super::{Key, Range};

/// A cooling seat among its license's, by the end of its lease.
pub(crate) fn cooling(serial: &SerialNumber, end: DateTime<Utc>, device: &Thumbprint) -> Vec<u8> {
    Key::table(b'C')
        .text(serial.as_str())
        .time(end)
        .raw(device.as_bytes())
        .done()
}

/// The cooling seats of a license, the first to be free first.
pub(crate) fn cooling_seats(serial: &SerialNumber) -> Range {
    Range::of_prefix(Key::table(b'C').text(serial.as_str()).done())
}

/// The first key of the license's cooling seats whose leases end at `end` or later.
pub(crate) fn cooling_until(serial: &SerialNumber, end: DateTime<Utc>) -> Vec<u8> {
    Key::table(b'C').text(serial.as_str()).time(end).done()
}

/// When the lease of a key of [`cooling`] ends, and whose it was.
pub(crate) fn cooling_parts(tail: &[u8]) -> Option<(DateTime<Utc>, Thumbprint)> {
    let (end, device) = tail.split_first_chunk::<8>()?;
    let device: [u8; 32] = device.try_into().ok()?;
    Some((millis(*end)?, Thumbprint::from_bytes(device)))
}

/// Where it stands when the lease ends that a device left behind on a license.
pub(crate) fn left_behind(serial: &SerialNumber, device: &Thumbprint) -> Vec<u8> {
    Key::table(b'U')
        .text(serial.as_str())
        .raw(device.as_bytes())
        .done()
}

/// A time as keys hold it.
pub(crate) fn millis(bytes: [u8; 8]) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(u64::from_be_bytes(bytes)).ok()?)
}
