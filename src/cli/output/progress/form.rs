//! The flag `--progress`, and the form of progress that follows from it.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

use crate::cli::output::stdio::is_plain_terminal;

/// Value of the flag `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "clap would list documented variants in the help")]
pub enum ProgressFlag {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

/// Form in which progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bars, and plain lines above them.
    Bar,
    /// Plain lines.
    Plain,
    /// One JSON object per line.
    Json,
    /// No progress.
    Nothing,
}

impl ProgressFlag {
    /// The form for the standard error of this process. Bars need a terminal that can draw them; on any other
    /// output there are plain lines. A headless node draws bars only with `--progress bar`, because it may
    /// run in the background of a shell that uses the terminal.
    pub fn form(self, is_headless: bool) -> Form {
        self.form_at(io::stderr().is_terminal() && !is_plain_terminal(), is_headless)
    }

    fn form_at(self, can_draw: bool, is_headless: bool) -> Form {
        match self {
            ProgressFlag::Auto if can_draw && !is_headless => Form::Bar,
            ProgressFlag::Bar if can_draw => Form::Bar,
            ProgressFlag::Auto | ProgressFlag::Bar | ProgressFlag::Plain => Form::Plain,
            ProgressFlag::Json => Form::Json,
            ProgressFlag::None => Form::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_only_on_terminals_that_can_draw() {
        let check = |flag: ProgressFlag, can_draw, is_headless, expected| {
            assert_eq!(flag.form_at(can_draw, is_headless), expected, "{flag:?} {can_draw} {is_headless}");
        };
        check(ProgressFlag::Auto, true, false, Form::Bar);
        check(ProgressFlag::Auto, true, true, Form::Plain);
        check(ProgressFlag::Auto, false, false, Form::Plain);
        for is_headless in [false, true] {
            check(ProgressFlag::Bar, true, is_headless, Form::Bar);
            check(ProgressFlag::Bar, false, is_headless, Form::Plain);
            for can_draw in [false, true] {
                check(ProgressFlag::Plain, can_draw, is_headless, Form::Plain);
                check(ProgressFlag::Json, can_draw, is_headless, Form::Json);
                check(ProgressFlag::None, can_draw, is_headless, Form::Nothing);
            }
        }
    }
}
