//! The end of a save, told by whichever thread knows it.

use std::fmt;

use super::{Reason, Saved};

/// Whoever is told how a save ended: once, whatever becomes of the store.
pub struct Done(Option<Box<dyn FnOnce(Saved) + Send>>);

impl Done {
    /// Calls `tell` with the end of the save. It runs where the store tells everyone: it must not wait.
    pub fn new(tell: impl FnOnce(Saved) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Tells.
    pub fn tell(mut self, saved: Saved) {
        if let Some(tell) = self.0.take() {
            tell(saved);
        }
    }
}

impl Drop for Done {
    /// The store died with the save in its hands: it may have been applied.
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Saved::Unknown(Reason::new("the store stopped before it told how a save ended")));
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_save_is_told_once_also_by_a_store_that_dies() {
        let (sender, told) = sync_channel(3);
        let done = || {
            let sender = sender.clone();
            Done::new(move |saved| sender.send(saved).unwrap())
        };
        done().tell(Saved::Applied);
        drop(done());
        assert_eq!(told.recv(), Ok(Saved::Applied));
        assert!(matches!(told.recv(), Ok(Saved::Unknown(_))));
        assert!(told.try_recv().is_err());
    }
}
