//! Nodes and what goes between them.

mod crash;
mod faults;
mod forward;
mod hostile;
mod node;
mod partition;
mod purchase;
mod rollout;
mod seen;
mod shop;
mod stream;
mod transport;
