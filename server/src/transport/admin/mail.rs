//! The outbox and the texts of mails, for administrators.

use upkeep::id::{MailId, RequestId};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;

use crate::domain::mail::{Language, MailState, Template};
use crate::domain::party::check_language;
use crate::domain::refusal::Refusal;
use crate::flow::{Deps, Outcome, letter, outbox};
use crate::transport::fields::Fields;
use crate::transport::present;

pub(super) fn list(
    deps: &Deps,
    asked: &v1::ListMailsRequest,
) -> Result<v1::ListMailsResponse, Outcome> {
    let mut fields = Fields::new();
    let page = fields.page(asked.page_size, &asked.page_token);
    let state = match asked.state {
        0 => Some(None),
        number => fields.choice("state", number, mail_state).map(Some),
    };
    let (page, state) = fields.finish(|| Some((page?, state?)))?;
    let (found, next_page_token) = outbox::list(deps, state, &page)?;
    Ok(v1::ListMailsResponse {
        mails: found.iter().map(present::mail).collect(),
        next_page_token,
    })
}

pub(super) fn parse_retry(
    asked: &v1::RetryMailRequest,
) -> Result<(Option<RequestId>, MailId), Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("mail_id", &asked.mail_id, MailId::parse);
    fields.finish(|| Some((request_id?, id?)))
}

pub(super) fn preview(
    deps: &Deps,
    asked: &v1::PreviewMailRequest,
) -> Result<v1::PreviewMailResponse, Outcome> {
    let mut fields = Fields::new();
    let kind = fields.required("kind", &asked.kind, |word| {
        Template::parse(word).ok_or_else(|| {
            let words: Vec<&str> = Template::ALL.iter().map(|one| one.as_str()).collect();
            format!("must be one of {}", words.join(", "))
        })
    });
    let language = fields.optional("language", &asked.language, |tag| {
        check_language(tag).map(|()| Language::of_tag(tag))
    });
    let serial = fields.optional("serial", &asked.serial, SerialNumber::parse);
    let (kind, language, serial) = fields.finish(|| Some((kind?, language?, serial?)))?;
    let text = letter::preview(deps, kind, language, serial.as_ref())?;
    Ok(v1::PreviewMailResponse {
        subject: text.subject,
        body: text.body,
        source: text.source,
    })
}

fn mail_state(number: i32) -> Option<MailState> {
    match v1::MailState::try_from(number).ok()? {
        v1::MailState::Unspecified => None,
        v1::MailState::Pending => Some(MailState::Pending),
        v1::MailState::Sent => Some(MailState::Sent),
        v1::MailState::Dead => Some(MailState::Dead),
        v1::MailState::Cancelled => Some(MailState::Cancelled),
    }
}
