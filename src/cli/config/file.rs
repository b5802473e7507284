//! Configuration files as lists of keys and values: TOML, INI with a section `[main]`, JSON. Nested keys are
//! joined by dots.
//!
//! Pure: the input is text, the output are entries. This module knows no keys. Each entry has its line, so
//! that an error can name it.

use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::types::Printable;

/// One key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// With `-` for each `_`, and `.` between levels.
    pub(super) key: String,
    /// As text.
    pub(super) value: String,
    /// In the file, from 1 on.
    pub(super) line: usize,
}

/// A file that does not have its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadFile {
    /// From 1 on.
    pub(super) line: usize,
    /// The reason.
    pub(super) why: String,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Toml,
    Ini,
    Json,
}

impl Form {
    /// Recognises the form by the end of the name, else by the first line.
    pub(super) fn of(path: &Path, text: &str) -> Form {
        let begins =
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        match path.extension().and_then(|end| end.to_str()) {
            Some("toml") => Form::Toml,
            Some("json") => Form::Json,
            Some("ini") => Form::Ini,
            _ => match begins {
                Some(line) if line.starts_with('{') => Form::Json,
                Some("[main]") => Form::Ini,
                _ => Form::Toml,
            },
        }
    }
}

/// All entries of a file, in its order.
pub(super) fn entries(text: &str, form: Form) -> Result<Vec<Entry>, BadFile> {
    match form {
        Form::Toml => toml_entries(text),
        Form::Ini => ini_entries(text),
        Form::Json => json_entries(text),
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

fn no_value(key: &str) -> String {
    format!("`{}` is neither a text nor a number nor true or false", Printable(key))
}

fn toml_entries(text: &str) -> Result<Vec<Entry>, BadFile> {
    let table = DeTable::parse(text).map_err(|error| BadFile {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        why: Printable(error.message()).to_string(),
    })?;
    let mut entries = Vec::new();
    toml_table(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn toml_table(text: &str, above: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) -> Result<(), BadFile> {
    for (name, value) in table {
        let (key, line) = (key_of(above, name.get_ref()), line_at(text, name.span().start));
        let value = match value.get_ref() {
            DeValue::String(value) => value.to_string(),
            DeValue::Integer(value) => value.to_string(),
            DeValue::Float(value) => value.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Table(table) => {
                toml_table(text, &key, table, entries)?;
                continue;
            }
            DeValue::Datetime(_) | DeValue::Array(_) => return Err(BadFile { line, why: no_value(&key) }),
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
        let above = if section == "main" || section == "default" { "" } else { section.as_str() };
        for (key, value) in keys {
            // The parser gives no lines: take the first line that sets this key.
            let sets = |line: &str| {
                let name = line.split(['=', ':']).next().unwrap_or_default();
                name.trim().eq_ignore_ascii_case(&key)
            };
            let line = text.lines().position(sets).map_or(1, |index| index + 1);
            // A key without a value is a switch that is set.
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
    json_value(text, "", 1, &value, &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// Adds the entries of a value. A list becomes one entry with its text: later it is skipped, or refused as an
/// unknown key or a bad value.
fn json_value(text: &str, above: &str, line: usize, value: &Value, entries: &mut Vec<Entry>) {
    let value = match value {
        Value::Object(members) => {
            for (name, member) in members {
                // The parser gives no lines: take the first line that has this key.
                let quoted = Value::String(name.clone()).to_string();
                let line = text.find(&quoted).map_or(line, |offset| line_at(text, offset));
                json_value(text, &key_of(above, name), line, member, entries);
            }
            return;
        }
        // A null is no value.
        Value::Null => return,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    entries.push(Entry { key: above.to_owned(), value, line });
}
