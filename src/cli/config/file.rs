//! Reads configuration files as lists of keys and values: TOML, INI with a section `[main]`, JSON. Nested
//! keys are joined by dots.
//!
//! Pure: text in, entries out. This module does not know which keys there are. Each entry has the number of
//! its line, so that an error can name the line.

use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::types::Printable;

/// One key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// In lower case, with `-` for each `_` and `.` between levels.
    pub(super) key: String,
    /// The value as text.
    pub(super) value: String,
    /// The number of the line; the first line is 1.
    pub(super) line: usize,
}

/// Why a file cannot be read in its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadFile {
    /// The number of the line; the first line is 1.
    pub(super) line: usize,
    /// The reason.
    pub(super) why: String,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Ini,
    Json,
}

impl Format {
    /// Recognises the format by the end of the file name, or else by the first line that is not a comment.
    pub(super) fn of(path: &Path, text: &str) -> Format {
        let first_line =
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        match path.extension().and_then(|end| end.to_str()) {
            Some("toml") => Format::Toml,
            Some("json") => Format::Json,
            Some("ini") => Format::Ini,
            _ => match first_line {
                Some(line) if line.starts_with('{') => Format::Json,
                Some("[main]") => Format::Ini,
                _ => Format::Toml,
            },
        }
    }
}

/// All entries of a file, in its order.
pub(super) fn entries(text: &str, format: Format) -> Result<Vec<Entry>, BadFile> {
    match format {
        Format::Toml => toml_entries(text),
        Format::Ini => ini_entries(text),
        Format::Json => json_entries(text),
    }
}

/// The number of the line at this offset.
fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Joins keys: `server` and `base_port` become `server.base-port`.
fn key_of(above: &str, key: &str) -> String {
    let key = key.replace('_', "-").to_lowercase();
    if above.is_empty() { key } else { format!("{above}.{key}") }
}

fn no_value_text(key: &str) -> String {
    format!("`{}` is neither a text nor a number nor true or false", Printable(key))
}

fn toml_entries(text: &str) -> Result<Vec<Entry>, BadFile> {
    let table = DeTable::parse(text).map_err(|error| BadFile {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        why: Printable(error.message()).to_string(),
    })?;
    let mut entries = Vec::new();
    add_toml_table(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn add_toml_table(
    text: &str,
    above: &str,
    table: &DeTable<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), BadFile> {
    for (name, value) in table {
        let (key, line) = (key_of(above, name.get_ref()), line_at(text, name.span().start));
        let value = match value.get_ref() {
            DeValue::String(value) => value.to_string(),
            DeValue::Integer(value) => value.to_string(),
            DeValue::Float(value) => value.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Table(table) => {
                add_toml_table(text, &key, table, entries)?;
                continue;
            }
            DeValue::Datetime(_) | DeValue::Array(_) => {
                return Err(BadFile { line, why: no_value_text(&key) });
            }
        };
        entries.push(Entry { key, value, line });
    }
    Ok(())
}

fn ini_entries(text: &str) -> Result<Vec<Entry>, BadFile> {
    let mut ini = configparser::ini::Ini::new();
    let sections =
        ini.read(text.to_owned()).map_err(|why| BadFile { line: 1, why: Printable(&why).to_string() })?;
    let mut entries = Vec::new();
    for (section, keys) in sections {
        // Keys of these sections have no prefix. The parser calls the part before any section `default`.
        let above = if section == "main" || section == "default" { "" } else { section.as_str() };
        for (key, value) in keys {
            // The parser gives no line numbers: take the first line that sets this key.
            let sets_key = |line: &str| {
                let name = line.split(['=', ':']).next().unwrap_or_default();
                name.trim().eq_ignore_ascii_case(&key)
            };
            let line = text.lines().position(sets_key).map_or(1, |index| index + 1);
            // A key without a value is a flag that is set.
            entries.push(Entry {
                key: key_of(above, &key),
                value: value.unwrap_or_else(|| "true".into()),
                line,
            });
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn json_entries(text: &str) -> Result<Vec<Entry>, BadFile> {
    let value: Value = serde_json::from_str(text).map_err(|error| BadFile {
        line: error.line().max(1),
        why: Printable(&error.to_string()).to_string(),
    })?;
    let mut entries = Vec::new();
    add_json_value(text, "", 1, &value, &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// Adds the entries of a value. A list becomes one entry with the text of the list: a later step skips it as
/// a key of another system, or refuses it as an unknown key or a bad value.
fn add_json_value(text: &str, above: &str, line: usize, value: &Value, entries: &mut Vec<Entry>) {
    let value = match value {
        Value::Object(members) => {
            for (name, member) in members {
                // The parser gives no line numbers: take the first line that has this key.
                let quoted = Value::String(name.clone()).to_string();
                let line = text.find(&quoted).map_or(line, |offset| line_at(text, offset));
                add_json_value(text, &key_of(above, name), line, member, entries);
            }
            return;
        }
        // A null means that the key has no value.
        Value::Null => return,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    entries.push(Entry { key: above.to_owned(), value, line });
}
