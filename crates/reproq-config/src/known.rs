//! Admits the names that the option table knows, and refuses all others with a suggestion.

use std::collections::HashMap;

use crate::document::{self, Content, Entry};
use crate::error::{BadValue, ConfigError};
use crate::explain::Origin;
use crate::file::ConfigFile;
use crate::options::{OptionSpec, options};
use crate::suggest::nearest;
use crate::value::Raw;

/// The flags by the option table's spelling; of a repeated one the last counts, empty ones are left out.
pub(crate) fn known_flags(flags: &[(String, String)]) -> Result<HashMap<&'static str, Raw>, ConfigError> {
    let names = || options().filter_map(|spec| spec.flag);
    let mut known = HashMap::new();
    for (written, text) in flags {
        let flag = written.trim_start_matches('-').replace('_', "-");
        let Some(spec) = options().find(|spec| spec.flag == Some(&flag)) else {
            return Err(ConfigError::UnknownFlag { suggestion: nearest(&flag, names()), flag });
        };
        let raw = Raw::Text(text.clone());
        known.insert(spec.flag, Some(raw).filter(|raw| !raw.is_empty(&spec.kind)));
    }
    Ok(known.into_iter().filter_map(|(flag, raw)| Some((flag?, raw?))).collect())
}

/// The keys of a file with their values; empty ones are left out.
pub(crate) fn known_keys(file: &ConfigFile) -> Result<HashMap<&'static str, (Raw, Origin)>, ConfigError> {
    let keys = || options().flat_map(|spec| spec.keys().map(move |key| (key, spec)));
    let mut seen = HashMap::new();
    for Entry { key, line, content } in document::entries(file)? {
        let path = file.path.clone();
        let Some((known, spec)) = keys().find(|(known, _)| *known == key) else {
            let is_section =
                keys().any(|(known, _)| known.split_once('.').is_some_and(|(name, _)| name == key));
            match content {
                Content::EmptySection | Content::Value(None) if is_section => continue,
                _ if is_section => {
                    let problem = format!("`{key}` is a section: its keys go below it");
                    return Err(ConfigError::Syntax { path, line, problem });
                }
                _ => {
                    let suggestion = nearest(&key, keys().map(|(known, _)| known));
                    return Err(ConfigError::UnknownKey { path, line, key, suggestion });
                }
            }
        };
        let origin = Origin::File { path: path.clone(), line };
        let raw = match content {
            Content::Value(raw) => raw,
            Content::Odd(what) => return Err(odd(spec, origin, what)),
            Content::EmptySection => return Err(odd(spec, origin, "a section")),
        };
        let set = raw.filter(|raw| !raw.is_empty(&spec.kind)).map(|raw| (raw, origin));
        if seen.insert(known, set).is_some() {
            return Err(ConfigError::RepeatedKey { path, line, key });
        }
    }
    Ok(seen.into_iter().filter_map(|(key, set)| Some((key, set?))).collect())
}

fn odd(spec: &OptionSpec, origin: Origin, what: &str) -> ConfigError {
    ConfigError::Value(Box::new(BadValue {
        name: spec.name,
        origin,
        shown: what.to_owned(),
        problem: "a plain value is expected".to_owned(),
        hint: format!("{}: {}", spec.name, spec.help),
    }))
}
