//! AnswerQuote: a person prices what the programme leaves to it (P-17).

use std::sync::Arc;

use upkeep::id::QuoteId;

use super::once::Principal;
use super::outbox::enqueue;
use super::quote::{Kept, NO_LICENSE, expired, ordered, read_kept, valid_until};
use super::{Call, Deps, Outcome, whole_micros};
use crate::domain::mail::{MailKind, Recipient};
use crate::domain::money::Money;
use crate::domain::programme::Programme;
use crate::domain::quote::{Quote, QuoteState};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Record, Records, keys, save};

/// The path of AnswerQuote: a person prices what the programme leaves to it (P-17).
///
/// * `amounts` - one for each line, in their order.
///
/// # Errors
/// NOT_FOUND; QUOTE_ORDERED, QUOTE_EXPIRED; ILLEGAL_TRANSITION for one that is priced; INVALID_FIELD for another number of amounts;
/// CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub(crate) async fn answer(
    deps: &Arc<Deps>,
    call: Call,
    id: QuoteId,
    amounts: Vec<Money>,
    reason: String,
    body: &[u8],
) -> Result<Quote, Outcome> {
    let (inner, now, principal) = (
        Arc::clone(deps),
        whole_micros(call.now),
        Principal::of(&call),
    );
    let committed = deps
        .once(call, principal, body, move |tx, note| {
            note.subject = id.to_string();
            note.reason = reason.clone();
            let mut quote: Quote = tx
                .load(&keys::quote(&id))?
                .ok_or_else(|| Refusal::new(Reason::NotFound).with("quote_id", id))?;
            note.serial = Some(quote.serial.clone());
            let license = inner.license(tx, &quote.serial, now)?.ok_or(NO_LICENSE)?;
            let (programme, today) = (inner.programme(&license)?, inner.today(&license, now)?);
            match quote.state_on(today) {
                QuoteState::Pending => {}
                QuoteState::Quoted => {
                    return Err(Refusal::new(Reason::IllegalTransition)
                        .detail("the quote is priced already")
                        .into());
                }
                QuoteState::Ordered => return Err(ordered(&quote).into()),
                QuoteState::Expired => return Err(expired(&quote).into()),
            }
            price(programme, &mut quote, &amounts)?;
            quote.state = QuoteState::Quoted;
            quote.answer = reason.clone();
            quote.valid_until = valid_until(programme, today);
            save(tx, &quote);
            let kind = MailKind::QuoteAnswer {
                quote: id,
                serial: quote.serial.clone(),
            };
            let to = Recipient::Customer(quote.customer.clone());
            enqueue(&inner, tx, now, kind, to)?;
            Ok(Kept {
                quote: Some(quote.to_wire()),
            })
        })
        .await?;
    read_kept(committed.into_inner())
}

fn price(programme: &Programme, quote: &mut Quote, amounts: &[Money]) -> Result<(), Refusal> {
    if amounts.len() != quote.lines.len() {
        let why = format!("must be one for each of the {} lines", quote.lines.len());
        return Err(Refusal::invalid(vec![Violation::new("amounts", why)]));
    }
    for (line, amount) in quote.lines.iter_mut().zip(amounts) {
        if programme
            .currency()
            .is_some_and(|own| own != amount.currency())
        {
            return Err(Refusal::new(Reason::CurrencyMismatch)
                .with("found", amount.currency())
                .detail("amounts are in the currency of the programme"));
        }
        line.amount = Some(*amount);
        line.how = "quoted by the vendor".to_owned();
    }
    quote.total()?;
    Ok(())
}
