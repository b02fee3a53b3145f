//! Cells as registers, and several that change as one: reads, writes, comparisons, removals, values that expire, and money that moves.

use super::Scenario;
use crate::stage::{self, Closing, Log, MILLISECOND, SECOND, idle, micros, space};
use anabranch::{
    cell::{Cell, CellError, Cells, UpdateError, together, try_together},
    codec::Codec,
    engine::{Revision, Space},
    error::BoxError,
    testing::{
        check::{Call, Expected, History, Keyed, Register, RegisterOp, RegisterRet, linearizable},
        sim::{Host, Simulation},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "register", about: "cells are registers, change as one, and expire in their time", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// The first is changed by several tasks of each host at once, which share writes, so that no revision is known for one of them.
const REGISTERS: [&str; 3] = ["shared", "x", "y"];
const ACCOUNTS: [&str; 3] = ["ann", "bob", "cid"];
const OPENED_WITH: i64 = 100;
const TTL: Duration = Duration::from_secs(2);
/// How late an engine may be with what has expired.
const LATE: Duration = Duration::from_millis(1);

type Op = (Box<str>, RegisterOp<u64>);
type Told = History<Op, RegisterRet<u64>>;

/// An account, and every transfer that it took part in.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Account {
    balance: i64,
    transfers: Vec<(String, i64)>,
}

impl Default for Account {
    fn default() -> Self {
        Self { balance: OPENED_WITH, transfers: Vec::new() }
    }
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
    Perhaps,
}

/// A write of a value that expires, or a read.
#[derive(Debug, Clone, Copy)]
enum Brief {
    Wrote { value: u64, called: u64, returned: Option<u64> },
    Read { value: Option<u64>, called: u64, returned: u64 },
}

#[derive(Debug, Clone, Default)]
struct Records {
    history: Told,
    transfers: Log<(String, Moved)>,
    sums: Log<i64>,
    brief: Log<Brief>,
    /// Values that nobody has written before.
    values: Arc<AtomicU64>,
    closing: Closing,
}

impl Records {
    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in HOSTS {
        let records = records.clone();
        sim.host(name, move |host| work(host, records.clone()));
    }
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(12 * SECOND);
    stage::calm(sim, &HOSTS);
    sim.run_for(SECOND);
    stage::close(sim, &records.closing, &HOSTS, 90 * SECOND);
    if let Err(violation) = linearizable(&Keyed(Register::default()), &records.history) {
        panic!("{violation}");
    }
    check_accounts(sim, &records);
    check_brief(&records);
    let (done, sums) = (records.history.len() - records.history.open(), records.sums.len());
    // In some seeds hosts are away nearly all the time.
    assert!(done > 5 && (sums > 0 || done < 100), "only {done} operations were done, and {sums} sums read");
}

/// Money is where the transfers say that it is, and each happened as a whole and once, if it may have happened.
fn check_accounts(sim: &mut Simulation, records: &Records) {
    let accounts = sim.ask(|host| async move {
        let mut accounts = Vec::new();
        for account in open(&space(&host).await)? {
            accounts.push(account.read().await?.map(|stored| stored.value).unwrap_or_default());
        }
        Ok(accounts)
    });
    for account in &accounts {
        let moved: i64 = account.transfers.iter().map(|(_, by)| by).sum();
        assert_eq!(account.balance, OPENED_WITH + moved, "{account:?}");
    }
    let all: Vec<_> = accounts.iter().flat_map(|account| &account.transfers).collect();
    let total = OPENED_WITH * i64::try_from(ACCOUNTS.len()).unwrap_or(0);
    assert_eq!(accounts.iter().map(|account| account.balance).sum::<i64>(), total, "{accounts:?}");
    records.transfers.look(|transfers| {
        let known: HashSet<&str> = transfers.iter().map(|(id, _)| id.as_str()).collect();
        assert!(all.iter().all(|(id, _)| known.contains(id.as_str())), "{all:?} has what nobody asked for");
        for (id, moved) in transfers {
            let sides: Vec<i64> = all.iter().filter(|(there, _)| there == id).map(|(_, by)| *by).collect();
            let whole = sides.len() == 2 && sides.iter().sum::<i64>() == 0;
            match moved {
                Moved::Yes => assert!(whole, "{id} was said to be done, and is {sides:?}"),
                Moved::No => assert!(sides.is_empty(), "{id} was said not to be done, and is {sides:?}"),
                Moved::Perhaps => assert!(whole || sides.is_empty(), "{id} is {sides:?}"),
            }
        }
    });
    records.sums.look(|sums| assert!(sums.iter().all(|sum| *sum == total), "sums of {total} were seen as {sums:?}"));
}

/// A value that was surely written is there until its time is over, unless another one was written, and not afterwards. The time is the
/// server's, whose clock is right here.
fn check_brief(records: &Records) {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    records.brief.look(|all| {
        let writes = || {
            all.iter().filter_map(|one| match one {
                Brief::Wrote { value, called, returned } => Some((*value, *called, *returned)),
                Brief::Read { .. } => None,
            })
        };
        for read in all {
            let Brief::Read { value, called, returned } = *read else { continue };
            if let Some(value) = value {
                let mut own = writes().filter(|(there, ..)| *there == value).peekable();
                assert!(own.peek().is_some(), "{read:?} sees what nobody wrote");
                let until = own.find_map(|(_, _, written)| Some(written? + micros(TTL + LATE)));
                assert!(until.is_none_or(|until| called <= until), "{read:?} sees what expired before {until:?}");
            } else {
                let lives = |(_, began, written): &(u64, u64, Option<u64>)| {
                    written.is_some_and(|written| written < called) && began + micros(TTL) > returned
                };
                assert!(!writes().any(|write| lives(&write)), "{read:?} does not see what lives");
            }
        }
    });
}

fn open(space: &Space) -> Result<Vec<Cell<Account>>, BoxError> {
    let accounts = Cells::new(space, Codec::json());
    Ok(ACCOUNTS.iter().map(|name| accounts.cell(name)).collect::<Result<_, _>>()?)
}

async fn work(host: Host, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let registers = Cells::new(&space, Codec::json()).deadline(5 * SECOND);
    let accounts = open(&space)?;
    let brief = Cells::new(&space, Codec::json()).ttl(TTL).deadline(5 * SECOND).cell("brief")?;
    let mut tasks: Vec<futures_util::future::BoxFuture<'_, Result<(), BoxError>>> = Vec::new();
    for task in 0..2 {
        // Of a host's tasks only one uses a register whose revisions are recorded.
        let own = if task == 0 { &REGISTERS[..] } else { &REGISTERS[..1] };
        let cells = own.iter().map(|name| registers.cell(name)).collect::<Result<Vec<_>, _>>()?;
        let (host, records) = (&host, &records);
        tasks.push(Box::pin(async move {
            let client = format!("{}{}/{task}", host.name(), host.boot());
            let mut seen = vec![None; own.len()];
            while !records.closing.is_closed() {
                let at = usize::try_from(host.roll(own.len() as u64))?;
                Registry { host, records, client: &client, name: own[at], cell: &cells[at] }.act(&mut seen[at]).await;
                idle(host, SECOND).await;
            }
            Ok(())
        }));
    }
    tasks.push(Box::pin(async {
        for number in 0.. {
            if records.closing.is_closed() {
                break;
            }
            transfer(&host, &records, &accounts, number).await;
            idle(&host, SECOND).await;
        }
        Ok(())
    }));
    tasks.push(Box::pin(async {
        while !records.closing.is_closed() {
            flash(&host, &records, &brief).await;
            idle(&host, SECOND).await;
        }
        Ok(())
    }));
    futures_util::future::try_join_all(tasks).await?;
    Ok(())
}

/// One register in the hands of one task.
struct Registry<'a> {
    host: &'a Host,
    records: &'a Records,
    client: &'a str,
    name: &'static str,
    cell: &'a Cell<u64>,
}

impl Registry<'_> {
    fn invoke(&self, op: RegisterOp<u64>) -> Call {
        self.records.history.invoke(self.client, (self.name.into(), op), micros(self.host))
    }

    /// Says how it ended: whatever says that nothing was written means it.
    fn end(&self, call: Call, outcome: Result<RegisterRet<u64>, CellError>) {
        let (history, now) = (&self.records.history, micros(self.host));
        match outcome {
            Ok(told) => history.returned(call, told, now),
            Err(CellError::Conflict(_)) => history.returned(call, RegisterRet::Conflict, now),
            Err(CellError::Unknown(_)) => history.unknown(call),
            Err(_) => history.refused(call, now),
        }
    }

    /// Tells a revision, where it is that of this very change.
    fn done(&self, revision: Option<Revision>) -> RegisterRet<u64> {
        match revision {
            Some(revision) if self.name != REGISTERS[0] => RegisterRet::Revision(revision.get()),
            _ => RegisterRet::Done,
        }
    }

    async fn act(&self, seen: &mut Option<(u64, Revision)>) {
        let value = self.records.value();
        match (self.host.roll(12), *seen) {
            (0..=2, _) => {
                let call = self.invoke(RegisterOp::Read);
                let read = self.cell.read().await;
                if let Ok(read) = &read {
                    *seen = read.as_ref().map(|stored| (stored.value, stored.revision));
                }
                let told = |stored: Option<anabranch::cell::Stored<u64>>| {
                    RegisterRet::Entry(stored.map(|stored| (stored.value, stored.revision.get())))
                };
                self.end(call, read.map(told));
            }
            (3 | 4, Some((expected, _))) => {
                let call = self.invoke(RegisterOp::CompareAndSet(Some(expected), value));
                let edited = self.cell.edit(move |draft| {
                    let same = draft.get() == Some(&expected);
                    if same {
                        draft.set(value);
                    }
                    same
                });
                let told =
                    edited.await.map(|edited| if edited.result { self.done(edited.revision) } else { RegisterRet::Conflict });
                self.end(call, told);
            }
            (5, Some((_, revision))) => {
                let call = self.invoke(RegisterOp::Delete(Expected::At(revision.get())));
                let removed = self.cell.delete_at(revision).await;
                self.end(call, removed.map(|()| RegisterRet::Done));
            }
            // Often: who writes over nothing has no revision to be recognized by.
            (6..=9, _) => {
                let call = self.invoke(RegisterOp::Delete(Expected::Anything));
                let removed = self.cell.delete().await;
                self.end(call, removed.map(|()| RegisterRet::Done));
            }
            _ => {
                let call = self.invoke(RegisterOp::Write(value));
                let edited = self.cell.edit(move |draft| draft.set(value)).await;
                self.end(call, edited.map(|edited| self.done(edited.revision)));
            }
        }
    }
}

/// Moves money between two accounts, or reads the sum of all.
async fn transfer(host: &Host, records: &Records, accounts: &[Cell<Account>], number: u64) {
    if host.roll(3) == 0 {
        let sum = together(accounts, |accounts: Vec<&mut Account>| accounts.iter().map(|account| account.balance).sum::<i64>());
        if let Ok(sum) = sum.await {
            records.sums.push(sum);
        }
        return;
    }
    let from = usize::try_from(host.roll(accounts.len() as u64)).unwrap_or(0);
    let to = (from + 1 + usize::try_from(host.roll(accounts.len() as u64 - 1)).unwrap_or(0)) % accounts.len();
    let (id, amount) = (format!("{}{}/{number}", host.name(), host.boot()), i64::try_from(1 + host.roll(60)).unwrap_or(1));
    let own = id.clone();
    // Before it is asked for: one whose host is killed may have happened.
    records.transfers.push((id.clone(), Moved::Perhaps));
    let moved = try_together((&accounts[from], &accounts[to]), move |(from, to)| {
        if from.balance < amount {
            return Err(());
        }
        for (account, by) in [(from, -amount), (to, amount)] {
            account.balance += by;
            account.transfers.push((own.clone(), by));
        }
        Ok(())
    });
    let moved = match moved.await {
        Ok(()) => Moved::Yes,
        Err(UpdateError::Cell(CellError::Unknown(_))) => return,
        Err(_) => Moved::No,
    };
    records.transfers.push((id, moved));
}

/// Writes a value that expires, or looks whether it is there.
async fn flash(host: &Host, records: &Records, cell: &Cell<u64>) {
    let called = micros(host);
    if host.roll(4) == 0 {
        let value = records.value();
        // Before it is asked for: a write whose host is killed may have happened.
        records.brief.push(Brief::Wrote { value, called, returned: None });
        if cell.edit(move |draft| draft.set(value)).await.is_ok() {
            let returned = Some(micros(host));
            records.brief.push(Brief::Wrote { value, called, returned });
        }
    } else if let Ok(read) = cell.read().await {
        records.brief.push(Brief::Read { value: read.map(|stored| stored.value), called, returned: micros(host) });
        host.clock().sleep(MILLISECOND * 300).await;
    }
}
