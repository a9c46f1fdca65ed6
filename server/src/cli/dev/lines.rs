//! What `dev` prints: lines to copy, in an order that works from top to bottom.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::dev::samples::{Credential, SampleLicense, Samples};
use crate::cli::files::Bundle;

/// The whole text.
pub(super) fn text(samples: &Samples, kept: bool) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = head(&mut text, samples, kept);
    let _ = licenses(&mut text, samples);
    let software = samples.covered("label-studio", |credential| {
        matches!(credential, Credential::ActivationCode(_))
    });
    if let (Some(license), Some(version)) = (software, samples.newest("label-studio")) {
        let _ = client(&mut text, samples, license, version);
        let _ = grpcurl(&mut text, samples, license, version);
    }
    let dongle = samples.covered("volocity", |_| true);
    if let Some(license) = dongle {
        let _ = partner(&mut text, samples, license);
    }
    text
}

fn head(text: &mut String, samples: &Samples, kept: bool) -> std::fmt::Result {
    let gone = if kept { "kept" } else { "gone when this stops" };
    writeln!(
        text,
        "Upkeep is running; everything is in {} ({gone}).",
        samples.directory.display()
    )?;
    writeln!(text)?;
    writeln!(text, "  products and customers  {}", samples.products_url)?;
    writeln!(text, "  staff and partners      {}", samples.staff_url)?;
    writeln!(
        text,
        "  for scripts             {}",
        samples.directory.join("samples.json").display()
    )
}

fn licenses(text: &mut String, samples: &Samples) -> std::fmt::Result {
    writeln!(text, "\nSample licenses:")?;
    for license in &samples.licenses {
        let (kind, secret) = license.credential.named();
        writeln!(
            text,
            "  {:8}  {:12}  {:2} seat{} covered until {}  {kind} {secret}",
            license.serial,
            license.product_id,
            license.seats,
            if license.seats == 1 { " " } else { "s" },
            license.last_date,
        )?;
    }
    Ok(())
}

fn client(
    text: &mut String,
    samples: &Samples,
    license: &SampleLicense,
    version: &str,
) -> std::fmt::Result {
    let SampleLicense {
        serial, product_id, ..
    } = license;
    let (_, secret) = license.credential.named();
    let (url, ca) = (&samples.products_url, quoted(&samples.ca));
    writeln!(text, "\nThe client (its files go to $UPKEEP_HOME):")?;
    writeln!(text, "  upkeep enroll --server {url} --ca {ca}")?;
    writeln!(
        text,
        "  upkeep activate {serial} --activation-code {secret} --product {product_id} --version {version}"
    )?;
    writeln!(text, "  upkeep check {serial}")?;
    writeln!(text, "  upkeep deactivate {serial}")
}

fn grpcurl(
    text: &mut String,
    samples: &Samples,
    license: &SampleLicense,
    version: &str,
) -> std::fmt::Result {
    let SampleLicense {
        serial, product_id, ..
    } = license;
    let (_, secret) = license.credential.named();
    let (address, ca) = (&samples.products_addr, quoted(&samples.ca));
    writeln!(text, "\nThe same without the client, which only signs:")?;
    writeln!(text, "  grpcurl -cacert {ca} {address} list")?;
    writeln!(
        text,
        "  grpcurl -cacert {ca} {address} describe upkeep.v1.ActivateRequest"
    )?;
    writeln!(
        text,
        "  upkeep request activate {serial} --activation-code {secret} --product {product_id} --version {version} \\\n    | grpcurl -cacert {ca} -d @ {address} upkeep.v1.ActivationService/Activate"
    )
}

fn partner(text: &mut String, samples: &Samples, license: &SampleLicense) -> std::fmt::Result {
    let SampleLicense {
        serial,
        license_type,
        customer_id,
        ..
    } = license;
    let address = &samples.staff_addr;
    let acme = staff(&samples.partner);
    writeln!(text, "\nAs the partner {}:", samples.partner_id)?;
    writeln!(
        text,
        "  grpcurl {acme} {address} upkeep.v1.PartnerService/ListLicenses"
    )?;
    writeln!(
        text,
        "  grpcurl {acme} -d '{{\"serial\":\"{serial}\",\"details\":{{\"email\":\"licenses@{customer_id}.example\",\"virtual_environment\":\"VIRTUAL_ENVIRONMENT_NO\",\"license_type\":\"{license_type}\"}}}}' \\\n    {address} upkeep.v1.PartnerService/CreateUpdateRequest \\\n    | sed -n 's/.*\"updateRequestId\": \"\\([^\"]*\\)\".*/{{\"update_request_id\":\"\\1\"}}/p' \\\n    | grpcurl {acme} -d @ {address} upkeep.v1.PartnerService/GenerateUpgradeCode"
    )?;
    writeln!(text, "\nAs support and as administrator:")?;
    writeln!(
        text,
        "  grpcurl {} -d '{{\"query\":\"{serial}\"}}' {address} upkeep.v1.SupportService/LookUp",
        staff(&samples.support)
    )?;
    writeln!(
        text,
        "  grpcurl {} {address} upkeep.v1.AdminService/GetServerInfo",
        staff(&samples.admin)
    )?;
    write!(text, "\nCtrl-C stops the server.")
}

/// The flags of grpcurl for one caller.
fn staff(bundle: &Bundle) -> String {
    format!(
        "-cacert {} -cert {} -key {}",
        quoted(&bundle.ca),
        quoted(&bundle.certificate),
        quoted(&bundle.key)
    )
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
