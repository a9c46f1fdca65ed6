//! The API as text: every service, method, message, field and enum value with its number. A change shows up in review as a line.
//!
//! `UPKEEP_BLESS=1` rewrites `tests/golden/api.txt`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use upkeep::rpc::FILE_DESCRIPTOR_SET;

/// What is as long as all licenses.
const STREAMED: [&str; 2] = ["ImportLicenses", "ExportLicenses"];

#[test]
fn the_api_is_the_one_that_was_reviewed() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut text = String::new();
    for file in set.file.iter().filter(|file| file.package() == "upkeep.v1") {
        writeln!(text, "# {}", file.name()).unwrap();
        for service in &file.service {
            writeln!(text, "service {}", service.name()).unwrap();
            for method in &service.method {
                let streams = method.client_streaming() || method.server_streaming();
                assert!(
                    !streams || STREAMED.contains(&method.name()),
                    "{}: unary, so that every client can do everything",
                    method.name()
                );
                let stream = |streams| if streams { "stream " } else { "" };
                writeln!(
                    text,
                    "  {}({}{}) -> {}{}",
                    method.name(),
                    stream(method.client_streaming()),
                    local(method.input_type()),
                    stream(method.server_streaming()),
                    local(method.output_type())
                )
                .unwrap();
            }
        }
        for message in &file.message_type {
            describe(&mut text, message);
        }
        for value in &file.enum_type {
            describe_enum(&mut text, value);
        }
    }
    compare("api.txt", &text);
}

fn describe(text: &mut String, message: &DescriptorProto) {
    writeln!(text, "message {}", message.name()).unwrap();
    for field in &message.field {
        let many = if field.label() == Label::Repeated {
            "repeated "
        } else {
            ""
        };
        let choice = match field.oneof_index {
            Some(index) => {
                let index = usize::try_from(index).unwrap();
                format!(" (one of {})", message.oneof_decl[index].name())
            }
            None => String::new(),
        };
        writeln!(
            text,
            "  {} {}{} = {}{choice}",
            field.name(),
            many,
            kind(field),
            field.number()
        )
        .unwrap();
    }
    for reserved in &message.reserved_range {
        writeln!(text, "  reserved {}..{}", reserved.start(), reserved.end()).unwrap();
    }
    assert!(
        message.nested_type.is_empty(),
        "{}: no nested messages",
        message.name()
    );
}

fn describe_enum(text: &mut String, value: &EnumDescriptorProto) {
    writeln!(text, "enum {}", value.name()).unwrap();
    for value in &value.value {
        writeln!(text, "  {} = {}", value.name(), value.number()).unwrap();
    }
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => local(field.type_name()).to_owned(),
        plain => plain
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    }
}

fn local(name: &str) -> &str {
    name.trim_start_matches(".upkeep.v1.")
        .trim_start_matches('.')
}

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPKEEP_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden
        .lines()
        .zip(text.lines())
        .find(|(old, new)| old != new);
    assert!(
        golden == text,
        "{} differs, first at {differs:?}. If the change is meant: UPKEEP_BLESS=1 cargo test --test golden, then read the diff",
        path.display()
    );
}
