//! The command itself: what it prints, and what it exits with.

use super::kit::*;
use anabranch::testing::server::{NatsServer, ServerOptions};
use serde_json::Value;
use tokio::process::Command;

struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

async fn doctor(arguments: &[&str], url: Option<&str>) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.arg("doctor").args(arguments).env_remove("ANABRANCH_URL").kill_on_drop(true);
    command.envs(url.map(|url| ("ANABRANCH_URL", url)));
    let output = in_time("the command", command.output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_bad_it_is() {
    let server = ServerOptions::default().monitored().start().await.unwrap();
    let (url, monitor) = (server.url(), server.monitor_url().unwrap());
    let fine = doctor(&["--url", &url], None).await;
    let is_old = server.version().unwrap().as_str() < "2.13";
    assert_eq!((fine.code, &*fine.error), (Some(i32::from(is_old)), ""), "{}", fine.out);
    assert!(fine.out.contains("\npermissions\n") && fine.out.contains("why:") && fine.out.contains("mend:"), "{}", fine.out);
    let warned = doctor(&["--url", &url, "--monitor", &monitor], None).await;
    assert_eq!(warned.code, Some(1), "{}", warned.out);
    let troubled = doctor(&["--payload", "9M"], Some(&url)).await;
    assert_eq!(troubled.code, Some(2), "{}", troubled.out);
    let nobody = doctor(&["--url", "nats://127.0.0.1:9?timeout=300ms"], None).await;
    assert_eq!((nobody.code, &*nobody.out), (Some(3), ""));
    assert!(nobody.error.contains("nothing could be examined") && nobody.error.contains("mend:"), "{}", nobody.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_get_one_object_whatever_comes_of_it() {
    let url = NatsServer::shared().await.url();
    let said = doctor(&["--url", &url, "--json", "--payload", "9M"], None).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["exit_code"], &json["worst"], said.code), (&2.into(), &"problem".into(), Some(2)));
    let all = json["findings"].as_array().unwrap();
    let payload = all.iter().find(|f| f["check"] == "payload" && f["severity"] == "problem").unwrap();
    assert!(payload["why"].is_string() && payload["mend"].as_str().unwrap().contains("max_payload"), "{payload}");
    let said = doctor(&["--url", "nats://127.0.0.1:9?timeout=300ms", "--json"], None).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert!(said.code == Some(3) && json["exit_code"] == 3 && json["error"].is_string() && json["mend"].is_string(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_never_printed() {
    let server = ServerOptions::default().config("authorization { user: ann, password: s3cret }").start().await.unwrap();
    let host = server.url().replace("nats://", "");
    let right = format!("nats://ann:s3cret@{host}");
    for (url, code) in [(right.clone(), 0..=1), (format!("nats://bob:s3cret@{host}"), 3..=3)] {
        for more in [&["--json"][..], &[]] {
            let arguments = [more, &["--monitor", "http://u:s3cret@127.0.0.1:9", "--system", &right][..]].concat();
            let said = doctor(&arguments, Some(&url)).await;
            assert!(code.contains(&said.code.unwrap()), "{}{}", said.out, said.error);
            assert!(!said.out.contains("s3cret") && !said.error.contains("s3cret"), "{}{}", said.out, said.error);
        }
    }
    for bad in ["nats://u:s3cret@", "nats://u:s3cret@h?pasword=s3cret", "s3cret", "http://u:s3cret@h"] {
        let said = doctor(&["--url", bad], None).await;
        assert_eq!(said.code, Some(3), "{bad}");
        assert!(bad == "s3cret" || !said.error.contains("s3cret"), "{bad}: {}", said.error);
    }
}
