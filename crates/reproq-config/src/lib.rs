//! Layered configuration of the `reproq` binary: defaults < file < environment < flags.
//!
//! Every option is declared once, in [`options`]: its names, kind, default and help text. [`Layers`] finds the
//! winning value of each option and remembers its [`Origin`]; [`Resolved`] is what the rest of the binary sees:
//! typed, checked, immutable. [`Resolved::explain`] shows every value with its origin, secrets masked.
//!
//! Invariants: unknown names are refused, empty means unset, a default is spelled in one place, and no error or
//! `Debug` output shows a password. Only the binary depends on this crate.

mod checks;
mod document;
mod dsn;
mod duration;
mod env;
mod error;
mod explain;
mod file;
mod isolation;
mod known;
mod layers;
mod logs;
mod options;
mod queues;
mod redact;
mod resolved;
mod sections;
mod setting;
mod suggest;
mod table;
mod typed;
mod value;

pub use dsn::{Dsn, DsnError, Engine, Target};
pub use duration::{format_duration, parse_duration};
pub use env::process_env;
pub use error::{BadValue, ConfigError};
pub use explain::{Explained, Origin};
pub use layers::Layers;
pub use options::{Kind, OptionSpec, Part, find_option, options, worker_options};
pub use redact::MASK;
pub use resolved::Resolved;
pub use sections::{Aging, BeatConfig, DatabaseConfig, LogConfig, LogFormat, PayloadMode, WorkerConfig};
