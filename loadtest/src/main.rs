//! `loadtest SCENARIO --address HOST:PORT`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use loadtest::{command, options::Options};

fn main() -> ExitCode {
    match command::run(&Options::parse()) {
        Ok((text, code)) => {
            println!("{text}");
            ExitCode::from(code)
        }
        Err((why, code)) => {
            eprintln!("loadtest: {why}");
            ExitCode::from(code)
        }
    }
}
