//! What can be asked about schedules, and what runs them.

use clap::{Arg, ArgAction, Command, value_parser};

use reproq_config::Part;

use super::operator::{asking, group};
use super::{json, with_options};
use crate::asked;

/// The commands, in the order of `--help`.
pub(super) fn commands() -> Vec<Command> {
    vec![
        scheduling("beat", "Enqueue what schedules say, until told to stop; also a part of `worker --beat`")
            .arg(
                Arg::new("once")
                    .long("once")
                    .action(ArgAction::SetTrue)
                    .help("Look once, enqueue what is due, and leave; fails when that could not be done"),
            )
            .after_help("Any number may run at the same time: each time of a schedule fires once."),
        scheduling("schedule", "The same as `beat --once`, for a system's own timer"),
        cron(),
        periodic(),
    ]
}

fn scheduling(name: &'static str, about: &'static str) -> Command {
    let parts = [Part::Config, Part::Database, Part::Log, Part::Beat];
    with_options(Command::new(name).about(about), |option| parts.contains(&option.part))
}

fn periodic() -> Command {
    let name = || Arg::new("name").value_name("NAME").required(true).help("The schedule");
    group("periodic", "Schedules: what there is, what came of them, and what an operator orders")
        .subcommand(asking("list", "List them, with their next times and what is wrong with them"))
        .subcommand(
            asking("show", "Show one: its next times, and what its ticks have led to").arg(name()).arg(
                Arg::new("limit")
                    .long("limit")
                    .value_name("N")
                    .value_parser(value_parser!(u32).range(1..=100))
                    .default_value("10")
                    .help("So many ticks, the latest first"),
            ),
        )
        .subcommand(asking("run", "Enqueue its task now; its own times stay as they are").arg(name()))
        .subcommand(asking("enable", "Let it fire, from now on").arg(name()))
        .subcommand(asking("disable", "Let it not fire").arg(name()))
}

fn cron() -> Command {
    Command::new("cron")
        .about("Say when a cron expression comes, without a database")
        .after_help(
            "Five fields, or six with seconds first; names (JAN, MON), ranges, steps, lists, L, 15W, MON#2; @hourly, @daily, @weekly, @monthly, @yearly; \
             a prefix CRON_TZ=<zone>. Fixed times that the clocks skip come at the end of the gap, those that they repeat the first time only; \
             steps and wildcards of minutes and hours follow elapsed time.",
        )
        .subcommand_required(true)
        .subcommand(
            expression(Command::new("next").about("Print the next times"))
                .arg(
                    Arg::new("count")
                        .long("count")
                        .value_name("N")
                        .value_parser(value_parser!(u32).range(1..=1000))
                        .default_value("5")
                        .help("So many"),
                )
                .arg(
                    Arg::new("from")
                        .long("from")
                        .value_name("TIME")
                        .value_parser(asked::moment)
                        .help("After this moment, as in 2030-01-02T03:04:05Z [default: now]"),
                ),
        )
        .subcommand(expression(Command::new("check").about("Say whether it can be read, and if not, why")))
}

fn expression(command: Command) -> Command {
    command
        .arg(Arg::new("expression").value_name("EXPRESSION").required(true).help("As in \"30 3 * * MON\""))
        .arg(
            Arg::new("tz")
                .long("tz")
                .visible_alias("timezone")
                .value_name("ZONE")
                .action(ArgAction::Set)
                .default_value("UTC")
                .help("IANA name of the zone that it speaks of, as in Europe/Prague"),
        )
        .arg(json())
}
