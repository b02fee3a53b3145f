//! What was there before, for reads that are stale: whole answers that the engine gave, and nothing that is put together.
//!
//! An answer is noted with the moment before it was read, so what is served later is known to be not older than that. Moments
//! are counted and not measured. What other processes write past the wrappers is known only when somebody reads it here.

use super::locked;
use crate::engine::{Entry, Key};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

/// The most answers that are kept of one question.
const STATES: usize = 8;
/// The most questions of which answers are kept; the one that came first goes first.
const QUESTIONS: usize = 4096;

/// A moment; each has a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(u64);

type Answer = Vec<Option<Entry>>;
type Question = (Box<str>, Vec<Key>);

#[derive(Debug, Default)]
pub(super) struct Past(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    moment: u64,
    answers: BTreeMap<Question, VecDeque<(Moment, Answer)>>,
    order: VecDeque<Question>,
}

impl Past {
    /// Returns a moment that comes after all before it.
    pub(super) fn now(&self) -> Moment {
        let mut known = locked(&self.0);
        known.moment += 1;
        Moment(known.moment)
    }

    /// Notes an answer that was asked for after `moment`.
    pub(super) fn note(&self, place: &str, keys: &[Key], answer: &[Option<Entry>], moment: Moment) {
        let mut known = locked(&self.0);
        let question = (Box::from(place), keys.to_vec());
        if !known.answers.contains_key(&question) {
            known.order.push_back(question.clone());
            if known.order.len() > QUESTIONS
                && let Some(first) = known.order.pop_front()
            {
                known.answers.remove(&first);
            }
        }
        let states = known.answers.entry(question).or_default();
        match states.back_mut() {
            Some((last, same)) if same == answer => *last = moment.max(*last),
            _ => states.push_back((moment, answer.to_vec())),
        }
        if states.len() > STATES {
            states.pop_front();
        }
    }

    /// Lists the questions that were asked and that one of these keys is part of, the ones about a single key always.
    pub(super) fn touched(&self, place: &str, keys: &[&Key]) -> Vec<Vec<Key>> {
        let known = locked(&self.0);
        let mut all: Vec<Vec<Key>> = keys.iter().map(|key| vec![Key::clone(key)]).collect();
        let asked = known.answers.keys().filter(|(at, of)| **at == *place && of.len() > 1);
        all.extend(asked.filter(|(_, of)| keys.iter().any(|key| of.contains(key))).map(|(_, of)| of.clone()));
        all
    }

    /// Returns another answer than the fresh one, so many states back or the oldest, and not from before `least`.
    pub(super) fn older(&self, place: &str, keys: &[Key], fresh: &Answer, back: usize, least: Moment) -> Option<Answer> {
        let known = locked(&self.0);
        let states = known.answers.get(&(Box::from(place), keys.to_vec()))?;
        let mut others: Vec<_> = states.iter().filter(|(at, answer)| *at >= least && answer != fresh).collect();
        others.reverse();
        others.get(back.max(1).min(others.len()).checked_sub(1)?).map(|(_, answer)| answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Revision, time::Timestamp};

    fn key() -> Key {
        Key::new("k").expect("a key")
    }

    fn entry(revision: u64) -> Answer {
        vec![Some(Entry::new(key(), "v".into(), Revision::new(revision), None, Timestamp::EPOCH))]
    }

    #[test]
    fn an_older_answer_is_one_that_was_given() {
        let past = Past::default();
        let answers = [vec![None], entry(1), entry(2), entry(3)];
        for answer in &answers {
            past.note("s", &[key()], answer, past.now());
        }
        let older = |back| past.older("s", &[key()], &answers[3], back, Moment::default());
        assert_eq!([older(1), older(2), older(3), older(9)], [2, 1, 0, 0].map(|n| Some(answers[n].clone())));
        assert_eq!(past.older("t", &[key()], &answers[3], 1, Moment::default()), None);
    }

    #[test]
    fn nothing_from_before_a_moment_is_served() {
        let past = Past::default();
        past.note("s", &[key()], &entry(1), past.now());
        let moment = past.now();
        assert_eq!(past.older("s", &[key()], &entry(3), 1, moment), None);
        past.note("s", &[key()], &entry(2), past.now());
        assert_eq!(past.older("s", &[key()], &entry(3), 2, moment), Some(entry(2)));
    }
}
