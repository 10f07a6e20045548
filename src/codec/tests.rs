//! Round trips, golden bytes, damage.
