//! The command line. The flags of a configured command come from the table of options, so that each is declared once.

mod operator;
mod schedules;

use std::collections::HashSet;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Arg, ArgAction, ArgMatches, Command};
use reproq_config::{Kind, OptionSpec, Part, worker_options};

/// The tree of commands.
pub fn command() -> Command {
    let styles =
        Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default());
    let command = Command::new("reproq")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Background tasks for Django: runs what django.tasks enqueues")
        .after_help(
            "In a Django project, `python manage.py reproq <command>` passes the site's settings along.",
        )
        .styles(styles)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .action(ArgAction::SetTrue)
                .global(false)
                .help("Print the version"),
        )
        .subcommand(configured(
            Command::new("worker")
                .about("Run tasks until told to stop (SIGTERM or Ctrl-C drains, twice hurries)"),
        ))
        .subcommand(dev())
        .subcommand(
            configured(Command::new("config").about("Show the configuration that a worker would have"))
                .arg(json())
                .arg(
                    Arg::new("explain")
                        .long("explain")
                        .action(ArgAction::SetTrue)
                        .help("Say where each value comes from"),
                ),
        )
        .subcommand(
            configured(Command::new("status").about("Show workers, and what waits in which queue"))
                .arg(json()),
        )
        .subcommand(configured(Command::new("stats").about("Count runs by queue and state")).arg(json()))
        .subcommand(
            configured(Command::new("check").about("Check configuration, database and schema")).arg(json()),
        )
        .subcommand(Command::new("guard").about("Kill what a worker leaves behind").hide(true))
        .subcommand(Command::new("version").about("Print the version"));
    let others = operator::commands().into_iter().chain(schedules::commands());
    others.fold(command, Command::subcommand)
}

fn dev() -> Command {
    Command::new("dev")
        .about("Run the site's web server and a worker, both with the code as it is saved; for development")
        .after_help("`python manage.py reproq dev` says where the site and its database are.")
        .arg(Arg::new("addrport").value_name("ADDRPORT").help("Port, or address:port, of runserver"))
        .arg(Arg::new("no-web").long("no-web").action(ArgAction::SetTrue).help("Run the worker alone"))
        .arg(
            Arg::new("manage")
                .long("manage")
                .value_name("WORD")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .default_value("manage.py")
                .help("What runs Django's commands, after the interpreter; may be repeated"),
        )
        .arg(Arg::new("flags").last(true).num_args(0..).value_name("FLAGS").help("Flags of `reproq worker`"))
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, for programs")
}

/// With the flags of a worker.
fn configured(command: Command) -> Command {
    with_options(command, |option| option.part != Part::Beat)
}

/// With the flags that say where the database is.
fn connected(command: Command) -> Command {
    with_options(command, |option| matches!(option.part, Part::Config | Part::Database))
}

fn with_options(command: Command, wanted: impl Fn(&OptionSpec) -> bool) -> Command {
    worker_options().filter(|option| wanted(option)).fold(command, |command, option| match option.flag {
        Some(flag) => command.arg(argument(option, flag)),
        None => command,
    })
}

fn argument(option: &'static OptionSpec, flag: &'static str) -> Arg {
    let default = option.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let argument = Arg::new(flag)
        .long(flag)
        .value_name(option.kind.value_name())
        .help(format!("{}{default}", option.help))
        .hide(!option.is_effective())
        // `--priority-aging-factor -1`
        .allow_hyphen_values(true);
    match option.kind {
        // `--reload`, and `--reload=off` against a file that turns it on.
        Kind::Bool => argument.num_args(0..=1).require_equals(true).default_missing_value("on"),
        _ => argument,
    }
}

/// The configuration flags that were given, as the configuration takes them.
pub fn given_flags(matches: &ArgMatches) -> Vec<(String, String)> {
    worker_options()
        .filter_map(|option| option.flag)
        .filter_map(|flag| Some((flag.to_owned(), matches.try_get_one::<String>(flag).ok()??.clone())))
        .collect()
}

/// The earlier system's flags took one dash as well as two. Only whole names of flags are taken for that.
pub fn with_two_dashes(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = long_flags(&command());
    arguments
        .into_iter()
        .map(|argument| {
            match argument.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-')) {
                Some(rest) if known.contains(rest.split('=').next().unwrap_or(rest)) => {
                    format!("-{argument}")
                }
                _ => argument,
            }
        })
        .collect()
}

fn long_flags(command: &Command) -> HashSet<String> {
    let own = command.get_arguments().filter_map(Arg::get_long).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(long_flags)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let arguments =
            ["reproq", "worker", "-concurrency", "4", "-queues=a,b", "--dsn", "x", "-V", "-unknown"]
                .map(str::to_owned);
        assert_eq!(
            with_two_dashes(arguments),
            ["reproq", "worker", "--concurrency", "4", "--queues=a,b", "--dsn", "x", "-V", "-unknown"]
        );
    }

    #[test]
    fn a_switch_needs_no_value() {
        let given = |words: &[&str]| {
            let matches = command().get_matches_from([&["reproq", "worker"], words].concat());
            matches.subcommand().map(|(_, worker)| given_flags(worker)).unwrap()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(given(&["--reload", "--queues", "a"]), [pair("queues", "a"), pair("reload", "on")]);
        assert_eq!(given(&["--reload=off"]), [pair("reload", "off")]);
    }

    #[test]
    fn only_given_flags_reach_the_configuration() {
        let matches = command().get_matches_from([
            "reproq",
            "worker",
            "--concurrency",
            "4",
            "--priority-aging-factor",
            "-1",
        ]);
        let (_, worker) = matches.subcommand().unwrap();
        let mut given = given_flags(worker);
        given.sort();
        assert_eq!(
            given,
            [
                ("concurrency".to_owned(), "4".to_owned()),
                ("priority-aging-factor".to_owned(), "-1".to_owned())
            ]
        );
    }
}
