//! Every reason for which this server refuses, in one table: text, class, what and why, and what to do next (DOMAIN 6).
//!
//! Texts are API: callers compare them. A reason is added or deprecated, never renamed. `docs/errors.md` is made from this
//! table. It does not name gRPC: the transport maps a [`Class`] to a code in one place.

use std::fmt;

/// What kind of answer a refusal is; each class is one gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The request is wrong whatever the state of the license.
    InvalidArgument,
    /// The caller did not show who it is.
    Unauthenticated,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// What the request names does not exist.
    NotFound,
    /// What the request would make exists already.
    AlreadyExists,
    /// A limit is used up.
    ResourceExhausted,
    /// A number lies outside its range.
    OutOfRange,
    /// The state of the license does not allow it now.
    FailedPrecondition,
    /// The exchange has to start again from its first step.
    Aborted,
    /// The server can't answer now; the same request may be sent again.
    Unavailable,
}

impl Class {
    /// The name of the gRPC code, as in `google.rpc.Code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the enum, the list of all and the four look-ups from one table, so that none can miss a reason.
macro_rules! reasons {
    ($($name:ident, $text:literal, $class:ident, $meaning:literal, $next:literal;)*) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable text, such as `NO_SEAT`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Which gRPC code it is answered with.
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// What was refused and why: one or two sentences.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What the reader can do now: one or two sentences.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

reasons! {
    // What the request says.
    InvalidField, "INVALID_FIELD", InvalidArgument,
        "One or more fields do not have the form they need.",
        "Correct every field listed in the answer and send the request again.";
    MissingField, "MISSING_FIELD", InvalidArgument,
        "One or more required fields are empty.",
        "Fill in every field listed in the answer and send the request again.";
    CredentialKindMismatch, "CREDENTIAL_KIND_MISMATCH", InvalidArgument,
        "This kind of credential does not go with this serial number. The password goes with serial numbers that start with NSP, the activation code or the product code with all others, unless the programme says otherwise.",
        "Send a credential of the kind that was delivered with the product.";
    InvalidTermCount, "INVALID_TERM_COUNT", InvalidArgument,
        "Zero maintenance terms were asked for.",
        "Ask for at least one term.";
    CurrencyMismatch, "CURRENCY_MISMATCH", InvalidArgument,
        "Amounts of different currencies meet, or the currency is not the programme's.",
        "Give every amount in the programme's currency.";
    AmountOutOfRange, "AMOUNT_OUT_OF_RANGE", OutOfRange,
        "An amount of money is negative, or larger than any that can be kept.",
        "Correct the amount, the number of modules or the number of terms.";
    ManifestRequired, "MANIFEST_REQUIRED", InvalidArgument,
        "This product states its build date by a signed release manifest, and the request carries none.",
        "Send the release manifest that was built into the product.";
    ManifestInvalid, "MANIFEST_INVALID", InvalidArgument,
        "The release manifest is not signed by this product's build key, or is damaged.",
        "Install the product from the vendor's original package and try again.";
    ChallengeInvalid, "CHALLENGE_INVALID", InvalidArgument,
        "The challenge was not made by this server for this call.",
        "Call CreateChallenge with the purpose of this call and answer the new challenge.";
    CodeInvalid, "CODE_INVALID", InvalidArgument,
        "The upgrade code is not one that this server issued for this license.",
        "Check the code for typing errors, and that it belongs to this serial number.";
    TooManyTerms, "TOO_MANY_TERMS", OutOfRange,
        "More maintenance terms were asked for than one order may carry, or they would end after the year 9999.",
        "Ask for fewer terms; the most in one order is 50, or less where the programme says so.";

    // Who is calling.
    CredentialInvalid, "CREDENTIAL_INVALID", Unauthenticated,
        "The serial number and the credential do not go together. The same answer is given whichever of the two is wrong.",
        "Check both against the delivery papers. If they are lost, ask the usual reseller or the vendor.";
    ClientCertificateRequired, "CLIENT_CERTIFICATE_REQUIRED", Unauthenticated,
        "This call needs a client certificate and the connection carries none.",
        "Connect to the staff and partner port with a certificate that this server issued.";
    RoleNotAllowed, "ROLE_NOT_ALLOWED", PermissionDenied,
        "The role of the caller does not include this action.",
        "Ask someone who has the role: the usual reseller, vendor support or a vendor administrator.";
    NotYourCustomer, "NOT_YOUR_CUSTOMER", PermissionDenied,
        "The license does not exist or belongs to a customer of another partner.",
        "Check the serial number. If the customer has moved to you, ask the vendor to record it.";
    VmNotAllowed, "VM_NOT_ALLOWED", PermissionDenied,
        "The license does not include use in a virtual machine.",
        "Use a physical machine, or ask the vendor for a license that allows virtual machines.";
    VmContradiction, "VM_CONTRADICTION", PermissionDenied,
        "The product declared a physical machine, and what the device shows contradicts that.",
        "Declare the virtual machine, if the license allows one, or ask the vendor.";
    SupportNotIncluded, "SUPPORT_NOT_INCLUDED", PermissionDenied,
        "This maintenance agreement does not include technical support.",
        "Use the documentation, or change to a type of agreement that includes support.";
    AttestationFailed, "ATTESTATION_FAILED", PermissionDenied,
        "The device did not prove that it holds its key, or not at the level of assurance that the programme needs.",
        "Try again on the device itself. If it fails again, send the vendor the answer's details.";

    // What the request names.
    NotFound, "NOT_FOUND", NotFound,
        "There is no record with this name.",
        "Check the name for typing errors, or list the records.";
    AlreadyExists, "ALREADY_EXISTS", AlreadyExists,
        "There is a record with this name already.",
        "Use the record that exists, or choose another name.";
    RequestIdReused, "REQUEST_ID_REUSED", AlreadyExists,
        "This request_id was used before for a request with other content.",
        "Use a new request_id for a new request; use the old one only to repeat exactly the same request.";
    ImportConflict, "IMPORT_CONFLICT", AlreadyExists,
        "What has this external_id differs from this row: it was imported with other content, or stands for another record.",
        "Change the license by the calls for that, or give the row an external_id of its own.";
    ReleaseUnknown, "RELEASE_UNKNOWN", FailedPrecondition,
        "The server does not know this version of the product, so it can't tell its build date.",
        "Ask the vendor to add the release, or use a version that is listed.";
    WrongProduct, "WRONG_PRODUCT", FailedPrecondition,
        "The serial number or code belongs to another product.",
        "Use it with the product that it was bought for.";
    HardwareKeyLicense, "HARDWARE_KEY_LICENSE", FailedPrecondition,
        "This license is bound to a hardware key and moves with that key, so nothing but that key activates it.",
        "Plug in the hardware key on the machine where the product is used; a key that can attest itself is enrolled first.";

    // Hardware keys.
    EnrollmentInvalid, "ENROLLMENT_INVALID", FailedPrecondition,
        "The enrollment is unknown, was for something else, has run out or was used.",
        "Enroll the device again: BeginEnrollment starts from a new challenge.";
    DeviceFrozen, "DEVICE_FROZEN", FailedPrecondition,
        "The TPM of this machine went back to an earlier state, as a restored virtual machine does, so its keys count for nothing.",
        "Ask vendor support to look into it and unfreeze the device.";
    HeartbeatRequired, "HEARTBEAT_REQUIRED", InvalidArgument,
        "This activation is bound to a TPM, and the call carries no statement of its counter.",
        "Send TPM2_NV_Certify of the counter over the binding of this call as its heartbeat.";

    // Challenges and guesses.
    ChallengeExpired, "CHALLENGE_EXPIRED", Aborted,
        "The challenge was answered too late: it lives for two minutes.",
        "Call CreateChallenge again and answer the new challenge.";
    ChallengeSpent, "CHALLENGE_SPENT", Aborted,
        "The challenge was used before: each is good for one request.",
        "Call CreateChallenge again and answer the new challenge.";
    TooManyTries, "TOO_MANY_TRIES", ResourceExhausted,
        "There were too many wrong credentials for this serial number, from this network or on this server.",
        "Wait for the time given in the answer, then try once with the right credential.";

    // The license and its seats.
    NoSeat, "NO_SEAT", ResourceExhausted,
        "Every seat of this license is taken.",
        "Deactivate the product on a machine that no longer needs it, or buy a seat.";
    LicenseNotIssued, "LICENSE_NOT_ISSUED", FailedPrecondition,
        "The license is ordered but not delivered yet.",
        "Wait for the delivery, or ask the usual reseller to fulfil the order.";
    LicenseSuspended, "LICENSE_SUSPENDED", FailedPrecondition,
        "The vendor has suspended this license.",
        "Ask vendor support why, and to have it resumed.";
    LicenseFinal, "LICENSE_FINAL", FailedPrecondition,
        "This license was replaced by an upgrade or withdrawn, and nothing changes it any more.",
        "Use the newest generation of the license, or ask vendor support.";
    ActivationFinal, "ACTIVATION_FINAL", FailedPrecondition,
        "This activation has ended, and nothing changes it any more.",
        "Activate the product again if it is to be used on this machine.";
    SeatInUse, "SEAT_IN_USE", FailedPrecondition,
        "The old license is still active on at least one machine.",
        "Deactivate every machine of the old license first.";
    ReleaseInProgress, "RELEASE_IN_PROGRESS", FailedPrecondition,
        "A deactivation of this machine has begun and is not finished.",
        "Finish it by sending the proof, or wait until the ticket runs out.";

    // Deactivation and its proof.
    TicketRequired, "TICKET_REQUIRED", FailedPrecondition,
        "A proof was sent for a machine whose deactivation has not begun.",
        "Begin the deactivation first: it gives a ticket, and the proof answers that ticket.";
    TicketExpired, "TICKET_EXPIRED", FailedPrecondition,
        "The deactivation ticket ran out before the proof came, and the seat stayed taken.",
        "Begin the deactivation again on the same machine; the product can answer a new ticket.";
    ProofRequired, "PROOF_REQUIRED", FailedPrecondition,
        "The old license has to be deactivated, and the proof recorded, before an upgrade code can be issued.",
        "Deactivate every machine of the old license and return the proofs to the reseller or the vendor.";
    ProofInvalid, "PROOF_INVALID", FailedPrecondition,
        "The proof of deactivation does not verify, does not answer this ticket, or is weaker than the programme allows.",
        "Make the proof again on the machine that was deactivated, and send it unchanged.";
    ProofAlreadyUsed, "PROOF_ALREADY_USED", AlreadyExists,
        "This proof of deactivation has paid for another upgrade: one proof is good for one upgrade.",
        "Deactivate the machine that is to be upgraded and return its own proof.";
    DeactivationFinal, "DEACTIVATION_FINAL", FailedPrecondition,
        "This deactivation is complete and its proof is used.",
        "Look at the update request that used it.";
    LostLimit, "LOST_LIMIT", ResourceExhausted,
        "As many machines of this license were declared lost within 365 days as the programme allows.",
        "Find and deactivate the machine, or wait until the oldest of them is a year old.";
    WaiverLimit, "WAIVER_LIMIT", ResourceExhausted,
        "As many proofs of this license were waived within 365 days as the programme allows.",
        "Ask for the proof, or wait until the oldest waiver is a year old.";
    ReturnLimit, "RETURN_LIMIT", ResourceExhausted,
        "As many seats of this license were returned by software proof within 365 days as the programme allows.",
        "Wait until the oldest return is a year old, or ask vendor support.";

    // Maintenance.
    SmaExpired, "SMA_EXPIRED", FailedPrecondition,
        "The software maintenance agreement of this license has expired, and updates are provided only while it is valid.",
        "Renew or reinstate the maintenance agreement at the usual reseller or the vendor, then try again.";
    BuildNotCovered, "BUILD_NOT_COVERED", FailedPrecondition,
        "This build of the product was made after the last day that maintenance covered.",
        "Install a build made on or before that day, or extend the maintenance agreement.";
    NoReleaseCovered, "NO_RELEASE_COVERED", FailedPrecondition,
        "No release that maintenance covers is newer than what the license has, or the wanted one is not covered.",
        "Choose a version built on or before the last covered day, or extend the maintenance agreement.";
    RenewalTooEarly, "RENEWAL_TOO_EARLY", FailedPrecondition,
        "The renewal window of this maintenance agreement has not opened yet.",
        "Renew on or after the opening day given in the answer.";
    ReinstatementRequired, "REINSTATEMENT_REQUIRED", FailedPrecondition,
        "Maintenance has expired and its time for renewal has passed.",
        "Ask for a reinstatement instead of a renewal.";
    CoverStillActive, "COVER_STILL_ACTIVE", FailedPrecondition,
        "Maintenance covers some of those days already.",
        "Renew instead of reinstating, or start the new term after the last covered day.";
    UpgradeRequired, "UPGRADE_REQUIRED", FailedPrecondition,
        "A major release came out while maintenance was not in force, so maintenance alone does not reach it.",
        "Ask the vendor for a quote for the upgrade.";
    ProgrammeClosed, "PROGRAMME_CLOSED", FailedPrecondition,
        "This maintenance programme is no longer sold; agreements that exist go on under it.",
        "Buy maintenance under the programme that replaced it.";
    TierUnknown, "TIER_UNKNOWN", InvalidArgument,
        "The programme has no maintenance agreement of this type.",
        "Choose one of the types listed in the answer.";
    PriceUnknown, "PRICE_UNKNOWN", FailedPrecondition,
        "The price book has no price for this on that day.",
        "Ask the vendor for a quote, or have the price added to the price book.";
    QuotePending, "QUOTE_PENDING", FailedPrecondition,
        "A person at the vendor has to price this quote first.",
        "Wait for the vendor's answer, then order.";
    QuoteExpired, "QUOTE_EXPIRED", FailedPrecondition,
        "The quote is no longer valid.",
        "Ask for a new quote.";
    QuoteOutdated, "QUOTE_OUTDATED", FailedPrecondition,
        "Since it was quoted the license's maintenance has changed, or the day makes it another purchase.",
        "Ask for a new quote.";
    QuoteOrdered, "QUOTE_ORDERED", AlreadyExists,
        "This quote was ordered before: each is good for one order.",
        "Look at the order named in the answer.";
    AddonNotCovered, "ADDON_NOT_COVERED", FailedPrecondition,
        "The add-on needs maintenance in force, and this license has none today or did not buy the add-on.",
        "Renew or reinstate the maintenance agreement; the product itself goes on working.";
    UpdateRequired, "UPDATE_REQUIRED", FailedPrecondition,
        "The add-on runs with the newest release only.",
        "Install the newest release; maintenance covers it.";
    VersionNotSupported, "VERSION_NOT_SUPPORTED", FailedPrecondition,
        "Support is given for the newest major version only.",
        "Update to the newest major version and ask again.";
    CotermIncomplete, "COTERM_INCOMPLETE", FailedPrecondition,
        "All licenses on one hardware key share one end date and are renewed together, and some are missing.",
        "Add the licenses listed in the answer to the order.";
    ReferToVendor, "REFER_TO_VENDOR", FailedPrecondition,
        "The programme leaves this case to a person at the vendor.",
        "Contact the vendor in your region and name the serial number.";
    OrderFirst, "ORDER_FIRST", FailedPrecondition,
        "The maintenance agreement is quoted but not ordered.",
        "Order it, then renew or reinstate it.";
    AutoExtendOff, "AUTO_EXTEND_OFF", FailedPrecondition,
        "This maintenance agreement does not extend by itself, so there is nothing to cancel.",
        "Nothing needs to be done: it ends on its last day unless it is renewed.";
    Cancelled, "CANCELLED", FailedPrecondition,
        "This maintenance agreement was cancelled and ends with its term.",
        "Renew it, or withdraw the cancellation before the term ends.";
    SmaFinal, "SMA_FINAL", FailedPrecondition,
        "This maintenance agreement has ended for good.",
        "Order a new one.";

    // Upgrades and their codes.
    CodeAlreadyIssued, "CODE_ALREADY_ISSUED", AlreadyExists,
        "The upgrade code of this license was issued, so the old license can no longer be activated, nor the request changed.",
        "Redeem the code, or ask vendor support to send it again.";
    CodeAlreadyRedeemed, "CODE_ALREADY_REDEEMED", AlreadyExists,
        "The upgrade code was used before: each is good for one upgrade.",
        "Use the upgraded license; its serial number has stayed the same.";
    CodeTooOld, "CODE_TOO_OLD", FailedPrecondition,
        "A newer code was applied to this license or hardware key, or the code has run out.",
        "Use the newest code, or ask the reseller or the vendor for one.";
    CodeWouldShorten, "CODE_WOULD_SHORTEN", FailedPrecondition,
        "The code would bring the date in the hardware key forward.",
        "Use the newest code for this hardware key.";
    WrongDevice, "WRONG_DEVICE", FailedPrecondition,
        "The code or credential is bound to another device.",
        "Use it on the device that it was made for.";
    UpgradeFinal, "UPGRADE_FINAL", FailedPrecondition,
        "This update request is closed, and nothing changes it any more.",
        "Make a new update request.";

    // The rest.
    IllegalTransition, "ILLEGAL_TRANSITION", FailedPrecondition,
        "The record is not in a state in which this can be done.",
        "Look at the record's state and its next step.";
    ShuttingDown, "SHUTTING_DOWN", Unavailable,
        "The server is shutting down and takes no new requests.",
        "Send the same request with the same request_id again in a moment.";
}

impl Reason {
    /// Reads back what [`Reason::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
