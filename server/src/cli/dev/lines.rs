//! What `dev` prints: lines to copy, in an order that works from top to bottom.

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::cli::dev::samples::{Credential, SampleLicense, SampleRelease, Samples};
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
    if let (Some(license), Some(release)) = (software, samples.newest("label-studio")) {
        let _ = client(&mut text, samples, license, release);
        let _ = products(&mut text, samples, license, release);
    }
    let dongle = samples.covered("volocity", |_| true);
    if let Some(license) = dongle {
        let _ = partner(&mut text, samples, license);
    }
    text
}

fn head(text: &mut String, samples: &Samples, kept: bool) -> fmt::Result {
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

fn licenses(text: &mut String, samples: &Samples) -> fmt::Result {
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
    release: &SampleRelease,
) -> fmt::Result {
    let SampleLicense {
        serial, product_id, ..
    } = license;
    let SampleRelease {
        version,
        build_date,
    } = release;
    let (kind, secret) = license.credential.named();
    let (upkeep, url, ca) = (client_program(), &samples.products_url, quoted(&samples.ca));
    writeln!(text, "\nThe client:")?;
    writeln!(text, "  {upkeep} enroll --server {url} --ca {ca}")?;
    writeln!(
        text,
        "  {upkeep} activate --serial {serial} --product {product_id} --version {version}   # asks for the {kind}: {secret}"
    )?;
    writeln!(
        text,
        "  {upkeep} check --version {version} --build-date {build_date}"
    )?;
    writeln!(text, "  {upkeep} status")?;
    writeln!(text, "  {upkeep} deactivate")
}

fn products(
    text: &mut String,
    samples: &Samples,
    license: &SampleLicense,
    release: &SampleRelease,
) -> fmt::Result {
    let SampleLicense {
        serial, product_id, ..
    } = license;
    let version = &release.version;
    let (upkeep, address) = (client_program(), &samples.products_addr);
    writeln!(
        text,
        "\ngrpcurl, as a product or customer; the client only signs:"
    )?;
    writeln!(
        text,
        "  asked() {{ grpcurl -cacert {} \"$@\"; }}",
        quoted(&samples.ca)
    )?;
    writeln!(text, "  asked {address} list")?;
    writeln!(text, "  asked {address} describe upkeep.v1.ActivateRequest")?;
    writeln!(
        text,
        "  asked -d '{{\"serial\":\"{serial}\"}}' {address} upkeep.v1.CustomerService/GetMaintenanceStatus"
    )?;
    writeln!(
        text,
        "  {upkeep} request activate --serial {serial} --product {product_id} --version {version} \\\n    | asked -d @ {address} upkeep.v1.ActivationService/Activate"
    )?;
    writeln!(
        text,
        "  {upkeep} request deactivate | asked -d @ {address} upkeep.v1.ActivationService/Deactivate"
    )
}

fn partner(text: &mut String, samples: &Samples, license: &SampleLicense) -> fmt::Result {
    let SampleLicense {
        serial,
        license_type,
        customer_id,
        ..
    } = license;
    let address = &samples.staff_addr;
    let kept = quoted(&samples.directory.join("request.json"));
    writeln!(text, "\ngrpcurl, as the partner {}:", samples.partner_id)?;
    writeln!(text, "  {}", function("acme", &samples.partner))?;
    writeln!(
        text,
        "  acme {address} upkeep.v1.PartnerService/ListLicenses"
    )?;
    writeln!(
        text,
        "  acme -d \"{{\\\"proof\\\":\\\"$(cat PROOF)\\\"}}\" {address} upkeep.v1.PartnerService/RecordProof   # a customer's file"
    )?;
    writeln!(
        text,
        "  acme -d '{{\"serial\":\"{serial}\",\"details\":{{\"email\":\"licenses@{customer_id}.example\",\"virtual_environment\":\"VIRTUAL_ENVIRONMENT_NO\",\"license_type\":\"{license_type}\"}}}}' \\\n    {address} upkeep.v1.PartnerService/CreateUpdateRequest | tee {kept}"
    )?;
    writeln!(
        text,
        "  sed -n 's/.*\"updateRequestId\": \"\\([^\"]*\\)\".*/{{\"update_request_id\":\"\\1\"}}/p' {kept} \\\n    | acme -d @ {address} upkeep.v1.PartnerService/GenerateUpgradeCode"
    )?;
    writeln!(text, "\ngrpcurl, as support and as administrator:")?;
    writeln!(text, "  {}", function("eva", &samples.support))?;
    writeln!(
        text,
        "  eva -d '{{\"query\":\"{serial}\"}}' {address} upkeep.v1.SupportService/LookUp"
    )?;
    writeln!(text, "  {}", function("admin", &samples.admin))?;
    writeln!(
        text,
        "  admin {address} upkeep.v1.AdminService/GetServerInfo"
    )?;
    write!(text, "\nCtrl-C stops the server.")
}

/// A shell function that calls grpcurl as one caller.
fn function(name: &str, bundle: &Bundle) -> String {
    format!(
        "{name}() {{ grpcurl -cacert {} -cert {} -key {} \"$@\"; }}",
        quoted(&bundle.ca),
        quoted(&bundle.certificate),
        quoted(&bundle.key)
    )
}

/// The client beside this program, where there is one: it need not be installed to be tried.
fn client_program() -> String {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("upkeep"))
        .filter(|client| client.is_file());
    match beside {
        Some(client) => quoted(&client),
        None => "upkeep".to_owned(),
    }
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
