//! What a login may not do is told by the subject, and trying it changes nothing.

use super::kit::*;
use anabranch::{
    doctor::Severity,
    engine::Engine,
    testing::server::{NatsServer, ServerOptions},
};

const EVERYTHING: &str = "\"$JS.API.>\", \"$JS.ACK.>\", \"$JS.FC.>\", \"$KV.shop.>\", \"shop.queue.>\", \"shop.timer.>\"";

/// A server with somebody who made the space `shop`, and with `ann`, who may publish and subscribe on these.
async fn server(publish: &str, deny: &str, subscribe: &str) -> NatsServer {
    let users = format!(
        "authorization {{ users: [ {{ user: owner, password: p }}, {{ user: ann, password: p, permissions: {{ \
         publish: {{ allow: [{publish}], deny: [{deny}] }}, subscribe: {{ allow: [\"{subscribe}\"] }} }} }} ] }}"
    );
    let server = ServerOptions::default().config(users).start().await.unwrap();
    Engine::open(&url(&server, "owner")).await.unwrap().space("shop").await.unwrap();
    server
}

fn url(server: &NatsServer, user: &str) -> String {
    format!("nats://{user}:p@{}?timeout=2s", server.url().replace("nats://", ""))
}

/// The page about the wire says what is enough.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough() {
    let server = server(EVERYTHING, "", "_INBOX.>").await;
    let report = examine(&url(&server, "ann"), &options(|_| {})).await;
    assert_eq!(severities(&report, "permission"), [Severity::Ok], "{}", text(&report, "permission"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subject_that_is_denied_is_a_problem_of_its_own() {
    let denied = "\"$KV.shop.>\", \"$JS.API.STREAM.MSG.DELETE.KV_shop\", \"$JS.API.CONSUMER.MSG.NEXT.>\"";
    let server = server(EVERYTHING, denied, "_INBOX.>").await;
    let before = everything(&url(&server, "owner")).await;
    let report = examine(&url(&server, "ann"), &options(|o| o.spaces.push("shop".to_owned()))).await;
    let problem = Severity::Problem;
    let text = text(&report, "permission");
    assert_eq!(severities(&report, "permission"), [problem, problem, problem, Severity::Ok], "{text}");
    for subject in ["`$KV.shop.", "`$JS.API.STREAM.MSG.DELETE.KV_shop`", "`$JS.API.CONSUMER.MSG.NEXT.KV_shop."] {
        assert!(text.contains(subject), "{subject}: {text}");
    }
    assert!(text.contains("Permissions Violation for Publish to") && text.contains("to write keys"), "{text}");
    let owners = examine(&url(&server, "owner"), &options(|o| o.spaces.push("shop".to_owned()))).await;
    assert_eq!(severities(&owners, "permission"), [Severity::Ok]);
    assert_eq!(everything(&url(&server, "owner")).await, before, "not even what is permitted came to anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_list_streams_is_told_to_name_them() {
    let server = server(EVERYTHING, "\"$JS.API.STREAM.LIST\"", "_INBOX.>").await;
    let report = examine(&url(&server, "ann"), &options(|_| {})).await;
    assert_eq!(severities(&report, "unlisted"), [Severity::Note], "{report:#?}");
    let named = examine(&url(&server, "ann"), &options(|o| o.spaces.push("shop".to_owned()))).await;
    assert_eq!((severities(&named, "unlisted"), severities(&named, "drift")), (vec![], vec![Severity::Ok]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_hear_answers_is_told_so_once() {
    let server = server(EVERYTHING, "", "elsewhere").await;
    let report = examine(&url(&server, "ann"), &options(|o| o.spaces.push("shop".to_owned()))).await;
    assert_eq!(severities(&report, "permission"), [Severity::Problem], "{report:#?}");
    assert!(text(&report, "permission").contains("_INBOX.>"), "{}", text(&report, "permission"));
    assert_eq!(severities(&report, "jetstream"), [Severity::Problem]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_may_not_create_a_space_is_a_problem_and_leaves_nothing_behind() {
    let server = server(EVERYTHING, "\"$JS.API.STREAM.CREATE.>\"", "_INBOX.>").await;
    let before = everything(&url(&server, "owner")).await;
    let report = examine(&url(&server, "ann"), &options(|o| o.probe = true)).await;
    assert_eq!((severities(&report, "open"), report.exit_code()), (vec![Severity::Problem], 2), "{report:#?}");
    assert!(text(&report, "open").contains("STREAM.CREATE.KV_anabranch-doctor-"), "{}", text(&report, "open"));
    assert_eq!((severities(&report, "write"), severities(&report, "remove")), (vec![], vec![Severity::Ok]));
    assert_eq!(everything(&url(&server, "owner")).await, before);
}
