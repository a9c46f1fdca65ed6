//! Products and releases, for administrators.

use std::sync::Arc;

use tonic::Status;
use upkeep::id::{ProductId, ProgrammeId};
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::version::Version;

use crate::domain::catalogue::{Product, Release};
use crate::flow::{Caller, Deps, catalogue, read};
use crate::record::keys;
use crate::transport::caller::call;
use crate::transport::fields::{Fields, text};
use crate::transport::{parse, present};

pub(super) async fn create_product(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::CreateProductRequest,
) -> Result<v1::CreateProductResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("product_id", &asked.product_id, ProductId::parse);
    let name = fields.required("display_name", &asked.display_name, |name| {
        text(name, 1, 200)
    });
    let programme = fields.required("programme_id", &asked.programme_id, ProgrammeId::parse);
    let build_key = match asked.build_key_spki.as_slice() {
        [] => Some(None),
        der => fields
            .parsed("build_key_spki", PublicKey::from_spki_der(der))
            .map(Some),
    };
    let (request_id, id, name, programme, build_key) =
        fields.finish(|| Some((request_id?, id?, name?, programme?, build_key?)))?;
    let call = call(deps, "CreateProduct", caller, request_id);
    let product = catalogue::create_product(deps, call, id, name, programme, build_key).await?;
    Ok(v1::CreateProductResponse {
        product: Some(present::product(&product)),
    })
}

pub(super) fn get_product(
    deps: &Deps,
    asked: &v1::GetProductRequest,
) -> Result<v1::GetProductResponse, Status> {
    let mut fields = Fields::new();
    let id = fields.required("product_id", &asked.product_id, ProductId::parse);
    let id = fields.finish(|| id)?;
    let product: Product = read::one(deps, &keys::product(&id))?;
    Ok(v1::GetProductResponse {
        product: Some(present::product(&product)),
    })
}

pub(super) fn list_products(
    deps: &Deps,
    asked: &v1::ListProductsRequest,
) -> Result<v1::ListProductsResponse, Status> {
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (found, next_page_token) =
        read::page::<Product>(deps, "products", &keys::products(), &page)?;
    let products = found.iter().map(present::product).collect();
    Ok(v1::ListProductsResponse {
        products,
        next_page_token,
    })
}

pub(super) async fn create_release(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::CreateReleaseRequest,
) -> Result<v1::CreateReleaseResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let version = fields.required("version", &asked.version, Version::parse);
    let build_date = fields.date("build_date", &asked.build_date);
    let (request_id, product, version, build_date) =
        fields.finish(|| Some((request_id?, product?, version?, build_date?)))?;
    let call = call(deps, "CreateRelease", caller, request_id);
    let release = catalogue::create_release(deps, call, product, version, build_date).await?;
    Ok(v1::CreateReleaseResponse {
        release: Some(present::release(&release)),
    })
}

pub(super) fn get_release(
    deps: &Deps,
    asked: &v1::GetReleaseRequest,
) -> Result<v1::GetReleaseResponse, Status> {
    let mut fields = Fields::new();
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let version = fields.required("version", &asked.version, Version::parse);
    let (product, version) = fields.finish(|| Some((product?, version?)))?;
    let release: Release = read::one(deps, &keys::release(&product, &version))?;
    Ok(v1::GetReleaseResponse {
        release: Some(present::release(&release)),
    })
}

pub(super) fn list_releases(
    deps: &Deps,
    asked: &v1::ListReleasesRequest,
) -> Result<v1::ListReleasesResponse, Status> {
    let mut fields = Fields::new();
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let page = fields.page(asked.page_size, &asked.page_token);
    let (product, page) = fields.finish(|| Some((product?, page?)))?;
    let range = keys::releases(&product);
    let (found, next_page_token) = read::page::<Release>(deps, "releases", &range, &page)?;
    let releases = found.iter().map(present::release).collect();
    Ok(v1::ListReleasesResponse {
        releases,
        next_page_token,
    })
}
