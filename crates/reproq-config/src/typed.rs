//! Typed access to the gathered settings. That each name fits its type is ruled in by the tests: resolving the
//! defaults reads every option.

use std::path::PathBuf;
use std::time::Duration;

use crate::dsn::Dsn;
use crate::error::ConfigError;
use crate::layers::Layers;
use crate::setting::Setting;
use crate::value::Value;

/// A type that some kind of value is read as.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

impl Layers {
    /// The setting of an option of the table.
    pub(crate) fn find(&self, name: &'static str) -> Result<&Setting, ConfigError> {
        self.settings.iter().find(|setting| setting.spec.name == name).ok_or(ConfigError::Table(name))
    }

    /// The value of an option that always has one.
    pub(crate) fn get<T: FromValue>(&self, name: &'static str) -> Result<T, ConfigError> {
        self.get_unless_unset(name)?.ok_or(ConfigError::Table(name))
    }

    /// The value of an option that may be unset.
    pub(crate) fn get_unless_unset<T: FromValue>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        match &self.find(name)?.value {
            Some(value) => T::from_value(value).map(Some).ok_or(ConfigError::Table(name)),
            None => Ok(None),
        }
    }

    /// The value of an option that counts whole seconds.
    pub(crate) fn seconds(&self, name: &'static str) -> Result<Duration, ConfigError> {
        self.get::<usize>(name).map(|seconds| Duration::from_secs(seconds as u64))
    }

    /// The meaning of an option that takes one of a few words.
    pub(crate) fn word<T: Copy>(&self, name: &'static str, meanings: &[(&str, T)]) -> Result<T, ConfigError> {
        let word: String = self.get(name)?;
        let meaning = meanings.iter().find(|(known, _)| *known == word);
        meaning.map(|(_, meaning)| *meaning).ok_or(ConfigError::Table(name))
    }
}

macro_rules! read_as {
    ($($kind:ident => $type:ty),+ $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$kind(inner) => Some(inner.clone()),
                    _ => None,
                }
            }
        }
    )+};
}

read_as!(
    Text => String,
    Path => PathBuf,
    Dsn => Dsn,
    Bool => bool,
    Float => f64,
    Int => i64,
    Duration => Duration,
    List => Vec<String>,
);

impl FromValue for usize {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).and_then(|number| Self::try_from(number).ok())
    }
}
