//! The developers' one menu: `cargo xtask test | bench | sim`.

mod bench;
mod run;
mod soak;
mod test;

use std::process::ExitCode;

const HELP: &str = "cargo xtask COMMAND
  test [STAGE …]             every check and test, or these: fmt clippy doc deny tests schemathesis
  sim [--cluster | --purchase] [--seed N] [--seeds N] [--first N]
                             replay one seed with its trace, or run many; of single actors, of whole clusters or of
                             whole purchases
  bench [--full]             rates and latencies as ratios in one run; --full adds 1,000,000 stored carts
  bench --database           the same against a database and its bare driver; how long shards are dark on it
  bench --cluster            three nodes: forwarded reads, idle nodes, how long shards are dark, a rollout under load
  bench --purchase           whole purchases: each request against a save, one hot product against a thousand
  bench --cluster --database only how long shards are dark on a database
  soak [--minutes N]         30 minutes of load on three nodes, a fault every 20 seconds";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("test", stages)) => test::run(stages),
        Some(("sim", options)) => sim(options),
        Some(("bench", options)) => bench::run(options),
        Some(("soak", options)) => soak::run(options),
        Some(("help" | "--help" | "-h", _)) => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The simulation's tests read what to do from the environment.
fn sim(options: &[String]) -> Result<(), String> {
    let mut command = run::cargo(&["test", "--quiet", "--lib"]);
    let (many, one, options) = match options.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--cluster", rest)) => {
            ("cluster::two_thousand_clusters_hold_p1_p2_p3_p8_p9_p10", "cluster::replay", rest)
        }
        Some(("--purchase", rest)) => {
            ("purchase::two_thousand_seeds_of_purchases_hold_p1_to_p7_and_p10", "purchase::replay", rest)
        }
        _ => ("ten_thousand_seeds_hold_p1_p2_p3_p9_p10", "replay", options),
    };
    let mut test = many;
    for pair in options.chunks(2) {
        let [name, value] = pair else { return Err(HELP.to_owned()) };
        let variable = match name.as_str() {
            "--seed" => {
                test = one;
                "TROLLEY_SIM_SEED"
            }
            "--seeds" => "TROLLEY_SIM_SEEDS",
            "--first" => "TROLLEY_SIM_FIRST",
            _ => return Err(HELP.to_owned()),
        };
        command.env(variable, value);
    }
    run::wait(command.args([&*format!("actors::sim::{test}"), "--", "--exact", "--nocapture"]))
}
