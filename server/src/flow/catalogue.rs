//! Products and releases: created once, never changed.

use std::sync::Arc;

use upkeep::date::CivilDate;
use upkeep::id::{ProductId, ProgrammeId};
use upkeep::key::PublicKey;
use upkeep::version::Version;

use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::catalogue::{Product, Release};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::catalogue::{ProductWire, ReleaseWire};
use crate::record::{Reads, Record, keys, save};

/// The path of CreateProduct.
///
/// # Errors
/// INVALID_FIELD for a programme the server has not loaded; ALREADY_EXISTS.
pub(crate) async fn create_product(
    deps: &Arc<Deps>,
    call: Call,
    id: ProductId,
    display_name: String,
    programme: ProgrammeId,
    build_key: Option<PublicKey>,
) -> Result<Product, Outcome> {
    if deps.programmes.current(&programme).is_none() {
        let known: Vec<_> = deps
            .programmes
            .iter()
            .map(|programme| programme.id().to_string())
            .collect();
        let hint = format!("is not loaded here; loaded are {}", known.join(", "));
        return Err(Refusal::invalid(vec![Violation::new("programme_id", hint)]).into());
    }
    let created_at = whole_micros(call.now);
    let product = Product {
        id,
        display_name,
        programme,
        build_key,
        created_at,
    };
    let body = prost::Message::encode_to_vec(&product.to_wire().without_time());
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.subject = product.id.to_string();
            if tx.value(&product.key())?.is_some() {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .with("product_id", &product.id)
                    .into());
            }
            save(tx, &product);
            Ok(product.to_wire())
        })
        .await?;
    Product::from_wire(committed.into_inner()).map_err(|_| MALFORMED.into())
}

/// The path of CreateRelease.
///
/// # Errors
/// NOT_FOUND for the product; ALREADY_EXISTS.
pub(crate) async fn create_release(
    deps: &Arc<Deps>,
    call: Call,
    product: ProductId,
    version: Version,
    build_date: CivilDate,
) -> Result<Release, Outcome> {
    let release = Release {
        product,
        version,
        build_date,
        created_at: whole_micros(call.now),
    };
    let body = prost::Message::encode_to_vec(&release.to_wire().without_time());
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.subject = format!("{} {}", release.product, release.version);
            if tx.value(&keys::product(&release.product))?.is_none() {
                return Err(Refusal::new(Reason::NotFound)
                    .with("product_id", &release.product)
                    .into());
            }
            if tx.value(&release.key())?.is_some() {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .with("version", &release.version)
                    .into());
            }
            save(tx, &release);
            Ok(release.to_wire())
        })
        .await?;
    Release::from_wire(committed.into_inner()).map_err(|_| MALFORMED.into())
}

impl ProductWire {
    fn without_time(mut self) -> Self {
        self.created_at = 0;
        self
    }
}

impl ReleaseWire {
    fn without_time(mut self) -> Self {
        self.created_at = 0;
        self
    }
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
