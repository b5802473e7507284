//! The `tracker` program: catches Ctrl-C and hands over to [`nearpeer::cli::program::tracker`].

use std::process::ExitCode;

use nearpeer::cli::exit::{ErrorCode, Exit};
use nearpeer::cli::output::stdio::say;
use nearpeer::cli::signals::Signals;

fn main() -> ExitCode {
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("tracker: signals cannot be watched: {error}"));
            return Exit::Error(ErrorCode::Other).into();
        }
    };
    let interrupts = signals.clone();
    if let Err(error) = ctrlc::set_handler(move || interrupts.interrupt()) {
        say(&format!("tracker: Ctrl-C cannot be caught: {error}"));
        return Exit::Error(ErrorCode::Other).into();
    }
    nearpeer::cli::program::tracker::run(std::env::args_os(), &signals).into()
}
