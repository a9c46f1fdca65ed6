//! Every single byte of evidence counts: a statement, its signature, the device key, the counter's public area or a certificate with
//! anything changed is refused.
//!
//! Taken is every accepted statement that a TPM made (those of our set whose name says which). Of each file every byte is tried with each
//! of its eight bits changed; of one statement and its signature with all 255 other values. Of three chains every byte is
//! tried with its first and with its last bit changed.

use crate::case::Case;
use crate::manifest::{Entry, Manifest};
use crate::own;

#[test]
fn every_bit_of_a_tpms_evidence_counts() {
    let entries = captured();
    let mut tried = 0;
    for entry in &entries {
        for key in ["attest", "signature", "device", "nv_public"] {
            tried += every_byte(entry, key, BITS);
        }
    }
    eprintln!("{} cases, {tried} changed bits, all refused", entries.len());
    assert!(entries.len() >= 12 && tried > 20_000, "the set is complete");
}

#[test]
fn every_value_of_every_byte_counts() {
    let entries = captured();
    let proof = entries.iter().find(|entry| entry.id == "nv-tpm1-gt");
    let proof = proof.expect("a proof of deactivation by tpm2_nvcertify");
    let values: Vec<u8> = (1..=u8::MAX).collect();
    let tried = every_byte(proof, "attest", &values) + every_byte(proof, "signature", &values);
    assert_eq!(tried, (149 + 72) * 255);
}

#[test]
fn every_byte_of_a_certificate_counts() {
    let entries =
        entries(|entry| ["ek-own-rsa", "ek-own-p256", "piv-good"].contains(&entry.id.as_str()));
    assert_eq!(entries.len(), 3, "the set is complete");
    for entry in &entries {
        for key in ["ek_cert", "intermediates", "slot_cert", "f9_cert"] {
            every_byte(entry, key, &[1, 128]);
        }
    }
}

/// Changes each byte in each of these ways; gives how many changes were refused, which is all of them.
fn every_byte(entry: &Entry, key: &str, flips: &[u8]) -> usize {
    let mut case = Case::load(&own(), entry).unwrap();
    assert_eq!(case.run(), Ok(Ok(())), "{}", entry.id);
    let count = case.file_mut(key).map_or(0, |file| file.len());
    for at in 0..count {
        for flip in flips {
            case.file_mut(key).unwrap()[at] ^= flip;
            let verdict = case.run().unwrap();
            assert!(
                verdict.is_err(),
                "{}: {key}, byte {at} ^ {flip:#04x}",
                entry.id
            );
            case.file_mut(key).unwrap()[at] ^= flip;
        }
    }
    count * flips.len()
}

fn captured() -> Vec<Entry> {
    entries(|entry| {
        let a_statement = matches!(entry.kind.as_str(), "key_certify" | "nv_certify");
        entry.accept && a_statement && entry.id.contains("-tpm")
    })
}

fn entries(wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let text = std::fs::read(own().join("manifest.json")).unwrap();
    let entries = Manifest::parse(&text).unwrap().entries;
    entries
        .into_iter()
        .map(Result::unwrap)
        .filter(wanted)
        .collect()
}

const BITS: &[u8] = &[1, 2, 4, 8, 16, 32, 64, 128];
