//! A barrier: nobody goes on before everybody has arrived, again and again.
//!
//! It promises that a generation is complete exactly when so many parties are there at the same time, that a party that arrives
//! twice is there once, and that an arrival that is repeated because its answer was lost finds the generation that it was part
//! of. It does not know who waits, nor how long.

pub mod pb;

use super::NotThis;
use bytes::Bytes;
use prost::Message as _;

/// What tells a stored barrier from everything else.
pub const KIND: u32 = 7;

/// The most parties that a barrier can have.
pub const MAX_PARTIES: u32 = 4096;

/// Tells one arrival from others, also of the same party: a number that nobody else draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arrival(u64);

impl Arrival {
    /// Takes a number that nobody else has drawn.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self(nonce)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Party {
    id: Box<str>,
    arrival: Arrival,
}

/// How many have to arrive, and who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    parties: u32,
    generation: u64,
    arrived: Vec<Party>,
    /// The arrivals that the last generation was complete with: who lost the answer finds it here.
    passed: Vec<Arrival>,
    born: u64,
}

/// What a state is to a party that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Others are missing.
    Waiting,
    /// Everybody was there.
    Passed,
    /// It does not wait any more: it was withdrawn, or the barrier was made anew.
    Gone,
}

impl Barrier {
    /// Makes a barrier for so many parties, 1 to [`MAX_PARTIES`]; `born` is a number that nobody else has drawn.
    #[must_use]
    pub fn new(parties: u32, born: u64) -> Self {
        Self { parties, generation: 0, arrived: Vec::new(), passed: Vec::new(), born }
    }

    /// Returns what tells it from another one that has its name: generations of two barriers are not to be compared.
    #[must_use]
    pub fn born(&self) -> u64 {
        self.born
    }

    /// Returns how many have to arrive.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// Returns how often everybody has arrived: the number of the generation that waits now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns who waits, in the order of arrival.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.arrived.iter().map(|p| &*p.id)
    }

    /// Arrives as `id`, and returns the generation that this arrival is part of. The last one to arrive completes it.
    ///
    /// A party that is there already stays there, under the newer arrival: a party that died and was started again waits with
    /// the others, and cannot be withdrawn by what was left of it.
    pub fn arrive(&mut self, id: &str, arrival: Arrival) -> u64 {
        if self.passed.contains(&arrival) {
            return self.generation.saturating_sub(1);
        }
        let generation = self.generation;
        match self.arrived.iter_mut().find(|p| *p.id == *id) {
            Some(party) => party.arrival = arrival,
            None => self.arrived.push(Party { id: id.into(), arrival }),
        }
        if self.arrived.len() >= self.parties as usize {
            self.passed = self.arrived.drain(..).map(|p| p.arrival).collect();
            self.generation = self.generation.saturating_add(1);
        }
        generation
    }

    /// Takes an arrival back, unless its generation is complete; returns what the state is to it now.
    pub fn withdraw(&mut self, id: &str, arrival: Arrival, generation: u64) -> State {
        self.arrived.retain(|p| p.arrival != arrival);
        self.seen_by(id, generation)
    }

    /// Tells what this state is to a party that arrived in `generation`.
    #[must_use]
    pub fn seen_by(&self, id: &str, generation: u64) -> State {
        if self.generation > generation {
            State::Passed
        } else if self.generation == generation && self.arrived.iter().any(|p| *p.id == *id) {
            State::Waiting
        } else {
            State::Gone
        }
    }

    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let party = |p: &Party| pb::Party { id: String::from(&*p.id), arrival: p.arrival.0 };
        let stored = pb::Barrier {
            kind: KIND,
            parties: self.parties,
            generation: self.generation,
            arrived: self.arrived.iter().map(party).collect(),
            passed: self.passed.iter().map(|a| a.0).collect(),
            born: self.born,
        };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Barrier::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "barrier")?;
        if stored.parties == 0 || stored.parties > MAX_PARTIES {
            return Err(NotThis::Broken("its number of parties is out of range"));
        }
        if stored.arrived.len() >= stored.parties as usize || stored.passed.len() > stored.parties as usize {
            return Err(NotThis::Broken("more have arrived than it is for"));
        }
        let party = |p: pb::Party| Party { id: p.id.into_boxed_str(), arrival: Arrival(p.arrival) };
        Ok(Self {
            parties: stored.parties,
            generation: stored.generation,
            arrived: stored.arrived.into_iter().map(party).collect(),
            passed: stored.passed.into_iter().map(Arrival).collect(),
            born: stored.born,
        })
    }
}
