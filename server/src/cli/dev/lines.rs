//! What `dev` prints: where everything is, and lines to copy that work from top to bottom.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::dev::samples::{Credential, SampleLicense, SampleRelease, Samples};

/// The whole text.
pub(super) fn text(samples: &Samples, kept: bool) -> String {
    let mut lines = Lines(head(samples, kept));
    // Every product has its releases and its licenses; what is missing is left out.
    if let Some(story) = Story::of(samples) {
        story.client(&mut lines);
        story.upgrade(&mut lines);
        story.staff(&mut lines);
        story.grpcurl(&mut lines);
        story.maintenance(&mut lines);
    }
    lines.0.push_str("\nCtrl-C stops the server.");
    lines.0
}

fn head(samples: &Samples, kept: bool) -> String {
    let gone = if kept { "kept" } else { "gone when this stops" };
    let mut text = format!(
        "Upkeep is running; everything is in {} ({gone}).\n\n  products and customers  {}\n  staff and partners      {}\n  for scripts             {}\n\nSample licenses:\n",
        samples.directory.display(),
        samples.products_url,
        samples.staff_url,
        samples.directory.join("samples.json").display(),
    );
    for license in &samples.licenses {
        let (kind, secret) = license.credential.named();
        let seats = if license.seats == 1 { "seat " } else { "seats" };
        let _ = writeln!(
            text,
            "  {:8}  {:12}  {:2} {seats}  covered until {}  {kind} {secret}",
            license.serial, license.product_id, license.seats, license.last_date,
        );
    }
    text
}

/// Titles, and below each its commands.
struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        let _ = writeln!(self.0, "\n{title}:");
    }

    fn run(&mut self, command: &str) {
        let _ = writeln!(self.0, "  {command}");
    }
}

/// What the lines are about.
struct Story<'a> {
    samples: &'a Samples,
    /// Activated, returned and upgraded.
    single: &'a SampleLicense,
    old: &'a SampleRelease,
    new: &'a SampleRelease,
    /// Activated without the client, on another device.
    many: &'a SampleLicense,
    mail: &'a SampleRelease,
    /// Its maintenance has lapsed and is reinstated.
    lapsed: &'a SampleLicense,
}

impl<'a> Story<'a> {
    fn of(samples: &'a Samples) -> Option<Self> {
        let takes_code =
            |credential: &Credential| matches!(credential, Credential::ActivationCode(_));
        let (old, new) = samples.releases("label-studio")?;
        Some(Self {
            samples,
            single: samples.covered("label-studio", takes_code)?,
            old,
            new,
            many: samples.covered("smartermail", takes_code)?,
            mail: samples.releases("smartermail")?.1,
            lapsed: samples.lapsed("smartermail")?,
        })
    }

    fn enroll(&self, lines: &mut Lines, device: &str) {
        lines.run(&format!("export UPKEEP_HOME=$PWD/{device}"));
        lines.run(&format!(
            "upkeep enroll --server {} --ca ca.crt",
            self.samples.products_url
        ));
    }

    fn client(&self, lines: &mut Lines) {
        let (_, code) = self.single.credential.named();
        let SampleLicense {
            serial, product_id, ..
        } = self.single;
        let SampleRelease {
            version,
            build_date,
        } = self.old;
        lines.title("The client, from enrolment to the return of the seat");
        lines.run(&format!("cd {}", quoted(&self.samples.directory)));
        if let Some(client) = client_program() {
            lines.run(&format!("upkeep() {{ {client} \"$@\"; }}"));
        }
        self.enroll(lines, "device-1");
        lines.run(&format!(
            "UPKEEP_ACTIVATION_CODE={code} upkeep activate {serial} --product {product_id} --version {version}"
        ));
        lines.run(&format!(
            "upkeep check --version {version} --build-date {build_date}"
        ));
        lines.run("upkeep status");
        lines.run("upkeep deactivate --export-proof proof.txt");
    }

    fn upgrade(&self, lines: &mut Lines) {
        let (_, code) = self.single.credential.named();
        let SampleLicense {
            serial,
            license_type,
            customer_id,
            ..
        } = self.single;
        let call =
            |flags: &str, method: &str| self.staff_call(&self.samples.partner_id, flags, method);
        lines.title(
            "The partner acme records the proof, asks for the update and generates its code",
        );
        let acme = |flags: &str, method: &str| call(flags, &format!("PartnerService/{method}"));
        lines.run(&acme("", "ListLicenses"));
        lines.run(&acme(
            r#"-d "{\"proof\":\"$(awk '{printf "%s\\n", $0}' proof.txt)\"}""#,
            "RecordProof",
        ));
        lines.run(&acme(
            &format!(
                r#"-d '{{"serial":"{serial}","credential":{{"activation_code":"{code}"}},"details":{{"email":"licenses@{customer_id}.example","virtual_environment":"VIRTUAL_ENVIRONMENT_NO","license_type":"{license_type}"}}}}'"#
            ),
            "CreateUpdateRequest | tee request.json",
        ));
        let generate = acme("-d @", "GenerateUpgradeCode | tee code.json");
        lines.run(&format!(
            r#"sed -n 's/.*"updateRequestId": "\([^"]*\)".*/{{"update_request_id":"\1"}}/p' request.json | {generate}"#
        ));
        lines.run(&format!(
            r#"UPKEEP_UPGRADE_CODE=$(sed -n 's/.*"code": "\([^"]*\)".*/\1/p' code.json) upkeep upgrade redeem {serial} --version {}"#,
            self.new.version
        ));
    }

    fn staff(&self, lines: &mut Lines) {
        let serial = &self.single.serial;
        lines.title("Support and administrator");
        lines.run(&self.staff_call(
            "eva",
            &format!(r#"-d '{{"serial":"{serial}"}}'"#),
            "SupportService/ListHistory",
        ));
        lines.run(&self.staff_call("data/admin/admin", "", "AdminService/GetServerInfo"));
    }

    fn grpcurl(&self, lines: &mut Lines) {
        let (_, code) = self.many.credential.named();
        let SampleLicense {
            serial, product_id, ..
        } = self.many;
        let asked = |flags: &str, what: &str| {
            let space = if flags.is_empty() { "" } else { " " };
            format!(
                "grpcurl -cacert ca.crt{space}{flags} {} {what}",
                self.samples.products_addr
            )
        };
        lines.title("grpcurl as a product and as a customer; the client only signs");
        lines.run(&asked("", "list"));
        lines.run(&asked("", "describe upkeep.v1.ActivateRequest"));
        lines.run(&asked(
            &format!(r#"-d '{{"serial":"{serial}"}}'"#),
            "upkeep.v1.CustomerService/GetMaintenanceStatus",
        ));
        self.enroll(lines, "device-2");
        lines.run(&format!(
            "UPKEEP_ACTIVATION_CODE={code} upkeep request activate {serial} --product {product_id} --version {} | {} | upkeep request accept -",
            self.mail.version,
            asked("-d @", "upkeep.v1.ActivationService/Activate")
        ));
        lines.run(&format!(
            "upkeep request deactivate | {} | upkeep request accept -",
            asked("-d @", "upkeep.v1.ActivationService/Deactivate")
        ));
    }

    fn maintenance(&self, lines: &mut Lines) {
        let (_, code) = self.lapsed.credential.named();
        let serial = &self.lapsed.serial;
        let proof = format!(r#""serial":"{serial}","credential":{{"activation_code":"{code}"}}"#);
        let call = |flags: &str, method: &str| {
            format!(
                "grpcurl -cacert ca.crt {flags} {} upkeep.v1.MaintenanceService/{method}",
                self.samples.products_addr
            )
        };
        lines.title("The customer reinstates maintenance that has lapsed: quote, order, status");
        lines.run(&call(
            &format!(r#"-d '{{{proof},"terms":1}}'"#),
            "CreateQuote | tee quote.json",
        ));
        lines.run(&format!(
            r#"sed -n 's/.*"quoteId": "\([^"]*\)".*/{{{proof},"quote_id":"\1"}}/p' quote.json | {}"#,
            call("-d @", "PlaceOrder")
        ));
        lines.run(&call(&format!("-d '{{{proof}}}'"), "GetMaintenance"));
    }

    /// A call on the staff's listener with the certificate files called `name`.
    fn staff_call(&self, name: &str, flags: &str, method: &str) -> String {
        let space = if flags.is_empty() { "" } else { " " };
        format!(
            "grpcurl -cacert ca.crt -cert {name}.crt -key {name}.key{space}{flags} {} upkeep.v1.{method}",
            self.samples.staff_addr
        )
    }
}

/// The client beside this program, where there is one: it need not be installed to be tried.
fn client_program() -> Option<String> {
    std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("upkeep"))
        .filter(|client| client.is_file())
        .map(|client| quoted(&client))
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-b_c.d")), "/tmp/a-b_c.d");
        assert_eq!(quoted(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(quoted(Path::new("/tmp/it's")), r"'/tmp/it'\''s'");
    }
}
