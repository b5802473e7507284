//! Tests that README.md and docs/guide.md match the programs.

mod forms;
mod markdown;
mod newcomer;
mod stage;
