//! The prompt and the bars at a real pseudo-terminal: the output, the effects of keys, and that the terminal
//! is restored.

mod downloads;
mod editing;
mod hostile_text;
mod interrupts;
mod leaving;
mod terminal;
mod terminals;
mod tty;
