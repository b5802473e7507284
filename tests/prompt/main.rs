//! The prompt and the bars at a real pseudo-terminal: what is shown, what the keys do, and that the terminal
//! is left as it was.

#[path = "../support/mod.rs"]
mod support;

mod downloads;
mod editing;
mod hostile_text;
mod interrupts;
mod leaving;
mod terminal;
mod terminals;
mod tty;
