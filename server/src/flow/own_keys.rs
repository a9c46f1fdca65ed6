//! Whether the keys are those that the records were made with: somebody may have put back another server's.

use upkeep::id::ActivationId;
use upkeep::jws::SigningInput;

use super::{Deps, Fault};
use crate::domain::activation::Activation;
use crate::record::{Reads, Records, keys};

impl Deps {
    /// Whether the secrets and the issuing keys fit the first seat on record; with no seat, any keys do.
    ///
    /// A seat's product code follows from the code key, the place where its digest stands from the pepper, and its certificate names
    /// the issuing key.
    ///
    /// # Errors
    /// Faults.
    pub(crate) fn keys_are_own(&self) -> Result<bool, Fault> {
        let mut store = &self.store;
        let codes = keys::table(b'q');
        let Some((place, id)) = store.range(&codes.from, &codes.to, 1)?.pop() else {
            return Ok(true);
        };
        let id = ActivationId::from_slice(&id).map_err(|_| MALFORMED)?;
        let seat: Option<Activation> = store.load(&keys::activation(&id))?;
        let seat = seat.ok_or(MALFORMED)?;
        let mac = self
            .pepper
            .product_code(&seat.serial, &self.codes.product(&id));
        let issued_by = SigningInput::parse(&seat.certificate)?.kid();
        let known = self.ring.load().keys();
        Ok(place == keys::product_code(&seat.serial, &mac)
            && known.iter().any(|key| key.kid() == issued_by))
    }
}

const MALFORMED: Fault = Fault::Inconsistent("a product code names no seat");
