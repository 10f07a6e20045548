//! Frees memtables where nobody waits for it. fjall frees a flushed one under the lock that every read and write of its
//! keyspace takes: some ten thousand allocations, milliseconds in which nothing is saved. Whoever holds one more reference
//! gets to free it.

use std::{any::Any, sync::Arc};

use fjall::AbstractTree;

use super::files::Tree;

/// A memtable, whose type fjall does not name.
type Memtable = Arc<dyn Any + Send + Sync>;

/// One more reference to each memtable that was in use when a batch ended.
#[derive(Default)]
pub(super) struct Memtables(Vec<Memtable>);

impl Memtables {
    /// Takes note of those in use. Gives out those that fjall uses no more: dropping them frees them.
    pub(super) fn turn_over(&mut self, tree: &Tree) -> Vec<Memtable> {
        for keyspace in [&tree.rows, &tree.index] {
            let active: Memtable = keyspace.tree.active_memtable();
            if !self.0.iter().any(|held| Arc::ptr_eq(held, &active)) {
                self.0.push(active);
            }
        }
        self.0.extract_if(.., |held| Arc::strong_count(held) == 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{Options, files::Directory};

    /// Rows of a few memtables: enough for one to be flushed, and for fjall to let go of it at the next's turn.
    const BYTES_MAX: usize = 64 * 1024 * 1024;

    #[test]
    fn a_flushed_memtable_is_given_out_and_no_other() {
        let dir = std::env::temp_dir().join(format!("trolley-memtables-{:x}", crate::telemetry::clock::random()));
        let tree = Directory::lock(Options::new(&dir)).unwrap().open().unwrap();
        let mut memtables = Memtables::default();
        let row = [7; 64 * 1024];
        let spent = (0..BYTES_MAX / row.len()).find_map(|n| {
            tree.rows.insert(n.to_be_bytes(), row).unwrap();
            Some(memtables.turn_over(&tree)).filter(|spent| !spent.is_empty())
        });
        let spent = spent.expect("fjall never let go of a memtable");
        assert!(spent.iter().all(|spent| Arc::strong_count(spent) == 1), "dropping them frees them");
        // fjall may put another one to use between the two looks, which the last rows bring about once.
        let is_active_held = (0..3).any(|_| {
            let active: Memtable = tree.rows.tree.active_memtable();
            memtables.turn_over(&tree);
            memtables.0.iter().any(|held| Arc::ptr_eq(held, &active))
        });
        assert!(is_active_held, "the one in use is kept");
        drop(tree);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
