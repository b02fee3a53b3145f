//! What counts, on JetStream: processes that share nothing, foreign clients, and a server that dies.

use crate::counted_spec::{History, draw, history, perform};
use anabranch::{
    cell::CellError,
    coordination::{Barrier, CoordinationError, Counter, Ended, Latch, WaitGroup},
    engine::{Engine, Expect, Key, PutOptions, Space},
    testing::{
        Dice,
        server::{NatsServer, ServerOptions},
    },
    time::{Clock, nonce},
};
use futures_util::{StreamExt as _, future::join_all};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// Turns a hang into a failure, and decides nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A space of its own, as so many processes see it: each with its own connection.
async fn spaces<const N: usize>(url: &str) -> [Space; N] {
    let name = format!("test-{:x}", nonce());
    let open = (0..N).map(|_| async { Engine::open(url).await.unwrap().space(&*name).await.unwrap() });
    join_all(open).await.try_into().unwrap()
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(task)
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_share_a_counter_on_jetstream_lose_nothing() {
    let spaces: [Space; 3] = spaces(&NatsServer::shared().await.url()).await;
    let watched = Counter::new(&spaces[0], "n").unwrap();
    let mut values = watched.watch().await.unwrap();
    let counting = spaces.iter().map(|space| {
        let counter = Counter::new(space, "n").unwrap();
        async move {
            for value in join_all((0..50).map(|_| counter.increment())).await {
                value.unwrap();
            }
            // Every process gets the same twenty messages.
            let once = (0..20).map(|id| {
                let counter = counter.clone();
                async move { counter.add_once(&format!("message-{id}"), 1000).await.unwrap() }
            });
            join_all(once).await.into_iter().filter(|answer| !answer.repeated).count()
        }
    });
    let first: usize = join_all(counting).await.into_iter().sum();
    assert_eq!((first, watched.value().await.unwrap()), (20, 20_150));
    while values.next().await.unwrap().unwrap() != 20_150 {}
}

/// Every waiter is in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn waiters_of_a_group_on_jetstream_see_how_it_ends() {
    let [here, there]: [Space; 2] = spaces(&NatsServer::shared().await.url()).await;
    for wanted in [Ended::Zero, Ended::Closed, Ended::Expired] {
        let group = WaitGroup::new(&here, &format!("{wanted:?}")).unwrap().expires_after(Duration::from_secs(2)).unwrap();
        group.enter("a").await.unwrap();
        let waiters: Vec<_> = (0..16)
            .map(|_| {
                let group = WaitGroup::new(&there, &format!("{wanted:?}")).unwrap();
                spawn(async move { group.wait_within(PATIENCE).await.unwrap() })
            })
            .collect();
        match wanted {
            Ended::Zero => drop(group.leave("a").await.unwrap()),
            Ended::Closed => group.close().await.unwrap(),
            // The server lets it go.
            Ended::Expired => {}
        }
        for waiter in join_all(waiters).await {
            assert_eq!(waiter.unwrap(), wanted);
        }
    }
    let group = WaitGroup::new(&here, "deleted").unwrap();
    group.enter("a").await.unwrap();
    let waiting = WaitGroup::new(&there, "deleted").unwrap();
    let (ended, deleted) = tokio::join!(waiting.wait_within(PATIENCE), group.delete());
    deleted.unwrap();
    // Whoever looks after the deletion sees a group that nobody entered.
    assert!(matches!(ended.unwrap(), Ended::Closed | Ended::Zero));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_meet_at_a_latch_and_at_a_barrier_on_jetstream() {
    let spaces: [Space; 3] = spaces(&NatsServer::shared().await.url()).await;
    let parties = spaces.iter().enumerate().map(|(n, space)| {
        let latch = Latch::new(space, "ready", 3).unwrap();
        let barrier = Barrier::new(space, "phase", 3).unwrap();
        async move {
            let id = format!("party-{n}");
            latch.count_down_as(&id).await.unwrap();
            assert_eq!(latch.wait_within(PATIENCE).await.unwrap(), Ended::Zero);
            for generation in 0..4 {
                let arrived = barrier.arrive(&id).await.unwrap();
                assert_eq!(arrived.generation(), generation);
                arrived.wait_within(PATIENCE).await.unwrap();
            }
        }
    });
    join_all(parties).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_wrote_on_jetstream_is_left_as_it_is() {
    let [space]: [Space; 1] = spaces(&NatsServer::shared().await.url()).await;
    for name in ["counter.n", "group.n", "latch.n", "barrier.n"] {
        let (key, options) = (Key::new(name).unwrap(), PutOptions::default());
        space.store().put(&key, "3".into(), Expect::Absent, options).await.unwrap();
    }
    let failed = [
        Counter::new(&space, "n").unwrap().increment().await.unwrap_err(),
        WaitGroup::new(&space, "n").unwrap().enter("a").await.unwrap_err(),
        Latch::new(&space, "n", 1).unwrap().count_down_as("a").await.unwrap_err(),
        Barrier::new(&space, "n", 1).unwrap().arrive("a").await.unwrap_err(),
    ];
    for error in failed {
        let CoordinationError::Cell { object, source: CellError::Corrupt { .. } } = error else { panic!("{error:?}") };
        assert_eq!(space.store().get(&Key::new(object).unwrap()).await.unwrap().unwrap().value, "3");
    }
}

/// So many operations of one client, each told when it begins; one whose outcome is not known stays open, and ends it. Returns how many
/// are known to have happened.
pub(crate) async fn client(
    seed: u64,
    number: usize,
    operations: usize,
    counter: Counter,
    history: History,
    begins: impl Fn(),
) -> usize {
    let mut dice = Dice::new(seed * 100 + number as u64);
    for done in 0..operations {
        let act = draw(&mut dice);
        let call = history.begins(number, act.clone());
        begins();
        match perform(&counter, &act).await {
            Ok(value) => history.ends(call, value),
            Err(CoordinationError::Cell { source: CellError::Unknown(_), .. }) => return done,
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
    }
    operations
}

/// The server is killed in the middle of every history, and started again. Each is short and on a key of its own.
#[tokio::test(flavor = "multi_thread")]
async fn histories_of_a_counter_on_a_server_that_is_killed_are_those_of_one_counter() {
    let mut server = ServerOptions::default().start().await.unwrap();
    let seed = nonce() >> 16;
    let processes: [Space; 2] = spaces(&server.url()).await;
    let mut dice = Dice::new(seed);
    for round in 0..12 {
        let (seed, history, begun) = (seed.wrapping_add(round), history(), watch::Sender::new(0));
        let clients = (0..4).map(|number| {
            let counter = Counter::new(&processes[number % 2], &format!("n-{round}")).unwrap();
            let begun = begun.clone();
            client(seed, number, 3, counter, history.clone(), move || begun.send_modify(|n| *n += 1))
        });
        // After so many of the twelve operations have begun, and while some of them are under way.
        let (moment, mut begun) = (1 + usize::try_from(dice.roll(8)).unwrap(), begun.subscribe());
        let killing = async {
            begun.wait_for(|n| *n >= moment).await.unwrap();
            server.kill();
            server.restart().await.unwrap();
        };
        let all = async { tokio::join!(join_all(clients), killing) };
        Clock::system().timeout(PATIENCE, all).await.unwrap_or_else(|| panic!("seed {seed}: it does not end"));
        history.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}
