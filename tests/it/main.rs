//! Integration tests: one binary, one module for each room or user's concern.

// The attribute says nothing new to the compiler; it tells clippy that helpers may unwrap as tests may.
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
