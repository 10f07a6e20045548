//! The binary: everything is in the library.

use std::process::ExitCode;

/// Fewer bytes per small allocation than the system's allocator, and memory that shrinks again after a peak.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    trolley::cli::run()
}
