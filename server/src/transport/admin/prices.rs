//! The price book: ImportPrices and ListPrices.

use std::sync::Arc;

use upkeep::id::ProductId;
use upkeep::rpc::v1;

use crate::domain::price_book::Entry;
use crate::flow::price_book::{self, Change, Problem, Write};
use crate::flow::{Caller, Deps, Outcome, read};
use crate::record::keys;
use crate::transport::caller::call;
use crate::transport::fields::Fields;
use crate::transport::maintenance::{parse, present};
use crate::transport::parse::body;

pub(super) async fn import(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: v1::ImportPricesRequest,
) -> Result<v1::ImportPricesResponse, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let entries = parse::prices(&mut fields, &asked.prices);
    let change = match asked.replace {
        true => Change::Allowed,
        false => Change::Refused,
    };
    let write = match asked.dry_run {
        true => Write::No,
        false => Write::Yes,
    };
    let content = body(&v1::ImportPricesRequest {
        request_id: String::new(),
        ..asked
    });
    let (request_id, entries) = fields.finish(|| Some((request_id?, entries?)))?;
    let call = call(deps, "ImportPrices", caller, request_id);
    let report = price_book::import(deps, call, entries, (write, change), &content).await?;
    Ok(v1::ImportPricesResponse {
        added: report.added,
        replaced: report.replaced,
        unchanged: report.unchanged,
        problems: report.problems.into_iter().map(problem).collect(),
        warnings: report.warnings.into_iter().map(problem).collect(),
    })
}

pub(super) fn list(
    deps: &Deps,
    asked: &v1::ListPricesRequest,
) -> Result<v1::ListPricesResponse, Outcome> {
    let mut fields = Fields::new();
    let product = fields.optional("product_id", &asked.product_id, ProductId::parse);
    let page = fields.page(asked.page_size, &asked.page_token);
    let (product, page) = fields.finish(|| Some((product?, page?)))?;
    let range = keys::prices(product.as_ref());
    let (found, next_page_token) = read::page::<Entry>(deps, "prices", &range, &page)?;
    Ok(v1::ListPricesResponse {
        prices: found.iter().map(present::price).collect(),
        next_page_token,
    })
}

fn problem(problem: Problem) -> v1::PriceProblem {
    v1::PriceProblem {
        index: u32::try_from(problem.index).unwrap_or(u32::MAX),
        field: problem.field.to_owned(),
        description: problem.description,
    }
}
