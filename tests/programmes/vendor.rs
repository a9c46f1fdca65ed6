//! A vendor's server on a movable clock, its desks, and what it writes.

use std::path::PathBuf;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::pki::Role;

use crate::device::Api;
use crate::license::License;
use crate::world::World;

/// A vendor's server and everybody's line to it.
pub(crate) struct Vendor {
    pub(crate) world: World,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) support: SupportServiceClient<Channel>,
    /// Where customers ask, with a serial and its secret.
    pub(crate) customers: CustomerServiceClient<Channel>,
    /// Where installed products ask.
    pub(crate) products: Api,
}

impl Vendor {
    /// A vendor that opens on `day` with the programmes that come with the server.
    pub(crate) async fn open(day: &str) -> Self {
        Self::with_programmes(day, Vec::new()).await
    }

    /// The same with programme files of its own.
    pub(crate) async fn with_programmes(day: &str, files: Vec<PathBuf>) -> Self {
        Self::of(World::serving(day, files).await).await
    }

    /// The server stops and starts again, on the same data, with its programme files as they are now.
    pub(crate) async fn reopen(self) -> Self {
        Self::of(self.world.restart().await).await
    }

    async fn of(world: World) -> Self {
        Self {
            admin: world.admin().await,
            support: SupportServiceClient::new(world.staff(Role::Support, "eva").await),
            customers: CustomerServiceClient::new(world.products().await),
            products: world.api().await,
            world,
        }
    }

    /// The story goes on at noon of `day`. What is due by then is done, as the server does it each minute.
    pub(crate) async fn day(&self, day: &str) {
        self.world.set_day(day);
        loop {
            let run = v1::RunRemindersRequest::default();
            let ran = self.admin.clone().run_reminders(run).await.unwrap();
            let ran = ran.into_inner();
            assert_eq!(ran.done.unwrap().faulty, 0, "a license can't be decided");
            if !ran.more {
                return;
            }
        }
    }

    /// The reminders that would go out on a day, if nothing ran before it.
    pub(crate) async fn plan(&self, day: &str) -> Vec<v1::DueReminder> {
        let request = v1::RunRemindersRequest {
            dry_run: true,
            on_date: day.into(),
            ..Default::default()
        };
        let told = self.admin.clone().run_reminders(request).await.unwrap();
        told.into_inner().reminders
    }

    /// What a partner sees of the licenses whose cover ends in these days: `last day serial`, in order of the day.
    pub(crate) async fn expiring(&self, partner: &str, from: &str, to: &str) -> Vec<String> {
        let request = v1::ListExpiringRequest {
            from_date: from.into(),
            to_date: to.into(),
            ..Default::default()
        };
        let line = self.world.staff(Role::Partner, partner).await;
        let mut calls = MaintenanceServiceClient::new(line);
        let listed = calls.list_expiring(request).await.unwrap().into_inner();
        let listed = listed.licenses.iter();
        listed
            .map(|license| format!("{} {}", license.last_date, license.serial))
            .collect()
    }

    /// Puts a product on sale under a programme.
    pub(crate) async fn sells(&self, product: &str, name: &str, programme: &str) {
        let request = v1::CreateProductRequest {
            product_id: product.into(),
            display_name: name.into(),
            programme_id: programme.into(),
            ..Default::default()
        };
        self.admin.clone().create_product(request).await.unwrap();
    }

    /// Releases a version that was built on `built`.
    pub(crate) async fn releases(&self, product: &str, version: &str, built: &str) {
        let request = v1::CreateReleaseRequest {
            product_id: product.into(),
            version: version.into(),
            build_date: built.into(),
            ..Default::default()
        };
        self.admin.clone().create_release(request).await.unwrap();
    }

    pub(crate) async fn partner(&self, id: &str, name: &str, language: &str) {
        let request = v1::CreatePartnerRequest {
            partner_id: id.into(),
            display_name: name.into(),
            email: format!("licenses@{id}.example"),
            language: language.into(),
            ..Default::default()
        };
        self.admin.clone().create_partner(request).await.unwrap();
    }

    /// A customer; `partner` and `region` may be empty.
    pub(crate) async fn customer(
        &self,
        id: &str,
        name: &str,
        language: &str,
        (partner, region): (&str, &str),
    ) {
        let request = v1::CreateCustomerRequest {
            customer_id: id.into(),
            display_name: name.into(),
            email: format!("it@{id}.example"),
            partner_id: partner.into(),
            language: language.into(),
            region_id: region.into(),
            ..Default::default()
        };
        self.admin.clone().create_customer(request).await.unwrap();
    }

    /// Puts prices into the book.
    pub(crate) async fn prices(&self, prices: Vec<v1::Price>) {
        let request = v1::ImportPricesRequest {
            prices,
            ..Default::default()
        };
        let report = self.admin.clone().import_prices(request).await.unwrap();
        assert_eq!(report.into_inner().warnings, []);
    }

    /// Sells a license; whoever bought it speaks for it.
    pub(crate) async fn sell(&self, request: v1::CreateLicenseRequest) -> License {
        self.try_to_sell(request).await.unwrap()
    }

    pub(crate) async fn try_to_sell(
        &self,
        request: v1::CreateLicenseRequest,
    ) -> Result<License, Status> {
        let made = self.admin.clone().create_license(request.clone()).await?;
        let secret = match made.into_inner().activation_code {
            _ if !request.dongle_number.is_empty() => {
                v1::credential::Secret::DongleNumber(request.dongle_number)
            }
            code if code.is_empty() => v1::credential::Secret::Password(request.password),
            code => v1::credential::Secret::ActivationCode(code),
        };
        Ok(License {
            calls: MaintenanceServiceClient::new(self.world.products().await),
            serial: request.serial,
            credential: Some(v1::Credential {
                secret: Some(secret),
            }),
        })
    }

    /// A license as somebody with a certificate speaks for it.
    pub(crate) async fn as_staff(&self, role: Role, name: &str, license: &License) -> License {
        License {
            calls: MaintenanceServiceClient::new(self.world.staff(role, name).await),
            serial: license.serial.clone(),
            credential: None,
        }
    }

    pub(crate) async fn at_partner(&self, name: &str) -> PartnerServiceClient<Channel> {
        PartnerServiceClient::new(self.world.staff(Role::Partner, name).await)
    }

    /// A person at the vendor prices a quote, one amount for each of its lines.
    pub(crate) async fn answer(&self, quote: &v1::Quote, amounts: &[v1::Money]) -> v1::Quote {
        let request = v1::AnswerQuoteRequest {
            quote_id: quote.quote_id.clone(),
            amounts: amounts.to_vec(),
            reason: "thank you for asking".into(),
            ..Default::default()
        };
        let answered = self.support.clone().answer_quote(request).await.unwrap();
        answered.into_inner().quote.unwrap()
    }

    /// Support finds licenses by whatever the customer wrote in the mail.
    pub(crate) async fn look_up(&self, query: &str) -> Vec<v1::License> {
        let request = v1::LookUpRequest {
            query: query.into(),
        };
        let found = self.support.clone().look_up(request).await.unwrap();
        found.into_inner().licenses
    }

    /// What anybody is told about a serial: the flag, and the last covered day.
    pub(crate) async fn public_status(&self, serial: &str) -> (v1::MaintenanceFlag, String) {
        let request = v1::GetMaintenanceStatusRequest {
            serial: serial.into(),
        };
        let told = self.customers.clone().get_maintenance_status(request).await;
        let told = told.unwrap().into_inner().maintenance.unwrap();
        (told.flag(), told.last_date)
    }

    /// The mails of a kind in the outbox, `serial to recipient`, in order of the text.
    pub(crate) async fn mails(&self, kind: &str) -> Vec<String> {
        let request = v1::ListMailsRequest {
            page_size: 500,
            ..Default::default()
        };
        let all = self.admin.clone().list_mails(request).await.unwrap();
        let mut found: Vec<String> = all
            .into_inner()
            .mails
            .iter()
            .filter(|mail| mail.kind == kind)
            .map(|mail| format!("{} to {}", mail.serial, mail.recipient))
            .collect();
        found.sort_unstable();
        found
    }

    /// What a mail about a license says, in the language of whoever reads it.
    pub(crate) async fn letter(&self, kind: &str, license: &License) -> String {
        let request = v1::PreviewMailRequest {
            kind: kind.into(),
            serial: license.serial.clone(),
            ..Default::default()
        };
        let letter = self.admin.clone().preview_mail(request).await.unwrap();
        let letter = letter.into_inner();
        format!("{}\n{}", letter.subject, letter.body)
    }

    /// What a programme means in plain words.
    pub(crate) async fn explanation(&self, programme: &str) -> String {
        let request = v1::GetProgrammeRequest {
            programme_id: programme.into(),
            ..Default::default()
        };
        let told = self.admin.clone().get_programme(request).await.unwrap();
        told.into_inner().explanation
    }

    pub(crate) async fn close(self) {
        self.world.running.stop().await.unwrap();
    }
}

/// The reason of a refusal, such as `SMA_EXPIRED`.
pub(crate) fn reason(refused: &Status) -> String {
    let info = refused.get_details_error_info();
    info.map(|info| info.reason)
        .unwrap_or_else(|| format!("{:?}: {}", refused.code(), refused.message()))
}

/// A fact that a refusal names for programs, such as `opens_on`.
pub(crate) fn fact(refused: &Status, key: &str) -> String {
    let info = refused.get_details_error_info().unwrap();
    info.metadata.get(key).cloned().unwrap_or_default()
}

/// The fields that a refusal names, all of them.
pub(crate) fn fields(refused: &Status) -> Vec<String> {
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let request = refused.get_details_bad_request().unwrap();
    let violations = request.field_violations.into_iter();
    violations.map(|violation| violation.field).collect()
}

pub(crate) fn money(minor_units: i64, currency: &str) -> v1::Money {
    v1::Money {
        minor_units,
        currency_code: currency.into(),
    }
}

/// What a priced quote costs in all, in minor units.
pub(crate) fn cents(quote: &v1::Quote) -> i64 {
    quote.total.as_ref().unwrap().minor_units
}

/// A price for a product, from a day on.
pub(crate) fn price(
    product: &str,
    item: v1::PriceItem,
    item_id: &str,
    edition: &str,
    amount: v1::Money,
    from: &str,
) -> v1::Price {
    v1::Price {
        product_id: product.into(),
        item: item.into(),
        item_id: item_id.into(),
        edition: edition.into(),
        unit: v1::PriceUnit::Seat.into(),
        amount: Some(amount),
        valid_from_date: from.into(),
        ..Default::default()
    }
}
