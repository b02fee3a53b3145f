//! Does what the plan says, and looks whether it had an effect: a fault that met nothing proves nothing.
//!
//! A fault is over when everything is as before: nodes are started, connections are carried, and all replicas have caught up. That
//! somebody has nothing of what was promised meanwhile is for others to find out.

use crate::{
    cluster::{Cluster, NODES},
    faults::{Fault, Kind},
    links::{Links, harm},
    process::Workers,
};
use anabranch::{
    testing::{
        Dice,
        wire::{Loses, Wire},
    },
    time::Clock,
};
use std::{io, time::Duration};

const BRIEF: Duration = Duration::from_millis(100);
/// How much longer than planned a wire misbehaves that nothing has gone over, or a disk is full that nothing was written to: those who use
/// it may be away for reasons of their own.
const LONGER: Duration = Duration::from_secs(30);

/// What came of a fault: whom it met, and how that showed.
pub(crate) type Effect = String;

fn no_effect(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn check(holds: bool, what: &str) -> io::Result<()> {
    if holds { Ok(()) } else { Err(no_effect(format!("it had no effect: {what}"))) }
}

fn pick(dice: &mut Dice, from: usize) -> usize {
    usize::try_from(dice.roll(from as u64)).unwrap_or(0)
}

/// Does a fault to nodes, and returns when all of them are well again.
pub(crate) async fn strike_nodes(cluster: &mut Cluster, fault: Fault) -> io::Result<Effect> {
    let (clock, mut dice) = (Clock::system(), Dice::new(fault.dice));
    let any = pick(&mut dice, NODES);
    let (leader, meta) = cluster.led().await?;
    let mut mended = String::new();
    let follower = (leader + 1 + pick(&mut dice, NODES - 1)) % NODES;
    let effect = match fault.kind {
        Kind::KillLeader => killed(cluster, leader, fault.lasts).await?,
        Kind::KillFollower => killed(cluster, follower, fault.lasts).await?,
        Kind::KillMeta => killed(cluster, meta, fault.lasts).await?,
        Kind::PauseLeader => paused(cluster, leader, fault.lasts).await?,
        Kind::PauseFollower => paused(cluster, follower, fault.lasts).await?,
        Kind::Wipe => {
            cluster.kill(any);
            let gone = cluster.wipe(any)?;
            check(gone > 0, "there was nothing on the disk")?;
            clock.sleep(fault.lasts).await;
            cluster.launch(any)?;
            format!("{} lost everything", cluster.name(any))
        }
        Kind::DiskFull => {
            let before = cluster.log(any).len();
            cluster.fill(any)?;
            let (start, until) = (clock.instant(), clock.instant() + fault.lasts);
            let mut noticed = false;
            while clock.instant() < until || (!noticed && clock.instant() < start + LONGER) {
                clock.sleep(BRIEF * 5).await;
                let said = cluster.log(any).split_at(before).1.to_lowercase();
                noticed = said.contains("no space left") || said.contains("file too large");
            }
            cluster.make_room(any)?;
            check(noticed, "the node had nothing to write")?;
            // A node that had no room has switched JetStream off, and only a new start switches it on.
            cluster.kill(any);
            cluster.launch(any)?;
            format!("{}, which logged it", cluster.name(any))
        }
        Kind::Partition => {
            let node = if dice.roll(2) == 0 { leader } else { any };
            let links = cluster.links();
            let before = harm(links.around(node)).lost;
            links.around(node).for_each(|wire| wire.lose(Loses::Everything));
            clock.sleep(fault.lasts).await;
            let lost = harm(links.around(node)).lost - before;
            links.around(node).for_each(Wire::cut);
            check(lost > 0, "nodes had nothing to say to each other")?;
            format!(
                "{}{} heard nothing, {lost} bytes were lost",
                cluster.name(node),
                if node == leader { ", the leader," } else { "" }
            )
        }
        Kind::Lag => {
            let links = cluster.links();
            let before = harm(links.around(any)).delayed;
            let until = clock.instant() + fault.lasts;
            while clock.instant() < until {
                links.around(any).for_each(|wire| wire.delay(Duration::from_millis(dice.roll(300))));
                clock.sleep(BRIEF * 5).await;
            }
            links.around(any).for_each(|wire| wire.delay(Duration::ZERO));
            let delayed = harm(links.around(any)).delayed - before;
            check(delayed > 0, "nodes had nothing to say to each other")?;
            format!("{}, {delayed} pieces were delayed", cluster.name(any))
        }
        Kind::RollingRestart => {
            for node in 0..NODES {
                cluster.stop(node)?;
                check(!cluster.answers(node).await, "a node that ended answers")?;
                cluster.launch(node)?;
                mended += &cluster.mend().await?;
            }
            "all of them".to_owned()
        }
        Kind::KillAll => {
            (0..NODES).for_each(|node| cluster.kill(node));
            check(!cluster.answers(any).await, "a node that was killed answers")?;
            clock.sleep(fault.lasts).await;
            (0..NODES).try_for_each(|node| cluster.launch(node))?;
            "all of them".to_owned()
        }
        Kind::PowerLoss => {
            let all: Vec<usize> = if dice.roll(2) == 0 { (0..NODES).collect() } else { vec![any] };
            cluster.lose_power(&all)?;
            check(!cluster.answers(all[0]).await, "a node without power answers")?;
            clock.sleep(fault.lasts).await;
            all.iter().try_for_each(|node| cluster.launch(*node))?;
            if all.len() == NODES { "all of them".to_owned() } else { cluster.name(any).to_owned() }
        }
        Kind::Slow | Kind::Cut | Kind::LoseAnswers | Kind::Blackhole | Kind::KillWorker | Kind::PauseWorker => {
            return Err(no_effect("it is nothing that could be done to a node"));
        }
    };
    Ok(effect + &mended + &cluster.mend().await?)
}

async fn killed(cluster: &mut Cluster, node: usize, lasts: Duration) -> io::Result<Effect> {
    cluster.kill(node);
    check(!cluster.answers(node).await, "a node that was killed answers")?;
    Clock::system().sleep(lasts).await;
    cluster.launch(node)?;
    Ok(cluster.name(node).to_owned())
}

async fn paused(cluster: &Cluster, node: usize, lasts: Duration) -> io::Result<Effect> {
    let clock = Clock::system();
    cluster.pause(node)?;
    clock.sleep(BRIEF).await;
    let stopped = cluster.is_paused(node);
    clock.sleep(lasts.saturating_sub(BRIEF)).await;
    cluster.resume(node)?;
    check(stopped, "the process went on")?;
    Ok(cluster.name(node).to_owned())
}

/// Does a fault to workers or to what is between them and the nodes, and returns when it is over.
pub(crate) async fn strike_workers(links: &Links, workers: &mut Workers, fault: Fault) -> io::Result<Effect> {
    let (clock, mut dice) = (Clock::system(), Dice::new(fault.dice));
    let worker = pick(&mut dice, workers.count());
    match fault.kind {
        Kind::KillWorker => {
            let life = workers.kill(worker).await?;
            clock.sleep(fault.lasts).await;
            workers.start(worker)?;
            return Ok(format!("worker {worker} in its life {life}"));
        }
        Kind::PauseWorker => {
            workers.pause(worker)?;
            clock.sleep(BRIEF).await;
            let stopped = workers.is_paused(worker);
            clock.sleep(fault.lasts.saturating_sub(BRIEF)).await;
            workers.resume(worker)?;
            check(stopped, "the process went on")?;
            return Ok(format!("worker {worker}"));
        }
        _ => {}
    }
    // Some clients, at least one; and of their wires all, or all but one unless that is the one that all of them use.
    let clients: Vec<usize> = (0..links.clients()).filter(|client| *client == worker || dice.roll(2) == 0).collect();
    let spared = pick(&mut dice, 2 * NODES);
    let (start, until) = (clock.instant(), clock.instant() + fault.lasts);
    let is_spared = |node: usize| node == spared && clock.instant() < until;
    let all = || clients.iter().flat_map(|client| links.of(*client));
    let wires = || {
        let met = |(node, _): &(usize, &Wire)| !is_spared(*node);
        clients.iter().flat_map(move |client| links.of(*client).enumerate().filter(met).map(|(_, wire)| wire))
    };
    let before = harm(all());
    let whom = format!("{} of {} clients", clients.len(), links.clients());
    let goes_on = |met: bool| {
        let now = clock.instant();
        now < until || (!met && now < start + LONGER)
    };
    match fault.kind {
        Kind::Slow => {
            while goes_on(harm(all()).delayed > before.delayed) {
                wires().for_each(|wire| wire.delay(Duration::from_millis(1 + dice.roll(500))));
                clock.sleep(BRIEF * 5).await;
            }
            all().for_each(|wire| wire.delay(Duration::ZERO));
            let delayed = harm(all()).delayed - before.delayed;
            check(delayed > 0, "nobody said anything")?;
            Ok(format!("{whom}, {delayed} pieces were delayed"))
        }
        Kind::Cut => {
            while goes_on(harm(all()).cut > before.cut) {
                wires().for_each(Wire::cut);
                clock.sleep(BRIEF * 4).await;
            }
            let cut = harm(all()).cut - before.cut;
            check(cut > 0, "nobody was connected")?;
            Ok(format!("{whom}, {cut} connections were cut"))
        }
        kind => {
            let loses = if kind == Kind::LoseAnswers { Loses::Answers } else { Loses::Everything };
            while goes_on(harm(all()).lost > before.lost) {
                wires().for_each(|wire| wire.lose(loses));
                clock.sleep(BRIEF * 2).await;
            }
            let lost = harm(all()).lost - before.lost;
            all().for_each(Wire::cut);
            check(lost > 0, "nobody said anything")?;
            Ok(format!("{whom}, {lost} bytes were lost"))
        }
    }
}
