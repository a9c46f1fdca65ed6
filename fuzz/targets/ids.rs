#![no_main]

use upkeep::artefact::{ArtefactId, Issuer, TicketNonce, TpmName};
use upkeep::id::{
    ActivationId, AddOn, CustomerId, DeviceId, DongleNumber, Edition, LicenseType, PartnerId,
    ProductId, RequestId, UpgradeId,
};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(serial) = SerialNumber::parse(text) {
        assert_eq!(SerialNumber::parse(serial.as_str()), Ok(serial));
    }
    let _ = (
        Version::parse(text),
        ProductId::parse(text),
        PartnerId::parse(text),
    );
    let _ = (
        CustomerId::parse(text),
        Edition::parse(text),
        AddOn::parse(text),
    );
    let _ = (
        LicenseType::parse(text),
        DongleNumber::parse(text),
        DeviceId::parse(text),
    );
    let _ = (
        ActivationId::parse(text),
        UpgradeId::parse(text),
        RequestId::parse(text),
    );
    let _ = (
        Issuer::parse(text),
        ArtefactId::parse(text),
        TicketNonce::parse(text),
    );
    let _ = (TpmName::parse(text), Thumbprint::parse(text));
});
