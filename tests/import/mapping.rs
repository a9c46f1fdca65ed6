//! CSV of other systems: the mapping, and files that are not what they should be.

use serde_json::Value;
use upkeep_server::license_file::{Mapping, TEMPLATE};

use crate::vendor::Vendor;

const MAPPING: &str = r#"
[csv]
delimiter = ";"

[constants]
product_id = "label"
license_type = "single-user"
seats = 2

[fields]
external_id = "Lizenz"
serial = "Serie"
customer_external_id = "Kunde"
customer_name = "Name"
protection = { column = "Schutz", values = { "SW" = "software_key", "HW" = "hardware_key" } }
dongle_number = "Dongle"
edition = { column = "Ausgabe", case = "lower" }
purchase_date = { column = "Kauf", date = ["%d.%m.%Y", "%Y-%m-%d"] }
terms = { columns = ["von", "bis"], join = "..", date = "%d.%m.%Y" }
paid = { columns = ["Preis", "Währung"] }
virtual_environment_allowed = { column = "VM", values = { "ja" = "true", "nein" = "false" } }
"#;

const HEAD: &str =
    "Lizenz;Serie;Kunde;Name;Schutz;Dongle;Ausgabe;Kauf;von;bis;Preis;Währung;VM;Notiz\n";

/// `import FILE --mapping` with every failing line.
fn import(vendor: &Vendor, csv: impl AsRef<[u8]>) -> (i32, Vec<String>) {
    let mapping = vendor.file("mapping.toml", MAPPING).display().to_string();
    let (code, stdout, stderr) = vendor.import("legacy.csv", csv, &["--mapping", &mapping]);
    let lines = stdout.lines().chain(stderr.lines());
    (code, lines.map(str::to_owned).collect())
}

#[test]
fn columns_and_values_of_another_system_become_fields() {
    let vendor = Vendor::new();
    let csv = format!(
        "{HEAD}1;LS-0001;K-1;\"Müller; Söhne \"\"Druck\"\"\";SW;;PRO;01.03.2019;01.03.2019;29.02.2020;399.00;EUR;nein;egal\n\
         2;ls-0002 ;K-1;;HW;D-77;Pro;2019-03-01;;;;;;\n\
         3;LS-0003;K-1;;XX;;Pro;31.02.2019;01.03.2019;;1,50;EUR;vielleicht;\n"
    );
    let (code, said) = import(&vendor, csv);
    assert_eq!(code, 5);
    assert_eq!(
        said.first().unwrap(),
        "2 created, 0 there already, 1 failed"
    );
    for expected in [
        "line 4: protection (Schutz): is none of the mapping's values",
        "line 4: purchase_date (Kauf): must be a date in 1970 to 9999, in the form %d.%m.%Y or %Y-%m-%d",
        "line 4: paid (Preis, Währung): ",
        "line 4: virtual_environment_allowed (VM): is none of the mapping's values",
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(expected)),
            "{expected}: {said:?}"
        );
    }
    let rows: Vec<Value> = vendor
        .export(&[])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [one, two] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(one["customer_name"], "Müller; Söhne \"Druck\"");
    assert_eq!(one["terms"][0]["last_date"], "2020-02-29");
    assert_eq!((&one["edition"], &one["seats"]), (&"pro".into(), &2.into()));
    assert_eq!(one["paid"]["minor_units"], 39900);
    assert_eq!(
        (&two["serial"], &two["dongle_number"]),
        (&"LS-0002".into(), &"d-77".into())
    );
    assert_eq!(two["purchase_date"], "2019-03-01");
    vendor.check_records();
}

#[test]
fn files_that_are_not_what_they_should_be_lose_no_good_row() {
    let row = |id: u32| format!("{id};LS-{id:04};K-1;Name;SW;;pro;2019-03-01;;;;;;");
    let long = "x".repeat(1_000_000);
    let cases: Vec<(&str, Vec<u8>, u32, &[&str])> = vec![
        (
            "a byte order mark and carriage returns",
            format!("\u{feff}{HEAD}{}\n{}\n", row(1), row(2))
                .replace('\n', "\r\n")
                .into_bytes(),
            2,
            &[],
        ),
        (
            "no last line end",
            format!("{HEAD}{}\n{}", row(1), row(2)).into_bytes(),
            2,
            &[],
        ),
        (
            "empty lines",
            format!("{HEAD}\n\n{}\n\n{}\n\n", row(1), row(2)).into_bytes(),
            2,
            &[],
        ),
        (
            "a million bytes in a cell",
            format!(
                "{HEAD}{}\n9;LS-0009;K-1;{long};SW;;pro;2019-03-01;;;;;;\n{}\n",
                row(1),
                row(2)
            )
            .into_bytes(),
            2,
            &["line 3: row: has more than 65536 bytes"],
        ),
        (
            "a million cells",
            format!("{HEAD}{}\n{}\n{}\n", row(1), ";".repeat(1_000_000), row(2)).into_bytes(),
            2,
            &["line 3: row: has more than 65536 bytes"],
        ),
        (
            "too few cells",
            format!("{HEAD}{}\n1;2\n{}\n", row(1), row(2)).into_bytes(),
            2,
            &["line 3: row: has 2 columns, the header has 14"],
        ),
        (
            "zero bytes",
            format!(
                "{HEAD}{}\n9;LS-\0\09;K\0;N;SW;;pro;2019-03-01;;;;;;\n{}\n",
                row(1),
                row(2)
            )
            .into_bytes(),
            2,
            &["line 3: serial: ", "line 3: customer_external_id: "],
        ),
        (
            "another encoding",
            [
                format!("{HEAD}{}\n", row(1)).as_bytes(),
                b"9;LS-0009;K-1;M\xfcller;SW;;pro;2019-03-01;;;;;;\n",
                row(2).as_bytes(),
            ]
            .concat(),
            2,
            &["line 3: customer_name (Name): is no UTF-8"],
        ),
        (
            "a quote that is never closed",
            format!("{HEAD}{}\n9;\"LS-0009;K-1\n{}\n{long}", row(1), row(2)).into_bytes(),
            1,
            &["line 3: row: has more than 65536 bytes"],
        ),
    ];
    let vendor = Vendor::new();
    for (what, csv, good, bad) in cases {
        let (code, said) = import(&vendor, csv);
        let failed = u32::from(!bad.is_empty());
        let done = said.first().unwrap();
        let counted: Vec<u32> = done
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let [created, unchanged, errors] = counted.as_slice() else {
            panic!("{what}: {said:?}")
        };
        assert_eq!(
            (created + unchanged, *errors),
            (good, failed),
            "{what}: {said:?}"
        );
        assert_eq!(code, if failed > 0 { 5 } else { 0 }, "{what}");
        for start in bad {
            assert!(
                said.iter().any(|line| line.starts_with(start)),
                "{what}: {start}: {said:?}"
            );
        }
    }
    let head = vendor.head();
    for (csv, wrong) in [
        ("", "the file is empty"),
        (
            "Serie;Lizenz\n",
            "fields.customer_name: there is no column \"Name\"",
        ),
        (
            &HEAD.replace("Notiz", "Serie"),
            "there are two columns \"Serie\"",
        ),
    ] {
        let (code, said) = import(&vendor, csv);
        assert!(
            code == 5 && said.join("\n").contains(wrong),
            "{wrong}: {said:?}"
        );
    }
    assert_eq!(vendor.head(), head);
}

#[test]
fn without_a_mapping_columns_have_the_names_of_fields() {
    let vendor = Vendor::new();
    let (code, _, stderr) = vendor.import("plain.csv", "serial,colour\nLS-1,blue\n", &[]);
    assert!(
        code == 5
            && stderr.contains("there is no field \"colour\"; map the columns with --mapping"),
        "{stderr}"
    );
    let (code, _, stderr) = vendor.import("plain.csv", "serial,serial\nLS-1,LS-2\n", &[]);
    assert!(
        code == 5 && stderr.contains("the field serial is given twice"),
        "{stderr}"
    );
    let (code, _, stderr) = vendor.import("plain.data", "serial\n", &[]);
    assert!(
        code == 2 && stderr.contains("give --format csv or --format jsonl"),
        "{stderr}"
    );
    let (code, _, stderr) = vendor.place.run(&["import", "absent.csv"]);
    assert!(
        code == 2 && stderr.contains("absent.csv can't be read"),
        "{stderr}"
    );
}

#[test]
fn every_mistake_of_a_mapping_is_named() {
    let wrong = r#"
        colours = 1
        [csv]
        delimiter = ";;"
        eol = "x"
        [constants]
        seats = "many"
        nothing = 1
        edition = "pro"
        [fields]
        edition = "E"
        state = 7
        purchase_date = { column = "D", date = "%Q" }
        serial = { colum = "S" }
        paid = { column = "P", values = [1] }
        protection = { column = "P", case = "upper" }
    "#;
    let said = Mapping::parse(wrong).unwrap_err().to_string();
    for part in [
        "colours: is not known",
        "csv.delimiter: must be one ASCII character",
        "csv.eol: is not known",
        "constants.seats: must be a whole number",
        "constants.nothing: is no field; fields are external_id, serial",
        "constants.edition: has a column as well",
        "fields.state: must be a column's name, or a table with column",
        "fields.purchase_date.date: is no date format",
        "fields.serial.colum: is not known; known are column",
        "fields.serial: names no column",
        "fields.paid.values: must be a table of texts",
        "fields.protection.case: must be \"lower\"",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(
        Mapping::parse("[fields")
            .unwrap_err()
            .to_string()
            .contains("line 1")
    );
    let vendor = Vendor::new();
    let mapping = vendor.file("mapping.toml", wrong).display().to_string();
    let (code, _, stderr) = vendor.import("a.csv", "E\n", &["--mapping", &mapping]);
    assert!(
        code == 3 && stderr.contains("mapping.toml: the mapping is wrong:"),
        "{stderr}"
    );
}

#[test]
fn the_printed_template_is_a_mapping() {
    let vendor = Vendor::new();
    let (code, stdout, stderr) = vendor.place.run(&["import", "--mapping-template"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.trim_end(), TEMPLATE.trim_end());
    Mapping::parse(&stdout).unwrap();
}
