//! Calls made from the descriptor: every method there is, with messages that are right by type and wrong by everything else.

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use upkeep::rpc::FILE_DESCRIPTOR_SET;

use crate::world::As;

/// The five services as the descriptor has them.
pub(crate) struct Grammar {
    pub(crate) methods: Vec<Method>,
    messages: BTreeMap<String, DescriptorProto>,
}

pub(crate) struct Method {
    /// `PartnerService`.
    pub(crate) service: String,
    /// `GetLicense`.
    pub(crate) name: String,
    /// `.upkeep.v1.PartnerServiceGetLicenseRequest`.
    input: String,
    output: String,
}

impl Method {
    pub(crate) fn path(&self) -> String {
        format!("/upkeep.v1.{}/{}", self.service, self.name)
    }
}

impl Grammar {
    pub(crate) fn read() -> Self {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let own = set.file.into_iter().filter(|f| f.package() == "upkeep.v1");
        let (mut methods, mut messages) = (Vec::new(), BTreeMap::new());
        for file in own {
            for service in file.service {
                let name = service.name().to_owned();
                methods.extend(service.method.into_iter().map(|method| Method {
                    service: name.clone(),
                    name: method.name().to_owned(),
                    input: method.input_type().to_owned(),
                    output: method.output_type().to_owned(),
                }));
            }
            for message in file.message_type {
                messages.insert(format!(".upkeep.v1.{}", message.name()), message);
            }
        }
        Self { methods, messages }
    }

    /// The encoded request of a method, field by field from `pool` and from what nobody expects.
    pub(crate) fn request(&self, method: &Method, pool: &Pool, dice: &mut Dice) -> Vec<u8> {
        self.message(&method.input, pool, dice)
    }

    /// The encoded request of a method in which every text is what `text` says of its field, and nothing is odd.
    pub(crate) fn plain(&self, method: &Method, text: &dyn Fn(&str) -> String) -> Vec<u8> {
        self.plain_message(&method.input, text)
    }

    fn plain_message(&self, name: &str, text: &dyn Fn(&str) -> String) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.messages[name].field {
            let number = u64::from(field.number().unsigned_abs());
            let (wire, value) = match field.r#type() {
                _ if field.label() == Label::Repeated => continue,
                Type::Message if field.name() == "details" => {
                    (2, self.plain_message(field.type_name(), text))
                }
                Type::String => (2, text(field.name()).into_bytes()),
                Type::Enum if field.name() == "virtual_environment" => (0, varint(1)),
                Type::Uint32 | Type::Int32 => (0, varint(1)),
                _ => continue,
            };
            if wire == 2 && value.is_empty() {
                continue;
            }
            out.extend(varint(number << 3 | wire));
            if wire == 2 {
                out.extend(varint(value.len() as u64));
            }
            out.extend(value);
        }
        out
    }

    /// Whether the request of a method has a field of this name.
    pub(crate) fn has_field(&self, method: &Method, name: &str) -> bool {
        let mut fields = self.messages[&method.input].field.iter();
        fields.any(|field| field.name() == name)
    }

    /// Adds what stands in an answer to the pool, under the names of its fields: what was given is used again, later and elsewhere.
    pub(crate) fn learn(&self, method: &Method, answer: &[u8], pool: &mut Pool) {
        self.learn_message(&method.output, answer, pool);
    }

    fn learn_message(&self, name: &str, mut bytes: &[u8], pool: &mut Pool) {
        let Some(message) = self.messages.get(name) else {
            return;
        };
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).unwrap();
            if wire != WireType::LengthDelimited {
                skip_field(wire, number, &mut bytes, DecodeContext::default()).unwrap();
                continue;
            }
            let length = decode_varint(&mut bytes).unwrap() as usize;
            let (value, rest) = bytes.split_at(length);
            bytes = rest;
            let fields = &message.field;
            let Some(field) = fields.iter().find(|f| f.number().unsigned_abs() == number) else {
                continue;
            };
            match field.r#type() {
                Type::Message => self.learn_message(field.type_name(), value, pool),
                Type::String => pool.learn_text(field.name(), value),
                Type::Bytes => pool.learn_bytes(field.name(), value),
                _ => {}
            }
        }
    }

    fn message(&self, name: &str, pool: &Pool, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in &self.messages[name].field {
            // Mostly each field once; now and then none, or, which protobuf allows, several.
            let times = match dice.below(12) {
                0 => 0,
                1 => 2,
                _ if field.label() == Label::Repeated => dice.below(4),
                _ => 1,
            };
            for _ in 0..times {
                self.field(field, pool, dice, &mut bytes);
            }
        }
        bytes
    }

    fn field(&self, field: &FieldDescriptorProto, pool: &Pool, dice: &mut Dice, out: &mut Vec<u8>) {
        let number = u64::from(field.number().unsigned_abs());
        let (wire, value) = match field.r#type() {
            Type::Message => (2, self.message(field.type_name(), pool, dice)),
            Type::String => (2, pool.text(field.name(), dice)),
            Type::Bytes => (2, pool.bytes(field.name(), dice)),
            Type::Bool => (0, varint(dice.below(2))),
            Type::Enum => (0, varint(*dice.one(&[0, 1, 1, 2, 3, 4, 9, u64::MAX]))),
            _ => {
                let numbers = [0, 1, 1, 2, 50, 501, u64::MAX, 1 << 31, (1 << 32) - 1];
                (0, varint(*dice.one(&numbers)))
            }
        };
        out.extend(varint(number << 3 | wire));
        if wire == 2 {
            out.extend(varint(value.len() as u64));
        }
        out.extend(value);
    }
}

/// What stands in fields of these names in calls that would work.
#[derive(Default)]
pub(crate) struct Pool {
    texts: BTreeMap<String, Vec<String>>,
    bytes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Pool {
    pub(crate) fn text_of(&mut self, field: &str, values: impl IntoIterator<Item = String>) {
        self.texts
            .entry(field.to_owned())
            .or_default()
            .extend(values);
    }

    pub(crate) fn bytes_of(&mut self, field: &str, value: Vec<u8>) {
        self.bytes.entry(field.to_owned()).or_default().push(value);
    }

    /// One of the texts that stand in fields of this name.
    pub(crate) fn known(&self, field: &str, dice: &mut Dice) -> Option<String> {
        self.texts.get(field).map(|known| dice.one(known).clone())
    }

    /// What is carried in a certificate, a ticket or a file is asked for in these fields.
    fn learn_text(&mut self, field: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        let asked_in = match field {
            "next_page_token" => "page_token",
            "certificate" | "ticket" | "receipt" | "upgrade_code" | "file" => "proof",
            other => other,
        };
        newest(self.texts.entry(asked_in.to_owned()).or_default(), value);
    }

    fn learn_bytes(&mut self, field: &str, value: &[u8]) {
        newest(
            self.bytes.entry(field.to_owned()).or_default(),
            value.to_vec(),
        );
    }

    fn text(&self, field: &str, dice: &mut Dice) -> Vec<u8> {
        match self.texts.get(field) {
            Some(known) if dice.below(4) > 0 => dice.one(known).clone().into_bytes(),
            _ => junk_text(dice).into_bytes(),
        }
    }

    fn bytes(&self, field: &str, dice: &mut Dice) -> Vec<u8> {
        match self.bytes.get(field) {
            Some(known) if dice.below(4) > 0 => dice.one(known).clone(),
            _ => {
                let length = *dice.one(&[0, 1, 42, 63, 64, 65, 91, 2000]);
                (0..length).map(|_| dice.byte()).collect()
            }
        }
    }
}

/// Keeps the last of what was learnt.
fn newest<T: PartialEq>(known: &mut Vec<T>, value: T) {
    if !known.contains(&value) {
        if known.len() >= 40 {
            known.remove(20);
        }
        known.push(value);
    }
}

fn junk_text(dice: &mut Dice) -> String {
    let long = "x".repeat(*dice.one(&[63, 64, 65, 128, 129, 500, 501, 1000, 20_000]));
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{202e}gnp.exe",
        "../../etc/passwd",
        "'; DROP TABLE licenses; --",
        "0000-00-00",
        "1969-12-31",
        "9999-12-31",
        "10000-01-01",
        "2025-02-30",
        "NSP",
        "1.0",
        "00000000-0000-0000-0000-000000000000",
        "Żółw 日本",
        "a@b",
        long.as_str(),
    ];
    (*dice.one(&texts)).to_owned()
}

/// A small generator: the calls of a case follow from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Sends any bytes as the message of a call.
pub(crate) async fn call(who: As, path: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(who).max_encoding_message_size(64 << 20);
    grpc.ready().await.unwrap();
    let path = path.parse().unwrap();
    let answer = grpc.unary(tonic::Request::new(message), path, AsItIs).await;
    answer.map(tonic::Response::into_inner)
}

/// Messages are bytes.
#[derive(Clone, Copy, Default)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
