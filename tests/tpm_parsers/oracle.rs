//! Another reader of the same structures: the crate tpm2-protocol, written from the same specification by others.
//!
//! It knows more algorithms and fewer of our bounds; so neither has to accept what the other does, but what both accept must be the same.

use tpm2_protocol::data::{TpmsAttest, TpmsNvPublic, TpmtPublic, TpmtSignature, TpmuAttest};
use tpm2_protocol::{TpmMarshal, TpmUnmarshal, TpmWriter};
use upkeep::tpm::{Attest, Attested, NvPublic, Public, Signature};

/// Where both read these bytes as one of the structures, they read the same.
pub(crate) fn agrees(bytes: &[u8]) {
    if let Ok(public) = Public::parse(bytes)
        && let Some(other) = read::<TpmtPublic>(bytes)
    {
        same_public(&public, &other);
    }
    if let Ok(attest) = Attest::parse(bytes)
        && let Some(other) = read::<TpmsAttest>(bytes)
    {
        same_attest(&attest, &other);
    }
    if Signature::parse(bytes).is_ok()
        && let Some(other) = read::<TpmtSignature>(bytes)
    {
        assert_eq!(written(&other), bytes);
    }
    if let Ok(nv) = NvPublic::parse(bytes)
        && let Some(other) = read::<TpmsNvPublic>(bytes)
    {
        same_nv_public(&nv, &other);
    }
}

pub(crate) fn reads_public(public: &Public) -> bool {
    read::<TpmtPublic>(&public.to_bytes()).is_some_and(|other| same_public(public, &other))
}

pub(crate) fn reads_attest(attest: &Attest) -> bool {
    read::<TpmsAttest>(&attest.to_bytes()).is_some_and(|other| same_attest(attest, &other))
}

pub(crate) fn reads_signature(signature: &Signature) -> bool {
    let bytes = signature.to_bytes();
    read::<TpmtSignature>(&bytes).is_some_and(|other| written(&other) == bytes)
}

pub(crate) fn reads_nv_public(nv: &NvPublic) -> bool {
    read::<TpmsNvPublic>(&nv.to_bytes()).is_some_and(|other| same_nv_public(nv, &other))
}

fn same_public(public: &Public, other: &TpmtPublic) -> bool {
    assert_eq!(other.object_attributes.bits(), public.attributes.bits());
    assert_eq!(other.name_alg.value(), public.name_alg);
    assert_eq!(&*other.auth_policy, public.auth_policy.as_slice());
    assert_eq!(written(other), public.to_bytes());
    true
}

fn same_attest(attest: &Attest, other: &TpmsAttest) -> bool {
    assert_eq!(&*other.qualified_signer, attest.qualified_signer.as_slice());
    assert_eq!(&*other.extra_data, attest.extra_data.as_slice());
    assert_eq!(other.clock_info.clock.value(), attest.clock.clock);
    assert_eq!(
        other.clock_info.reset_count.value(),
        attest.clock.reset_count
    );
    assert_eq!(other.firmware_version.value(), attest.firmware);
    match (&other.attested, &attest.body) {
        (
            TpmuAttest::Certify(other),
            Attested::Certify {
                name,
                qualified_name,
            },
        ) => {
            assert_eq!(&*other.name, name.as_slice());
            assert_eq!(&*other.qualified_name, qualified_name.as_slice());
        }
        (
            TpmuAttest::Nv(other),
            Attested::Nv {
                index_name,
                offset,
                contents,
            },
        ) => {
            assert_eq!(&*other.index_name, index_name.as_slice());
            assert_eq!(other.offset.value(), *offset);
            assert_eq!(&*other.nv_contents, contents.as_slice());
        }
        (other, body) => panic!("{other:?} is not {body:?}"),
    }
    assert_eq!(written(other), attest.to_bytes());
    true
}

fn same_nv_public(nv: &NvPublic, other: &TpmsNvPublic) -> bool {
    assert_eq!(other.attributes.bits(), nv.attributes);
    assert_eq!(other.data_size.value(), nv.data_size);
    assert_eq!(written(other), nv.to_bytes());
    true
}

fn read<T: TpmUnmarshal>(bytes: &[u8]) -> Option<T> {
    match T::unmarshal(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

fn written(value: &impl TpmMarshal) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let mut writer = TpmWriter::new(&mut buffer);
    value.marshal(&mut writer).unwrap();
    writer.as_bytes().to_vec()
}
