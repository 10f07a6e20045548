//! The command line. Exit codes: 0 fine, 1 failed, 2 wrong usage or options.

mod actor;
mod catalog;
pub mod config;
mod demo;
mod doctor;
mod client;
mod cluster;
mod migrate;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::config::{Config, Layers, LogFormat};
use crate::{app, telemetry::logs};

/// A shop's cart and checkout as a cluster of durable actors.
#[derive(Debug, Parser)]
#[command(name = "trolley", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Options {
    /// File of options [default: trolley.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An option, as `trolley config show` lists them; may be given repeatedly
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node until SIGTERM or SIGINT
    #[command(
        after_help = "Examples:\n  trolley serve\n  trolley serve --set http.listen=127.0.0.1:8081 --set store.data_dir=/tmp/shop"
    )]
    Serve {
        /// Let nodes talk in plain text, and whoever reaches their port be one: never where shoppers are
        #[arg(long)]
        insecure: bool,
        /// End at once when standard input ends: whoever started this node holds its other end
        #[arg(long, hide = true)]
        stop_with_stdin: bool,
    },
    /// Run several nodes on this machine, to be killed, frozen and loaded
    #[command(after_help = demo::AFTER_HELP)]
    Demo(demo::Args),
    /// Show or check the options
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check or import a catalogue
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Bring the database's schema to this release's; several may run at once
    #[command(
        after_help = "Examples:\n  trolley migrate --set store.kind=scylla --set store.contact_points=db1:9042\n  trolley migrate --check\n  trolley migrate --dry-run --dialect scylladb"
    )]
    Migrate {
        /// Only tell whether the schema fits this release: exit code 0 if it does, 1 if not
        #[arg(long)]
        check: bool,
        /// Print the statements that would run, and change nothing
        #[arg(long, conflicts_with = "check")]
        dry_run: bool,
        /// Which database it is, in place of finding out; with --dry-run no database is needed then
        #[arg(long, value_name = "NAME")]
        dialect: Option<migrate::DialectName>,
    },
    /// Look at an actor
    #[command(subcommand)]
    Actor(ActorCommand),
    /// Look at the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look for what may keep a node from running well
    #[command(after_help = "Examples:\n  trolley doctor\n  trolley doctor --json --set store.data_dir=/tmp/shop")]
    Doctor {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Show the release
    #[command(after_help = "Examples:\n  trolley version\n  trolley version --json")]
    Version {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  trolley completions bash > ~/.local/share/bash-completion/completions/trolley\n  trolley completions zsh > ~/.zfunc/_trolley"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every option and its value
    #[command(
        after_help = "Examples:\n  trolley config show\n  trolley config show --origin\n  trolley config show --json"
    )]
    Show {
        /// Also who said it
        #[arg(long)]
        origin: bool,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Whether every option fits
    #[command(after_help = "Examples:\n  trolley config check\n  trolley config check --config staging.toml")]
    Check,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Whether a JSON Lines file is a catalogue; tells every fault by its line
    #[command(
        after_help = "Examples:\n  trolley catalog check products.jsonl\n  trolley catalog check products.jsonl && echo fine"
    )]
    Check {
        /// One product per line
        file: PathBuf,
    },
    /// Replace the stored catalogue by a file's
    #[command(
        after_help = "Examples:\n  trolley catalog import products.jsonl\n  trolley catalog import products.jsonl --set store.data_dir=/tmp/shop"
    )]
    Import {
        /// One product per line
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Make the running node leave: unready, then finish what was begun, then exit 0; waits until it has left
    #[command(
        after_help = "Examples:\n  trolley cluster drain\n  trolley cluster drain --set admin.listen=127.0.0.1:9091"
    )]
    Drain,
    /// Every member: its state, shards, epochs, lease and release
    #[command(after_help = "Examples:\n  trolley cluster status\n  trolley cluster status --json")]
    Status {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ActorCommand {
    /// Facts about one actor, without anything its shopper wrote
    #[command(
        after_help = "Examples:\n  trolley actor inspect cart_01hzy3v7k2m4n6p8q0r2s4t6v8\n  trolley actor inspect stock:mug-blue --json\n  trolley actor inspect discount:WELCOME10"
    )]
    Inspect {
        /// The id of a cart, checkout or order; or stock:SKU, or discount:CODE
        id: String,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

/// Something for standard error, and the exit code.
struct Failure(String, u8);

impl Failure {
    fn failed(what: impl ToString) -> Self {
        Self(what.to_string(), 1)
    }

    fn usage(what: impl ToString) -> Self {
        Self(what.to_string(), 2)
    }
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match every_set_is_heard(&cli).and_then(|()| execute(cli)) {
        Ok(code) => code,
        Err(Failure(what, code)) => {
            let _ = writeln!(std::io::stderr(), "trolley: {what}"); // nowhere left to say it
            ExitCode::from(code)
        }
    }
}

/// Given both before and behind the command, the parser keeps only those behind it: that must not pass in silence.
fn every_set_is_heard(cli: &Cli) -> Result<(), Failure> {
    let is_set = |argument: &std::ffi::OsString| {
        argument.to_str().is_some_and(|text| text == "--set" || text.starts_with("--set="))
    };
    let given = std::env::args_os().skip(1).take_while(|argument| argument != "--").filter(is_set).count();
    if given == cli.options.set.len() {
        return Ok(());
    }
    Err(Failure::usage("give every --set behind the command (or every one before it), not some here and some there"))
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Version { json } => return version(*json),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "trolley", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Catalog(CatalogCommand::Check { file }) => {
            catalog::read(file)?;
            return say("every line is a product");
        }
        _ => {}
    }
    let mut set = cli.options.set.clone();
    if matches!(cli.command, Command::Serve { insecure: true, .. }) {
        set.push("cluster.insecure=true".to_owned());
    }
    let layers = Layers::read(cli.options.config.as_deref(), environment(), &set).map_err(Failure::usage)?;
    if let Command::Config(ConfigCommand::Show { origin, json }) = &cli.command {
        return show(&layers, *origin, *json);
    }
    let config = Config::new(&layers).map_err(Failure::usage)?;
    match cli.command {
        Command::Config(_) => say("every option fits"),
        Command::Serve { stop_with_stdin, .. } => serve(config, stop_with_stdin),
        Command::Demo(args) => block_on(&config, demo::run(&config, &cli.options, &args)),
        Command::Catalog(CatalogCommand::Import { file }) => block_on(&config, catalog::import(&config, &file)),
        Command::Actor(ActorCommand::Inspect { id, json }) => block_on(&config, actor::inspect(&config, &id, json)),
        Command::Cluster(ClusterCommand::Drain) => block_on(&config, cluster::drain(&config)),
        Command::Cluster(ClusterCommand::Status { json }) => block_on(&config, cluster::status(&config, json)),
        Command::Migrate { check, dry_run, dialect } => {
            block_on(&config, migrate::run(&config, migrate::How { check, dry_run, dialect }))
        }
        Command::Doctor { json } => block_on(&config, doctor::run(&config, json)),
        Command::Catalog(CatalogCommand::Check { .. }) | Command::Version { .. } | Command::Completions { .. } => {
            Ok(ExitCode::SUCCESS) // answered above
        }
    }
}

fn serve(config: Config, stop_with_stdin: bool) -> Result<ExitCode, Failure> {
    if stop_with_stdin {
        // A frozen process reads no end of its input.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)); // the input is still watched
        // Whoever started this node is gone: nobody waits for it to leave in order.
        let watch = || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()); // an error is an end too
            std::process::exit(1)
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(watch).map_err(Failure::failed)?;
    }
    let format = match config.log_format {
        LogFormat::Auto => logs::Format::Auto,
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::start(format, &config.log_level).map_err(Failure::failed)?;
    runtime(&config)?.block_on(app::serve(config)).map_err(Failure::failed)?;
    Ok(ExitCode::SUCCESS)
}

fn block_on(config: &Config, work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    runtime(config)?.block_on(work)
}

fn runtime(config: &Config) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime_threads > 0 {
        builder.worker_threads(config.runtime_threads);
    }
    builder.enable_all().build().map_err(Failure::failed)
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn say(what: impl AsRef<str>) -> Result<ExitCode, Failure> {
    writeln!(std::io::stdout(), "{}", what.as_ref()).map_err(Failure::failed)?;
    Ok(ExitCode::SUCCESS)
}

fn version(json: bool) -> Result<ExitCode, Failure> {
    let (name, release) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if json {
        return say(serde_json::json!({ "name": name, "version": release }).to_string());
    }
    say(format!("{name} {release}"))
}

fn show(layers: &Layers, origin: bool, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let option = |(key, value, from): (&config::Key, String, &config::Origin)| {
            (key.name.to_owned(), serde_json::json!({ "value": value, "origin": from.to_string(), "doc": key.doc }))
        };
        let options: serde_json::Map<_, _> = layers.shown().map(option).collect();
        return say(serde_json::to_string_pretty(&options).map_err(Failure::failed)?);
    }
    for (key, value, from) in layers.shown() {
        let from = if origin { format!("    ({from})") } else { String::new() };
        say(format!("{} = {value:?}{from}", key.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
