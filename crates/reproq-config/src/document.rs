//! A configuration file as a flat list of keys and values, whichever its format.

use std::path::Path;

use serde_norway::Value as Yaml;
use toml::Value as Toml;

use crate::error::ConfigError;
use crate::file::ConfigFile;
use crate::value::Raw;

/// The format of a file, told by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Toml,
}

/// One value of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key path with underscores, such as `worker.lease_seconds`.
    pub(crate) key: String,
    pub(crate) line: Option<usize>,
    pub(crate) content: Content,
}

/// What stands at a key.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// A value; `None` is YAML's null.
    Value(Option<Raw>),
    /// Something that no option takes, by its name: a date, a list of lists.
    Odd(&'static str),
    /// A section without keys.
    EmptySection,
}

enum Node {
    Content(Content),
    Section(Vec<(String, Node)>),
}

impl Format {
    /// The format of a file with this name; `None` for another extension.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// All entries of a file in its order. Errors carry no text of the file, which may hold secrets.
pub(crate) fn entries(file: &ConfigFile) -> Result<Vec<Entry>, ConfigError> {
    let text = file.text.trim_start_matches('\u{feff}');
    let root = match file.format {
        Format::Yaml => parse_yaml(text),
        Format::Toml => parse_toml(text),
    };
    let root =
        root.map_err(|(problem, line)| ConfigError::Syntax { path: file.path.clone(), line, problem })?;
    let mut entries = Vec::new();
    flatten(text, "", root, &mut entries);
    Ok(entries)
}

type SyntaxProblem = (String, Option<usize>);

fn parse_toml(text: &str) -> Result<Vec<(String, Node)>, SyntaxProblem> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        (error.message().to_owned(), line)
    })?;
    Ok(table.into_iter().map(|(key, value)| (key, toml_node(value))).collect())
}

fn toml_node(value: Toml) -> Node {
    Node::Content(match value {
        Toml::Table(table) => {
            return Node::Section(table.into_iter().map(|(key, value)| (key, toml_node(value))).collect());
        }
        Toml::String(text) => Content::Value(Some(Raw::Text(text))),
        Toml::Integer(number) => Content::Value(Some(Raw::Int(number))),
        Toml::Float(number) => Content::Value(Some(Raw::Float(number))),
        Toml::Boolean(flag) => Content::Value(Some(Raw::Bool(flag))),
        Toml::Datetime(_) => Content::Odd("a date"),
        Toml::Array(items) => list(items.into_iter().map(toml_node)),
    })
}

fn parse_yaml(text: &str) -> Result<Vec<(String, Node)>, SyntaxProblem> {
    let root: Yaml = serde_norway::from_str(text).map_err(|error| {
        let line = error.location().map(|place| place.line());
        (error.to_string(), line)
    })?;
    match yaml_node(root) {
        Node::Section(section) => Ok(section),
        Node::Content(Content::Value(None)) => Ok(Vec::new()),
        Node::Content(_) => Err(("the top of the file must hold keys".to_owned(), Some(1))),
    }
}

fn yaml_node(value: Yaml) -> Node {
    Node::Content(match value {
        Yaml::Mapping(section) => {
            return Node::Section(
                section.into_iter().map(|(key, value)| (yaml_key(key), yaml_node(value))).collect(),
            );
        }
        Yaml::Null => Content::Value(None),
        Yaml::Bool(flag) => Content::Value(Some(Raw::Bool(flag))),
        Yaml::Number(number) => Content::Value(Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Raw::Int(whole),
            (None, Some(float)) if number.is_f64() => Raw::Float(float),
            _ => Raw::Text(number.to_string()),
        })),
        Yaml::String(text) => Content::Value(Some(Raw::Text(text))),
        Yaml::Sequence(items) => list(items.into_iter().map(yaml_node)),
        Yaml::Tagged(_) => Content::Odd("a tagged value"),
    })
}

/// A key that is not text becomes text, to be refused as unknown.
fn yaml_key(key: Yaml) -> String {
    match key {
        Yaml::String(text) => text,
        Yaml::Bool(flag) => flag.to_string(),
        Yaml::Number(number) => number.to_string(),
        _ => "?".to_owned(),
    }
}

fn list(items: impl Iterator<Item = Node>) -> Content {
    let texts: Option<Vec<String>> = items
        .map(|item| match item {
            Node::Content(Content::Value(Some(Raw::Text(text)))) => Some(text),
            Node::Content(Content::Value(Some(Raw::Int(number)))) => Some(number.to_string()),
            Node::Content(Content::Value(None)) => Some(String::new()),
            _ => None,
        })
        .collect();
    let odd =
        Content::Odd("a list of things other than text (YAML wants quotes around what starts with ! or *)");
    texts.map_or(odd, |texts| Content::Value(Some(Raw::List(texts))))
}

fn flatten(text: &str, prefix: &str, section: Vec<(String, Node)>, out: &mut Vec<Entry>) {
    for (name, node) in section {
        let written = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match node {
            Node::Section(inner) if !inner.is_empty() => flatten(text, &written, inner, out),
            node => {
                let content = match node {
                    Node::Content(content) => content,
                    Node::Section(_) => Content::EmptySection,
                };
                let line = line_of(text, &written);
                out.push(Entry { key: written.replace('-', "_"), line, content });
            }
        }
    }
}

/// The line that sets a key, found by its looks: parsers forget positions. `None` when not certain.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| {
        !section.is_empty()
            && !line.starts_with(&format!("{section}:"))
            && !line.trim_start().trim_start_matches('[').trim_start().starts_with(section)
    });
    lines.find(|(_, line)| sets(line, name)).map(|(index, _)| index + 1)
}

fn sets(line: &str, name: &str) -> bool {
    let code = line.split(" #").next().unwrap_or_default();
    code.match_indices(name).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + name.len()..].trim_start_matches(['"', '\'']).trim_start();
        !code.trim_start().starts_with('#')
            && before.is_none_or(|c| c.is_whitespace() || "\"'.{,".contains(c))
            && (after.starts_with(':') || after.starts_with('='))
    })
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
