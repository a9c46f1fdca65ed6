//! An endorsement certificate for a key that has none, by a throwaway CA.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo, date_time_ymd,
};
use upkeep_server::attest::{Anchor, DenyList, EndorsementClass, Endorsements};

/// Pins a CA as that of software TPMs.
pub(crate) fn pinned(root: &[u8]) -> Endorsements {
    let anchor = Anchor::from_der(root, EndorsementClass::Software).unwrap();
    Endorsements::new(vec![anchor], DenyList::default())
}

/// An endorsement certificate over `spki`, and the CA that issued it, both DER.
pub(crate) fn certificate(spki: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut authority = params("Witness CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = authority.self_signed(&key).unwrap();

    let mut leaf = params("EK");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], alternative_name());
    names.set_criticality(true);
    leaf.custom_extensions = vec![names];
    let spki = SubjectPublicKeyInfo::from_der(spki).unwrap();
    let issuer = Issuer::from_params(&authority, &key);
    let leaf = leaf.signed_by(&spki, &issuer).unwrap();
    (leaf.der().to_vec(), root.der().to_vec())
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

/// A directory name with manufacturer, model and version (TCG EK Credential Profile section 3.2.9).
fn alternative_name() -> Vec<u8> {
    let attributes: Vec<u8> = [(1, "id:00001014"), (2, "swtpm"), (3, "id:20191023")]
        .into_iter()
        .flat_map(|(arc, text)| {
            let oid = der(0x06, &[0x67, 0x81, 0x05, 0x02, arc]);
            let attribute = der(0x30, &[oid, der(0x0c, text.as_bytes())].concat());
            der(0x31, &attribute)
        })
        .collect();
    let name = der(0x30, &attributes);
    der(0x30, &der(0xa4, &name))
}

/// A DER value of less than 128 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[tag, length], content].concat()
}
