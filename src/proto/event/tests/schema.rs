//! For tests: checks lines against `docs/events.schema.json`. Every record that a test writes is checked.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../docs/events.schema.json")).expect("the schema is JSON")
});
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&SCHEMA).expect("the schema is one"));

/// Why a line does not fit the schema; `None` if it does.
pub(crate) fn faults(line: &str) -> Option<String> {
    let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    VALIDATOR.validate(&value).err().map(|error| format!("{line}\n{error}"))
}

/// # Panics
/// If the line does not fit the schema.
pub(crate) fn check(line: &str) {
    if let Some(faults) = faults(line) {
        panic!("{faults}");
    }
}

/// The names of all events of the schema, sorted.
pub(crate) fn events() -> Vec<String> {
    let mut names: Vec<_> = SCHEMA["oneOf"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let definition = one["$ref"].as_str().expect("a reference").trim_start_matches("#/$defs/");
            SCHEMA["$defs"][definition]["properties"]["event"]["const"].as_str().expect("a name").to_owned()
        })
        .collect();
    names.sort();
    names
}
