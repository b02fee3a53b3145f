//! Registers: texts to which processes add their names, one or several at once, and what has to be in them at the end.

use super::{
    book::{Append, Book, Told},
    process::{Places, Process, counter},
};
use crate::engine::{Commit, Entry, Expect, Key, Message, PutOptions, Revision, Space, StoreError};
use std::collections::BTreeMap;

const REGISTERS: [&str; 3] = ["reg.a", "reg.b", "reg.c"];

impl Process<'_> {
    /// Adds to a register of any place.
    pub(super) async fn append(&self) {
        let place = self.roll(self.places.stores.len() as u64);
        let key = REGISTERS[usize::try_from(self.roll(3)).expect("it is small")];
        self.add_to(usize::try_from(place).expect("it is small"), vec![key], false).await;
    }

    /// Adds to two registers at once, perhaps with a message.
    pub(super) async fn append_together(&self) {
        if self.places.space().store().capabilities().atomic_commit {
            let first = usize::try_from(self.roll(3)).expect("it is small");
            let both = vec![REGISTERS[first], REGISTERS[(first + 1) % 3]];
            self.add_to(0, both, self.roll(2) == 0).await;
        }
    }

    /// Adds once, or until it is known to be there.
    async fn add_to(&self, place: usize, registers: Vec<&'static str>, sends: bool) {
        let id = self.book.name(self.number);
        if sends {
            self.book.sends(&id, 0, false);
        }
        let once = self.roll(3) == 0;
        let mut append = Append {
            registers: registers.iter().map(|key| (place, *key)).collect(),
            told: Told::Unclear,
            revisions: Vec::new(),
            sends,
        };
        let mut was_unclear = false;
        loop {
            let (told, revisions) = self.ask(self.add(place, &registers, &id, sends)).await;
            was_unclear |= told == Told::Unclear;
            append.told = if told == Told::Refused && was_unclear { Told::Unclear } else { told };
            append.revisions = revisions.unwrap_or_default();
            if once || told == Told::Done {
                break;
            }
            self.pause().await;
        }
        if sends {
            self.book.sent(&id, append.told);
        }
        self.book.open().appends.insert(id, append);
    }

    /// Adds to what is there, unless it is in it; returns the revisions where it was added now.
    async fn add(&self, place: usize, registers: &[&str], id: &str, sends: bool) -> Result<Vec<Revision>, StoreError> {
        let store = self.places.stores[place].store();
        let keys: Vec<Key> = registers.iter().map(|name| Key::new(*name).expect("it is a key")).collect();
        // A read that fails wrote nothing, whatever it says.
        let unread = |error: StoreError| match error {
            StoreError::Unknown(source) => StoreError::Unavailable(source),
            other => other,
        };
        let found = store.get_many(&keys).await.map_err(unread)?;
        let there = found.iter().filter(|entry| names(entry.as_ref()).contains(&id.to_owned())).count();
        if there > 0 {
            let whole = there == keys.len() || !store.capabilities().consistent_get_many;
            assert!(whole, "seed {}: {id} is in {there} of {registers:?}", self.book.seed);
            return Ok(Vec::new());
        }
        let parts = keys.into_iter().zip(found).map(|(key, entry)| {
            let expect = entry.as_ref().map_or(Expect::Absent, |entry| Expect::At(entry.revision));
            let mut all = names(entry.as_ref());
            all.push(id.to_owned());
            (key, all.join(" "), expect)
        });
        let parts: Vec<_> = parts.collect();
        let plain = PutOptions::default;
        if let [(key, text, expect)] = &*parts {
            return Ok(vec![store.put(key, text.clone().into(), *expect, plain()).await?]);
        }
        let writes = |commit: Commit, (key, text, expect): (Key, String, Expect)| commit.put(key, text.into(), expect, plain());
        let mut commit = parts.into_iter().fold(Commit::new(), writes);
        if sends {
            commit = commit.send(self.places.lanes[0].name().clone(), Message::new(id.to_owned()));
        }
        Ok(store.commit(commit).await?.revisions)
    }
}

/// The names in a register, in the order in which they were added.
fn names(entry: Option<&Entry>) -> Vec<String> {
    let text = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).unwrap_or_default();
    text.split_whitespace().map(ToOwned::to_owned).collect()
}

async fn read(space: &Space, name: &str) -> (Vec<String>, Option<Revision>) {
    let entry = space.store().get(&Key::new(name).expect("it is a key")).await.unwrap();
    (names(entry.as_ref()), entry.map(|entry| entry.revision))
}

/// Holds registers and counters to what was told, and finds out about what is unclear.
pub(super) async fn check(truth: &Places, book: &Book) {
    let seed = book.seed;
    let mut found = BTreeMap::new();
    for (place, space) in truth.stores.iter().enumerate() {
        for name in REGISTERS {
            found.insert((place, name), read(space, name).await);
        }
    }
    let sum = match &truth.tally {
        Some(tally) => tally.value(&counter()).await.unwrap().unwrap_or_default(),
        None => 0,
    };
    let mut pages = book.open();
    let (least, most) = (pages.counted, pages.counted + pages.perhaps_counted);
    assert!((least..=most).contains(&sum), "seed {seed}: {least} to {most} were counted, and the sum is {sum}");

    let mut sent = Vec::new();
    for (id, append) in &pages.appends {
        let times: Vec<_> = append.registers.iter().map(|at| found[at].0.iter().filter(|name| *name == id).count()).collect();
        let (all, none) = (times.iter().all(|n| *n == 1), times.iter().all(|n| *n == 0));
        let right = match append.told {
            Told::Done => all,
            Told::Refused => none,
            Told::Unclear => all || none,
        };
        assert!(right, "seed {seed}: {id} is there {times:?} times, after {append:?}");
        sent.extend(append.sends.then(|| (id.clone(), if all { Told::Done } else { Told::Refused })));
    }
    for (at, (names, newest)) in &found {
        in_order(&pages.appends, *at, names, *newest, seed);
    }
    for pair in [(0, 1), (1, 2), (2, 0)].map(|(one, other)| [(0, REGISTERS[one]), (0, REGISTERS[other])]) {
        let [one, other] = pair.map(|at| &found[&at].0);
        let common: Vec<_> = one.iter().filter(|name| other.contains(name)).collect();
        let same: Vec<_> = other.iter().filter(|name| one.contains(name)).collect();
        assert_eq!(common, same, "seed {seed}: {pair:?} changed in one order");
    }
    for (id, told) in sent {
        pages.mails.get_mut(&id).expect("it was noted before it was sent").told = told;
    }
}

/// What was acknowledged is in the order of its revisions, of which the newest is that of the register or older.
fn in_order(
    appends: &BTreeMap<String, Append>,
    at: (usize, &'static str),
    names: &[String],
    newest: Option<Revision>,
    seed: u64,
) {
    let mut revisions = Vec::new();
    for name in names {
        let Some(append) = appends.get(name) else { panic!("seed {seed}: nobody wrote {name} to {at:?}") };
        let told = append.registers.iter().zip(&append.revisions);
        revisions.extend(told.filter(|(register, _)| **register == at).map(|(_, revision)| *revision));
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "seed {seed}: revisions of {at:?} grow: {revisions:?}");
    assert!(revisions.last().is_none_or(|last| newest.is_some_and(|newest| *last <= newest)), "seed {seed}: {at:?}");
}
