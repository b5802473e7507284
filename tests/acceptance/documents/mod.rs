//! README.md and docs/guide.md, held to what the programs do.

mod forms;
mod markdown;
mod newcomer;
mod stage;
