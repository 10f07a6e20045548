//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{
    arrivals::{Arrivals, Shape},
    faults::Plan,
    micro::{How, Micro},
    nodes::Node,
    objective::Objective,
    scenario::{Choices, Kind, Storm},
};

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// List, open a product, make a cart, add, read the cart
    BrowseAndCart,
    /// Everybody adds to one line of one cart and sets it back
    HotCart,
    /// Two devices add to the same cart at the same time
    TwoDeviceCart,
    /// Read, and add to, carts of a hundred lines
    HundredLine,
    /// New shoppers at once for a few products
    FlashCrowd,
    /// Open one product, and nothing else
    ReadProduct,
    /// Put three things into a new cart and buy them
    Purchase,
    /// Many shoppers, few units, one product; losers try again
    FlashSale,
    /// Cards are declined in droves; others buy meanwhile
    DeclineStorm,
    /// Walk away from a checkout at each stage; others wait for what is held
    AbandonedCheckouts,
    /// Bench: read carts of three lines
    Get,
    /// Bench: add to many carts
    Add,
    /// Bench: +1 and −1 in pairs on one cart of three lines
    Hot,
    /// Bench: make carts of three lines and stop
    Fill,
    /// Bench: read --path
    Same,
    /// Bench: print one answer's head and body
    Sample,
}

impl Scenario {
    /// As a scenario of shoppers, or as a benchmark.
    ///
    /// # Errors
    /// Which benchmark it is.
    pub fn kind(self) -> Result<Kind, Micro> {
        Ok(match self {
            Self::BrowseAndCart => Kind::BrowseAndCart,
            Self::HotCart => Kind::HotCart,
            Self::TwoDeviceCart => Kind::TwoDeviceCart,
            Self::HundredLine => Kind::HundredLine,
            Self::FlashCrowd => Kind::FlashCrowd,
            Self::ReadProduct => Kind::ReadProduct,
            Self::Purchase => Kind::Purchase,
            Self::FlashSale => Kind::FlashSale,
            Self::DeclineStorm => Kind::DeclineStorm,
            Self::AbandonedCheckouts => Kind::AbandonedCheckouts,
            Self::Get => return Err(Micro::Get),
            Self::Add => return Err(Micro::Add),
            Self::Hot => return Err(Micro::Hot),
            Self::Fill => return Err(Micro::Fill),
            Self::Same => return Err(Micro::Same),
            Self::Sample => return Err(Micro::Sample),
        })
    }
}

/// How the rate goes, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalShape {
    /// The rate, at even distances
    Constant,
    /// The rate on average, each arrival independent of all others
    Poisson,
    /// A staircase from the rate to the peak
    Step,
    /// The rate, and the peak for a while
    Spike,
}

/// Load on a shop's public API, and what it took.
///
/// Shoppers arrive when the schedule says, whether or not the service keeps up; latency counts from then. A shopper of
/// a benchmark (get, add, hot, fill, same, sample) instead waits for each answer.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "Exit: 0 done, 1 an objective is broken or the run failed, 2 wrong usage.
Examples:
  loadtest browse-and-cart --address 127.0.0.1:8080 --rate 200 --seconds 10
  loadtest decline-storm --address 127.0.0.1:8080 --admin 127.0.0.1:9090 --refused 90 --objective 'others_p99<500ms'
  loadtest flash-crowd --launcher 'trolley demo --json' --seconds 30 \\
    --fault '5s kill n2; 12s start n2' --objective 'good>=99.99%' --objective 'lost==0' --html report.html"
)]
pub struct Options {
    /// What shoppers do
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Nodes, separated by commas
    #[arg(long, value_name = "HOST:PORT,…", required_unless_present = "launcher", conflicts_with = "launcher")]
    pub address: Option<String>,
    /// Their admin listeners, in the same order: a node that is not ready leaves the rotation
    #[arg(long, value_name = "HOST:PORT,…", requires = "address")]
    pub admin: Option<String>,
    /// Program that starts the nodes, names them in one line of JSON and takes commands
    #[arg(long, value_name = "COMMAND")]
    pub launcher: Option<String>,
    /// Commands for it at given times: 5s kill n2; 12s start n2 (also pause, resume, drain, add)
    #[arg(long, value_name = "PLAN", requires = "launcher")]
    pub fault: Option<Plan>,
    /// How long shoppers arrive
    #[arg(long, value_name = "NUMBER", default_value_t = 5.0)]
    pub seconds: f64,
    /// Arrivals a second [default: 100; of benchmarks: as fast as answers come]
    #[arg(long, value_name = "NUMBER")]
    pub rate: Option<f64>,
    /// How the rate goes [default: constant; of flash-crowd: spike]
    #[arg(long, value_enum)]
    pub arrivals: Option<ArrivalShape>,
    /// The highest rate of step and spike [default: ten times the rate]
    #[arg(long, value_name = "NUMBER")]
    pub peak: Option<f64>,
    /// Steps of the staircase
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub steps: u32,
    /// When the spike begins, in seconds [default: after two fifths]
    #[arg(long, value_name = "NUMBER")]
    pub spike_from: Option<f64>,
    /// How long the spike lasts [default: a fifth]
    #[arg(long, value_name = "NUMBER")]
    pub spike_seconds: Option<f64>,
    /// For what is random
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Most shoppers inside at once; those who come on top are dropped, and counted
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    pub in_flight: u64,
    /// Carts of hundred-line and of benchmarks
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub carts: usize,
    /// Units of the product of flash-sale and abandoned-checkouts
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub units: u64,
    /// Every purchase has one of the first product in it: all want the same
    #[arg(long)]
    pub hot: bool,
    /// Payments of decline-storm that are refused, in a hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u32).range(..=100))]
    pub refused: u32,
    /// Tries to pay of a shopper of decline-storm: a shop refuses more than twenty
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub tries: u32,
    /// Longest life of a checkout that abandoned-checkouts waits for, in seconds; start the nodes with a short one
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub life_max: u64,
    /// How long purchases may take to end when the run does, and held goods to come back after an expiry, in seconds
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub settled_within: u64,
    /// Connections of benchmarks
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub connections: u64,
    /// What same reads
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,
    /// Benchmarks use only carts that this node owns
    #[arg(long, value_name = "NODE")]
    pub owner: Option<String>,
    /// To be kept, or the exit code is 1; may be given repeatedly: p99<50ms, good>=99.99%, lost==0
    #[arg(long, value_name = "METRIC<BOUND")]
    pub objective: Vec<Objective>,
    /// Write the whole report there, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the whole report there, as a page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Longest run: its seconds are kept one by one.
const SECONDS_MAX: f64 = crate::measure::SECONDS_MAX as f64;
/// How the others of a decline storm are to be served when nothing is said of them.
const OTHERS_SERVED: &str = "others_good>=99.9%";
/// Arrivals a second when nothing is said.
const RATE_DEFAULT: f64 = 100.0;

impl Options {
    /// The schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn schedule(&self) -> Result<Arrivals, String> {
        let rate = self.rate.unwrap_or(RATE_DEFAULT);
        let peak = self.peak.unwrap_or(rate * 10.0);
        let span = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|_| format!("{seconds} is no time"));
        let usual = if self.scenario == Scenario::FlashCrowd { ArrivalShape::Spike } else { ArrivalShape::Constant };
        let shape = match self.arrivals.unwrap_or(usual) {
            ArrivalShape::Constant => Shape::Constant,
            ArrivalShape::Poisson => Shape::Poisson,
            ArrivalShape::Step => Shape::Step { steps: self.steps, peak },
            ArrivalShape::Spike => Shape::Spike {
                from: span(self.spike_from.unwrap_or(self.seconds * 0.4))?,
                length: span(self.spike_seconds.unwrap_or(self.seconds * 0.2))?,
                peak,
            },
        };
        let arrivals = Arrivals { shape, rate, duration: self.duration()?, seed: self.seed };
        arrivals.check()?;
        Ok(arrivals)
    }

    fn duration(&self) -> Result<Duration, String> {
        if self.seconds > 0.0 && self.seconds <= SECONDS_MAX {
            Ok(Duration::from_secs_f64(self.seconds))
        } else {
            Err(format!("a run takes more than 0 and at most {SECONDS_MAX} seconds"))
        }
    }

    /// The nodes, when they are not launched.
    ///
    /// # Errors
    /// What is wrong with the lists.
    pub fn nodes(&self) -> Result<Vec<Node>, String> {
        self.address.as_deref().map_or(Ok(Vec::new()), |address| Node::list(address, self.admin.as_deref()))
    }

    /// The plan of faults, if it ends before the run does.
    ///
    /// # Errors
    /// Which one does not.
    pub fn plan(&self) -> Result<Plan, String> {
        let plan = self.fault.clone().unwrap_or_default();
        match plan.0.iter().find(|fault| fault.at.as_secs_f64() >= self.seconds) {
            Some(late) => Err(format!("the run is over before {:?}", late.command)),
            None => Ok(plan),
        }
    }

    /// What is chosen about the scenario.
    #[must_use]
    pub fn choices(&self) -> Choices {
        let storm = Storm { refused_percent: self.refused, tries: self.tries };
        let life_max = Duration::from_secs(self.life_max);
        Choices { carts: self.carts, units: self.units, hot: self.hot, seed: self.seed, storm, life_max }
    }

    /// What the run must keep. A decline storm must not harm the others, whether or not that is said.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let mut objectives = self.objective.clone();
        if self.scenario == Scenario::DeclineStorm && !objectives.iter().any(Objective::is_of_others) {
            objectives.extend(OTHERS_SERVED.parse());
        }
        objectives
    }

    /// How a benchmark is run.
    ///
    /// # Errors
    /// When there is not one node, or what cannot be had of a benchmark is asked for.
    pub fn how(&self) -> Result<How, String> {
        let [node] = &self.nodes()?[..] else { return Err("a benchmark has one --address".to_owned()) };
        let is_more =
            !self.objective.is_empty() || self.json.is_some() || self.html.is_some() || self.arrivals.is_some();
        if is_more {
            return Err("a benchmark has no arrivals, objectives or reports".to_owned());
        }
        Ok(How {
            address: node.http.clone(),
            connections: usize::try_from(self.connections).unwrap_or(usize::MAX),
            carts: self.carts,
            duration: self.duration()?,
            rate: self.rate,
            path: self.path.clone(),
            owner: self.owner.clone(),
        })
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn an_unknown_option_or_scenario_names_the_nearest() {
        let unknown = parse("loadtest browse-and-cart --adress a:1").unwrap_err();
        assert!(unknown.to_string().contains("'--address'"), "{unknown}");
        let unknown = parse("loadtest flashcrowd --address a:1").unwrap_err();
        assert!(unknown.to_string().contains("'flash-crowd'"), "{unknown}");
        assert_eq!(unknown.exit_code(), 2);
    }

    #[test]
    fn faults_need_a_launcher_and_a_launcher_names_its_own_addresses() {
        let kind = |line| parse(line).unwrap_err().kind();
        assert_eq!(kind("loadtest hot-cart --address a:1 --fault 1s"), ErrorKind::ValueValidation);
        assert_eq!(kind("loadtest hot-cart --address a:1 --launcher x"), ErrorKind::ArgumentConflict);
        assert_eq!(kind("loadtest hot-cart"), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn a_flash_crowd_comes_in_a_spike_of_ten_times_the_rate() {
        let schedule = parse("loadtest flash-crowd --address a:1 --seconds 10").unwrap().schedule().unwrap();
        let (from, length) = (Duration::from_secs(4), Duration::from_secs(2));
        assert_eq!(schedule.shape, Shape::Spike { from, length, peak: 1000.0 });
    }

    #[test]
    fn a_decline_storm_is_held_to_the_others_unless_something_else_is_asked_of_them() {
        let names = |line: &str| {
            let objectives = parse(line).unwrap().objectives();
            objectives.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let storm = "loadtest decline-storm --address a:1";
        assert_eq!(names(storm), ["others_good>=99.9%"]);
        assert_eq!(names(&format!("{storm} --objective p99<1s")), ["p99<1s", "others_good>=99.9%"]);
        assert_eq!(names(&format!("{storm} --objective others_p99<1s")), ["others_p99<1s"]);
        assert!(names("loadtest purchase --address a:1").is_empty());
    }

    #[test]
    fn the_benchmarks_take_the_options_that_they_always_took() {
        let line = "loadtest add --address a:1 --connections 16 --seconds 3 --rate 12.5 --carts 10000";
        let how = parse(line).unwrap().how().unwrap();
        assert_eq!((how.connections, how.carts, how.rate), (16, 10_000, Some(12.5)));
        assert_eq!(how.duration, Duration::from_secs(3));
    }
}
