//! The `node` program: catches Ctrl-C and hands over to [`nearpeer::cli::program::node`].

use std::process::ExitCode;

use nearpeer::cli::exit::{ErrorCode, Exit};
use nearpeer::cli::output::stdio::say;
use nearpeer::cli::signals::Signals;

fn main() -> ExitCode {
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("node: signals cannot be watched: {error}"));
            return Exit::Error(ErrorCode::Other).into();
        }
    };
    let interrupts = signals.clone();
    if let Err(error) = ctrlc::set_handler(move || interrupts.interrupt()) {
        say(&format!("node: Ctrl-C cannot be caught: {error}"));
        return Exit::Error(ErrorCode::Other).into();
    }
    nearpeer::cli::program::node::run(std::env::args_os(), &signals).into()
}
