//! Nodes and what goes between them.

mod hostile;
mod node;
mod transport;
