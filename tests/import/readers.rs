//! The readers by themselves: whatever a file holds, reading ends, takes bounded memory, and gives back what was written.

use std::io::{self, Read};

use proptest::prelude::*;
use upkeep::rpc::FILE_DESCRIPTOR_SET;
use upkeep::rpc::v1::{LicenseModule, LicenseRow, MaintenanceTerm, Money};
use upkeep_server::license_file::{
    Field, Format, MAX_ROW_BYTES, Mapping, Numbered, Rows, csv_header, csv_line, json_line,
    parse_line,
};

fn read(bytes: &[u8], format: Format) -> Vec<Numbered> {
    let Ok(mut rows) = Rows::open(bytes, format, &Mapping::default()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        found.push(row);
    }
    found
}

/// A source that gives one byte at a time, and an interruption before each.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(0);
        };
        let Some(place) = into.first_mut() else {
            return Ok(0);
        };
        *place = *first;
        self.0 = rest;
        Ok(1)
    }
}

#[test]
fn the_fields_are_those_of_the_message() {
    use prost::Message;
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let row = set
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .find(|message| message.name() == "LicenseRow")
        .unwrap();
    let theirs: Vec<_> = row
        .field
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    let ours: Vec<_> = Field::ALL
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    assert_eq!(ours, theirs);
    assert!(!csv_header().contains(&"password"));
}

#[test]
fn lines_are_counted_and_none_is_kept_that_is_too_long() {
    let long = "x".repeat(MAX_ROW_BYTES + 1);
    let fits = format!("{{\"serial\":\"{}\"}}", "x".repeat(MAX_ROW_BYTES - 13));
    assert_eq!(fits.len(), MAX_ROW_BYTES);
    let file = format!("\u{feff}{{}}\r\n\n{long}\n{fits}\r\n{long}{long}{long}\n{{}}");
    let rows = read(file.as_bytes(), Format::Jsonl);
    let seen: Vec<(u64, usize)> = rows
        .iter()
        .map(|row| (row.line, row.problems.len()))
        .collect();
    assert_eq!(seen, [(1, 0), (3, 1), (4, 0), (5, 1), (6, 0)]);
    // 64 MiB without a line end is one bad row, and is not kept.
    for format in [Format::Jsonl, Format::Csv] {
        let head: &[u8] = match format {
            Format::Csv => b"serial\n",
            Format::Jsonl => b"",
        };
        let source = head
            .chain(io::repeat(b'"').take(1))
            .chain(io::repeat(b'x').take(1 << 26));
        let mut rows = Rows::open(source, format, &Mapping::default())
            .ok()
            .unwrap();
        assert_eq!(rows.next_row().unwrap().unwrap().problems.len(), 1);
        assert!(rows.next_row().unwrap().is_none());
    }
}

#[test]
fn a_row_has_the_line_on_which_it_begins() {
    for (file, expected) in [
        ("serial\na\nb\n", &[2, 3][..]),
        ("serial\r\na\r\nb\r\n", &[2, 3]),
        ("\u{feff}serial\n\n\na\n\nb", &[4, 6]),
        ("\r\nserial\r\n\r\n\r\na\r\n\r\nb", &[5, 7]),
        ("serial\r\n\"a\r\nb\"\r\nc\r\n", &[2, 4]),
        ("serial\n\"a\n\nb\"\n\nc\n\n", &[2, 6]),
    ] {
        let slowly = Rows::open(
            Slow(file.as_bytes(), false),
            Format::Csv,
            &Mapping::default(),
        );
        let mut slowly = slowly.ok().unwrap();
        let mut found = Vec::new();
        while let Some(row) = slowly.next_row().unwrap() {
            found.push(row.line);
        }
        assert_eq!(found, expected, "{file:?}");
        let at_once = read(file.as_bytes(), Format::Csv);
        assert_eq!(
            at_once.iter().map(|row| row.line).collect::<Vec<_>>(),
            expected,
            "{file:?}"
        );
    }
}

fn text() -> impl Strategy<Value = String> {
    // What CSV keeps: no blanks around it.
    "[a-zA-Z0-9äß日\",;'=\\\\\\n -]{0,20}".prop_map(|text| text.trim().to_owned())
}

prop_compose! {
    fn any_row()(
        texts in proptest::collection::vec(text(), 22),
        numbers in proptest::array::uniform4(any::<u32>()),
        flags in any::<[bool; 2]>(),
        protection in 0..3_i32,
        state in prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(5)],
        names in proptest::collection::vec("[a-z0-9._-]{1,8}", 0..4),
        amount in proptest::option::of(0..1_000_000_i64),
        days in proptest::collection::vec(any::<u32>(), 0..3),
        has_terms in any::<bool>(),
    ) -> LicenseRow {
        let mut row = LicenseRow {
            protection,
            state,
            seats: numbers[0],
            generation: numbers[1],
            programme_revision: numbers[2],
            virtual_environment_allowed: flags[0],
            no_maintenance: flags[1],
            modules: names.iter().map(|id| LicenseModule { module_id: id.clone(), count: numbers[3] }).collect(),
            add_ons: names,
            paid: amount.map(|minor_units| Money { minor_units, currency_code: "EUR".to_owned() }),
            reminded_days: days,
            terms: if has_terms {
                vec![MaintenanceTerm { first_date: "2020-01-01".into(), last_date: "2020-12-31".into(), derived: false }]
            } else {
                Vec::new()
            },
            ..LicenseRow::default()
        };
        let plain = ["external_id", "serial", "product_id", "customer_id", "customer_external_id", "customer_name",
            "customer_email", "partner_id", "partner_name", "dongle_number", "license_type", "edition", "special_conditions",
            "purchase_date", "license_kind", "tier_id", "programme_id", "cancelled_date"];
        for (name, text) in plain.iter().zip(texts) {
            Field::parse(name).unwrap().set(&mut row, &text).unwrap();
        }
        row
    }
}

/// A line whose cells are of a CSV file with the header of an export.
fn csv(row: &LicenseRow) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(csv_header()).unwrap();
    writer.write_record(csv_line(row.clone())).unwrap();
    writer.into_inner().unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(row in any_row()) {
        let line = json_line(row.clone()).unwrap();
        let (read_back, problems) = parse_line(line.as_bytes());
        prop_assert_eq!(problems, vec![]);
        prop_assert!(read_back == row);
        let bytes = csv(&row);
        let rows = read(&bytes, Format::Csv);
        prop_assert_eq!(rows.len(), 1);
        let first = rows.into_iter().next().unwrap();
        prop_assert_eq!(first.problems, vec![]);
        prop_assert!(first.row == row, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_bytes_stop_the_readers(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), structured in any::<bool>()) {
        if structured {
            // Mostly what the formats are made of.
            const MOSTLY: &[u8] = b"{}[]\",:;\n\r\\ serial0tfn\xef\xbb\xbf\0";
            for byte in &mut bytes {
                *byte = MOSTLY[usize::from(*byte) % MOSTLY.len()];
            }
        }
        for format in [Format::Jsonl, Format::Csv] {
            let mut whole = Vec::new();
            if format == Format::Csv {
                whole.extend_from_slice(b"serial,seats,terms\n");
            }
            whole.extend_from_slice(&bytes);
            let rows = read(&whole, format);
            prop_assert!(rows.len() <= whole.len());
            let mut slowly = Rows::open(Slow(&whole, false), format, &Mapping::default()).ok().unwrap();
            for row in &rows {
                prop_assert!(slowly.next_row().unwrap().as_ref() == Some(row));
            }
            prop_assert!(slowly.next_row().unwrap().is_none());
        }
        let _any = Mapping::parse(&String::from_utf8_lossy(&bytes));
    }
}
