//! What an operator can ask for.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};

use super::{connected, json};
use crate::asked;

/// The operator's commands, in the order of `--help`.
pub(super) fn commands() -> Vec<Command> {
    vec![
        asking("why", "Say why a run has not started or not ended, and what to do")
            .args(run_id())
            .group(one_run()),
        asking("attempts", "Show how each attempt of a run has ended, and what the running one is at")
            .args(run_id())
            .group(one_run()),
        asking("logs", "Show what the attempts of a run have printed")
            .args(run_id())
            .group(one_run())
            .arg(
                Arg::new("attempt")
                    .long("attempt")
                    .value_name("N")
                    .value_parser(value_parser!(i32).range(1..))
                    .help("Only of this attempt"),
            )
            .arg(
                Arg::new("follow")
                    .long("follow")
                    .short('f')
                    .action(ArgAction::SetTrue)
                    .help("Go on until the run has ended"),
            )
            .arg(
                Arg::new("stream")
                    .long("stream")
                    .value_name("STREAM")
                    .value_parser(PossibleValuesParser::new(["stdout", "stderr"]))
                    .help("Only this one [default: both, in the order in which they were read]"),
            ),
        asking("cancel", "Cancel a run: at once if it has not started, else its worker stops it")
            .args(run_id())
            .group(one_run())
            .arg(
                Arg::new("wait")
                    .long("wait")
                    .value_name("SECONDS")
                    .value_parser(asked::span)
                    .help("Wait so long for a running one to end"),
            ),
        asking("pause", "Let no run of a queue or task start")
            .args(scope())
            .group(ArgGroup::new("scope").args(["queue", "task"]).required(true))
            .arg(reason())
            .arg(
                Arg::new("for")
                    .long("for")
                    .value_name("DURATION")
                    .value_parser(asked::span)
                    .help("Resume by itself after so long, as in 30m [default: until resumed]"),
            ),
        asking("resume", "End a pause")
            .args(scope())
            .group(ArgGroup::new("scope").args(["queue", "task"]).required(true)),
        asking("pause-queue", "The same as `pause --queue`").arg(queue()).arg(reason()),
        asking("resume-queue", "The same as `resume --queue`").arg(queue()),
        asking("queues", "Show queues, what they hold, and whether they are paused"),
        limit(),
        asking("reschedule", "Move the time of a run that has not started")
            .args(run_id())
            .group(one_run())
            .arg(
                Arg::new("in")
                    .long("in")
                    .value_name("DURATION")
                    .value_parser(asked::span)
                    .help("So long from now"),
            )
            .arg(
                Arg::new("at")
                    .long("at")
                    .value_name("TIME")
                    .value_parser(asked::moment)
                    .help("2030-01-02T03:04:05Z"),
            )
            .arg(Arg::new("now").long("now").action(ArgAction::SetTrue).help("As soon as a slot is free"))
            .group(ArgGroup::new("when").args(["in", "at", "now"]).required(true)),
        asking("replay", "Enqueue the call of a run again")
            .arg(Arg::new("id").long("id").value_name("ID").value_parser(asked::run_id).help("Of this run"))
            .arg(
                Arg::new("spec-hash")
                    .long("spec-hash")
                    .value_name("HASH")
                    .help("Of the newest run with this spec"),
            )
            .group(ArgGroup::new("source").args(["id", "spec-hash"]).required(true)),
        triage(),
        workflow(),
        reclaim(),
        prune(),
        asking("prune-successful", "Delete old SUCCESSFUL runs")
            .arg(older_than("7d"))
            .arg(at_most())
            .arg(dry_run()),
        asking("prune-workers", "Forget workers that have been silent").arg(older_than("10m")).arg(dry_run()),
    ]
}

fn limit() -> Command {
    let key = || {
        Arg::new("key")
            .long("key")
            .value_name("KEY")
            .required(true)
            .help("A rate's key (global, queue:<name>, task:<path>, key:<key>), or concurrency:<key>")
    };
    group("limit", "Rates, and how many runs of a key run at the same time")
        .subcommand(
            asking("set", "Set the limit of a key, whatever enqueues say")
                .arg(key())
                .arg(
                    Arg::new("rate")
                        .long("rate")
                        .value_name("NUMBER")
                        .value_parser(asked::rate)
                        .help("Starts per second; 0 limits nothing"),
                )
                .arg(
                    Arg::new("burst")
                        .long("burst")
                        .value_name("N")
                        .value_parser(value_parser!(i32).range(1..))
                        .default_value("1")
                        .help("Starts at the same moment after a rest"),
                )
                .arg(
                    Arg::new("max")
                        .long("max")
                        .value_name("N")
                        .value_parser(value_parser!(i32).range(0..))
                        .help("Runs at the same time; 0 is no limit"),
                )
                .group(ArgGroup::new("limit").args(["rate", "max"]).required(true)),
        )
        .subcommand(asking("ls", "List rates and limits"))
        .subcommand(
            asking("rm", "Take back what `limit set` has said; what the code states counts again").arg(key()),
        )
}

fn triage() -> Command {
    group("triage", "Look at FAILED runs and try them again")
        .subcommand(
            asking("list", "List them, the latest first").arg(in_queue()).arg(
                Arg::new("limit")
                    .long("limit")
                    .value_name("N")
                    .value_parser(value_parser!(u32).range(1..))
                    .default_value("50")
                    .help("At most so many"),
            ),
        )
        .subcommand(asking("inspect", "Show one run, whole").args(run_id()).group(one_run()))
        .subcommand(
            asking("retry", "Make FAILED runs READY, with all their attempts")
                .arg(Arg::new("id").long("id").value_name("ID").value_parser(asked::run_id).help("This one"))
                .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All of them"))
                .group(ArgGroup::new("which").args(["id", "all"]).required(true))
                .arg(in_queue().conflicts_with("id")),
        )
}

fn workflow() -> Command {
    let id = || {
        Arg::new("workflow")
            .value_name("ID")
            .required(true)
            .value_parser(asked::workflow_id)
            .help("The workflow, with or without dashes")
    };
    let members = Arg::new("members").long("members").action(ArgAction::SetTrue).help("And each of its runs");
    group("workflow", "Look at runs that wait for each other, cancel them or try them again")
        .subcommand(
            asking("show", "Show how far a workflow is, step by step, and what went wrong")
                .arg(id())
                .arg(members),
        )
        .subcommand(asking("cancel", "Cancel a workflow and all its runs that have not ended").arg(id()))
        .subcommand(
            asking("retry", "Run again what has FAILED or was CANCELLED; what failed for its sake follows")
                .arg(id()),
        )
}

fn reclaim() -> Command {
    asking("reclaim", "Take back runs whose worker has gone silent, as any worker does by itself")
        .arg(
            Arg::new("action")
                .long("action")
                .value_name("ACTION")
                .value_parser(PossibleValuesParser::new(["requeue", "fail"]))
                .default_value("requeue")
                .help("requeue: READY again while attempts are left; fail: FAILED"),
        )
        .arg(older_than("0s").help("Only leases that ended so long ago"))
        .arg(at_most())
        .arg(dry_run())
        .arg(
            Arg::new("include-null-lease")
                .long("include-null-lease")
                .action(ArgAction::SetTrue)
                .help("Also RUNNING runs without a lease, as another program may have left them"),
        )
}

fn prune() -> Command {
    asking("prune", "Delete old runs that have ended, and what is left of keys that nobody uses")
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("statuses")
                .long("statuses")
                .value_name("LIST")
                .value_delimiter(',')
                .value_parser(asked::pruned_status)
                .default_value("SUCCESSFUL,FAILED,CANCELLED")
                .help("In these states; never RUNNING"),
        )
        .arg(older_than("7d"))
        .arg(
            Arg::new("field")
                .long("field")
                .value_name("DATE")
                .value_parser(PossibleValuesParser::new([
                    "finished_at",
                    "updated_at",
                    "enqueued_at",
                    "started_at",
                ]))
                .default_value("finished_at")
                .help("The date that is old"),
        )
        .arg(at_most())
        .arg(dry_run())
        .subcommand(
            asking("expired", "Delete runs whose expires_at has passed, RUNNING ones aside")
                .arg(at_most())
                .arg(dry_run()),
        )
        .subcommand(
            asking("logs", "Delete old output of attempts, and keep their runs")
                .arg(older_than("7d"))
                .arg(at_most())
                .arg(dry_run()),
        )
}

/// A command with subcommands alone: without one it shows what there is, and that is no error.
pub(super) fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

pub(super) fn asking(name: &'static str, about: &'static str) -> Command {
    connected(Command::new(name).about(about)).arg(json())
}

fn run_id() -> [Arg; 2] {
    let id = |name| Arg::new(name).value_name("ID").value_parser(asked::run_id);
    [id("run").help("The run; default:12 is as good as 12"), id("id").long("id").help("The same, as a flag")]
}

fn one_run() -> ArgGroup {
    ArgGroup::new("one run").args(["run", "id"]).required(true)
}

fn scope() -> [Arg; 2] {
    [
        Arg::new("queue").long("queue").value_name("QUEUE").help("This queue"),
        Arg::new("task").long("task").value_name("PATH").help("This task, as in shop.tasks.send"),
    ]
}

fn queue() -> Arg {
    Arg::new("queue").value_name("QUEUE").required(true).help("The queue")
}

fn in_queue() -> Arg {
    Arg::new("queue").long("queue").value_name("QUEUE").help("Only of this queue")
}

fn reason() -> Arg {
    Arg::new("reason").long("reason").value_name("TEXT").help("Why, for whoever looks")
}

fn older_than(default: &'static str) -> Arg {
    Arg::new("older-than")
        .long("older-than")
        .value_name("DURATION")
        .value_parser(asked::span)
        .default_value(default)
        .help("Since so long: 90s, 10m, 12h, 7d")
}

fn at_most() -> Arg {
    Arg::new("limit")
        .long("limit")
        .value_name("N")
        .value_parser(value_parser!(u64))
        .default_value("0")
        .help("At most so many; 0 is all")
}

fn dry_run() -> Arg {
    Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Only count")
}
