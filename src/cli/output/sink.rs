//! Where a session's events go: as text for people and scripts, or as lines of JSON.
//!
//! The forms of the text are those of `render`, those of a download's progress `progress`'s. Results are
//! written as whole lines, flushed at the end of each batch; what is said beside them goes to standard error.
//! Decides nothing about what is told.

use std::io::Write;

use super::progress::{Form, Screen, Teller};
use super::render::{self, Said};
use super::stdio::{Output, WriteEnd, say};
use crate::logic::progress::BytesPacing;
use crate::node::UploadMeter;
use crate::proto::event::{DownloadEvent, Event, Record};
use crate::rt::clock;

/// Results are written when so much has come together.
const BLOCK_BYTES: usize = 64 << 10;

/// Where events go.
#[derive(Debug)]
pub enum Sink {
    Text(Box<TextSink>),
    Json(JsonSink),
}

/// Text on standard output, the rest on standard error.
pub struct TextSink {
    output: Output<Box<dyn Write + Send>>,
    form: Form,
    screen: Screen,
    /// What is shown beneath the bars.
    uploads: Option<UploadMeter>,
    /// Tells of the download that runs.
    teller: Option<Teller>,
}

/// A line for each event.
pub struct JsonSink {
    output: Output<Box<dyn Write + Send>>,
    /// Events of downloads between their beginning and their end are told too.
    with_progress: bool,
}

impl std::fmt::Debug for TextSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextSink")
    }
}

impl std::fmt::Debug for JsonSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonSink")
    }
}

impl Sink {
    /// Downloads are told of in `form` on `screen`.
    pub fn text(
        writer: Box<dyn Write + Send>,
        form: Form,
        screen: Screen,
        uploads: Option<UploadMeter>,
    ) -> Sink {
        Sink::Text(Box::new(TextSink { output: Output::to(writer), form, screen, uploads, teller: None }))
    }

    pub fn json(writer: Box<dyn Write + Send>, with_progress: bool) -> Sink {
        Sink::Json(JsonSink { output: Output::to(writer), with_progress })
    }

    /// How often bytes of a download are written here. Plain lines and bars pace themselves, so that no
    /// tenth of a fast download is missing.
    pub fn pacing(&self) -> BytesPacing {
        match self {
            Sink::Text(sink) if sink.form != Form::Json => BytesPacing::unpaced(),
            Sink::Text(_) | Sink::Json(_) => BytesPacing::default(),
        }
    }

    /// Shows what is uploaded beneath the bars.
    pub fn show_uploads(&mut self, meter: UploadMeter) {
        if let Sink::Text(sink) = self {
            sink.uploads = Some(meter);
        }
    }

    /// Says beside a result what lines of JSON have in them.
    pub fn aside(&self, text: Option<&str>) {
        if let (Sink::Text(sink), Some(text)) = (self, text) {
            sink.screen.say(text);
        }
    }

    /// Tells `events`, now.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), WriteEnd> {
        let now_ns = clock::wall_ns();
        self.pass(events.into_iter().map(|event| event.at(now_ns)))
    }

    /// Tells what somebody else has told.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn pass(&mut self, records: impl IntoIterator<Item = Record>) -> Result<(), WriteEnd> {
        let mut block = Vec::new();
        let mut block_bytes = 0;
        for record in records {
            let line = match self {
                Sink::Text(sink) => sink.line(&record),
                Sink::Json(sink) => sink.line(&record),
            };
            if let Some(line) = line {
                block_bytes += line.len();
                block.push(line);
            }
            if block_bytes >= BLOCK_BYTES {
                self.write(&std::mem::take(&mut block))?;
                block_bytes = 0;
            }
        }
        self.write(&block)
    }

    fn write(&mut self, lines: &[String]) -> Result<(), WriteEnd> {
        match self {
            _ if lines.is_empty() => Ok(()),
            Sink::Text(sink) => sink.output.lines(&lines.join("\n")),
            Sink::Json(sink) => sink.output.lines(&lines.join("\n")),
        }
    }
}

impl JsonSink {
    fn line(&self, record: &Record) -> Option<String> {
        let is_progress = record.event.as_download().is_some_and(|event| !event.is_end());
        (self.with_progress || !is_progress).then(|| record.to_line())
    }
}

impl TextSink {
    /// The line of a result, if the event is one; else it is said.
    fn line(&mut self, record: &Record) -> Option<String> {
        if let Some(event) = record.event.as_download() {
            if self.form == Form::Json {
                self.screen.say(&record.to_line());
            } else if !event.is_end() {
                let new = || Teller::new(self.form, &self.screen, event.name(), self.uploads.clone());
                self.teller.get_or_insert_with(new).take(event);
                return None;
            }
            // Clears the bars: its result can be printed.
            self.teller = None;
            if matches!((event, self.form), (DownloadEvent::Failed { .. }, Form::Json)) {
                return None;
            }
        }
        match render::text(&record.event)? {
            Said::Result(text) => Some(text),
            Said::Aside(text) => {
                say(&text);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::ErrorCode;
    use crate::types::FileName;
    use parking_lot::Mutex;
    use std::io;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(kept: &Kept) -> Vec<String> {
        let bytes = kept.0.lock().concat();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_lines_are_whole_and_many_are_written_in_blocks() {
        let kept = Kept::default();
        let mut sink = Sink::json(Box::new(kept.clone()), true);
        let name = FileName::new("a").expect("a name");
        sink.tell((0..5000).map(|_| Event::Name { name: name.clone() })).expect("taken");
        assert_eq!(lines(&kept).len(), 5000);
        assert!(lines(&kept).iter().all(|line| Record::from_line(line).is_ok()));
        assert!((2..100).contains(&kept.0.lock().len()));
        sink.tell([]).expect("nothing to write");
        assert_eq!(lines(&kept).len(), 5000);
    }

    #[test]
    fn progress_can_be_left_out_but_not_its_end() {
        let kept = Kept::default();
        let mut sink = Sink::json(Box::new(kept.clone()), false);
        let name = FileName::new("a").expect("a name");
        let end = Event::Download(DownloadEvent::failed(name.clone(), "no", ErrorCode::NotFound));
        sink.tell([Event::Download(DownloadEvent::Waiting { name }), end.clone()]).expect("taken");
        assert_eq!(lines(&kept).len(), 1);
        assert_eq!(Record::from_line(&lines(&kept)[0]).expect("a record").event, end);
    }
}
