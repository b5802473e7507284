//! Prints notices and the events of background downloads, between the results of commands. They come from the
//! event broadcast of the program, until it is closed.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

use rustyline::ExternalPrinter;

use super::progress::{Form, Screen, plain};
use super::render::{self, Rendered};
use super::sink::Sink;
use super::stdio::say;
use crate::proto::event::{Event, JobSource, JobState, Record};
use crate::rt::{EventBroadcast, EventSubscriber, Stop};

/// Reads the notices and the events of background downloads.
#[derive(Debug)]
pub(crate) struct Notices {
    subscriber: EventSubscriber,
    /// Records that are read but not examined yet.
    queue: VecDeque<Arc<Record>>,
    /// Job numbers of background downloads.
    background: HashSet<u64>,
}

impl Notices {
    /// Subscribes to `feed` from now on.
    pub(crate) fn subscribe(feed: &EventBroadcast) -> Notices {
        Notices { subscriber: feed.subscribe(), queue: VecDeque::new(), background: HashSet::new() }
    }

    /// Waits for the next record to show; `None` once the feed is closed.
    fn next(&mut self) -> Option<Record> {
        loop {
            while let Some(record) = self.queue.pop_front() {
                if self.examine(&record) {
                    return Some(Record::clone(&record));
                }
            }
            let batch = self.subscriber.next()?;
            self.queue.extend(batch.items.into_iter().map(|(_, record)| record));
            if batch.missed > 0 {
                let ts = self.queue.front().map(|record| record.ts.clone()).unwrap_or_default();
                return Some(Record { event: Event::Missed { count: batch.missed }, job: None, ts });
            }
        }
    }

    /// Updates the list of background downloads. Returns true if and only if `record` is shown.
    fn examine(&mut self, record: &Record) -> bool {
        match (&record.event, record.job) {
            (Event::Notice { .. }, _) => true,
            // The command that changes the state of a job shows the job itself.
            (Event::Job { id, state, source, .. }, _) => {
                match (source, state) {
                    (_, JobState::Cancelled) => self.background.remove(id),
                    (JobSource::Background, _) => self.background.insert(*id),
                    (JobSource::Foreground | JobSource::Resumed, _) => false,
                };
                false
            }
            (Event::Download(event), Some(job)) if event.is_end() => self.background.remove(&job),
            (_, Some(job)) => self.background.contains(&job),
            (_, None) => false,
        }
    }

    /// Writes all records to show as lines of JSON, until the feed is closed.
    pub(crate) fn write_json(mut self, writer: Box<dyn Write + Send>, with_progress: bool) {
        let mut sink = Sink::json(writer, with_progress);
        while let Some(record) = self.next() {
            // A closed pipe is an error for the next result of a command, not here.
            sink.write_records([record]).ok();
        }
    }

    /// Prints all records to show, until the feed is closed: above the bars or the prompt, or on standard
    /// error. Progress has the form `form`, with plain lines instead of bars.
    pub(crate) fn print(
        mut self,
        form: Form,
        screen: &Screen,
        mut printer: Option<Box<dyn ExternalPrinter + Send>>,
        leaving: &Stop,
    ) {
        while let Some(record) = self.next() {
            let Some(line) = line_of(&record, form) else { continue };
            if screen.say_above(&line) {
                continue;
            }
            // Once the program leaves, the prompt does not print any more.
            let is_printed = match &mut printer {
                Some(printer) if !leaving.is_triggered() => printer.print(format!("{line}\n")).is_ok(),
                _ => false,
            };
            if !is_printed {
                say(&line);
            }
        }
    }
}

/// The line for a record, if it has one. The line for a job begins with the number of the job.
fn line_of(record: &Record, form: Form) -> Option<String> {
    if form == Form::Json && record.event.as_download().is_some() {
        return Some(record.to_line());
    }
    let text = match &record.event {
        Event::Download(event) if !event.is_end() => match form {
            Form::Nothing => return None,
            Form::Bar | Form::Plain | Form::Json => plain::event_line(event)?,
        },
        event => match render::text(event)? {
            Rendered::Message(line) | Rendered::Result(line) => line,
        },
    };
    Some(match record.job {
        Some(id) => format!("[{id}] {text}"),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::DownloadEvent;
    use crate::types::FileName;

    #[test]
    fn notices_and_background_downloads_are_shown() {
        let feed = EventBroadcast::default();
        let mut notices = Notices::subscribe(&feed);
        let name = || FileName::new("a").expect("a name");
        let job = |id, source, state| {
            let (done_bytes, total_bytes, why) = (None, None, None);
            feed.publish_job_event(
                id,
                Event::Job { id, name: name(), state, source, done_bytes, total_bytes, why },
            );
        };
        job(1, JobSource::Foreground, JobState::Queued);
        job(2, JobSource::Background, JobState::Queued);
        job(3, JobSource::Background, JobState::Queued);
        job(3, JobSource::Background, JobState::Cancelled);
        for id in 1..=3 {
            feed.publish_job_event(id, DownloadEvent::Waiting { name: name() }.into());
            feed.publish_job_event(id, DownloadEvent::Hashing { name: name() }.into());
        }
        feed.publish_event(Event::Ready { files: None });
        feed.publish_event(Event::info("x"));
        feed.close();
        let shown: Vec<_> =
            std::iter::from_fn(|| notices.next()).map(|record| (record.job, record.event)).collect();
        let of_job = |event| (Some(2), event);
        let expected = [
            of_job(DownloadEvent::Waiting { name: name() }.into()),
            of_job(DownloadEvent::Hashing { name: name() }.into()),
            (None, Event::info("x")),
        ];
        assert_eq!(shown, expected);
    }
}
