//! What stands in a license store: one of seven states. Values here are facts; [`crate::activate`] and the other flows move between them.
//!
//! A certificate or upgrade code in memory is for this device's key, whether it came from the network, a file or the store itself. It
//! was verified by the keys that are trusted here, unless it stood in the store and its key is not known any more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upkeep::artefact::{ActivationCertificate, UpgradeCode};
use upkeep::code::Code;
use upkeep::id::{ActivationId, ProductId, RequestId};
use upkeep::jws::Verified;
use upkeep::key::Thumbprint;
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::device::Device;

/// What stands here.
#[derive(Clone, Debug)]
pub enum State {
    /// Nothing yet.
    Empty,
    /// An activation was asked for, and its answer is not here.
    Activating(PendingActivation),
    /// A license is activated.
    Active(Held),
    /// A signed upgrade code file is held instead of a certificate.
    Upgraded(UpgradeFile),
    /// An upgrade code was sent, and its answer is not here.
    Redeeming(PendingRedeem),
    /// A deactivation ticket is held: the product stops.
    Releasing(Journal),
    /// The license was deactivated here.
    Deactivated(Journal),
}

/// A signed text that is held. It was verified when it came; its key may be one that nobody here knows any more.
#[derive(Clone, Debug)]
pub(crate) enum Kept<C> {
    Verified(Arc<Verified<C>>),
    /// Only read: good for asking the server for another, and for nothing else.
    KeyUnknown(Arc<C>),
}

impl<C> Kept<C> {
    pub(crate) fn claims(&self) -> &C {
        match self {
            Self::Verified(verified) => verified.claims(),
            Self::KeyUnknown(claims) => claims,
        }
    }

    fn verified(&self) -> Option<&Verified<C>> {
        match self {
            Self::Verified(verified) => Some(verified),
            Self::KeyUnknown(_) => None,
        }
    }
}

impl<C> From<Verified<C>> for Kept<C> {
    fn from(verified: Verified<C>) -> Self {
        Self::Verified(Arc::new(verified))
    }
}

/// An activation in force.
#[derive(Clone, Debug)]
pub struct Held {
    pub(super) certificate: String,
    pub(super) kept: Kept<ActivationCertificate>,
    pub(super) product_code: Option<Code>,
    pub(super) device: Device,
}

impl Held {
    /// * `certificate` - the text that `kept` was read from.
    /// * `device` - the key that it is for.
    pub(crate) fn new(
        certificate: String,
        kept: impl Into<Kept<ActivationCertificate>>,
        product_code: Option<Code>,
        device: Device,
    ) -> Self {
        Self {
            certificate,
            kept: kept.into(),
            product_code,
            device,
        }
    }

    /// The license.
    pub fn serial(&self) -> &SerialNumber {
        &self.claims().serial
    }

    /// The activation.
    pub fn activation_id(&self) -> ActivationId {
        self.claims().activation_id
    }

    /// The certificate's text (JWS).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What the certificate says.
    pub fn claims(&self) -> &ActivationCertificate {
        self.kept.claims()
    }

    /// The certificate as it was verified; `None` where its key is one that is not known here any more: then nobody vouches for it, and
    /// only the server can give another.
    pub fn verified(&self) -> Option<&Verified<ActivationCertificate>> {
        self.kept.verified()
    }

    /// The product code that the server gave with it. `Display` shows the secret, `Debug` does not.
    pub fn product_code(&self) -> Option<&Code> {
        self.product_code.as_ref()
    }

    /// The device key that it is bound to.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// An upgrade code in its file form, in force on this device.
#[derive(Clone, Debug)]
pub struct UpgradeFile {
    pub(super) code: String,
    pub(super) kept: Kept<UpgradeCode>,
}

impl UpgradeFile {
    pub(crate) fn new(code: String, kept: impl Into<Kept<UpgradeCode>>) -> Self {
        Self {
            code,
            kept: kept.into(),
        }
    }

    /// The signed text (JWS).
    pub fn text(&self) -> &str {
        &self.code
    }

    /// What it says.
    pub fn claims(&self) -> &UpgradeCode {
        self.kept.claims()
    }

    /// The code as it was verified; `None` where its key is one that is not known here any more.
    pub fn verified(&self) -> Option<&Verified<UpgradeCode>> {
        self.kept.verified()
    }
}

/// An activation that was asked for. It may have taken a seat.
#[derive(Clone, Debug)]
pub struct PendingActivation {
    pub(super) asked: AskedActivation,
    pub(super) device: Device,
    pub(super) before: Box<State>,
}

/// What an unfinished activation asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedActivation {
    pub(crate) request_id: RequestId,
    pub(crate) serial: SerialNumber,
    pub(crate) product: ProductId,
    pub(crate) version: Version,
    pub(crate) virtual_environment: VirtualEnvironment,
}

impl PendingActivation {
    /// * `device` - the key that the activation is to be bound to.
    /// * `before` - what holds until the answer is here, and again if there is none.
    pub(crate) fn new(asked: AskedActivation, device: Device, before: State) -> Self {
        Self {
            asked,
            device,
            before: Box::new(before),
        }
    }

    /// The license that was asked for.
    pub fn serial(&self) -> &SerialNumber {
        &self.asked.serial
    }

    /// The product.
    pub fn product(&self) -> &ProductId {
        &self.asked.product
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.asked.version
    }

    /// What was declared about the machine.
    pub fn virtual_environment(&self) -> VirtualEnvironment {
        self.asked.virtual_environment
    }

    /// The request whose answer is missing.
    pub fn request_id(&self) -> RequestId {
        self.asked.request_id
    }

    /// The device key that was sent.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What holds until the answer is here.
    pub fn before(&self) -> &State {
        &self.before
    }

    /// Whether `asked` is this very request.
    pub(crate) fn repeats(&self, asked: &AskedActivation) -> bool {
        self.asked == *asked
    }
}

/// An upgrade code that was sent. It may be used up.
#[derive(Clone, Debug)]
pub struct PendingRedeem {
    pub(super) asked: AskedRedeem,
    pub(super) device: Device,
    pub(super) before: Box<State>,
}

/// What an unfinished redeem asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedRedeem {
    pub(crate) request_id: RequestId,
    pub(crate) serial: SerialNumber,
    pub(crate) code: Code,
    pub(crate) version: Version,
    pub(crate) virtual_environment: VirtualEnvironment,
}

impl PendingRedeem {
    /// * `device` - the key that the activation is to be bound to.
    /// * `before` - what holds until the answer is here, and again if there is none.
    pub(crate) fn new(asked: AskedRedeem, device: Device, before: State) -> Self {
        Self {
            asked,
            device,
            before: Box::new(before),
        }
    }

    /// The license that is to be upgraded.
    pub fn serial(&self) -> &SerialNumber {
        &self.asked.serial
    }

    /// The version that runs here.
    pub fn version(&self) -> &Version {
        &self.asked.version
    }

    /// What was declared about the machine.
    pub fn virtual_environment(&self) -> VirtualEnvironment {
        self.asked.virtual_environment
    }

    /// The request whose answer is missing.
    pub fn request_id(&self) -> RequestId {
        self.asked.request_id
    }

    /// The device key that was sent.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What holds until the answer is here.
    pub fn before(&self) -> &State {
        &self.before
    }

    /// Whether `asked` is this very request.
    pub(crate) fn repeats(&self, asked: &AskedRedeem) -> bool {
        self.asked == *asked
    }
}

/// The return of one activation: its tombstone, and the papers that have come so far.
#[derive(Clone, Debug)]
pub struct Journal {
    pub(super) tombstone: Tombstone,
    pub(super) device: Device,
    pub(super) ticket: Option<String>,
    pub(super) held: Option<Held>,
    pub(super) proof: Option<String>,
    pub(super) receipt: Option<String>,
    pub(super) ended_key: bool,
}

/// What is left of an activation when its certificate is wiped: enough to answer a fresh ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tombstone {
    pub(crate) serial: SerialNumber,
    pub(crate) activation_id: ActivationId,
    pub(crate) jkt: Thumbprint,
    /// For the upgrade that follows; not in what versions before this one wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) product: Option<ProductId>,
}

impl Tombstone {
    fn of(held: &Held) -> Self {
        let claims = held.claims();
        Self {
            serial: claims.serial.clone(),
            activation_id: claims.activation_id,
            jkt: claims.cnf.jkt,
            product: Some(claims.product.clone()),
        }
    }
}

impl Journal {
    /// A return that has begun: the certificate is still here, the ticket too where the key needs one.
    ///
    /// * `works` - whether the key works, so that this return is what ends it.
    pub(crate) fn begin(held: Held, ticket: Option<String>, works: bool) -> Self {
        let in_a_chip = matches!(held.device, Device::Tpm(_));
        Self {
            tombstone: Tombstone::of(&held),
            device: held.device.clone(),
            ticket,
            held: Some(held),
            proof: None,
            receipt: None,
            ended_key: works && in_a_chip,
        }
    }

    /// An activation that the vendor ended: nothing was returned, and the certificate is gone.
    pub(crate) fn ended(held: &Held) -> Self {
        Self {
            tombstone: Tombstone::of(held),
            device: held.device.clone(),
            ticket: None,
            held: None,
            proof: None,
            receipt: None,
            ended_key: false,
        }
    }

    /// The same return answering another ticket, or none; a proof that answered the last one is given up.
    pub(crate) fn with_ticket(self, ticket: Option<String>) -> Self {
        Self {
            ticket,
            proof: None,
            ..self
        }
    }

    /// The same return, whose proof is to be made again.
    pub(crate) fn without_proof(self) -> Self {
        Self {
            proof: None,
            ..self
        }
    }

    /// The same return without the certificate.
    pub(crate) fn wiped(self) -> Self {
        Self { held: None, ..self }
    }

    /// The same return with its proof. The certificate is gone, whatever was here.
    pub(crate) fn with_proof(self, proof: String) -> Self {
        Self {
            held: None,
            proof: Some(proof),
            ..self
        }
    }

    /// The same return with its receipt. The certificate is gone, whatever was here.
    pub(crate) fn with_receipt(self, receipt: String) -> Self {
        Self {
            held: None,
            receipt: Some(receipt),
            ..self
        }
    }

    /// Whether a TPM's key worked until this return.
    pub(crate) fn ended_key(&self) -> bool {
        self.ended_key
    }

    /// The license.
    pub fn serial(&self) -> &SerialNumber {
        &self.tombstone.serial
    }

    /// The product that was licensed, where it was written down.
    pub fn product(&self) -> Option<&ProductId> {
        self.tombstone.product.as_ref().or(self.device.product())
    }

    /// The activation that ends.
    pub fn activation_id(&self) -> ActivationId {
        self.tombstone.activation_id
    }

    /// The name of the device key that it was bound to.
    pub fn device_thumbprint(&self) -> Thumbprint {
        self.tombstone.jkt
    }

    /// The device key that it was bound to: what is needed to prove its end.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The ticket (JWS); none where a TPM proves the end without one, or where the vendor ended the activation before it was fetched.
    pub fn ticket(&self) -> Option<&str> {
        self.ticket.as_deref()
    }

    /// The proof, once it is signed: a JWS by a software key, the text of a [`upkeep::artefact::HardwareProof`] by a TPM.
    pub fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    /// The receipt (JWS), once it has come.
    pub fn receipt(&self) -> Option<&str> {
        self.receipt.as_deref()
    }

    /// The certificate, while it is not wiped. It licenses nothing any more.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }
}

/// Whether the software runs in a virtual machine (T-29), as the customer declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a machine is virtual or it is not")]
pub enum VirtualEnvironment {
    /// On a physical machine.
    No,
    /// In a virtual machine.
    Yes,
}

impl From<bool> for VirtualEnvironment {
    /// As certificates carry it.
    fn from(is_virtual: bool) -> Self {
        if is_virtual { Self::Yes } else { Self::No }
    }
}

impl VirtualEnvironment {
    /// As the signed binding wants it.
    pub(crate) fn is_virtual(self) -> bool {
        self == Self::Yes
    }

    /// As the messages want it.
    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::No => v1::VirtualEnvironment::No.into(),
            Self::Yes => v1::VirtualEnvironment::Yes.into(),
        }
    }
}
