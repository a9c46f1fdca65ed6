//! Every rule of programme files with a line that breaks it: the rule taken out, its line would pass.

use crate::programme_rules::{IDENTITY, wrong};

/// Each of these lines is wrong in one way: the key, and a part of what is said about it.
const REFUSED: &[(&str, &str, &str)] = &[
    // Parts of a list price are 0 to 10000.
    (
        "renew.price_bp_of_list = 10001",
        "renew.price_bp_of_list",
        "0 to 10000",
    ),
    (
        "renew.price_bp_of_list = -1",
        "renew.price_bp_of_list",
        "0 to 10000",
    ),
    (
        "lapse.price_bp_of_list = 10001",
        "lapse.price_bp_of_list",
        "0 to 10000",
    ),
    (
        "lapse.price_bp_of_list = 0.5",
        "lapse.price_bp_of_list",
        "0 to 10000",
    ),
    (
        "expand.credit_bp_of_initial = 10001",
        "expand.credit_bp_of_initial",
        "0 to 10000",
    ),
    (
        "price.rate_bp_by_year = [10001]",
        "price.rate_bp_by_year[0]",
        "0 to 10000",
    ),
    (
        "price.rate_bp_by_year = []",
        "price.rate_bp_by_year",
        "list of rates",
    ),
    (
        "price.basis = \"modules\"",
        "price.rate_bp_by_year",
        "required",
    ),
    (
        "price = { rate_bp_by_year = [1], basis = \"seats\" }",
        "price.basis",
        "modules",
    ),
    // V-14, V-10.
    (
        "price.rate_bp_by_year = [1900, 1901]",
        "price.rate_bp_by_year",
        "V-14",
    ),
    (
        "price = { rate_bp_by_year = [1900], late_rate_bp_by_year = [2400, 1500, 1600] }",
        "price.late_rate_bp_by_year",
        "V-14",
    ),
    (
        "price = { rate_bp_by_year = [1900], late_rate_bp_by_year = [1900] }",
        "price.late_rate_bp_by_year",
        "V-10",
    ),
    (
        "price = { rate_bp_by_year = [1900], late_rate_bp_by_year = [100001] }",
        "price.late_rate_bp_by_year[0]",
        "0 to 100000",
    ),
    // A price and what it needs.
    (
        "renew = { price = \"quote\", price_bp_of_list = 1 }",
        "renew.price_bp_of_list",
        "one of the two",
    ),
    (
        "lapse = { price = \"quote\", price_bp_of_list = 1 }",
        "lapse.price_bp_of_list",
        "one of the two",
    ),
    (
        "renew.price = \"modules\"",
        "renew.price",
        "rate_bp_by_year is required",
    ),
    (
        "lapse.price = \"modules_late\"\nprice.rate_bp_by_year = [1900]",
        "lapse.price",
        "late_rate_bp_by_year is required",
    ),
    // A price of a term is that of every term.
    (
        "cover.term_months = 24\nrenew.price = \"modules\"\nprice.rate_bp_by_year = [1900]",
        "cover.term_months",
        "fee for a year",
    ),
    (
        "cover.term_months = 6\nlapse.price = \"modules_late\"\nprice = { rate_bp_by_year = [1900], late_rate_bp_by_year = [2400] }",
        "cover.term_months",
        "fee for a year",
    ),
    (
        "auto = { extend = true, months = 24 }\nrenew.price_bp_of_list = 5000",
        "auto.months",
        "must be cover.term_months (12)",
    ),
    (
        "auto = { extend = true, months = 1 }\nrenew.price = \"modules\"\nprice.rate_bp_by_year = [1900]",
        "auto.months",
        "must be cover.term_months (12)",
    ),
    (
        "renew.price = \"free\"",
        "renew.price",
        "quote, modules, modules_late",
    ),
    (
        "update.price_minor = -1",
        "update.price_minor",
        "minor units",
    ),
    (
        "update.price_minor = 9223372036854775807",
        "update.price_minor",
        "minor units",
    ),
    // Windows, grace, notice: 0 to 366 days.
    (
        "renew.opens_clear_days = 367",
        "renew.opens_clear_days",
        "0 to 366",
    ),
    ("renew.grace_days = 367", "renew.grace_days", "0 to 366"),
    (
        "renew.grace_days = 4294967296",
        "renew.grace_days",
        "0 to 366",
    ),
    (
        "auto = { extend = true, notice_days = 367 }",
        "auto.notice_days",
        "0 to 366",
    ),
    ("quote.valid_days = 0", "quote.valid_days", "1 to 366"),
    (
        "renew.max_terms_per_order = 0",
        "renew.max_terms_per_order",
        "1 to 50",
    ),
    // A window that reaches back into that of the term before.
    (
        "renew.opens_clear_days = 364",
        "renew.opens_clear_days",
        "overlaps",
    ),
    (
        "renew = { opens_clear_days = 334, grace_days = 30 }",
        "renew.opens_clear_days",
        "overlaps",
    ),
    (
        "cover.term_months = 1\nrenew.opens_clear_days = 27",
        "renew.opens_clear_days",
        "as short as 28",
    ),
    // Lists that name something twice, or something that is not there.
    (
        "tiers = [{ id = \"gold\", grants = [] }, { id = \"gold\", grants = [] }]",
        "tiers[1].id",
        "another tier",
    ),
    ("tiers = [{ id = \"gold\" }]", "tiers[0].grants", "required"),
    (
        "tiers = [{ id = \"gold\", grants = [\"gifts\"] }]",
        "tiers[0].grants",
        "updates, support, addons",
    ),
    (
        "support = { require = \"tier\", tiers = [\"gold\"] }",
        "support.tiers",
        "gold, which is no tier",
    ),
    (
        "support.require = \"tier\"",
        "support.tiers",
        "at least one tier",
    ),
    (
        "support = { require = \"none\", tiers = [] }",
        "support.tiers",
        "require is not tier",
    ),
    (
        "support = { versions = \"any\" }",
        "support.require",
        "required",
    ),
    (
        "support = [{ require = \"none\" }, { require = \"active_sma\" }]",
        "support[1].product",
        "another rule",
    ),
    ("support = 7", "support", "list of tables"),
    (
        "regions = [{ id = \"eu\", phone = \"1\" }, { id = \"eu\", phone = \"2\" }]",
        "regions[1].id",
        "another region",
    ),
    (
        "regions = [{ id = \"eu\" }]",
        "regions[0].phone",
        "required",
    ),
    (
        "regions = [{ id = \"eu\", phone = \"1\", email = \"nobody\" }]",
        "regions[0].email",
        "mail address",
    ),
    (
        "remind = [{ days_before = 7, to = \"customer\" }, { days_before = 7, to = \"customer\" }]",
        "remind[1].days_before",
        "another reminder",
    ),
    (
        "remind = [{ days_before = 7, to = \"customer\", fallback = \"customer\" }]",
        "remind[0].fallback",
        "same as to",
    ),
    (
        "remind = [{ to = \"customer\" }]",
        "remind[0].days_before",
        "required",
    ),
    (
        "remind = [{ days_before = 367, to = \"customer\" }]",
        "remind[0].days_before",
        "0 to 366",
    ),
    (
        "cover.license_kinds = [\"perpetual\", \"perpetual\"]",
        "cover.license_kinds[1]",
        "twice",
    ),
    (
        "cover.license_kinds = [7]",
        "cover.license_kinds[0]",
        "must be a text",
    ),
    ("addons.ids = []", "addons.ids", "leave the key out"),
    ("addons.ids = \"mapi\"", "addons.ids", "list of texts"),
    ("free.updates = \"always\"", "free.editions", "required"),
    ("free.editions = []", "free.editions", "at least one"),
    (
        "free = { editions = [\"free\"], updates = true }",
        "free.updates",
        "always, none",
    ),
    // What would be unsafe, or kept in name only.
    (
        "run.check = \"fallback_at_term_start\"",
        "run.check",
        "needs a clock",
    ),
    ("run.check = \"never\"", "run.check", "build_le_last_day"),
    (
        "unlock = { carrier = \"dongle\", counter = false }",
        "unlock.counter",
        "again and again",
    ),
    (
        "unlock.never_shorten = false",
        "unlock.never_shorten",
        "paid for",
    ),
    ("unlock.carrier = \"mail\"", "unlock.carrier", "dongle"),
    // DESIGN 9.
    (
        "assurance.lease_days = 367",
        "assurance.lease_days",
        "0 to 366",
    ),
    (
        "assurance.lease_days = -1",
        "assurance.lease_days",
        "0 to 366",
    ),
    (
        "assurance.vm_contradiction = \"ignore\"",
        "assurance.vm_contradiction",
        "refuse, flag",
    ),
    (
        "assurance.options = [{ edition = \"pro\" }]",
        "assurance.options[0].min_level",
        "required",
    ),
    (
        "assurance.options = [{ min_level = \"hardware\" }]",
        "assurance.options[0].edition",
        "edition, add_on, license_type",
    ),
    (
        "assurance.options = [{ edition = \"pro\", add_on = \"mapi\", min_level = \"hardware\" }]",
        "assurance.options[0].edition",
        "names one of these",
    ),
    (
        "assurance.options = [{ edition = \"pro\", min_level = \"paper\" }]",
        "assurance.options[0].min_level",
        "software, dongle, cloud_vtpm, hardware",
    ),
    (
        "assurance.options = [{ edition = \"pro\", min_level = \"dongle\" }, { edition = \"pro\", min_level = \"hardware\" }]",
        "assurance.options[1].edition",
        "another entry",
    ),
    (
        "legacy = { sold_until = 2009-12-31, keeps_own_terms = false }",
        "legacy.keeps_own_terms",
        "A-14",
    ),
    ("legacy.id = \"old\"", "legacy.sold_until", "required"),
    // Days.
    (
        "legacy.sold_until = \"2009-02-30\"",
        "legacy.sold_until",
        "day of the calendar",
    ),
    (
        "legacy.sold_until = 1969-12-31",
        "legacy.sold_until",
        "from 1970",
    ),
    (
        "legacy.sold_until = 2009-12-31T00:00:00Z",
        "legacy.sold_until",
        "day of the calendar",
    ),
    // Tables whose one word decides.
    ("auto.months = 12", "auto.extend", "required"),
    (
        "auto = { extend = \"yes\" }",
        "auto.extend",
        "true or false",
    ),
    (
        "auto = { extend = true, months = 0 }",
        "auto.months",
        "1 to 600",
    ),
    ("group.renew_all = true", "group.kind", "required"),
    (
        "group = { kind = \"dongle\", align = \"earliest\" }",
        "group.align",
        "latest",
    ),
    (
        "group = { kind = \"dongle\", billing = \"weeks\" }",
        "group.billing",
        "whole_months_up, days",
    ),
    (
        "expand.requires_active_sma = true",
        "expand.credit_bp_of_initial",
        "required",
    ),
    (
        "lapse.mode = \"forgive\"",
        "lapse.mode",
        "from_purchase, backdate, refer",
    ),
    (
        "download.after_expiry = \"all\"",
        "download.after_expiry",
        "entitled_builds, none",
    ),
    (
        "update.fields = [\"email\", \"name\"]",
        "update.fields",
        "email, serial",
    ),
    (
        "quote.fields = [\"name\"]",
        "quote.fields",
        "contact, dongle_number",
    ),
    ("status.protected = \"\"", "status.protected", "one line"),
    ("status.expiring = \"a\\nb\"", "status.expiring", "one line"),
];

#[test]
fn each_rule_refuses_what_breaks_it() {
    for (lines, key, part) in REFUSED {
        let found = wrong(&format!("{IDENTITY}{lines}"));
        assert_eq!(found.len(), 1, "{lines}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{key}: ")),
            "{lines}: {found:?}"
        );
        assert!(found[0].contains(part), "{lines}: {found:?}");
    }
}
