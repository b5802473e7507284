//! What is told of a download while it runs, on standard error, in the form that `--progress` names.
//!
//! `plain`, `json` and `bar` make texts of its events and are pure; `screen` alone draws.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

use super::stdio::is_plain_terminal;
use crate::node::UploadMeter;
use crate::proto::event::DownloadEvent;
use crate::rt::clock;
use crate::types::FileName;

pub mod bar;
pub mod plain;
pub mod screen;
pub mod texts;

use plain::Narrator;
pub use screen::{Bars, Screen};

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressFlag {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bars, and plain lines above them.
    Bar,
    Plain,
    /// A JSON object a line.
    Json,
    Nothing,
}

impl ProgressFlag {
    /// The form for standard error as it is. Bars are drawn only on a terminal that can; else lines are
    /// plain. A headless node draws none unless told to: it may run beside a shell that has the terminal.
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

/// Tells of one download in lines or a bar, until it is dropped. Lines of JSON are told by `sink`.
#[derive(Debug)]
pub struct Teller {
    screen: Screen,
    told: Told,
}

#[derive(Debug)]
enum Told {
    Bar(Bars),
    Plain(Narrator),
    Nothing,
}

impl Teller {
    /// Where the system has nothing left for bars, lines are plain.
    pub fn new(form: Form, screen: &Screen, name: &FileName, uploads: Option<UploadMeter>) -> Teller {
        let narrator = || Told::Plain(Narrator::new(clock::now()));
        let told = match form {
            Form::Bar => match screen.draw(Some(name), uploads) {
                Ok(bars) => Told::Bar(bars),
                Err(_) => narrator(),
            },
            Form::Plain => narrator(),
            Form::Json | Form::Nothing => Told::Nothing,
        };
        Teller { screen: screen.clone(), told }
    }

    pub fn take(&mut self, event: &DownloadEvent) {
        let now = clock::now();
        let line = match &mut self.told {
            Told::Bar(bars) => {
                bars.take(event, now);
                plain::line(event)
            }
            Told::Plain(narrator) => narrator.line(event, now),
            Told::Nothing => None,
        };
        if let Some(line) = line {
            self.screen.say(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals_that_can_draw() {
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
