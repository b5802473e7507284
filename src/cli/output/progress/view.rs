//! Shows the progress of one download.

use super::form::Form;
use super::plain::{self, PlainProgress};
use super::screen::{Bars, Screen};
use crate::node::UploadMeter;
use crate::proto::event::DownloadEvent;
use crate::rt::clock;
use crate::types::FileName;

/// Shows one download as plain lines or as a bar until it is dropped. The sink writes lines of JSON.
#[derive(Debug)]
pub struct DownloadView {
    screen: Screen,
    progress: ProgressView,
}

#[derive(Debug)]
enum ProgressView {
    Bar(Bars),
    Plain(PlainProgress),
    Nothing,
}

impl DownloadView {
    /// Shows a download of `name` in `form` on `screen`, with `uploads` below its bar. If the system has no
    /// thread or descriptor for bars, the download gets plain lines.
    pub fn new(form: Form, screen: &Screen, name: &FileName, uploads: Option<UploadMeter>) -> DownloadView {
        let plain = || ProgressView::Plain(PlainProgress::new(clock::now()));
        let progress = match form {
            Form::Bar => screen.draw(Some(name), uploads).map_or_else(|_| plain(), ProgressView::Bar),
            Form::Plain => plain(),
            Form::Json | Form::Nothing => ProgressView::Nothing,
        };
        DownloadView { screen: screen.clone(), progress }
    }

    /// Shows the next event of the download.
    pub fn show(&mut self, event: &DownloadEvent) {
        let now = clock::now();
        let line = match &mut self.progress {
            ProgressView::Bar(bars) => {
                bars.apply(event, now);
                plain::event_line(event)
            }
            ProgressView::Plain(progress) => progress.apply(event, now),
            ProgressView::Nothing => None,
        };
        if let Some(line) = line {
            self.screen.say(&line);
        }
    }
}
