//! Which record format may be written: one that every member reads, and never again an older one.
//!
//! The map remembers it, so the very compare-and-set that gives a shard to a node also holds whether that node reads what
//! has been written. Raising it is a change of the map like any other, made by any member that sees every owner and every
//! member read the next one. A node that does not read it is given nothing, gives its seat back and says why.

use super::{Machine, Note, Output, planted};
use crate::codec::{Member, ShardMap};

impl Machine {
    /// The newest format that every member reads, as far as this node knows the members.
    pub(super) fn readable(&self) -> u16 {
        let own = self.seat.member.format_max;
        let others = self.members.values().filter(|watched| watched.is_member());
        if planted!(FormatRaisedEarly) {
            return own;
        }
        others.map(|watched| watched.member.format_max).chain([own]).min().unwrap_or(own)
    }

    /// The format to raise the map's to. Every owner must be a member that this node knows: of one that the map names
    /// and that is no more, it does not know what it reads, nor whether it has noticed.
    pub(super) fn format_due(&self, map: &ShardMap) -> Option<u16> {
        let format = self.readable();
        let reads = |node: &str, incarnation: u64| {
            self.is_me(node, incarnation)
                || self.members.get(node).is_some_and(|watched| {
                    watched.is_member() && watched.member.incarnation == incarnation && watched.member.reads(format)
                })
        };
        let all_read = self.seat.member.reads(format)
            && self.members.values().filter(|watched| watched.is_member()).all(|watched| watched.member.reads(format))
            && map.shards.iter().all(|entry| reads(&entry.node, entry.incarnation));
        (format > map.format && (all_read || planted!(FormatRaisedEarly))).then_some(format)
    }

    /// Whether a member reads what has been written.
    pub(super) fn reads_all(&self, member: &Member) -> bool {
        planted!(FormatForgotten) || self.map.as_ref().is_none_or(|known| member.reads(known.map.format))
    }

    /// What has been written, where this release does not read it.
    pub(super) fn unreadable(&self) -> Option<u16> {
        let written = self.map.as_ref()?.map.format;
        (!self.reads_all(&self.seat.member)).then_some(written)
    }

    /// A node that cannot read what is there leaves: it read an older map when it started.
    pub(super) fn judge_format(&mut self, out: &mut Vec<Output>) {
        if let Some(written) = self.unreadable()
            && !self.leaving
        {
            self.leaving = true;
            out.push(Output::Note(Note::Unreadable(written)));
        }
    }
}
