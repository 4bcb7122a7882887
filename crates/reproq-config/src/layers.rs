//! Picks the winning layer of every option: flags, then environment, then file, then default.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{BadValue, ConfigError};
use crate::explain::Origin;
use crate::file::{self, ConfigFile};
use crate::known::{known_flags, known_keys};
use crate::options::{OptionSpec, find_option, options};
use crate::resolved::Resolved;
use crate::setting::Setting;
use crate::value::{Raw, Value};

/// The layers, put together: one setting per option of the table. Holds secrets in clear, hence no `Debug`.
pub struct Layers {
    pub(crate) settings: Vec<Setting>,
    pub(crate) directory: PathBuf,
}

/// What each layer holds, empty values left out.
struct Sources<'a> {
    flags: HashMap<&'static str, Raw>,
    env: &'a dyn Fn(&str) -> Option<String>,
    file: HashMap<&'static str, (Raw, Origin)>,
}

impl Layers {
    /// Reads all layers and checks the result: the one call that a command makes.
    ///
    /// `flags` are `(name, value)` pairs; of a repeated flag the last one counts. `env` is [`crate::process_env`]
    /// outside tests. Files are looked for, and relative paths resolved, in `directory`.
    pub fn load(
        flags: &[(String, String)],
        env: impl Fn(&str) -> Option<String>,
        directory: &Path,
    ) -> Result<Resolved, ConfigError> {
        Resolved::check(&Self::gather(flags, env, directory)?)
    }

    /// Reads all layers and checks each value by itself.
    pub(crate) fn gather(
        flags: &[(String, String)],
        env: impl Fn(&str) -> Option<String>,
        directory: &Path,
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources { flags: known_flags(flags)?, env: &env, file: HashMap::new() };
        let file = config_file(&sources, directory)?;
        if let Some(file) = &file {
            sources.file = known_keys(file)?;
        }
        let mut settings = options().map(|spec| sources.setting(spec)).collect::<Result<Vec<_>, _>>()?;
        for setting in &mut settings {
            setting.value = match (setting.spec.name, setting.value.take()) {
                ("config", _) => file.as_ref().map(|file| Value::Path(file.path.clone())),
                ("worker.worker_id", None) => Some(Value::Text(own_name())),
                (_, Some(Value::Dsn(dsn))) => Some(Value::Dsn(dsn.resolved_against(directory))),
                (_, value) => value,
            };
        }
        Ok(Self { settings, directory: directory.to_owned() })
    }
}

impl Sources<'_> {
    fn setting(&self, spec: &'static OptionSpec) -> Result<Setting, ConfigError> {
        let Some((raw, origin)) = self.strongest(spec) else {
            return Ok(Setting { spec, value: None, origin: Origin::Default });
        };
        match Value::read(&spec.kind, &raw) {
            Ok(value) => Ok(Setting { spec, value: Some(value), origin }),
            Err(bad) => Err(ConfigError::Value(Box::new(BadValue {
                name: spec.name,
                origin,
                shown: raw.shown(spec.secret),
                problem: bad.problem,
                hint: bad.hint.unwrap_or_else(|| format!("set {}", spec.ways_to_set())),
            }))),
        }
    }

    /// The raw value of the strongest layer that has one.
    fn strongest(&self, spec: &'static OptionSpec) -> Option<(Raw, Origin)> {
        let flag = || {
            let flag = spec.flag?;
            Some((self.flags.get(flag)?.clone(), Origin::Flag(flag)))
        };
        let env = || {
            spec.envs().find_map(|name| {
                let raw = Raw::Text((self.env)(name)?);
                (!raw.is_empty(&spec.kind)).then_some((raw, Origin::Env(name)))
            })
        };
        let file = || spec.keys().find_map(|key| self.file.get(key).cloned());
        let default = || Some((Raw::Text(spec.default?.to_owned()), Origin::Default));
        flag().or_else(env).or_else(file).or_else(default)
    }
}

fn config_file(sources: &Sources<'_>, directory: &Path) -> Result<Option<ConfigFile>, ConfigError> {
    let spec = find_option("config").ok_or(ConfigError::Table("config"))?;
    match sources.setting(spec)? {
        Setting { value: Some(Value::Path(path)), origin, .. } => {
            file::read_named(&path, &origin, directory).map(Some)
        }
        _ => file::read_found(directory),
    }
}

/// `<hostname>-<pid>`.
fn own_name() -> String {
    format!("{}-{}", gethostname::gethostname().to_string_lossy(), std::process::id())
}
