//! What a new user types wrongly, or for the first time: the answer says what, why and what next, with the exit code of the table.

use crate::world::{Place, assert_refused};

#[test]
fn the_name_of_the_commands_themselves_is_given_to_nobody() {
    let place = Place::new();
    let answer = place.run(&["staff", "add", "admin", "cli"]);
    assert_refused(answer, 2, &["admin/cli", "could never be withdrawn"]);
    assert!(!place.path("cli.crt").exists());
}

#[test]
fn an_id_may_begin_with_a_hyphen() {
    let place = Place::new();
    let id = "-x4qTj4WqVJ0gMF0oKm2mCVo5Zq2bXv1yPpM0lQ8sYk";
    let retire = place.run(&["keys", "retire", id, "--in-use"]);
    assert_refused(retire, 5, &["NotFound"]);
    let revoke = place.run(&["keys", "revoke", id, "--reason", "-"]);
    assert_refused(revoke, 5, &["NotFound"]);
}
