//! Conflicts, lost answers and foreign clients, as a real server has them.

use crate::kit::{fresh, in_time, number, open};
use anabranch::{
    Codec,
    cell::{CellError, Cells, together},
    engine::Rejection,
    testing::{
        server::{NatsServer, ServerOptions},
        wire::{Loses, Wire},
    },
};
use async_nats::jetstream;
use futures_util::future::join_all;

/// G1, N1: a conflict is one by either of its codes, of which one server sends only one.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_with_the_other_code_are_conflicts_too() {
    let url = NatsServer::shared().await.url();
    let (wire, name) = (Wire::to(&url).await.unwrap(), fresh());
    wire.replace("\"err_code\":10071", "\"err_code\":10164");
    let processes = join_all((0..4).map(|_| async { open(&wire.url(), &name).await })).await;
    let all = processes.iter().map(|space| async move {
        let cell = number(space, "n");
        for _ in 0..25 {
            cell.update(|n| *n += 1).await?;
        }
        Ok::<_, CellError>(Cells::<u64>::new(space, Codec::json()).counts().conflicts)
    });
    let conflicts: u64 = in_time("the updates", join_all(all)).await.into_iter().map(Result::unwrap).sum();
    assert!(conflicts > 0, "nobody met anybody");
    assert_eq!(number(&processes[0], "n").read().await.unwrap().unwrap().value, 100);
}

/// The answers of one process are lost while others go on: it finds out, and counts once.
#[tokio::test(flavor = "multi_thread")]
async fn increments_whose_answers_were_lost_are_counted_once_while_others_go_on() {
    let url = NatsServer::shared().await.url();
    let (wire, name) = (Wire::to(&url).await.unwrap(), fresh());
    let (ours, theirs) = (open(&wire.url(), &name).await, open(&url, &name).await);
    let (mine, other) = (number(&ours, "n"), number(&theirs, "n"));
    mine.update(|n| *n += 1).await.unwrap();
    wire.lose(Loses::Answers);
    let lost = join_all((0..8).map(|_| mine.update(|n| *n += 1000)));
    let meanwhile = async {
        // Until ours is there, and then on top of it.
        while other.read().await.unwrap().unwrap().value < 1000 {}
        for _ in 0..100 {
            other.update(|n| *n += 1).await.unwrap();
        }
        wire.cut();
    };
    let (outcomes, ()) = in_time("the updates", async { tokio::join!(lost, meanwhile) }).await;
    outcomes.into_iter().for_each(Result::unwrap);
    assert_eq!(other.read().await.unwrap().unwrap().value, 8101);
}

/// N2, G15: a TTL is on every write, also on one over a tombstone.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_a_cell_with_a_ttl_says_it_also_over_a_tombstone() {
    let url = NatsServer::shared().await.url();
    let name = fresh();
    let space = open(&url, &name).await;
    let cell = Cells::<u64>::new(&space, Codec::json()).ttl(std::time::Duration::from_secs(77)).cell("n").unwrap();
    let stream = jetstream::new(async_nats::connect(&url).await.unwrap()).get_stream(format!("KV_{name}")).await.unwrap();
    let ttl = async || {
        let message = stream.get_last_raw_message_by_subject(&format!("$KV.{name}.n")).await.unwrap();
        message.headers.get("Nats-TTL").map(|ttl| ttl.as_str().to_owned())
    };
    for _ in 0..2 {
        cell.update(|n| *n += 1).await.unwrap();
        assert_eq!(ttl().await.as_deref(), Some("77s"), "created");
        cell.update(|n| *n += 1).await.unwrap();
        assert_eq!(ttl().await.as_deref(), Some("77s"), "renewed");
        cell.delete().await.unwrap();
    }
}

/// A client that knows nothing of cells reads them and writes them.
#[tokio::test(flavor = "multi_thread")]
async fn another_kv_client_shares_a_cell() {
    let url = NatsServer::shared().await.url();
    let name = fresh();
    let cell = number(&open(&url, &name).await, "n");
    cell.update(|n| *n = 20).await.unwrap();
    let kv = jetstream::new(async_nats::connect(&url).await.unwrap()).get_key_value(&name).await.unwrap();
    assert_eq!(kv.get("n").await.unwrap().unwrap(), "20");
    kv.put("n", "40".into()).await.unwrap();
    assert_eq!(
        cell.update(|n| {
            *n += 2;
            *n
        })
        .await
        .unwrap(),
        42
    );
    kv.purge("n").await.unwrap();
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_change_as_one_on_jetstream_where_the_server_can() {
    let url = NatsServer::shared().await.url();
    let name = fresh();
    let processes = join_all((0..3).map(|_| async { open(&url, &name).await })).await;
    for account in ["a", "b", "c"] {
        number(&processes[0], account).update(|n| *n = 100).await.unwrap();
    }
    let (first, second) = (number(&processes[0], "a"), number(&processes[0], "b"));
    if !processes[0].store().capabilities().atomic_commit {
        let refused = together((&first, &second), |(a, _)| *a += 1).await;
        assert!(matches!(refused, Err(CellError::Rejected(Rejection::Unsupported { .. }))), "{refused:?}");
        return;
    }
    let pairs = [("a", "b"), ("b", "c"), ("c", "a")];
    let moves = processes.iter().zip(pairs).map(|(space, (from, to))| async move {
        let (from, to) = (number(space, from), number(space, to));
        for _ in 0..10 {
            together((&from, &to), |(from, to)| {
                *from -= 1;
                *to += 1;
            })
            .await
            .unwrap();
        }
    });
    in_time("the moves", join_all(moves)).await;
    let mut sum = 0;
    for account in ["a", "b", "c"] {
        sum += number(&processes[0], account).read().await.unwrap().unwrap().value;
    }
    assert_eq!(sum, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_over_the_servers_limit_is_refused_before_it_is_sent() {
    let server = ServerOptions::default().config("max_payload: 64KB").start().await.unwrap();
    let space = open(&server.url(), &fresh()).await;
    let cell = Cells::<String>::new(&space, Codec::json()).cell("text").unwrap();
    cell.update(|text| text.push('a')).await.unwrap();
    let outcome = cell.edit(|draft| draft.set("x".repeat(70_000))).await;
    assert!(matches!(outcome, Err(CellError::Rejected(Rejection::TooLarge { .. }))), "{outcome:?}");
    assert_eq!(cell.read().await.unwrap().unwrap().value, "a");
}
