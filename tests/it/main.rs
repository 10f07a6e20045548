//! Integration tests: one binary, one module per room.

// The attribute tells the compiler nothing new, and clippy that the helpers of tests may unwrap as tests may.
#[cfg(test)]
mod cli;
#[cfg(test)]
mod http;
#[cfg(test)]
mod process;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
