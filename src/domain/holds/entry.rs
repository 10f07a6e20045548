//! What holds are, and how a change is folded into them.

use super::{FORGOTTEN_MAX, KEPT_MS, act::Change};
use crate::domain::{Reference, UnixMillis};

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Set aside until `expires_at`.
    Held,
    /// Set aside until its checkout says what has come of the payment.
    Pinned,
    /// Bought.
    Committed,
    /// Given back.
    Released,
    /// Its checkout will never speak of it again.
    Forgotten,
}

/// So much (or for whom) as one checkout has set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold<W> {
    /// Its name: who asked.
    pub by: Reference,
    /// What is held: a quantity, or the shopper who uses a code.
    pub what: W,
    /// Where it is in its life.
    pub state: State,
    /// The newest attempt that it was pinned or unpinned for; 0 = none yet.
    pub attempt: u32,
    /// Held: until when. Released or forgotten: from when on it may go. Means nothing otherwise.
    pub expires_at: UnixMillis,
}

impl<W> Hold<W> {
    /// Whether it still keeps what it holds from others.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Held | State::Pinned)
    }

    /// Whether its time is over, though nobody may have said so yet.
    #[must_use]
    pub fn has_lapsed(&self, now: UnixMillis) -> bool {
        self.state == State::Held && self.expires_at <= now
    }

    /// Whether it ended so long ago that there is nothing left for it to refuse.
    #[must_use]
    pub fn is_spent(&self, now: UnixMillis) -> bool {
        matches!(self.state, State::Released | State::Forgotten) && self.expires_at <= now
    }
}

/// A hold that went from one state to another; what its owner must account for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift<W> {
    /// What is held.
    pub what: W,
    /// Where it was; `None` = it is new.
    pub from: Option<State>,
    /// Where it is.
    pub to: State,
}

/// The holds on one thing, by name, no name twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds<W>(Vec<Hold<W>>);

impl<W> Default for Holds<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: Copy> Holds<W> {
    /// These holds, if they stand in the order of their names and no name is there twice.
    #[must_use]
    pub fn from_sorted(holds: Vec<Hold<W>>) -> Option<Self> {
        holds.is_sorted_by(|one, next| one.by < next.by).then_some(Self(holds))
    }

    /// All of them, sorted by name.
    #[must_use]
    pub fn as_slice(&self) -> &[Hold<W>] {
        &self.0
    }

    /// The hold of this name.
    #[must_use]
    pub fn get(&self, by: Reference) -> Option<&Hold<W>> {
        self.find(by).ok().and_then(|at| self.0.get(at))
    }

    /// Those that keep something from others.
    pub fn open(&self) -> impl Iterator<Item = &Hold<W>> {
        self.0.iter().filter(|hold| hold.is_open())
    }

    /// Those whose time is over and whose end nobody has said yet.
    pub fn lapsed(&self, now: UnixMillis) -> impl Iterator<Item = &Hold<W>> {
        self.0.iter().filter(move |hold| hold.has_lapsed(now))
    }

    /// When the next hold lapses.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.0.iter().filter(|hold| hold.state == State::Held).map(|hold| hold.expires_at).min()
    }

    /// Whether one more fits, where at most `open_max` may be open and `holds_max` be there at all, once those whose time
    /// is over have made room.
    #[must_use]
    pub fn has_room(&self, open_max: usize, holds_max: usize, now: UnixMillis) -> bool {
        let open = self.open().filter(|hold| !hold.has_lapsed(now)).count();
        let kept = self.0.iter().filter(|hold| !hold.is_spent(now)).count();
        open < open_max && kept < holds_max
    }

    /// Whether there are ended holds that refuse nothing any more.
    #[must_use]
    pub fn has_spent(&self, now: UnixMillis) -> bool {
        self.0.iter().any(|hold| hold.is_spent(now))
    }

    /// Drops the ended holds that refuse nothing any more.
    pub fn drop_spent(&mut self, now: UnixMillis) {
        self.0.retain(|hold| !hold.is_spent(now));
    }

    /// Folds `change`, which happened at `at`; total: one that does not fit changes nothing. `Some` = what its owner
    /// must account for.
    pub fn evolve(&mut self, change: &Change<W>, at: UnixMillis) -> Option<Shift<W>> {
        let kept_until = at.plus_ms(KEPT_MS);
        match *change {
            Change::Held { by, what, expires_at } => self.insert(by, what, State::Held, expires_at),
            Change::Barred { by, what } => self.insert(by, what, State::Released, kept_until),
            Change::Forgotten { by } => {
                let place = self.find(by).ok()?;
                let hold = self.0.get_mut(place).filter(|hold| !hold.is_open())?;
                hold.expires_at = kept_until;
                let shift = shift(hold, State::Forgotten);
                self.bound_forgotten();
                shift
            }
            Change::Extended { by, expires_at } => {
                let hold = self.get_mut(by)?;
                hold.expires_at = expires_at;
                None
            }
            Change::Pinned { by, attempt } => {
                let hold = self.get_mut(by)?;
                hold.attempt = attempt;
                shift(hold, State::Pinned)
            }
            Change::Unpinned { by, attempt, expires_at } => {
                let hold = self.get_mut(by)?;
                hold.attempt = attempt;
                hold.expires_at = expires_at;
                shift(hold, State::Held)
            }
            Change::Committed { by } => shift(self.get_mut(by)?, State::Committed),
            Change::Released { by } => {
                let hold = self.get_mut(by)?;
                hold.expires_at = kept_until;
                shift(hold, State::Released)
            }
        }
    }

    fn insert(&mut self, by: Reference, what: W, to: State, expires_at: UnixMillis) -> Option<Shift<W>> {
        let place = self.find(by).err()?;
        self.0.insert(place, Hold { by, what, state: to, attempt: 0, expires_at });
        Some(Shift { what, from: None, to })
    }

    fn bound_forgotten(&mut self) {
        let forgotten = || self.0.iter().filter(|hold| hold.state == State::Forgotten);
        if forgotten().count() > FORGOTTEN_MAX
            && let Some((_, oldest)) = forgotten().map(|hold| (hold.expires_at, hold.by)).min()
        {
            self.0.retain(|hold| hold.by != oldest);
        }
    }

    /// The open hold of this name: whatever else there is changes no more.
    fn get_mut(&mut self, by: Reference) -> Option<&mut Hold<W>> {
        let place = self.find(by).ok()?;
        self.0.get_mut(place).filter(|hold| hold.is_open())
    }

    fn find(&self, by: Reference) -> Result<usize, usize> {
        self.0.binary_search_by_key(&by, |hold| hold.by)
    }
}

fn shift<W: Copy>(hold: &mut Hold<W>, to: State) -> Option<Shift<W>> {
    let from = std::mem::replace(&mut hold.state, to);
    (from != to).then_some(Shift { what: hold.what, from: Some(from), to })
}
