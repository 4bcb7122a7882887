//! The address of the database, which is a secret: neither `Debug`, `Display` nor an error shows its password.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::redact::{MASK, has_secret_parameter, mask_query};

/// Endings by which a bare path is taken for a `SQLite` file.
const SQLITE_ENDINGS: [&str; 3] = [".sqlite3", ".sqlite", ".db"];

/// A checked database address. Shows itself with the password masked; [`Dsn::target`] gives the real one.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    address: Address,
}

#[derive(Clone, PartialEq, Eq)]
enum Address {
    Postgres { url: String, masked: String, has_password: bool },
    Sqlite(PathBuf),
}

/// The kind of database that an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `PostgreSQL`.
    Postgres,
    /// `SQLite`.
    Sqlite,
}

/// What to connect to. Holds the secret in clear, hence no `Debug`.
pub enum Target<'a> {
    /// A `postgres://` or `postgresql://` URL, password included.
    Postgres(&'a str),
    /// The path of a `SQLite` file, absolute once the configuration is resolved.
    Sqlite(&'a Path),
}

/// Why a text is not a database address. Holds no part of it that could be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// `host=... dbname=...`.
    #[error("this is the keyword form of libpq, which is not supported")]
    KeywordForm,
    /// A scheme that names no supported database.
    #[error("`{0}://` is not a database that reproq knows")]
    Scheme(String),
    /// Neither a URL nor a path that looks like a database file.
    #[error("this is neither a database URL nor the path of a .sqlite3, .sqlite or .db file")]
    Shape,
    /// A URL that does not parse.
    #[error("the URL is not valid ({0})")]
    Url(String),
    /// A reserved character that cuts a part of the URL short, most often the password.
    #[error("a part of the URL holds a reserved character (one of # / ? @ :) as it is")]
    Unescaped,
    /// Several hosts in one URL.
    #[error("it names more than one host")]
    SeveralHosts,
    /// `:memory:`.
    #[error("an in-memory database exists in one process only: the site and the worker cannot share it")]
    Memory,
    /// `sqlite://` with no path.
    #[error("it names no file")]
    NoFile,
    /// `sqlite://...?x=y`.
    #[error("parameters after `?` are not supported for SQLite")]
    SqliteParameters,
}

impl DsnError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unescaped | Self::Url(_) => {
                "write postgresql://user:password@host:5432/database and percent-encode reserved characters in \
                 its parts (# is %23, / is %2F, ? is %3F, @ is %40, : is %3A)"
            }
            Self::SeveralHosts => "name one host: postgresql://user:password@host:5432/database",
            Self::Memory | Self::NoFile | Self::SqliteParameters => {
                "write sqlite:///absolute/path/db.sqlite3, or just the path of the file"
            }
            Self::KeywordForm | Self::Scheme(_) | Self::Shape => {
                "write postgresql://user:password@host:5432/database or sqlite:///absolute/path/db.sqlite3"
            }
        }
    }
}

impl Dsn {
    /// Reads `postgres://...`, `postgresql://...`, `sqlite:///absolute`, `sqlite://relative`, or the bare path
    /// of a `.sqlite3`, `.sqlite` or `.db` file.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let text = text.trim();
        if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            return match scheme.to_ascii_lowercase().as_str() {
                "postgres" | "postgresql" => postgres(text),
                "sqlite" => sqlite_url(rest),
                other => Err(DsnError::Scheme(other.to_owned())),
            };
        }
        if text.ends_with(":memory:") {
            return Err(DsnError::Memory);
        }
        if is_keyword_form(text) {
            return Err(DsnError::KeywordForm);
        }
        if SQLITE_ENDINGS.iter().any(|ending| text.len() > ending.len() && text.ends_with(ending)) {
            return Ok(Self { address: Address::Sqlite(PathBuf::from(text)) });
        }
        Err(DsnError::Shape)
    }

    /// The kind of database.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.address {
            Address::Postgres { .. } => Engine::Postgres,
            Address::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// What to connect to, password in clear: for the store only, never for output.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        match &self.address {
            Address::Postgres { url, .. } => Target::Postgres(url),
            Address::Sqlite(path) => Target::Sqlite(path),
        }
    }

    /// Whether the address carries a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        matches!(self.address, Address::Postgres { has_password: true, .. })
    }

    /// The same address with a relative `SQLite` path made absolute.
    pub(crate) fn resolved_against(self, directory: &Path) -> Self {
        match self.address {
            Address::Sqlite(path) => Self { address: Address::Sqlite(directory.join(path)) },
            Address::Postgres { .. } => self,
        }
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Postgres { masked, .. } => f.write_str(masked),
            Address::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `word = ...` at the start, which no sensible path has.
fn is_keyword_form(text: &str) -> bool {
    text.split_once('=').is_some_and(|(word, _)| {
        let word = word.trim_end();
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

fn postgres(text: &str) -> Result<Dsn, DsnError> {
    let mut url = Url::parse(text).map_err(|problem| DsnError::Url(problem.to_string()))?;
    // A raw @ behind the host was meant to end a password; a raw # to be part of something.
    let stray = |part: &str| part.contains('@');
    if url.fragment().is_some() || stray(url.path()) || url.query().is_some_and(stray) {
        return Err(DsnError::Unescaped);
    }
    if url.host_str().is_some_and(|host| host.contains(',')) {
        return Err(DsnError::SeveralHosts);
    }
    let mut has_password = false;
    if url.password().is_some() {
        has_password = true;
        // Fails only for URLs without a host, which cannot carry a password.
        url.set_password(Some(MASK)).map_err(|()| DsnError::Shape)?;
    }
    if let Some(query) = url.query().map(str::to_owned) {
        has_password |= has_secret_parameter(&query);
        url.set_query(Some(&mask_query(&query)));
    }
    Ok(Dsn { address: Address::Postgres { url: text.to_owned(), masked: url.to_string(), has_password } })
}

/// `rest` is what follows `sqlite://`. Four slashes, as some Django libraries write it, mean the same as three.
fn sqlite_url(rest: &str) -> Result<Dsn, DsnError> {
    if rest.contains('?') || rest.contains('#') {
        return Err(DsnError::SqliteParameters);
    }
    let path = percent_decoded(rest).ok_or_else(|| DsnError::Url("bad percent-encoding".to_owned()))?;
    let path = if path.starts_with("//") { path[1..].to_owned() } else { path };
    match path.as_str() {
        "" | "/" => Err(DsnError::NoFile),
        ":memory:" | "/:memory:" => Err(DsnError::Memory),
        _ => Ok(Dsn { address: Address::Sqlite(PathBuf::from(path)) }),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
