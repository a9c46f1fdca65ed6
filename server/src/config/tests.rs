//! The configuration as an operator meets it.

use std::collections::BTreeSet;
use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn mistakes(text: &str) -> Vec<String> {
    let file = file(text);
    let error = load(Some(file.path()), [], &[]).unwrap_err();
    let path = file.path().display().to_string();
    error
        .mistakes()
        .iter()
        .map(|mistake| {
            let line = mistake.to_string();
            assert!(line.contains(&path), "{line}");
            line.replace(&format!("{path}: "), "")
        })
        .collect()
}

fn flag(key: &str, value: &str) -> Flag {
    Flag {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: format!("--{}", key.replace(['.', '_'], "-")),
    }
}

#[test]
fn the_template_is_the_defaults_and_has_every_key() {
    let file = file(template());
    let config = load(Some(file.path()), [], &[]).unwrap();
    assert_eq!(config.settings(), &Settings::default());
    let keys = |table: &Table| -> BTreeSet<String> {
        leaves(table).into_iter().map(|(key, _)| key).collect()
    };
    let written: Table = template().parse().unwrap();
    assert_eq!(keys(&written), keys(&default_table().unwrap()));
    assert_eq!(
        load(None, [], &[]).unwrap().settings(),
        &Settings::default()
    );
}

#[test]
fn every_mistake_is_named_at_once() {
    let found = mistakes(
        r#"
        isuer = "https://a"
        trust_domain = "Vendor"
        weak_passwords = "no"
        log = "info"
        [listen]
        products = "localhost:1"
        [tls]
        names = ["a b", "ok.example"]
        [limits]
        streams = 0
        call_secs = -1
        [nothing]
        "#,
    );
    for expected in [
        "isuer: there is no such key; did you mean issuer?",
        "trust_domain: a trust domain must be",
        "weak_passwords: must be true or false",
        "log: is a section",
        "listen.products: must be an IP address and port",
        r#"tls.names: "a b" is neither"#,
        "limits.streams: must be 1 to 1000, is 0",
        "limits.call_secs: must be a whole number, 0 or more",
        "nothing: there is no such key",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{expected} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn a_key_in_the_wrong_section_is_pointed_out() {
    assert_eq!(
        mistakes("[store]\nstreams = 5"),
        ["store.streams: there is no such key; did you mean limits.streams?"]
    );
}

#[test]
fn broken_and_missing_files_are_named() {
    assert!(mistakes("a = ")[0].starts_with("is not TOML"));
    let gone = load(Some(Path::new("/nonexistent/upkeep.toml")), [], &[]).unwrap_err();
    assert!(
        gone.to_string()
            .contains("/nonexistent/upkeep.toml: cannot be read")
    );
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = file("[limits]\nstreams = 10\ncall_secs = 20\nhandshake_secs = 30");
    let environment = [
        ("UPKEEP_LIMITS_STREAMS", "11"),
        ("UPKEEP_LIMITS_CALL_SECS", "21"),
        ("UPKEEP_TLS_NAMES", "a.example, 10.0.0.1"),
        ("UPKEEP_DATA_DIR", ""),
        ("UPKEEP_SERVER", "not ours"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load(
        Some(file.path()),
        environment,
        &[flag("limits.streams", "12")],
    )
    .unwrap();
    let settings = config.settings();
    assert_eq!(settings.connections.streams, 12);
    assert_eq!(settings.connections.call.as_secs(), 21);
    assert_eq!(settings.connections.handshake.as_secs(), 30);
    assert_eq!(settings.tls_names, ["a.example", "10.0.0.1"]);
    assert_eq!(settings.data_dir, Settings::default().data_dir);

    let shown = config.show();
    assert!(shown.contains("# flag --limits-streams"), "{shown}");
    assert!(shown.contains("# environment UPKEEP_LIMITS_CALL_SECS"));
    assert!(shown.contains(&format!("# file {}", file.path().display())));
    let again = self::file(&shown);
    assert_eq!(
        load(Some(again.path()), [], &[]).unwrap().settings(),
        settings,
        "what is shown can be used as a file"
    );
}

#[test]
fn variables_and_flags_are_checked_too() {
    let environment = [("UPKEEP_LIMITS_STREAMS".to_owned(), "many".to_owned())];
    let flags = [flag("reflection", "yes"), flag("limits.stream", "1")];
    let error = load(None, environment, &flags).unwrap_err().to_string();
    for expected in [
        "limits.streams (environment UPKEEP_LIMITS_STREAMS): must be a whole number",
        "reflection (flag --reflection): must be true or false",
        "limits.stream (flag --limits-stream): there is no such key; did you mean limits.streams?",
    ] {
        assert!(error.contains(expected), "{expected} not in {error}");
    }
}

#[test]
fn mail_is_never_sent_unprotected_or_without_a_sender() {
    let found = mistakes(
        r#"
        [mail]
        server = "smtp.vendor.example:587"
        security = "none"
        password_file = "smtp-password"
        from = "the vendor"
        vendor = "the desk"
        reply_to = "a@b.example\r\nBcc: c@d.example"
        portal_url = "javascript:alert(1)"
        port = 0
        "#,
    );
    for expected in [
        "mail.server: must be a host name",
        "mail.security: may be \"none\" only",
        "mail.from: must be an address",
        "mail.password_file: goes with mail.user",
        "mail.vendor: must be an address",
        "mail.reply_to: must be an address",
        "mail.portal_url: must be a link",
        "mail.port: must be 1 to 65535, is 0",
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{expected} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");

    let nameless = file("[mail]\nserver = \"smtp.vendor.example\"");
    let error = load(Some(nameless.path()), [], &[]).unwrap_err();
    assert_eq!(error.mistakes()[0].key(), "mail.from");

    let good = file(
        r#"
        [mail]
        server = "127.0.0.1"
        port = 25
        security = "none"
        from = "\"Vendor, Licenses\" <licenses@vendor.example>"
        "#,
    );
    let config = load(Some(good.path()), [], &[]).unwrap();
    let mail = &config.settings().mail;
    assert_eq!(mail.security, MailSecurity::None);
    assert_eq!(mail.user, None);
}
