//! The terminal while bars are drawn on standard error: one owner of the screen at a time, lines above the
//! bars, nothing left behind.
//!
//! Bars are drawn while a download runs at a terminal, or while a headless node serves, and never while a
//! prompt is open. A thread of its own redraws them, as rate and uploads change without an event too; it ends
//! with what it shows. The cursor is never hidden.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::bar;

use crate::cli::output::stdio::say;
use crate::logic::progress::{DownloadProgress, Rate};
use crate::node::UploadMeter;
use crate::proto::event::DownloadEvent;
use crate::rt::{Stop, Threads, clock};
use crate::types::{FileName, Printable};

/// Bars are redrawn this often.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// The last redraw is waited for this long: a terminal may be held up by Ctrl-S.
const LAST_REDRAW: Duration = Duration::from_millis(500);
/// Where the terminal does not say how wide it is.
const USUAL_COLUMNS: usize = 80;

/// Where lines go while bars may be drawn. Cheap to clone; all clones are the same. The lock is held while a
/// line is written above the bars and while they are cleared, so that neither comes between the other.
#[derive(Debug, Clone, Default)]
pub struct Screen(Arc<Mutex<Option<MultiProgress>>>);

impl Screen {
    /// Writes one line to standard error, above the bars if there are any.
    pub fn say(&self, line: &str) {
        self.say_above(line).unwrap_or_else(|| say(line));
    }

    /// The same where bars are drawn; else says nothing and returns `None`.
    pub fn say_above(&self, line: &str) -> Option<()> {
        self.0.lock().as_ref().map(|bars| bars.suspend(|| say(line)))
    }

    /// Draws what `uploads` tells, beneath the bar of `download` if there is one, until the returned [`Bars`]
    /// are dropped.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread.
    pub fn draw(&self, download: Option<&FileName>, uploads: Option<UploadMeter>) -> io::Result<Bars> {
        let stop = Stop::new()?;
        let drawn = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let figures: Arc<Mutex<DownloadProgress>> = Arc::default();
        let artist = Artist {
            bars: drawn.clone(),
            style: download.map(|name| download_style(name, &figures)),
            figures: Arc::clone(&figures),
            download: None,
            uploads,
            sent: Rate::default(),
            upload: None,
        };
        let (threads, stopped) = (Threads::new(), stop.clone());
        threads.spawn("bars", move || artist.draw_until(&stopped))?;
        *self.0.lock() = Some(drawn);
        Ok(Bars { screen: self.clone(), figures, threads, stop, _quiet: Quiet::keep() })
    }
}

/// Bars on the screen; dropped, they are cleared and the screen is anybody's again.
#[derive(Debug)]
pub struct Bars {
    screen: Screen,
    figures: Arc<Mutex<DownloadProgress>>,
    threads: Threads,
    stop: Stop,
    _quiet: Option<Quiet>,
}

impl Bars {
    /// An event of the download that is shown; seen at the next redraw.
    pub fn take(&self, event: &DownloadEvent, now: Instant) {
        self.figures.lock().apply(event, now);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.stop.trigger();
        let _held_up_by_the_terminal = self.threads.join(clock::now() + LAST_REDRAW);
        if let Some(bars) = self.screen.0.lock().take() {
            let _terminal_is_gone = bars.clear();
            // Should its thread still live, held up by the terminal.
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// What the thread that redraws knows.
struct Artist {
    bars: MultiProgress,
    /// How the download is drawn, if there is one.
    style: Option<ProgressStyle>,
    figures: Arc<Mutex<DownloadProgress>>,
    /// Drawn once it is known that there is something to show.
    download: Option<ProgressBar>,
    uploads: Option<UploadMeter>,
    sent: Rate,
    /// Drawn while something is uploaded.
    upload: Option<ProgressBar>,
}

impl Artist {
    fn draw_until(mut self, stop: &Stop) {
        loop {
            self.redraw(clock::now());
            if stop.wait_until(clock::now() + REDRAW_EVERY) {
                return;
            }
        }
    }

    fn redraw(&mut self, now: Instant) {
        let (has_pieces, done, total) = {
            let figures = self.figures.lock();
            (figures.has_pieces(), figures.done_bytes, figures.total_bytes)
        };
        if let (true, Some(style)) = (has_pieces, &self.style) {
            let new = || self.bars.insert(0, ProgressBar::hidden().with_style(style.clone()));
            self.download.get_or_insert_with(new).update(|state| {
                state.set_len(total);
                state.set_pos(done);
            });
        }
        let Some(uploads) = self.uploads.as_ref().map(UploadMeter::now) else { return };
        self.sent.observe(uploads.sent_bytes, now);
        match bar::upload(uploads, self.sent.bytes_per_s(now).unwrap_or(0)) {
            Some(text) => {
                let new = || self.bars.add(ProgressBar::hidden().with_style(style("{wide_msg}")));
                self.upload.get_or_insert_with(new).set_message(text);
            }
            None => {
                if let Some(over) = self.upload.take() {
                    over.finish_and_clear();
                }
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this module are well-formed")
}

/// The texts are made anew at each redraw, for the width that the terminal then has.
fn download_style(file: &FileName, figures: &Arc<Mutex<DownloadProgress>>) -> ProgressStyle {
    let (file, figures) = (Printable(file.as_str()).to_string(), Arc::clone(figures));
    style("{name} {wide_bar} {numbers}")
        .progress_chars("##-")
        .with_key("name", move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _always_fits = text.write_str(&bar::name(&file, columns()));
        })
        .with_key("numbers", move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
            let numbers = bar::numbers(&figures.lock(), columns(), clock::now());
            let _always_fits = text.write_str(&numbers);
        })
}

fn columns() -> usize {
    let size = tcgetwinsize(io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// Keeps the terminal from showing keys, which would stand amid the bars (`^C` too); undone when dropped.
#[derive(Debug)]
struct Quiet(Termios);

impl Quiet {
    /// `None` where standard input is no terminal, or one that another job has.
    fn keep() -> Option<Quiet> {
        let before = tcgetattr(io::stdin()).ok()?;
        if tcgetpgrp(io::stdin()).ok()? != rustix::process::getpgrp() {
            // The system would stop us for touching it.
            return None;
        }
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _terminal_is_gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
