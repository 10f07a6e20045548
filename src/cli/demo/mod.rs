//! `trolley demo`: several nodes on one machine, to be killed, frozen and loaded at will.

mod act;
mod buying;
mod certificates;
mod commands;
mod door;
mod ledger;
mod nodes;
mod place;
mod ports;
mod shoppers;
mod show;
mod till;
mod wiring;

use std::{
    io::{BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
    pin::Pin,
    process::{ExitCode, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use self::{
    act::World,
    certificates::Authority,
    commands::Command,
    nodes::{Fleet, Launch},
    place::Place,
    show::{Said, Screen},
    wiring::Shared,
};
use super::{Failure, Options, config::Config};

/// How often the ledger's line is rewritten.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// The longest line that can be a command.
const LINE_BYTES_MAX: u64 = 1024;
/// Lines that wait: a script may send some ahead of their answers.
const LINES_MAX: usize = 64;
/// Deaths that wait to be told: each node dies once.
const DEATHS_MAX: usize = 16;

/// What the nodes keep carts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum StoreWish {
    /// A directory of this machine, served to all nodes by the launcher
    Embedded,
    /// ScyllaDB or Apache Cassandra 5
    Scylla,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(nodes::NODES_MAX)))]
    nodes: u16,
    /// For scripts: one line when ready, then one line of JSON for each command
    #[arg(long)]
    json: bool,
    /// What the nodes keep carts in
    #[arg(long, value_enum, default_value = "embedded", value_name = "KIND")]
    store: StoreWish,
    /// Nodes of the database, host:port
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", required_if_eq("store", "scylla"))]
    contact_points: Vec<String>,
    /// Where carts and logs go, and stay [default: a temporary directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Public port of the first node, the others' follow; 0 = free ones [default: 8080, or free ones where it is taken]
    #[arg(long, value_name = "BASE")]
    port: Option<u16>,
}

pub(super) const AFTER_HELP: &str = "\
Type `help` while it runs for the commands, such as kill n2, pause n2, load on.
It ends with `quit`, Ctrl-C, SIGTERM or the end of its standard input; with
</dev/null it runs until a signal. Options in trolley.toml, TROLLEY_* and --set
reach every node, save those that the demo sets itself.

Examples:
  trolley demo
  printf 'load on\\nkill n1\\nstart n1\\nload off\\n' | trolley demo --json --nodes 1";

/// Runs until it is told to stop; then nothing that it started runs on.
pub(super) async fn run(config: &Config, options: &Options, args: &Args) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let mut signals = Signals::new().map_err(Failure::failed)?;
    let arguments = passed_on(options)?;
    let place = match &args.data_dir {
        None => Place::temporary().map_err(|error| Failure::failed(format!("a temporary directory: {error}")))?,
        Some(dir) => Place::kept(dir).map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?,
    };
    let (died, mut deaths) = mpsc::channel(DEATHS_MAX);
    let executable = std::env::current_exe().map_err(Failure::failed)?;
    let authority = Authority::make(&place.dir.join("certificates"));
    let authority = authority.map_err(|error| Failure::failed(format!("development certificates: {error}")))?;
    let shared = Shared::open(args.store, &args.contact_points, &place.dir).map_err(Failure::failed)?;
    if args.store == StoreWish::Scylla {
        migrate(&executable, &arguments, &shared).await?;
    }
    let leave_patience = config.shutdown_endpoint_lag + config.shutdown_patience;
    let launch = Launch { executable, arguments, dir: place.dir.clone(), port: args.port, leave_patience };
    let world = World::new(Fleet::new(launch, authority, shared, died), place.dir.clone());
    let taken = world.fleet.make(args.nodes).map_err(Failure::failed)?;

    let started = tokio::select! {
        started = world.fleet.start_all() => started.map_err(Failure::failed).map(|()| true),
        () = signals.next() => Ok(false),
    };
    let outcome = match started {
        Ok(true) => {
            let mut screen = Screen::new(args.json);
            let ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            sweep_later();
            match screen.ready(&world.fleet.shown(), ready_ms, &taken) {
                Ok(()) => obey(&world, &mut screen, &mut signals, &mut deaths).await,
                Err(error) => Err(error),
            }
            .map_err(|error| Failure::failed(format!("standard output: {error}")))
        }
        Ok(false) => Ok(()),
        Err(failure) => Err(failure),
    };
    // Whoever asks twice is in a hurry.
    tokio::select! {
        () = world.fleet.stop_all() => {}
        () = signals.next() => world.fleet.kill_all().await,
    }
    drop(place);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A command that is being done.
type Acting<'a> = Pin<Box<dyn Future<Output = Result<Said, String>> + 'a>>;

/// Obeys until it is told to stop.
async fn obey(
    world: &World,
    screen: &mut Screen,
    signals: &mut Signals,
    deaths: &mut mpsc::Receiver<String>,
) -> std::io::Result<()> {
    let mut lines = lines();
    let mut refresh = tokio::time::interval(REFRESH_EVERY);
    let mut acknowledged_before = 0;
    let mut rate = 0;
    // One at a time, so that each line has its answer before the next one's.
    let mut running: Option<Acting<'_>> = None;
    let (mut is_leaving, mut is_asked) = (false, true);
    loop {
        tokio::select! {
            () = signals.next() => return screen.leave(),
            Some(death) = deaths.recv() => screen.news(&death, world.live().as_ref().map(|totals| (totals, rate)))?,
            line = lines.recv(), if running.is_none() => {
                is_asked = line.is_some();
                let command = match line {
                    // Nobody is there any more.
                    None => Ok(Command::Quit),
                    Some(line) if line.trim().is_empty() && screen.is_live() => {
                        screen.answer(&Ok(Said::default()), world.live().as_ref().map(|totals| (totals, rate)))?;
                        continue;
                    }
                    Some(line) => commands::parse(&line),
                };
                is_leaving = command == Ok(Command::Quit);
                running = Some(Box::pin(async move { world.act(command?).await }));
            }
            answer = async { match running.as_mut() { Some(running) => running.await, None => std::future::pending().await } } => {
                running = None;
                if is_leaving {
                    screen.prompt_no_more();
                }
                let totals = world.live();
                if totals.is_none_or(|totals| totals.acknowledged < acknowledged_before) {
                    (acknowledged_before, rate) = (0, 0);
                }
                // A script that asked for nothing more gets nothing more.
                if is_asked || !screen.is_json() {
                    screen.answer(&answer, totals.as_ref().map(|totals| (totals, rate)))?;
                }
                if is_leaving {
                    return Ok(());
                }
            }
            _ = refresh.tick() => if let Some(totals) = world.live() {
                rate = totals.acknowledged.saturating_sub(acknowledged_before);
                acknowledged_before = totals.acknowledged;
                screen.refresh(&totals, rate)?;
            }
        }
    }
}

/// What ends the demo from outside.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Self([signal(terminate)?, signal(interrupt)?, signal(hangup)?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The launcher's own options for every node; those that the demo sets itself would make all nodes the same.
fn passed_on(options: &Options) -> Result<Vec<String>, Failure> {
    let mut arguments = Vec::new();
    if let Some(config) = &options.config {
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
    }
    for set in &options.set {
        let name = set.split_once('=').map_or(set.as_str(), |(name, _)| name.trim());
        if wiring::OWN.contains(&name) {
            return Err(Failure::usage(format!("the demo sets {name} itself, for each node")));
        }
        arguments.extend(["--set".to_owned(), set.clone()]);
    }
    Ok(arguments)
}

/// Brings the database's schema to this release's, as an operator does before the first start.
async fn migrate(executable: &Path, arguments: &[String], shared: &Shared) -> Result<(), Failure> {
    let mut command = tokio::process::Command::new(executable);
    command
        .arg("migrate")
        .args(arguments)
        .envs(shared.options.iter().map(|(key, value)| (nodes::variable(key), value)));
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(Failure::failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::failed(format!("the database's schema: {said}")))
}

/// Lines of standard input, ended by its end. The null device has no lines, and no end either: it is what stands there
/// when nobody does.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let stdin = std::io::stdin();
    let kind = rustix::fs::fstat(&stdin).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
    let is_null = kind == Ok(rustix::fs::FileType::CharacterDevice) && !stdin.is_terminal();
    // A thread of its own: reading cannot be given up, and the runtime would wait for one of its own.
    let read = move || {
        let mut stdin = stdin.lock();
        loop {
            let mut line = Vec::new();
            match stdin.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            // The rest of a line that is too long belongs to it: it has one answer.
            let mut rest = line.clone();
            while !rest.ends_with(b"\n") && rest.len() as u64 == LINE_BYTES_MAX {
                rest.clear();
                if stdin.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut rest).is_err() {
                    break;
                }
            }
            if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return; // the demo ends
            }
        }
        // Parking may end by itself.
        loop {
            if !is_null {
                return;
            }
            std::thread::park();
        }
    };
    // Without the thread, its end of the channel is dropped: as if standard input had ended.
    let _ = std::thread::Builder::new().name("commands".to_owned()).spawn(read);
    lines
}

/// Not before the nodes are ready: nobody waits for the tidying.
fn sweep_later() {
    // Without the thread, a later start sweeps.
    let _ = std::thread::Builder::new().name("sweep".to_owned()).spawn(|| place::sweep(&std::env::temp_dir()));
}

/// What is behind the lock; nothing here panics while it holds one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
