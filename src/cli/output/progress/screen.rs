//! Draws bars on standard error, and writes lines above them.
//!
//! Bars are drawn while a download runs at a terminal, or while a headless node serves, and never while a
//! prompt waits for a line. The thread `bars` redraws them at an interval, because rate and uploads change
//! without an event, too. When [`Bars`] is dropped, the thread ends and the bars disappear. The cursor is
//! never hidden.

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

/// Time between two redraws.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// Longest wait for the last redraw. The thread hangs in it while Ctrl-S stops the output of the terminal.
const LAST_REDRAW: Duration = Duration::from_millis(500);
/// Width of a terminal that does not report its width.
const USUAL_COLUMNS: usize = 80;

/// Standard error, on which bars may be drawn. All clones are the same screen. The lock is held while a line
/// is written above the bars and while bars are cleared, so that one does not interrupt the other.
#[derive(Debug, Clone, Default)]
pub struct Screen(Arc<Mutex<Option<MultiProgress>>>);

impl Screen {
    /// Writes one line to standard error, above the bars if there are any.
    pub fn say(&self, line: &str) {
        if !self.say_above(line) {
            say(line);
        }
    }

    /// Writes one line above the bars. Without bars it writes nothing and returns false.
    pub fn say_above(&self, line: &str) -> bool {
        self.0.lock().as_ref().map(|bars| bars.suspend(|| say(line))).is_some()
    }

    /// Draws the bar of `download`, if there is one, and a line of `uploads` below it, until the returned
    /// [`Bars`] are dropped.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread.
    pub fn draw(&self, download: Option<&FileName>, uploads: Option<UploadMeter>) -> io::Result<Bars> {
        let stop = Stop::new()?;
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let progress: Arc<Mutex<DownloadProgress>> = Arc::default();
        let painter = Painter {
            bars: bars.clone(),
            style: download.map(|name| download_style(name, &progress)),
            progress: Arc::clone(&progress),
            download: None,
            uploads,
            upload_rate: Rate::default(),
            upload: None,
        };
        let (threads, painter_stop) = (Threads::new(), stop.clone());
        threads.spawn("bars", move || painter.run_until(&painter_stop))?;
        *self.0.lock() = Some(bars);
        Ok(Bars { screen: self.clone(), progress, threads, stop, _echo_off: EchoOff::set() })
    }
}

/// Bars on the screen. Dropping them clears them.
#[derive(Debug)]
pub struct Bars {
    screen: Screen,
    progress: Arc<Mutex<DownloadProgress>>,
    threads: Threads,
    stop: Stop,
    _echo_off: Option<EchoOff>,
}

impl Bars {
    /// Applies an event of the download. The next redraw shows it.
    pub(super) fn apply(&self, event: &DownloadEvent, now: Instant) {
        self.progress.lock().apply(event, now);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.stop.trigger();
        self.threads.join(clock::now() + LAST_REDRAW);
        if let Some(bars) = self.screen.0.lock().take() {
            // Fails if the terminal is closed.
            bars.clear().ok();
            // The thread may still run if Ctrl-S has stopped the output of the terminal.
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// State of the thread that redraws the bars.
struct Painter {
    bars: MultiProgress,
    /// Style of the download's bar, if there is a download.
    style: Option<ProgressStyle>,
    progress: Arc<Mutex<DownloadProgress>>,
    /// The bar of the download, once the file is known to have several pieces.
    download: Option<ProgressBar>,
    uploads: Option<UploadMeter>,
    upload_rate: Rate,
    /// The line of the uploads, while there are any.
    upload: Option<ProgressBar>,
}

impl Painter {
    fn run_until(mut self, stop: &Stop) {
        loop {
            self.redraw(clock::now());
            if stop.wait_until(clock::now() + REDRAW_EVERY) {
                return;
            }
        }
    }

    fn redraw(&mut self, now: Instant) {
        let (has_pieces, done, total) = {
            let progress = self.progress.lock();
            (progress.has_several_pieces(), progress.done_bytes, progress.total_bytes)
        };
        if let (true, Some(style)) = (has_pieces, &self.style) {
            let new = || self.bars.insert(0, ProgressBar::hidden().with_style(style.clone()));
            self.download.get_or_insert_with(new).update(|state| {
                state.set_len(total);
                state.set_pos(done);
            });
        }
        let Some(uploads) = self.uploads.as_ref().map(UploadMeter::now) else { return };
        self.upload_rate.observe(uploads.sent_bytes, now);
        match bar::upload(uploads, self.upload_rate.bytes_per_s(now).unwrap_or(0)) {
            Some(text) => {
                let new = || self.bars.add(ProgressBar::hidden().with_style(style_of("{wide_msg}")));
                self.upload.get_or_insert_with(new).set_message(text);
            }
            None => {
                if let Some(line) = self.upload.take() {
                    line.finish_and_clear();
                }
            }
        }
    }
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this module are well-formed")
}

/// The style of a download's bar. Each redraw makes the texts again, for the width that the terminal has
/// then.
fn download_style(file: &FileName, progress: &Arc<Mutex<DownloadProgress>>) -> ProgressStyle {
    let (file, progress) = (Printable(file.as_str()).to_string(), Arc::clone(progress));
    style_of("{name} {wide_bar} {numbers}")
        .progress_chars("##-")
        .with_key("name", move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
            text.write_str(&bar::name(&file, columns())).ok();
        })
        .with_key("numbers", move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
            let numbers = bar::numbers(&progress.lock(), columns(), clock::now());
            text.write_str(&numbers).ok();
        })
}

/// Width of the terminal.
fn columns() -> usize {
    let size = tcgetwinsize(io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// Turns off the echo of keys, `^C` included, which would appear between the bars. Dropping this value turns
/// the echo on again.
#[derive(Debug)]
struct EchoOff(
    /// The state of the terminal before.
    Termios,
);

impl EchoOff {
    /// `None` if standard input is not a terminal, or another job of the shell uses it.
    fn set() -> Option<EchoOff> {
        let before = tcgetattr(io::stdin()).ok()?;
        if tcgetpgrp(io::stdin()).ok()? != rustix::process::getpgrp() {
            // The system would stop this process for a change of the terminal.
            return None;
        }
        let mut without_echo = before.clone();
        without_echo.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &without_echo).ok()?;
        Some(EchoOff(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // Fails if the terminal is closed.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}
