//! One random history on two stores, which have to agree on everything that both can know.
//!
//! Revisions differ between engines and are therefore remembered a side; outcomes, values, labels and listings are equal.

use super::key;
use crate::{
    engine::{Commit, Expect, Key, KeyInfo, PutOptions, Revision, Scope, Space, StoreError},
    testing::Dice,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;

const STEPS: usize = 200;
const KEYS: [&str; 6] = ["a", "b", "a.b", "a.c", "a.b.c", "ab"];

/// Applies the history of `seed` to both spaces, which are empty at first, and compares after each step.
///
/// # Panics
///
/// Panics when the two disagree, with the seed and the step.
pub async fn differential(a: &Space, b: &Space, seed: u64) {
    let mut random = Dice::new(seed);
    let mut sides = [Side::of(a), Side::of(b)];
    for step in 0..STEPS {
        let action = Action::random(&mut random);
        let [one, two] = &mut sides;
        let (first, second) = (one.perform(&action).await, two.perform(&action).await);
        assert_eq!(first, second, "seed {seed}, step {step}: {action:?}");
    }
}

/// What a step does, in words that hold on either side.
#[derive(Debug, Clone)]
enum Action {
    Write(Vec<Part>),
    Read(Vec<&'static str>),
    List(&'static str),
}

#[derive(Debug, Clone)]
struct Part {
    key: &'static str,
    expect: Expectation,
    /// What to put, with its label; a delete otherwise.
    value: Option<(Bytes, Option<&'static str>)>,
    /// Only checks the key.
    check: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expectation {
    Anything,
    Absent,
    /// The revision that the key has now.
    Newest,
    /// A revision that the key once had.
    Stale,
}

/// What a step shows, without revisions.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    Conflict,
    Unsupported,
    Found(Vec<Option<(Bytes, Option<Box<str>>)>>),
    Listed(Vec<(Key, Option<Box<str>>)>),
}

impl Action {
    fn random(random: &mut Dice) -> Self {
        match below(random, 10) {
            0..5 => {
                let key = KEYS[below(random, KEYS.len())];
                Self::Write(vec![Part::random(random, key)])
            }
            5..7 => {
                let (first, more) = (below(random, KEYS.len()), 1 + below(random, 3));
                Self::Write((0..=more).map(|i| Part::random(random, KEYS[(first + i) % KEYS.len()])).collect())
            }
            7..9 => Self::Read((0..below(random, 4)).map(|_| KEYS[below(random, KEYS.len())]).collect()),
            _ => Self::List(KEYS[below(random, KEYS.len())]),
        }
    }
}

impl Part {
    fn random(random: &mut Dice, key: &'static str) -> Self {
        let expect = match below(random, 8) {
            0..2 => Expectation::Anything,
            2..4 => Expectation::Absent,
            4..7 => Expectation::Newest,
            _ => Expectation::Stale,
        };
        let value = (below(random, 3) > 0).then(|| {
            let label = [None, Some("running"), Some("done")][below(random, 3)];
            (Bytes::from(random.number().to_string()), label)
        });
        Self { key, expect, value, check: below(random, 8) == 0 }
    }
}

/// One of the two stores, and the revisions that it gave.
struct Side<'a> {
    space: &'a Space,
    newest: BTreeMap<&'static str, Revision>,
    stale: BTreeMap<&'static str, Revision>,
}

impl<'a> Side<'a> {
    fn of(space: &'a Space) -> Self {
        Self { space, newest: BTreeMap::new(), stale: BTreeMap::new() }
    }

    async fn perform(&mut self, action: &Action) -> Outcome {
        let store = self.space.store();
        match action {
            Action::Write(parts) => self.write(parts).await,
            Action::Read(names) => {
                let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
                let found = store.get_many(&keys).await.unwrap();
                Outcome::Found(found.into_iter().map(|entry| entry.map(|e| (e.value, e.label))).collect())
            }
            Action::List(name) => {
                let mut listed: Vec<_> = Vec::new();
                for prefix in [Scope::All, key(name).below()] {
                    let keys: Vec<KeyInfo> = store.keys(&prefix).await.unwrap().map(Result::unwrap).collect().await;
                    listed.extend(keys.into_iter().map(|info| (info.key, info.label)));
                }
                listed.sort();
                Outcome::Listed(listed)
            }
        }
    }

    /// A conflict may be spurious, so it counts when it comes three times.
    async fn write(&mut self, parts: &[Part]) -> Outcome {
        for _ in 0..3 {
            match self.try_write(parts).await {
                Ok(()) => return Outcome::Written,
                Err(StoreError::Conflict) => {}
                Err(StoreError::Rejected(_)) => return Outcome::Unsupported,
                Err(error) => panic!("{error:?}"),
            }
        }
        Outcome::Conflict
    }

    async fn try_write(&mut self, parts: &[Part]) -> Result<(), StoreError> {
        let store = self.space.store();
        let revisions = if let [part] = parts
            && !part.check
        {
            let (name, expect) = (key(part.key), self.expect(part));
            vec![match &part.value {
                Some((value, label)) => store.put(&name, value.clone(), expect, options(*label)).await?,
                None => store.delete(&name, expect).await?,
            }]
        } else {
            store.commit(parts.iter().fold(Commit::new(), |commit, part| self.add(commit, part))).await?.revisions
        };
        let written: Vec<_> = parts.iter().filter(|part| !part.check).collect();
        assert_eq!(written.len(), revisions.len());
        for (part, revision) in written.into_iter().zip(revisions) {
            self.stale.extend(self.newest.remove(part.key).map(|old| (part.key, old)));
            if part.value.is_some() {
                self.newest.insert(part.key, revision);
            }
        }
        Ok(())
    }

    fn add(&self, commit: Commit, part: &Part) -> Commit {
        let expect = self.expect(part);
        match &part.value {
            _ if part.check => commit.check(key(part.key), expect),
            Some((value, label)) => commit.put(key(part.key), value.clone(), expect, options(*label)),
            None => commit.delete(key(part.key), expect),
        }
    }

    fn expect(&self, part: &Part) -> Expect {
        let known = match part.expect {
            Expectation::Anything => return Expect::Anything,
            Expectation::Absent => return Expect::Absent,
            Expectation::Newest => &self.newest,
            Expectation::Stale => &self.stale,
        };
        known.get(part.key).map_or(Expect::Absent, |revision| Expect::At(*revision))
    }
}

fn options(label: Option<&str>) -> PutOptions {
    label.map_or_else(PutOptions::default, |label| PutOptions::default().label(label))
}

/// A number from zero to below `end`, which is small.
fn below(random: &mut Dice, end: usize) -> usize {
    usize::try_from(random.roll(end as u64)).expect("it is below a usize")
}
