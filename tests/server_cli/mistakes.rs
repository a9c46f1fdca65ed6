//! What a new user types wrongly, or for the first time: the answer says what, why and what next, with the exit code of the table.

use crate::world::{Place, assert_refused};

#[test]
fn the_name_of_the_commands_themselves_is_given_to_nobody() {
    let place = Place::new();
    let answer = place.run(&["staff", "add", "admin", "cli"]);
    assert_refused(answer, 2, &["admin/cli", "could never be withdrawn"]);
    assert!(!place.path("cli.crt").exists());
}
