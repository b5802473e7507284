//! The prompt and the bars at a real pseudo-terminal: what is shown, what the keys do, and that the terminal
//! is left as it was.

mod downloads;
mod editing;
mod hostile_text;
mod interrupts;
mod leaving;
mod terminal;
mod terminals;
mod tty;
