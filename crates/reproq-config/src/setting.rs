//! The value in force of one option, and what `explain` and the log say about it.

use crate::explain::{Explained, Origin};
use crate::options::OptionSpec;
use crate::value::Value;

const VISIBLE_PASSWORD: &str =
    "the password is visible to every user of the machine on the command line; use DATABASE_URL instead";

/// The value in force of one option, and where it comes from. May hold a secret, hence no `Debug`.
pub(crate) struct Setting {
    pub(crate) spec: &'static OptionSpec,
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
}

impl Setting {
    /// The setting as `explain` shows it.
    pub(crate) fn explained(&self) -> Explained {
        let secret = self.spec.secret;
        Explained {
            name: self.spec.name,
            value: self.value.as_ref().map(|value| value.shown(secret)),
            json: self.value.as_ref().map_or(serde_json::Value::Null, |value| value.to_json(secret)),
            origin: self.origin.clone(),
            note: self.note(),
        }
    }

    /// One line for the log at start, if there is something wrong with having set this.
    pub(crate) fn warning(&self) -> Option<String> {
        self.concern().map(|concern| format!("{} ({}): {concern}", self.spec.name, self.origin))
    }

    /// Name, value and origin, for messages about two settings.
    pub(crate) fn described(&self) -> String {
        let value = self.value.as_ref().map(|value| value.shown(self.spec.secret));
        format!("{} = {} ({})", self.spec.name, value.as_deref().unwrap_or("unset"), self.origin)
    }

    fn note(&self) -> Option<&'static str> {
        let unset = || self.spec.when_unset.filter(|_| self.value.is_none());
        self.concern().or_else(|| self.spec.part.without_effect()).or_else(unset)
    }

    /// What is wrong with having set this.
    fn concern(&self) -> Option<&'static str> {
        if self.origin == Origin::Default {
            return None;
        }
        let on_command_line = matches!(self.origin, Origin::Flag(_));
        match &self.value {
            Some(Value::Dsn(dsn)) if on_command_line && dsn.has_password() => Some(VISIBLE_PASSWORD),
            _ => self.spec.part.without_effect(),
        }
    }
}
