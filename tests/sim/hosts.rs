//! What happens to hosts: crashes, pauses, cuts, clocks, disks.

use super::SECOND;
use anabranch::{
    engine::{Expect, Key, PutOptions, Space, StoreError},
    error::BoxError,
    testing::sim::{Host, SERVER, Simulation, Trouble},
};
use futures_util::StreamExt as _;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

async fn space(host: &Host) -> Result<Space, BoxError> {
    Ok(host.engine().space("shop").await?)
}

async fn put(space: &Space, key: &str) -> Result<u64, StoreError> {
    let revision = space.store().put(&Key::new(key)?, "1".into(), Expect::Anything, PutOptions::default()).await?;
    Ok(revision.get())
}

/// What a host said, each with the second in which it did.
type Said = Arc<Mutex<Vec<(u64, String)>>>;

#[test]
fn a_host_that_is_killed_begins_anew() {
    let mut sim = Simulation::new(1);
    let boots = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&boots);
    sim.host("one", move |host| {
        let seen = Arc::clone(&seen);
        async move {
            seen.lock().unwrap().push(host.boot());
            std::future::pending().await
        }
    });
    sim.run_for(SECOND);
    assert_eq!(sim.tasks("one"), 1);
    sim.crash("one");
    sim.run_for(SECOND);
    assert_eq!((sim.is_up("one"), sim.tasks("one")), (false, 0));
    sim.start("one");
    sim.run_for(SECOND);
    assert_eq!((sim.is_up("one"), &**boots.lock().unwrap()), (true, &[1, 2][..]));
}

#[test]
fn a_destructor_says_nothing_for_a_host_that_was_killed() {
    struct Goodbye(Space);
    impl Drop for Goodbye {
        fn drop(&mut self) {
            let space = self.0.clone();
            // As a guard does that lets go of what it held.
            tokio::runtime::Handle::current().spawn(async move { put(&space, "goodbye").await });
        }
    }
    let left = |ends: bool| {
        let mut sim = Simulation::new(1);
        sim.host("one", move |host| async move {
            let guard = Goodbye(space(&host).await?);
            host.clock().sleep(SECOND).await;
            drop(guard);
            std::future::pending().await
        });
        sim.run_for(if ends { 2 * SECOND } else { SECOND / 2 });
        sim.crash("one");
        sim.run_for(SECOND);
        sim.ask(|host| async move { Ok(space(&host).await?.store().get(&Key::new("goodbye")?).await?.is_some()) })
    };
    assert_eq!((left(true), left(false)), (true, false));
}

#[test]
fn a_host_that_kills_itself_does_nothing_more_and_is_started_again() {
    let mut sim = Simulation::new(1);
    let said = Said::default();
    let mine = Arc::clone(&said);
    sim.host("one", move |host| {
        let said = Arc::clone(&mine);
        async move {
            // Another task, which would have its turn next.
            let (other, boot) = (Arc::clone(&said), u64::from(host.boot()));
            let second = async move { other.lock().unwrap().push((boot, "goes on".to_owned())) };
            said.lock().unwrap().push((boot, "begins".to_owned()));
            if host.boot() == 1 {
                #[expect(clippy::disallowed_methods, reason = "it dies with its host")]
                tokio::spawn(second);
                host.crash(5 * SECOND).await;
            }
            second.await;
            std::future::pending().await
        }
    });
    sim.run_for(4 * SECOND);
    assert!(!sim.is_up("one"));
    sim.run_for(2 * SECOND);
    assert!(sim.is_up("one"));
    let said = said.lock().unwrap();
    let said: Vec<_> = said.iter().map(|(boot, what)| (*boot, what.as_str())).collect();
    assert_eq!(said, [(1, "begins"), (2, "begins"), (2, "goes on")]);
}

#[test]
fn a_host_that_stands_still_wakes_up_late() {
    let mut sim = Simulation::new(1);
    let said = Said::default();
    let mine = Arc::clone(&said);
    sim.host("one", move |host| {
        let said = Arc::clone(&mine);
        async move {
            let begun = host.clock().instant();
            for n in 0..3 {
                host.clock().sleep(SECOND).await;
                let at = host.clock().instant().duration_since(begun).as_secs();
                said.lock().unwrap().push((at, n.to_string()));
            }
            Ok(())
        }
    });
    sim.run_for(SECOND + SECOND / 2);
    sim.pause("one", true);
    sim.run_for(10 * SECOND);
    assert_eq!(said.lock().unwrap().len(), 1);
    sim.pause("one", false);
    sim.run_for(2 * SECOND);
    let times: Vec<_> = said.lock().unwrap().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [1, 11, 12]);
}

#[test]
fn clocks_are_off_and_drift() {
    let mut sim = Simulation::new(1);
    let shown = Arc::new(Mutex::new(Vec::new()));
    for (name, ahead, drift) in [("true", 0, 0), ("ahead", 600_000_000, 0), ("fast", 0, 100_000)] {
        let shown = Arc::clone(&shown);
        sim.host(name, move |host| {
            let shown = Arc::clone(&shown);
            async move {
                let (from, begun) = (host.clock().now(), host.clock().instant());
                host.clock().sleep(100 * SECOND).await;
                let slept = host.clock().instant().duration_since(begun);
                shown.lock().unwrap().push((host.name().to_owned(), from, slept.as_secs()));
                Ok(())
            }
        });
        sim.skew(name, ahead, drift);
    }
    let start = sim.now();
    // The fast one believes that a hundred seconds are over after 91.
    sim.run_for(92 * SECOND);
    assert_eq!(shown.lock().unwrap().len(), 1);
    sim.run_for(10 * SECOND);
    let shown = shown.lock().unwrap();
    let find = |name: &str| shown.iter().find(|(n, ..)| n == name).unwrap();
    assert_eq!((find("fast").2, find("true").2), (100, 100));
    assert_eq!((find("true").1, find("ahead").1), (start, start + 600 * SECOND));
}

#[test]
fn a_clock_that_begins_to_run_fast_or_slow_neither_jumps_nor_turns_back() {
    let mut sim = Simulation::new(1);
    let shown = Arc::new(Mutex::new(Duration::ZERO));
    let mine = Arc::clone(&shown);
    sim.host("one", move |host| {
        let shown = Arc::clone(&mine);
        async move {
            let begun = host.clock().instant();
            loop {
                host.clock().sleep(Duration::from_millis(1)).await;
                let counted = host.clock().instant().duration_since(begun);
                let before = std::mem::replace(&mut *shown.lock().unwrap(), counted);
                assert!(counted > before && counted < before + SECOND, "{counted:?} came after {before:?}");
            }
        }
    });
    for (drift, counted) in [(0, 50), (100_000, 105), (-100_000, 150)] {
        sim.skew("one", 0, drift);
        sim.run_for(50 * SECOND);
        assert!(shown.lock().unwrap().abs_diff(counted * SECOND) < SECOND, "{shown:?}");
    }
}

#[test]
fn whoever_is_cut_off_learns_it_and_gets_through_later() {
    let mut sim = Simulation::new(1);
    let said = Said::default();
    let mine = Arc::clone(&said);
    sim.host("one", move |host| {
        let said = Arc::clone(&mine);
        async move {
            let space = space(&host).await?;
            for n in 0..20 {
                let told = match put(&space, &format!("k.{n}")).await {
                    Ok(_) => "stored",
                    Err(StoreError::Unavailable(_)) => "away",
                    Err(StoreError::Unknown(_)) => "unknown",
                    Err(error) => return Err(error.into()),
                };
                said.lock().unwrap().push((n, told.to_owned()));
                host.clock().sleep(SECOND).await;
            }
            Ok(())
        }
    });
    sim.run_for(5 * SECOND);
    sim.cut("one", true);
    sim.run_for(5 * SECOND);
    sim.cut("one", false);
    sim.run_for(20 * SECOND);
    let said: Vec<_> = said.lock().unwrap().iter().map(|(_, told)| told.clone()).collect();
    assert_eq!(said.len(), 20);
    let away = said.iter().filter(|told| *told == "away").count();
    assert!((4..=6).contains(&away), "{said:?}");
    assert_eq!(said[19], "stored");
}

#[test]
fn an_answer_that_is_lost_leaves_what_happened_unknown() {
    let mut sim = Simulation::new(3);
    let told = Arc::new(Mutex::new((0, 0)));
    let mine = Arc::clone(&told);
    sim.host("one", move |host| {
        let told = Arc::clone(&mine);
        async move {
            let space = loop {
                if let Ok(space) = space(&host).await {
                    break space;
                }
            };
            for n in 0..200 {
                match put(&space, &format!("k.{n}")).await {
                    Ok(_) => told.lock().unwrap().0 += 1,
                    Err(StoreError::Unknown(_)) => told.lock().unwrap().1 += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
    });
    sim.loss("one", 200);
    assert!(sim.run_until(3600 * SECOND, |sim| !sim.is_up("one")));
    let there = sim
        .ask(|host| async move { Ok(space(&host).await?.store().keys(&anabranch::engine::Scope::All).await?.count().await) });
    let (stored, unknown) = *told.lock().unwrap();
    // About half of the unknown ones happened.
    assert!(unknown > 40 && there > stored + unknown / 4 && there < stored + unknown, "{stored} {unknown} {there}");
}

#[test]
fn a_server_that_loses_power_keeps_what_it_acknowledged() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed);
        let stored = Arc::new(Mutex::new(Vec::new()));
        let mine = Arc::clone(&stored);
        sim.host("one", move |host| {
            let stored = Arc::clone(&mine);
            async move {
                let space = space(&host).await?;
                for n in 0.. {
                    let key = format!("k.{n}");
                    if put(&space, &key).await.is_ok() {
                        stored.lock().unwrap().push(key);
                    }
                }
                Ok(())
            }
        });
        for _ in 0..3 {
            sim.run_for(Duration::from_millis(200 + seed * 7));
            sim.lose_power(SERVER, seed % 2 == 0);
            sim.run_for(SECOND / 10);
            sim.start(SERVER);
        }
        sim.run_for(SECOND);
        let expected = stored.lock().unwrap().clone();
        assert!(expected.len() > 100, "{}", expected.len());
        let missing = sim.ask(move |host| {
            let expected = expected.clone();
            async move {
                let space = space(&host).await?;
                let mut missing = Vec::new();
                for key in expected {
                    if space.store().get(&Key::new(key.as_str())?).await?.is_none() {
                        missing.push(key);
                    }
                }
                Ok(missing)
            }
        });
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    }
}

#[test]
fn a_server_that_syncs_by_a_timer_loses_what_it_acknowledged_when_its_power_fails() {
    let mut sim = Simulation::new(1);
    sim.ask(|host| async move { Ok(put(&space(&host).await?, "synced").await?) });
    sim.disk(SERVER).be_lazy(true);
    sim.ask(|host| async move { Ok(put(&space(&host).await?, "acknowledged").await?) });
    // A kill of the process loses nothing: the system has what was written.
    sim.crash(SERVER);
    sim.start(SERVER);
    let there = |sim: &mut Simulation| {
        sim.ask(|host| async move {
            let space = space(&host).await?;
            let has = async |key: &str| Ok::<_, BoxError>(space.store().get(&Key::new(key)?).await?.is_some());
            Ok((has("synced").await?, has("acknowledged").await?))
        })
    };
    assert_eq!(there(&mut sim), (true, true));
    sim.lose_power(SERVER, true);
    sim.start(SERVER);
    assert_eq!(there(&mut sim), (true, false));
}

#[test]
fn whoever_asks_is_left_alone_by_trouble() {
    let mut sim = Simulation::new(1);
    sim.trouble(Trouble::crash(SECOND / 10).lasting(SECOND));
    sim.trouble(Trouble::pause(SECOND / 10).lasting(3600 * SECOND));
    let answer = sim.ask(|host| async move {
        host.clock().sleep(60 * SECOND).await;
        Ok(host.boot())
    });
    assert_eq!(answer, 1);
    // What was planned for it would have met somebody else.
    sim.calm();
    sim.run_for(SECOND);
}
