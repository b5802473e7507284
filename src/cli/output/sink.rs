//! Where a session's events go: as text for people and scripts, or as lines of JSON.
//!
//! The forms of the text are those of `render`, those of a download's progress `progress`'s. Results are
//! written as whole lines, flushed at the end of each batch; what is said beside them goes to standard error.
//! Decides nothing about what is told.

use std::io::Write;

use super::progress::{Form, Screen, Teller};
use super::render::{self, Said};
use super::stdio::{Output, WriteEnd, say};
use crate::node::{Journal, UploadMeter};
use crate::proto::event::{Event, Record};
use crate::rt::clock;
use crate::types::FileName;

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

    /// A journal of a download of `name` as it is to be told here: people are told of each tenth, however
    /// fast they come.
    pub fn journal(&self, name: &FileName) -> Journal {
        match self {
            Sink::Text(sink) if sink.form != Form::Json => Journal::unpaced(name.clone()),
            Sink::Text(_) | Sink::Json(_) => Journal::new(name.clone()),
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
        let is_end = matches!(record.event, Event::Done { .. } | Event::Failed { .. });
        let is_progress = record.event.download().is_some() && !is_end;
        (self.with_progress || !is_progress).then(|| record.to_line())
    }
}

impl TextSink {
    /// The line of a result, if the event is one; else it is said.
    fn line(&mut self, record: &Record) -> Option<String> {
        let event = &record.event;
        if let Some(name) = event.download() {
            if self.form == Form::Json {
                self.screen.say(&record.to_line());
            } else if !matches!(event, Event::Done { .. } | Event::Failed { .. }) {
                let new = || Teller::new(self.form, &self.screen, name, self.uploads.clone());
                self.teller.get_or_insert_with(new).take(event);
                return None;
            }
            // Clears the bars: its result can be printed.
            self.teller = None;
            if matches!((event, self.form), (Event::Failed { .. }, Form::Json)) {
                return None;
            }
        }
        match render::text(event)? {
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
        let end = Event::failed(name.clone(), "no", ErrorCode::NotFound);
        sink.tell([Event::Waiting { name }, end.clone()]).expect("taken");
        assert_eq!(lines(&kept).len(), 1);
        assert_eq!(Record::from_line(&lines(&kept)[0]).expect("a record").event, end);
    }
}
