//! Shows the progress of one download.

use super::form::Form;
use super::plain::{self, PlainProgress};
use super::screen::{Bars, Screen};
use crate::node::UploadMeter;
use crate::proto::event::DownloadEvent;
use crate::rt::clock;
use crate::types::FileName;

/// Shows one download as plain lines or as a bar until it is dropped. Lines of JSON are written by the sink.
#[derive(Debug)]
pub struct DownloadView {
    screen: Screen,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(Bars),
    Plain(PlainProgress),
    Nothing,
}

impl DownloadView {
    /// Shows a download of `name` in `form` on `screen`, with `uploads` beneath its bar. Where the system has
    /// no thread or descriptor for bars, lines are plain.
    pub fn new(form: Form, screen: &Screen, name: &FileName, uploads: Option<UploadMeter>) -> DownloadView {
        let plain = || Shown::Plain(PlainProgress::new(clock::now()));
        let shown = match form {
            Form::Bar => screen.draw(Some(name), uploads).map_or_else(|_| plain(), Shown::Bar),
            Form::Plain => plain(),
            Form::Json | Form::Nothing => Shown::Nothing,
        };
        DownloadView { screen: screen.clone(), shown }
    }

    /// Shows the next event of the download.
    pub fn show(&mut self, event: &DownloadEvent) {
        let now = clock::now();
        let line = match &mut self.shown {
            Shown::Bar(bars) => {
                bars.apply(event, now);
                plain::line(event)
            }
            Shown::Plain(progress) => progress.line(event, now),
            Shown::Nothing => None,
        };
        if let Some(line) = line {
            self.screen.say(&line);
        }
    }
}
