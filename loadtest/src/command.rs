//! One run from options to report.

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    arrivals::Arrivals,
    drive::drive,
    faults::{Launcher, Mark, Plan},
    micro,
    nodes::Nodes,
    options::Options,
    purchases::Reconciled,
    report::{self, Report},
    scenario::{Kind, Stage},
    shopper::World,
};

/// What went wrong, and the exit code.
pub type Failed = (String, u8);

/// Exit codes.
const DONE: u8 = 0;
const BROKEN: u8 = 1;
const USAGE: u8 = 2;

fn usage(why: String) -> Failed {
    (why, USAGE)
}

fn failed(error: impl std::fmt::Display) -> Failed {
    (error.to_string(), BROKEN)
}

/// Does what is asked for; what to print, and the exit code.
///
/// # Errors
/// Why nothing was measured.
pub fn run(options: &Options) -> Result<(String, u8), Failed> {
    let kind = match options.scenario.kind() {
        Ok(kind) => kind,
        Err(micro) => {
            let how = options.how().map_err(usage)?;
            return Ok((micro::measure(micro, &how).map_err(failed)?.to_string(), DONE));
        }
    };
    let (schedule, plan) = (options.schedule().map_err(usage)?, options.plan().map_err(usage)?);
    let nodes = Nodes::new(options.nodes().map_err(usage)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let report = runtime.block_on(launched(options, kind, schedule, &plan, nodes)).map_err(failed)?;
    let write = |path: &std::path::Path, text: String| {
        fs::write(path, text).map_err(|error| failed(format!("{}: {error}", path.display())))
    };
    if let Some(path) = &options.json {
        write(path, format!("{:#}\n", report::json::render(&report)))?;
    }
    if let Some(path) = &options.html {
        write(path, report::html::render(&report))?;
    }
    // Goods and money that do not fit fail every run, asked for or not.
    let fits = report.reconciled.as_ref().is_none_or(Reconciled::is_clean);
    let is_kept = fits && report.verdicts.iter().all(|verdict| verdict.is_kept);
    Ok((report::text::render(&report), if is_kept { DONE } else { BROKEN }))
}

/// The run, and around it the launcher if there is one.
async fn launched(options: &Options, kind: Kind, schedule: Arrivals, plan: &Plan, nodes: Nodes) -> io::Result<Report> {
    let mut launcher = None;
    if let Some(command) = &options.launcher {
        let (started, list) = Launcher::start(command).await?;
        nodes.replace(list);
        launcher = Some(started);
    }
    let mut watch = JoinSet::new();
    let watched = nodes.clone();
    watch.spawn(async move { watched.watch().await });
    let report = Box::pin(loaded(options, kind, schedule, plan, nodes, launcher.as_mut())).await;
    if let Some(launcher) = launcher {
        launcher.quit().await;
    }
    report
}

async fn loaded(
    options: &Options,
    kind: Kind,
    schedule: Arrivals,
    plan: &Plan,
    nodes: Nodes,
    launcher: Option<&mut Launcher>,
) -> io::Result<Report> {
    // What is made before the run is in its ledger, but not in its latencies.
    let settled_within = Duration::from_secs(options.settled_within);
    let before = Arc::new(World::new(nodes.clone(), Instant::now())?.settling_within(settled_within));
    let stage = Arc::new(Stage::set(kind, &options.choices(), &before).await?);
    let before = Arc::into_inner(before).ok_or_else(|| io::Error::other("somebody still makes carts"))?;
    let world = Arc::new(before.begin(Instant::now())?);
    let inside_max = usize::try_from(options.in_flight).unwrap_or(usize::MAX);
    let began = world.measure.began();
    let driving = async {
        let driven = drive(schedule, stage, &world, inside_max).await;
        (driven, began.elapsed())
    };
    let faulting = async {
        match launcher {
            Some(launcher) => launcher.follow(plan, began, &world.service.nodes, schedule.duration).await,
            None => Vec::<Mark>::new(),
        }
    };
    let ((driven, took), faults) = tokio::join!(driving, faulting);
    driven?;
    let audit = world.ledger.audit(&world.service).await;
    let reconciled = if world.purchases.is_empty() { None } else { Some(world.purchases.audit(&world.service).await?) };
    let measured = world.measure.read();
    let verdicts = options.objectives().iter().map(|objective| objective.judge(&measured, &audit, took)).collect();
    Ok(Report {
        scenario: options.name(),
        schedule,
        nodes: nodes.all().len(),
        took,
        measured,
        audit,
        reconciled,
        faults,
        verdicts,
    })
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::fake::{Faults, Shop};

    /// Runs a command line, on a thread of its own, against a shop; `~` stands for a space within a word.
    async fn run_at(faults: Faults, line: &str) -> Result<(String, u8), Failed> {
        let shop = Shop::open(faults).await;
        let line = format!("loadtest {line}").replace("SHOP", &shop.http);
        let words: Vec<_> = line.split(' ').map(|word| word.replace('~', " ")).collect();
        let options = Options::try_parse_from(words).unwrap();
        tokio::task::spawn_blocking(move || run(&options)).await.unwrap()
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        env::temp_dir().join(format!("loadtest-{}-{name}", process::id()))
    }

    #[tokio::test]
    async fn every_scenario_is_right_against_a_right_shop() {
        for scenario in ["browse-and-cart", "hot-cart", "two-device-cart", "hundred-line", "flash-crowd"] {
            let line = format!(
                "{scenario} --address SHOP,SHOP --seconds 0.2 --rate 100 --carts 2 --objective good>=100% \
                 --objective lost==0 --objective doubled==0 --objective wrong==0 --objective dropped==0"
            );
            let (text, code) = run_at(Faults::default(), &line).await.unwrap();
            assert_eq!(code, DONE, "{text}");
            assert!(text.contains("lost 0 · doubled 0") && !text.contains("acknowledged 0"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_broken_objective_is_told_and_fails_the_run() {
        let line = "browse-and-cart --address SHOP --seconds 0.2 --rate 200 --objective lost==0 --objective wrong==0";
        let (text, code) = run_at(Faults { forgets: true, ..Faults::default() }, line).await.unwrap();
        assert_eq!(code, BROKEN);
        assert!(text.contains("BROKEN lost==0") && text.contains("BROKEN wrong==0"), "{text}");
    }

    /// Shoppers may be refused in every way and walk away anywhere: a right shop's goods, orders and money still fit.
    #[tokio::test]
    async fn refused_and_abandoned_purchases_are_reconciled_at_a_right_shop() {
        let more = "--address SHOP --admin SHOP --seconds 0.4 --rate 100 --settled-within 5 --objective wrong==0 \
                    --objective dropped==0 --objective good==100%";
        for (lives_long, scenario, expected) in [
            (true, "purchase", ["lost 0 · oversold 0 · double charged 0", "orders without payment 0"]),
            (true, "flash-sale --units 8", ["orders 8 · units 8 · money 8.00", "still held 0"]),
            (true, "decline-storm --tries 2", ["declined ", "kept   others_good>=99.9%"]),
            (false, "abandoned-checkouts --units 8", ["orders 8 · units 8 · money 8.00", "still held 0"]),
        ] {
            let right = Faults { lives_long, ..Faults::default() };
            let (text, code) = run_at(right, &format!("{scenario} {more}")).await.unwrap();
            assert_eq!(code, DONE, "{text}");
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[tokio::test]
    async fn a_shop_that_breaks_a_promise_of_purchases_fails_the_run_and_is_told_which() {
        let right = Faults::default;
        let held = Faults { keeps_holds: true, ..right() };
        let reserved = Faults { reserves_declined: true, ..right() };
        for (faults, scenario, told) in [
            (held, "abandoned-checkouts --units 8", "still held "),
            (Faults { cancels_early: true, ..right() }, "abandoned-checkouts --units 8", "ended otherwise "),
            (reserved, "abandoned-checkouts --units 8", "payments without order "),
            (reserved, "decline-storm --refused 100 --tries 2", "payments without order "),
            (Faults { is_stormed: true, ..right() }, "decline-storm", "BROKEN others_good"),
        ] {
            let line = format!("{scenario} --address SHOP --admin SHOP --seconds 0.4 --rate 100 --settled-within 1");
            let (text, code) = run_at(faults, &line).await.unwrap();
            assert_eq!(code, BROKEN, "{text}");
            assert!(text.contains(told) && !text.contains(&format!("{told}0")), "{told}: {text}");
        }
    }

    #[tokio::test]
    async fn checkouts_that_live_too_long_to_be_waited_for_are_refused_before_anybody_comes() {
        let line = "abandoned-checkouts --address SHOP --admin SHOP --seconds 0.1 --life-max 1";
        let slow = Faults { lives_long: true, ..Faults::default() };
        let (why, code) = run_at(slow, line).await.unwrap_err();
        assert_eq!(code, BROKEN);
        assert!(why.contains("checkout.expire_after=1s") && why.contains("--life-max"), "{why}");
    }

    #[tokio::test]
    async fn wrong_usage_has_its_own_exit_code() {
        for line in [
            "hot-cart --address SHOP --rate 0",
            "hot-cart --address nowhere",
            "hot-cart --launcher x --fault 9s~kill~n1",
            "get --address SHOP,SHOP",
        ] {
            assert_eq!(run_at(Faults::default(), line).await.unwrap_err().1, USAGE, "{line}");
        }
    }

    #[tokio::test]
    async fn who_comes_on_top_is_dropped_and_counted() {
        let line = "flash-crowd --address SHOP --arrivals constant --seconds 0.2 --rate 20000 --in-flight 1 \
                    --objective dropped==0";
        let (text, code) = run_at(Faults::default(), line).await.unwrap();
        assert_eq!(code, BROKEN, "{text}");
        assert!(text.contains("arrivals  4000"), "{text}");
    }

    /// The launcher answers each command with its number, and leaves a file behind when it is told to quit.
    #[tokio::test]
    async fn a_launcher_names_the_nodes_is_given_the_plan_and_is_ended() {
        let [script, quit, json, html] = ["launcher.sh", "quit", "report.json", "report.html"].map(scratch);
        let program = "echo starting\nprintf '{\"ready_ms\":1,\"nodes\":[{\"name\":\"n1\",\"pid\":1,\"http\":\"%s\"}]}\\n' $1\n\
                       while read -r line; do\n  if [ \"$line\" = quit ]; then echo > $2; exit; fi\n\
                       echo \"{\\\"did\\\":\\\"$line\\\"}\"\ndone\n";
        fs::write(&script, program).unwrap();
        let line = format!(
            "browse-and-cart --launcher sh~{}~SHOP~{} --seconds 0.4 --rate 100 --json {} --html {} \
             --fault 0.2s~pause~n1;0.1s~drain~n1",
            script.display(),
            quit.display(),
            json.display(),
            html.display()
        );
        let (text, code) = run_at(Faults::default(), &line).await.unwrap();
        assert_eq!(code, DONE, "{text}");
        let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let answers: Vec<_> = report["faults"].as_array().unwrap().iter().map(|mark| &mark["answer"]["did"]).collect();
        assert_eq!(answers, ["drain n1", "pause n1"]);
        let page = fs::read_to_string(&html).unwrap();
        assert!(page.contains(">drain n1</text>") && page.matches("<svg").count() == 3);
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
        assert!(quit.exists(), "the launcher was not told to quit");
        for file in [script, quit, json, html] {
            fs::remove_file(file).unwrap();
        }
    }
}
