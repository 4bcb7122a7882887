//! Where each value comes from, in a form to show: secrets are masked.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

/// The layer that a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table of options (or nothing, when the option is unset).
    Default,
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, when known.
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Env(&'static str),
    /// A flag, by name without dashes.
    Flag(&'static str),
}

/// One option with its value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The option's name.
    pub name: &'static str,
    /// The value as a user would write it, masked if secret; `None` when unset.
    pub value: Option<String>,
    /// The value as JSON, masked if secret; null when unset.
    pub json: Json,
    /// Where it comes from.
    pub origin: Origin,
    /// What a reader should know: the meaning of unset, or that the value has no effect.
    pub note: Option<&'static str>,
}

impl Explained {
    /// The JSON form: `{"name", "value", "origin": {"layer", ...}, "note"}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({ "name": self.name, "value": self.json, "origin": self.origin.to_json(), "note": self.note })
    }
}

impl Origin {
    /// The JSON form: `{"layer": "default" | "file" | "env" | "flag"}` with `path` and `line`, or `name`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Default => json!({ "layer": "default" }),
            Self::File { path, line } => {
                json!({ "layer": "file", "path": path.display().to_string(), "line": line })
            }
            Self::Env(name) => json!({ "layer": "env", "name": name }),
            Self::Flag(name) => json!({ "layer": "flag", "name": format!("--{name}") }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "from {}, line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "from {}", path.display()),
            Self::Env(name) => write!(f, "from {name}"),
            Self::Flag(name) => write!(f, "from --{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_well_in_a_sentence() {
        let file = Origin::File { path: PathBuf::from("/srv/reproq.toml"), line: Some(3) };
        assert_eq!(file.to_string(), "from /srv/reproq.toml, line 3");
        assert_eq!(Origin::Env("DATABASE_URL").to_string(), "from DATABASE_URL");
        assert_eq!(Origin::Flag("dsn").to_string(), "from --dsn");
        assert_eq!(Origin::Default.to_string(), "default");
    }

    #[test]
    fn json_names_the_layer() {
        assert_eq!(Origin::Flag("dsn").to_json(), json!({ "layer": "flag", "name": "--dsn" }));
        let file = Origin::File { path: PathBuf::from("/a.toml"), line: None };
        assert_eq!(file.to_json(), json!({ "layer": "file", "path": "/a.toml", "line": null }));
    }
}
