//! The readers of TPM structures: no bytes panic, a value has one encoding, and another reader reads the same.
//!
//! These are the twins of the fuzz targets in `fuzz/`, for a stable compiler. What a verifier makes of the values is elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "tpm_parsers/any.rs"]
mod any;
#[path = "tpm_parsers/oracle.rs"]
mod oracle;

use std::fmt::Debug;
use std::path::Path;
use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use upkeep::artefact::HardwareProof;
use upkeep::tpm::{Attest, NvPublic, Public, Signature};
use upkeep_server::attest::{
    Anchor, DenyList, EndorsementClass, Endorsements, PinPolicy, PivPolicy, ek_chain,
    piv_attestation,
};

/// A structure with a reader and a writer.
trait Structure: Clone + Debug + PartialEq + Sized {
    fn read(bytes: &[u8]) -> Option<Self>;
    fn written(&self) -> Vec<u8>;
}

macro_rules! structure {
    ($($name:ident),*) => {$(
        impl Structure for $name {
            fn read(bytes: &[u8]) -> Option<Self> {
                Self::parse(bytes).ok()
            }

            fn written(&self) -> Vec<u8> {
                self.to_bytes()
            }
        }
    )*};
}

structure!(Public, Attest, Signature, NvPublic);

impl Structure for HardwareProof {
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_either(&BASE64URL_NOPAD.encode(bytes)).ok()
    }

    fn written(&self) -> Vec<u8> {
        BASE64URL_NOPAD.decode(self.to_text().as_bytes()).unwrap()
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        public in any::public(), attest in any::attest(), signature in any::signature(), nv in any::nv_public(), proof in any::proof(),
    ) {
        prop_assert_eq!(Public::read(&public.written()), Some(public));
        prop_assert_eq!(Attest::read(&attest.written()), Some(attest));
        prop_assert_eq!(Signature::read(&signature.written()), Some(signature));
        prop_assert_eq!(NvPublic::read(&nv.written()), Some(nv));
        let file = proof.to_file(None);
        prop_assert_eq!(HardwareProof::read_either(&file), Ok(proof.clone()));
        prop_assert_eq!(HardwareProof::read(&proof.written()), Some(proof));
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..1_500)) {
        has_one_encoding::<Public>(&bytes);
        has_one_encoding::<Attest>(&bytes);
        has_one_encoding::<Signature>(&bytes);
        has_one_encoding::<NvPublic>(&bytes);
        has_one_encoding::<HardwareProof>(&bytes);
    }

    #[test]
    fn no_text_panics(text in ".*") {
        prop_assert!(HardwareProof::read_either(&text).is_err());
    }

    #[test]
    fn no_certificate_panics(certificate in any::<Index>(), damage in any::damage(), bytes in vec(any::<u8>(), 0..1_500)) {
        let certificate = certificate.get(&CERTIFICATES);
        for bytes in [certificate, &damage.of(certificate), &bytes] {
            vouches_for_itself(bytes);
        }
    }

    #[test]
    fn a_damaged_structure_is_another_or_none(
        public in any::public(), attest in any::attest(), signature in any::signature(), nv in any::nv_public(), proof in any::proof(),
        damage in any::damage(),
    ) {
        is_another(&public, &public.written(), &damage);
        is_another(&attest, &attest.written(), &damage);
        is_another(&signature, &signature.written(), &damage);
        is_another(&nv, &nv.written(), &damage);
        is_another(&proof, &proof.written(), &damage);
    }

    #[test]
    fn another_reader_reads_the_same(
        public in any::public(), attest in any::attest(), signature in any::signature(), nv in any::nv_public(),
        at in any::<Index>(), flip in 1_u8..,
    ) {
        for structure in [public.written(), attest.written(), signature.written(), nv.written()] {
            oracle::agrees(&structure);
            let mut damaged = structure;
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            oracle::agrees(&damaged);
        }
        prop_assert!(oracle::reads_public(&public));
        prop_assert!(oracle::reads_attest(&attest));
        prop_assert!(oracle::reads_signature(&signature));
        prop_assert!(oracle::reads_nv_public(&nv));
    }
}

/// Bytes as leaf, intermediate and anchor at once, so that a self-signed certificate goes far into the verifier.
fn vouches_for_itself(bytes: &[u8]) {
    let pinned = |class| {
        let anchors = Anchor::from_der(bytes, class).into_iter().collect();
        Endorsements::new(anchors, DenyList::default())
    };
    let at = chrono::DateTime::from_timestamp(1_900_000_000, 0).unwrap();
    let chain = ek_chain(
        bytes,
        &[bytes.to_vec()],
        &pinned(EndorsementClass::Chip),
        at,
    );
    assert!(chain.is_err(), "no endorsement key vouches for itself");
    let policy = PivPolicy {
        min_firmware: [0; 3],
        pin_policy_at_least: PinPolicy::Never,
    };
    let slot = piv_attestation(
        bytes,
        bytes,
        &[],
        &pinned(EndorsementClass::Dongle),
        at,
        policy,
    );
    assert!(slot.is_err(), "no slot vouches for itself");
}

/// The certificates of the vector set.
static CERTIFICATES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tpm/files");
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let certificates = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "der"))
        .map(|path| std::fs::read(path).unwrap())
        .filter(|certificate| !certificate.is_empty());
    certificates.collect()
});

/// Every byte with every other value, every truncation and every repeated byte of one structure of each kind: nothing is read as the same.
#[test]
fn every_single_byte_counts() {
    use upkeep::tpm::template::{self, EkKind};
    for public in [
        EkKind::P384.template(),
        template::attestation_key("acme"),
        template::device_key([0x5a; 32]),
    ] {
        every_byte_counts(&public);
    }
    every_byte_counts(&template::counter(0x0180_0001, true));
    for attest in any::attests() {
        every_byte_counts(&attest);
    }
    for signature in any::signatures() {
        every_byte_counts(&signature);
    }
    every_byte_counts(&any::sample_proof());
}

fn every_byte_counts<T: Structure>(value: &T) {
    let bytes = value.written();
    let is_another = |damage| is_another(value, &bytes, &damage);
    assert_eq!(T::read(&bytes).as_ref(), Some(value));
    for at in 0..bytes.len() {
        for flip in 1..=u8::MAX {
            is_another(any::Damage::Flip(at, flip));
        }
        is_another(any::Damage::Truncate(at));
        is_another(any::Damage::Repeat(at));
        is_another(any::Damage::Remove(at));
    }
    is_another(any::Damage::Append(0));
}

fn is_another<T: Structure>(value: &T, bytes: &[u8], damage: &any::Damage) {
    let damaged = damage.of(bytes);
    if damaged != bytes {
        let read = has_one_encoding::<T>(&damaged);
        assert_ne!(read.as_ref(), Some(value), "{damage:?}");
    }
}

/// What is read, if anything, is written as the very bytes.
fn has_one_encoding<T: Structure>(bytes: &[u8]) -> Option<T> {
    let read = T::read(bytes)?;
    assert_eq!(read.written(), bytes);
    Some(read)
}
