//! Rows to text: what [`super::Rows`] reads back.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use upkeep::rpc::v1::LicenseRow;

use super::Field;

/// A row as a JSON line, without its end. What is not set is left out.
///
/// # Errors
/// Whatever the JSON writer says; it has no reason to.
pub fn json_line(mut row: LicenseRow) -> Result<String, serde_json::Error> {
    let members = exported()
        .map(|field| (field.name(), field.of(&mut row).json()))
        .filter(|(_, value)| !value.is_null())
        .collect();
    serde_json::to_string(&Members(members))
}

/// The columns of [`csv_line`].
pub fn csv_header() -> Vec<&'static str> {
    exported().map(Field::name).collect()
}

/// A row as the cells of a CSV record.
pub fn csv_line(mut row: LicenseRow) -> Vec<String> {
    exported().map(|field| field.of(&mut row).text()).collect()
}

/// Everything but what is secret.
fn exported() -> impl Iterator<Item = Field> {
    let all = Field::ALL.iter().copied();
    all.filter(|field| *field != Field::Password)
}

struct Members(Vec<(&'static str, Value)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
