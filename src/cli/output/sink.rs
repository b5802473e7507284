//! Writes the events of a session: as text, or as lines of JSON.
//!
//! `render` makes the text of results, and `progress` the text of downloads that run. Results and lines of
//! JSON go to the writer of the sink, usually standard output, in whole lines that are flushed. All other
//! text goes to standard error.

use std::io::Write;

use super::progress::{DownloadView, Form, Screen};
use super::render::{self, Rendered};
use super::stdio::{Output, WriteEnd, say};
use crate::logic::progress::BytesPacing;
use crate::node::UploadMeter;
use crate::proto::event::{DownloadEvent, Event, Record};
use crate::rt::clock;

/// A call writes so many bytes of results at once.
const BLOCK_BYTES: usize = 64 << 10;

/// Writes events in one of two forms.
#[derive(Debug)]
pub enum Sink {
    /// Text for people and scripts.
    Text(Box<TextSink>),
    /// Lines of JSON.
    Json(JsonSink),
}

/// Writes results to its output and all other text to standard error.
pub struct TextSink {
    output: Output<Box<dyn Write + Send>>,
    form: Form,
    screen: Screen,
    /// The uploads to show below the bar of a download.
    uploads: Option<UploadMeter>,
    /// Shows the download that runs.
    view: Option<DownloadView>,
}

/// Writes one line of JSON for each event.
pub struct JsonSink {
    output: Output<Box<dyn Write + Send>>,
    /// True: all events of downloads are written. False: only the end of each download.
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
    /// Text: results go to `writer`, progress in `form` to `screen`, with `uploads` below the bars.
    pub fn text(
        writer: Box<dyn Write + Send>,
        form: Form,
        screen: Screen,
        uploads: Option<UploadMeter>,
    ) -> Sink {
        Sink::Text(Box::new(TextSink { output: Output::to(writer), form, screen, uploads, view: None }))
    }

    /// Lines of JSON for `writer`. Without `with_progress` only the ends of downloads are written.
    pub fn json(writer: Box<dyn Write + Send>, with_progress: bool) -> Sink {
        Sink::Json(JsonSink { output: Output::to(writer), with_progress })
    }

    /// The pacing of the `bytes` events for this sink. Plain lines and bars need all events and pace
    /// themselves, so that no tenth of a fast download is missing.
    pub fn pacing(&self) -> BytesPacing {
        match self {
            Sink::Text(sink) if sink.form != Form::Json => BytesPacing::unpaced(),
            Sink::Text(_) | Sink::Json(_) => BytesPacing::default(),
        }
    }

    /// Shows the uploads of `meter` below the bars.
    pub fn show_uploads(&mut self, meter: UploadMeter) {
        if let Sink::Text(sink) = self {
            sink.uploads = Some(meter);
        }
    }

    /// Writes an explanation of a result to standard error. Lines of JSON contain it already.
    pub fn explain(&self, text: Option<&str>) {
        if let (Sink::Text(sink), Some(text)) = (self, text) {
            sink.screen.say(text);
        }
    }

    /// Writes `events` with the present time.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn write(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), WriteEnd> {
        let now_ns = clock::wall_ns();
        self.write_records(events.into_iter().map(|event| event.at(now_ns)))
    }

    /// Writes records, each with its own time.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn write_records(&mut self, records: impl IntoIterator<Item = Record>) -> Result<(), WriteEnd> {
        let mut block = Vec::new();
        let mut block_bytes = 0;
        for record in records {
            let line = match self {
                Sink::Text(sink) => sink.result_line(&record),
                Sink::Json(sink) => sink.json_line(&record),
            };
            if let Some(line) = line {
                block_bytes += line.len();
                block.push(line);
            }
            if block_bytes >= BLOCK_BYTES {
                self.write_lines(&std::mem::take(&mut block))?;
                block_bytes = 0;
            }
        }
        self.write_lines(&block)
    }

    fn write_lines(&mut self, lines: &[String]) -> Result<(), WriteEnd> {
        match self {
            _ if lines.is_empty() => Ok(()),
            Sink::Text(sink) => sink.output.write_lines(&lines.join("\n")),
            Sink::Json(sink) => sink.output.write_lines(&lines.join("\n")),
        }
    }
}

impl JsonSink {
    fn json_line(&self, record: &Record) -> Option<String> {
        let is_progress = record.event.as_download().is_some_and(|event| !event.is_end());
        (self.with_progress || !is_progress).then(|| record.to_line())
    }
}

impl TextSink {
    /// Returns the line of a result. Shows the text of any other event on standard error at once.
    fn result_line(&mut self, record: &Record) -> Option<String> {
        if let Some(event) = record.event.as_download() {
            if self.form == Form::Json {
                self.screen.say(&record.to_line());
            } else if !event.is_end() {
                let new = || DownloadView::new(self.form, &self.screen, event.name(), self.uploads.clone());
                self.view.get_or_insert_with(new).show(event);
                return None;
            }
            // This clears the bars, so that the result can be printed.
            self.view = None;
            // With `--progress json` standard error has the line of JSON already.
            if matches!((event, self.form), (DownloadEvent::Failed { .. }, Form::Json)) {
                return None;
            }
        }
        match render::text(&record.event)? {
            Rendered::Result(text) => Some(text),
            Rendered::Message(text) => {
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
    struct Written(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(written: &Written) -> Vec<String> {
        let bytes = written.0.lock().concat();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_lines_are_whole_and_written_in_blocks() {
        let written = Written::default();
        let mut sink = Sink::json(Box::new(written.clone()), true);
        let name = FileName::new("a").expect("a name");
        sink.write((0..5000).map(|_| Event::Name { name: name.clone() })).expect("written");
        assert_eq!(lines(&written).len(), 5000);
        assert!(lines(&written).iter().all(|line| Record::from_line(line).is_ok()));
        assert!((2..100).contains(&written.0.lock().len()));
        sink.write([]).expect("nothing to write");
        assert_eq!(lines(&written).len(), 5000);
    }

    #[test]
    fn progress_can_be_left_out_but_not_the_end() {
        let written = Written::default();
        let mut sink = Sink::json(Box::new(written.clone()), false);
        let name = FileName::new("a").expect("a name");
        let end = Event::Download(DownloadEvent::failed(name.clone(), "no", ErrorCode::NotFound));
        sink.write([Event::Download(DownloadEvent::Waiting { name }), end.clone()]).expect("written");
        assert_eq!(lines(&written).len(), 1);
        assert_eq!(Record::from_line(&lines(&written)[0]).expect("a record").event, end);
    }
}
