//! The cells that take part in a change of several, whatever their types.

use crate::{
    cell::{
        desk::{Joined, Known, Place, Turn},
        error::CellError,
        handle::Cell,
        shelf::decode,
        trail::{Base, Mark},
    },
    engine::{Entry, Key, Revision, Store, Write, WriteOp},
    time::Clock,
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Where a change is made, and how long it may take.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) tasks: TaskTracker,
    pub(super) deadline: Duration,
}

/// Some cells, and what they are while they take part.
pub trait Group: Send {
    /// Owned, so that a task of its own can have them.
    type Members: Send + 'static;
    fn members(&self) -> Self::Members;
    fn parts(members: &mut Self::Members) -> Vec<&mut dyn Part>;
}

/// One of the cells.
#[async_trait]
pub trait Part: Send {
    fn key(&self) -> &Key;
    fn host(&self) -> Host;
    /// What the change replaces.
    fn base(&self) -> Base;
    /// Whether the process knows the key.
    fn is_known(&self) -> bool;
    /// Waits until the key is for this change alone.
    async fn enter(&mut self) -> Result<(), CellError>;
    /// Takes over what was read.
    fn load(&mut self, entry: Option<Entry>) -> Result<(), CellError>;
    /// Puts the value in front of the closure.
    fn begin(&mut self);
    /// Says how the value is written.
    fn write(&self, mark: Mark) -> Result<Write, CellError>;
    /// Takes over that it was written, with this revision.
    fn written(&mut self, mark: Mark, revision: Revision);
    /// Forgets what is not known any more.
    fn forget(&mut self);
}

/// A cell with its turn, and with the value as the closure has it.
#[expect(missing_debug_implementations, reason = "nobody outside can name it")]
pub struct Member<T> {
    cell: Cell<T>,
    turn: Option<Turn<T>>,
    value: T,
}

impl<T: Clone + Default + Send + Sync + 'static> Member<T> {
    fn new(cell: &Cell<T>) -> Self {
        Self { cell: cell.clone(), turn: None, value: T::default() }
    }

    pub(super) fn value(&mut self) -> &mut T {
        &mut self.value
    }

    fn known(&self) -> Option<&Known<T>> {
        self.turn.as_ref()?.known.as_ref()
    }

    fn know(&mut self, known: Option<Known<T>>) {
        if let Some(turn) = &mut self.turn {
            turn.known = known;
        }
    }
}

#[async_trait]
impl<T: Clone + Default + Send + Sync + 'static> Part for Member<T> {
    fn key(&self) -> &Key {
        self.cell.key()
    }

    fn host(&self) -> Host {
        let Cell { shelf: of, settings, .. } = &self.cell;
        let (store, clock) = (Arc::clone(&of.store), of.clock.clone());
        Host { store, clock, tasks: of.tasks.clone(), deadline: settings.deadline }
    }

    fn base(&self) -> Base {
        self.known().map_or(Base::of(None), |known| known.base)
    }

    fn is_known(&self) -> bool {
        self.known().is_some()
    }

    async fn enter(&mut self) -> Result<(), CellError> {
        let Cell { shelf: of, settings, .. } = &self.cell;
        let (turn, granted) = oneshot::channel();
        let desk = of.desk(self.cell.key(), settings.line);
        if let (desk, Joined::Unserved) = of.join(desk, Place::Alone(turn)) {
            of.serve(desk);
        }
        match of.clock.timeout(settings.deadline, granted).await {
            Some(Ok(turn)) => self.turn = Some(turn),
            Some(Err(_)) => return Err(CellError::Unavailable("the runtime stopped before it was the change's turn".into())),
            None => return Err(CellError::Busy(self.cell.key().clone())),
        }
        Ok(())
    }

    fn load(&mut self, entry: Option<Entry>) -> Result<(), CellError> {
        let known = match entry {
            Some(entry) => Known::of(&entry, decode(self.cell.shelf.codec, &entry)?),
            None => Known::absent(),
        };
        self.know(Some(known));
        Ok(())
    }

    fn begin(&mut self) {
        self.value = self.known().and_then(|known| known.value.clone()).unwrap_or_default();
    }

    fn write(&self, mark: Mark) -> Result<Write, CellError> {
        let Cell { shelf: of, settings, .. } = &self.cell;
        let base = self.base();
        let bytes = of.codec.encode(&self.value).map_err(CellError::Encode)?;
        let options = of.options(settings.ttl, base.trail.follow(mark, base.trail.fence));
        Ok(Write { key: self.cell.key().clone(), expect: base.expect(), op: WriteOp::Put(bytes, options) })
    }

    fn written(&mut self, mark: Mark, revision: Revision) {
        let trail = self.base().trail;
        let base = Base { revision: Some(revision), trail: trail.follow(mark, trail.fence) };
        let known = Known { value: Some(std::mem::take(&mut self.value)), base };
        self.know(Some(known));
    }

    fn forget(&mut self) {
        self.know(None);
    }
}

impl<T: Clone + Default + Send + Sync + 'static> Group for &[Cell<T>] {
    type Members = Vec<Member<T>>;

    fn members(&self) -> Vec<Member<T>> {
        self.iter().map(Member::new).collect()
    }

    fn parts(members: &mut Vec<Member<T>>) -> Vec<&mut dyn Part> {
        members.iter_mut().map(|member| member as &mut dyn Part).collect()
    }
}

macro_rules! tuples {
    ($(($($cell:ident $member:ident),+))+) => {$(
        impl<$($cell: Clone + Default + Send + Sync + 'static),+> Group for ($(&Cell<$cell>,)+) {
            type Members = ($(Member<$cell>,)+);

            fn members(&self) -> Self::Members {
                let ($($member,)+) = self;
                ($(Member::new($member),)+)
            }

            fn parts(($($member,)+): &mut Self::Members) -> Vec<&mut dyn Part> {
                vec![$($member),+]
            }
        }
    )+};
}

tuples! {
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
}
