//! Checks the events that the programs print against their schema.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema =
        serde_json::from_str(include_str!("../../docs/events.schema.json")).expect("the schema is JSON");
    jsonschema::draft202012::new(&schema).expect("the schema is one")
});

/// The fault of a line that looks like an event. `None` for a valid event and for all other lines.
pub fn faults(line: &str) -> Option<String> {
    if !line.starts_with(r#"{"event":"#) {
        return None;
    }
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return Some(format!("{line}\n{error}")),
    };
    VALIDATOR.validate(&value).err().map(|error| format!("{line}\n{error}"))
}

/// Parses a line that must be an event.
///
/// # Panics
/// If the line is no event or does not fit the schema.
pub fn parse(line: &str) -> Value {
    assert!(line.starts_with(r#"{"event":"#), "no event: {line}");
    assert_eq!(faults(line), None);
    serde_json::from_str(line).expect("looked at already")
}

/// Parses lines that must all be events.
pub fn parse_all(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| parse(line)).collect()
}
