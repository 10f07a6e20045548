//! Logs: readable on a terminal, JSON otherwise, on standard error; the level can be changed while running.

use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Crates that say too much at `info`, or print payloads at `debug`. ractor_cluster warns of every session that ends:
/// the transport tells that itself.
const QUIET: [&str; 6] =
    ["ractor=warn", "ractor_cluster=error", "fjall=warn", "lsm_tree=warn", "hyper=warn", "scylla=warn"];

struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
}

static LEVEL: OnceLock<Level> = OnceLock::new();

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging; a second call changes nothing.
///
/// # Errors
/// What is wrong with the level.
pub fn start(format: Format, level: &str) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    if LEVEL.set(Level { handle }).is_err() {
        return Ok(());
    }
    let is_terminal = stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text | Format::Auto if format == Format::Text || is_terminal => registry
            .with(fmt::layer().with_writer(stderr).with_target(false).with_ansi(is_terminal && colour()))
            .try_init(),
        _ => registry.with(fmt::layer().json().flatten_event(true).with_writer(stderr).with_target(true)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Changes what is logged from now on.
///
/// # Errors
/// What is wrong with the level.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    match LEVEL.get() {
        Some(running) => running.handle.reload(filter).map_err(|error| error.to_string()),
        None => Err("logging has not been started".to_owned()),
    }
}

/// What is logged now.
#[must_use]
pub fn level() -> String {
    LEVEL.get().and_then(|level| level.handle.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Whether a text is a level.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let directives = QUIET.iter().copied().chain(std::iter::once(level)).collect::<Vec<_>>().join(",");
    let is_word = !level.contains(['=', ',']);
    // A lone word that is no level would silently be taken as a module's name.
    if is_word && !["off", "error", "warn", "info", "debug", "trace"].contains(&level.trim()) {
        return Err("must be error, warn, info, debug, trace or a filter".to_owned());
    }
    EnvFilter::try_new(directives).map_err(|error| format!("{error}: invalid level or filter"))
}

#[expect(clippy::disallowed_methods, reason = "NO_COLOR is a convention between all programs, not one of our options")]
pub(crate) fn colour() -> bool {
    std::env::var("NO_COLOR").map_or(true, |value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_makes_sessions_between_nodes_print_what_they_carry() {
        for level in ["debug", "trace", "trolley=debug,info"] {
            assert!(filter(level).unwrap().to_string().contains("ractor_cluster=error"), "{level}");
        }
    }
}
