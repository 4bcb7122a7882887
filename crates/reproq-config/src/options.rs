//! What an option is. The options themselves are declared in `table.rs`, each exactly once.

use std::time::Duration;

use crate::table;

/// Everything there is to know about one option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its one name, used by `explain` and in messages. Also its key path in the file, unless `in_file` is false.
    pub name: &'static str,
    /// Whether a configuration file may set it.
    pub in_file: bool,
    /// Another key path in the file, which wins over `name`.
    pub stronger_key: Option<&'static str>,
    /// The long flag, without dashes.
    pub flag: Option<&'static str>,
    /// The environment variable.
    pub env: Option<&'static str>,
    /// Another environment variable, which wins over `env`.
    pub stronger_env: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// The default, written as a user would write it. `None`: unset, or computed at start.
    pub default: Option<&'static str>,
    /// What happens without a value, for options whose default is not a constant.
    pub when_unset: Option<&'static str>,
    /// One line for `--help`.
    pub help: &'static str,
    /// Whether the value is masked wherever it is shown.
    pub secret: bool,
    /// The part of the program that it belongs to.
    pub part: Part,
}

/// The values that an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path.
    Path,
    /// A database address.
    Dsn,
    /// `1/true/yes/on` or `0/false/no/off`.
    Bool,
    /// A finite number.
    Float,
    /// A comma list, or a list in the file.
    List,
    /// A whole number.
    Int {
        /// The least allowed value.
        min: i64,
        /// The greatest allowed value.
        max: i64,
        /// Why there is a least value.
        why: &'static str,
    },
    /// A span of time.
    Duration {
        /// The least allowed span.
        min: Duration,
        /// Why there is a least span.
        why: &'static str,
    },
    /// One of a few words.
    Choice {
        /// The words.
        allowed: &'static [&'static str],
        /// Known words that are refused, each with the reason.
        refused: &'static [(&'static str, &'static str)],
    },
    /// `host:port`, where the host may be empty.
    HostPort,
    /// A list of addresses, networks (`10.0.0.0/8`) or `localhost`.
    Networks,
}

/// The part of the program that an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Finding the configuration itself.
    Config,
    /// The database connection.
    Database,
    /// The worker.
    Worker,
    /// Logging.
    Log,
    /// The HTTP server, which is not built yet: values are checked and have no effect.
    Metrics,
    /// The scheduler, in a worker or as a command of its own.
    Beat,
    /// Kept so that existing files are accepted; never has an effect.
    Retired(&'static str),
}

impl OptionSpec {
    /// The key paths in the file that set this option, strongest first.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.stronger_key.into_iter().chain(self.in_file.then_some(self.name))
    }

    /// The environment variables that set this option, strongest first.
    pub fn envs(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.stronger_env.into_iter().chain(self.env)
    }

    /// Whether the part it belongs to exists, so that its value has an effect.
    #[must_use]
    pub fn is_effective(&self) -> bool {
        self.part.without_effect().is_none()
    }

    /// The ways to set it, for hints: `--concurrency, REPROQ_CONCURRENCY or worker.concurrency in the file`.
    #[must_use]
    pub fn ways_to_set(&self) -> String {
        let mut ways: Vec<String> = Vec::new();
        ways.extend(self.flag.map(|flag| format!("--{flag}")));
        ways.extend(self.env.map(|env| format!("the environment variable {env}")));
        ways.extend(self.in_file.then(|| format!("`{}` in the configuration file", self.name)));
        ways.join(" or ")
    }
}

impl Part {
    /// Why a value of this part has no effect, if it has none.
    #[must_use]
    pub fn without_effect(self) -> Option<&'static str> {
        match self {
            Self::Config | Self::Database | Self::Worker | Self::Log | Self::Beat => None,
            Self::Metrics => Some("no effect: the HTTP server is not part of this version"),
            Self::Retired(note) => Some(note),
        }
    }
}

impl Kind {
    /// What `--help` shows in place of the value.
    #[must_use]
    pub fn value_name(&self) -> &'static str {
        match self {
            Self::Text | Self::Choice { .. } => "VALUE",
            Self::Path => "PATH",
            Self::Dsn => "URL",
            Self::Bool => "BOOL",
            Self::Float => "NUMBER",
            Self::List => "LIST",
            Self::Int { .. } => "N",
            Self::Duration { .. } => "DURATION",
            Self::HostPort => "HOST:PORT",
            Self::Networks => "NETWORKS",
        }
    }
}

/// Every option, in the order in which `explain` shows them.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> {
    table::OPTIONS.iter()
}

/// The options that commands take as flags: `reproq worker` all but those of the scheduler alone. Those that are not [effective](OptionSpec::is_effective)
/// are accepted, so that existing command lines start, and are better hidden from `--help`.
pub fn worker_options() -> impl Iterator<Item = &'static OptionSpec> {
    options().filter(|option| option.flag.is_some())
}

/// The option with this name.
#[must_use]
pub fn find_option(name: &str) -> Option<&'static OptionSpec> {
    options().find(|option| option.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_declared_twice() {
        for names in [
            options().flat_map(OptionSpec::keys).collect::<Vec<_>>(),
            options().filter_map(|option| option.flag).collect(),
            options().filter_map(|option| option.env).collect(),
            options().map(|option| option.name).collect(),
        ] {
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn every_option_can_be_set_and_has_help() {
        for option in options() {
            assert!(!option.ways_to_set().is_empty(), "{}", option.name);
            assert!(!option.help.is_empty(), "{}", option.name);
        }
    }

    #[test]
    fn hints_list_every_way_to_set_an_option() {
        let ways = find_option("worker.queues").unwrap().ways_to_set();
        assert_eq!(
            ways,
            "--queues or the environment variable QUEUE_NAMES or `worker.queues` in the configuration file"
        );
    }
}
