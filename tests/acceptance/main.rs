//! The promised behaviour, tested with the real programs on loopback.

mod background;
mod commands;
mod contents;
mod crashes;
mod disk_failures;
mod documents;
mod doubles;
mod evil_double;
mod exit_codes;
mod failures;
mod guests;
mod handoff;
mod hostile;
mod hostile_text;
mod log;
mod many_sources;
mod memory;
mod one_shot;
mod partial_holders;
mod progress;
mod prompt;
mod replicas;
mod resume;
mod selection;
mod sizes;
mod source_cases;
mod typed_input;
mod web;
mod wire_failures;

#[path = "../support/mod.rs"]
mod support;

/// Checks that an error text is readable for users.
fn assert_clear(err: &str, parts: &[&str]) {
    assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "{err}");
    for part in parts {
        assert!(err.contains(part), "`{part}` is not in: {err}");
    }
}
