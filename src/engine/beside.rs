//! What the rooms above keep beside a space, once a process, so that everyone who opens the space shares it.
//!
//! It is found by its type and a name. It does not know what it keeps, and lives as long as the space's handles.

use super::locked;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

type Kept = HashMap<(TypeId, &'static str), Arc<dyn Any + Send + Sync>>;

/// Things of any type, at most one of each type and name.
#[derive(Default)]
pub(super) struct Beside(Mutex<Kept>);

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beside")
    }
}

impl Beside {
    /// Returns what is kept, and makes it when it is not there.
    pub(super) fn get<T: Send + Sync + 'static>(&self, name: &'static str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = locked(&self.0);
        let found = kept.entry((TypeId::of::<T>(), name)).or_insert_with(|| Arc::new(make()));
        Arc::clone(found).downcast().expect("it was found by its type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_made_once_for_each_type_and_name() {
        let beside = Beside::default();
        let first = beside.get("a", || 1_u32);
        assert_eq!((*first, *beside.get("a", || 2_u32), *beside.get("b", || 3_u32), *beside.get("a", || 4_u64)), (1, 1, 3, 4));
        assert!(Arc::ptr_eq(&first, &beside.get("a", || 5_u32)));
    }
}
