//! Configuration files: which ones are read, and their keys and values with the lines that they stand in. Which keys
//! there are, and what a value means, is decided by the flag of that name.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use toml::de::{DeInteger, DeTable, DeValue};

use super::error::ConfigError;

/// Where files are looked for if none are named.
const DIRECTORY: &str = "/etc/logsinkfs";

/// A value of a file.
#[derive(Debug)]
pub(super) struct FileValue {
    /// The flag's name.
    pub key: String,
    /// File and line.
    pub place: String,
    /// What is given.
    pub given: Given,
}

/// What a value is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// `true` or `false`.
    Switch(bool),
    /// A string, number or time.
    One(String),
    /// An array.
    Several(Vec<String>),
    /// A table, as `NAME=VALUE`.
    Pairs(Vec<String>),
}

/// Reads these files (of directories, all that end in `.toml`, in the order of their names); those of the system if
/// none are named. Of a key that several files have, the last one counts.
pub(super) fn load(named: &[PathBuf]) -> Result<Vec<FileValue>, ConfigError> {
    let mut paths = Vec::new();
    for path in named {
        paths.extend(files_of(path).map_err(|e| ConfigError::Unreadable(path.clone(), e))?);
    }
    if named.is_empty() {
        match files_of(Path::new(DIRECTORY)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            files => paths.extend(files.map_err(|e| ConfigError::Unreadable(DIRECTORY.into(), e))?),
        }
    }
    let mut values: Vec<FileValue> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| ConfigError::Unreadable(path.clone(), e))?;
        for value in parse(&path, &text)? {
            values.retain(|before| before.key != value.key);
            values.push(value);
        }
    }
    Ok(values)
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = entries.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    Ok(files)
}

fn parse(path: &Path, text: &str) -> Result<Vec<FileValue>, ConfigError> {
    let place = |at: usize| {
        let before = text.get(..at).unwrap_or(text);
        format!("{}:{}", path.display(), before.matches('\n').count() + 1)
    };
    let table = DeTable::parse(text).map_err(|e| ConfigError::Syntax {
        place: place(e.span().map_or(0, |span| span.start)),
        message: e.message().to_owned(),
    })?;
    let mut values: Vec<_> = table.get_ref().iter().collect();
    values.sort_by_key(|(key, _)| key.span().start);
    let value = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let (key, place): (&std::borrow::Cow<'_, str>, _) = (key.get_ref(), place(key.span().start));
        let given = given(value.get_ref(), key).ok_or_else(|| ConfigError::Value {
            place: format!("{place}: {key}"),
            reason: "a list has strings and numbers only, and so has a table".to_owned(),
        })?;
        Ok(FileValue { key: key.clone().into_owned(), place, given })
    };
    values.into_iter().map(value).collect()
}

fn given(value: &DeValue<'_>, key: &str) -> Option<Given> {
    Some(match value {
        DeValue::Boolean(on) => Given::Switch(*on),
        DeValue::Array(items) => {
            Given::Several(items.iter().map(|item| scalar(item.get_ref(), key)).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let pair = |(name, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
                Some(format!("{}={}", name.get_ref(), scalar(value.get_ref(), key)?))
            };
            Given::Pairs(table.iter().map(pair).collect::<Option<_>>()?)
        }
        value => Given::One(scalar(value, key)?),
    })
}

fn scalar(value: &DeValue<'_>, key: &str) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(integer(number, key)),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// As the flag takes it: a mode is octal there, with and without the `0o` of TOML; everything else is decimal.
fn integer(number: &DeInteger<'_>, key: &str) -> String {
    let is_mode = number.radix() == 8 && key.ends_with("-mode");
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) if number.radix() != 10 && !is_mode => value.to_string(),
        _ => number.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, Given)> {
        let values = parse(Path::new("a.toml"), text).expect("a configuration");
        values.into_iter().map(|value| (value.key, value.given)).collect()
    }

    #[test]
    fn values_are_what_a_flag_would_take() {
        let one = |text: &str| Given::One(text.to_owned());
        for (text, given) in [
            ("k = \"2GiB\"", one("2GiB")),
            ("k = 1_000", one("1000")),
            ("k = 0x10", one("16")),
            ("file-mode = 0o640", one("640")),
            ("file-mode = \"0640\"", one("0640")),
            ("k = 1.5", one("1.5")),
            ("k = 2026-11-23", one("2026-11-23")),
            ("k = true", Given::Switch(true)),
            ("k = [\"a\", 1]", Given::Several(vec!["a".to_owned(), "1".to_owned()])),
            ("k = { a = \"b\" }", Given::Pairs(vec!["a=b".to_owned()])),
            ("[k]\na = \"b\"", Given::Pairs(vec!["a=b".to_owned()])),
        ] {
            assert_eq!(values(text).remove(0).1, given, "{text}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let said = |text: &str| parse(Path::new("a.toml"), text).expect_err(text).to_string();
        assert!(said("a = 1\n\nb = \n").starts_with("a.toml:3: "), "{}", said("a = 1\n\nb = \n"));
        assert!(said("a = 1\na = 2\n").starts_with("a.toml:2: "), "{}", said("a = 1\na = 2\n"));
        assert!(said("a = 1\nb = [[1]]\n").starts_with("a.toml:2: b: "));
    }
}
