//! The examples, run as a newcomer runs them: as programs, without a server.

#[path = "quickstart/program.rs"]
mod program;

use program::run;

#[tokio::test]
async fn the_quickstart_survives_the_death_of_its_process() {
    let said = run("quickstart", None).await.succeeded();
    said.tells_of_a_takeover();
    assert_eq!(said.after("opened the engine again: "), "embedded file");
    said.after("one process has it at a time, so the run's last owner is dead");
}

#[tokio::test]
async fn a_url_that_names_no_engine_ends_the_quickstart() {
    let said = run("quickstart", Some("carrier-pigeon:")).await;
    said.after("`carrier-pigeon:` names no engine");
}

#[tokio::test]
async fn each_message_becomes_a_run_or_a_dead_letter() {
    run("message_driven", None).await.succeeded().tells_of_dead_letters();
}
