//! What is told beside commands: notices, and news of downloads that nobody waits for. Taken from the
//! program's feed, until it is closed.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::sync::Arc;

use rustyline::ExternalPrinter;

use super::progress::{Form, Screen, plain};
use super::render::{self, Said};
use super::sink::Sink;
use super::stdio::say;
use crate::proto::event::{Event, JobSource, JobState, Record};
use crate::rt::{EventBroadcast, EventSubscriber, Stop};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Notices {
    follower: EventSubscriber,
    taken: VecDeque<Arc<Record>>,
    /// Downloads that nobody waits for.
    background: HashSet<u64>,
}

impl Notices {
    /// Of what is told from now on.
    pub(crate) fn of(feed: &EventBroadcast) -> Notices {
        Notices { follower: feed.subscribe(), taken: VecDeque::new(), background: HashSet::new() }
    }

    /// What comes next; `None` once the feed is closed.
    fn next(&mut self) -> Option<Record> {
        loop {
            while let Some(record) = self.taken.pop_front() {
                if self.is_told(&record) {
                    return Some(Record::clone(&record));
                }
            }
            let since = self.follower.next()?;
            self.taken.extend(since.items.into_iter().map(|(_, record)| record));
            if since.missed > 0 {
                let told_at = self.taken.front().map(|record| record.ts.clone()).unwrap_or_default();
                return Some(Record { event: Event::Missed { count: since.missed }, job: None, ts: told_at });
            }
        }
    }

    fn is_told(&mut self, record: &Record) -> bool {
        match (&record.event, record.job) {
            (Event::Notice { .. }, _) => true,
            // How it stands is told to whoever has changed that.
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

    /// Tells them as lines of JSON.
    pub(crate) fn tell(mut self, writer: Box<dyn Write + Send>, with_progress: bool) {
        let mut sink = Sink::json(writer, with_progress);
        while let Some(record) = self.next() {
            // The first result tells those who have to know.
            let _unread = sink.pass([record]);
        }
    }

    /// Prints them above the bars or the prompt, or on standard error; downloads in `form`, lines for bars,
    /// which are not drawn of what nobody waits for.
    pub(crate) fn print(
        mut self,
        form: Form,
        screen: &Screen,
        mut printer: Option<Box<dyn ExternalPrinter + Send>>,
        leaving: &Stop,
    ) {
        while let Some(record) = self.next() {
            let Some(line) = line(&record, form) else { continue };
            if screen.say_above(&line).is_some() {
                continue;
            }
            // Once we leave, nobody redraws the prompt.
            let printed = match &mut printer {
                Some(printer) if !leaving.is_triggered() => printer.print(format!("{line}\n")).is_ok(),
                _ => false,
            };
            if !printed {
                say(&line);
            }
        }
    }
}

/// What people are told of an aside, a download with its number before it.
fn line(record: &Record, form: Form) -> Option<String> {
    if form == Form::Json && record.event.as_download().is_some() {
        return Some(record.to_line());
    }
    let told = match &record.event {
        Event::Download(event) if !event.is_end() => match form {
            Form::Nothing => return None,
            Form::Bar | Form::Plain | Form::Json => plain::line(event)?,
        },
        event => match render::text(event)? {
            Said::Aside(line) | Said::Result(line) => line,
        },
    };
    Some(record.job.map_or_else(|| told.clone(), |id| format!("[{id}] {told}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::DownloadEvent;
    use crate::types::FileName;

    #[test]
    fn notices_and_downloads_that_nobody_waits_for_are_told() {
        let feed = EventBroadcast::default();
        let mut asides = Notices::of(&feed);
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
        let told: Vec<_> =
            std::iter::from_fn(|| asides.next()).map(|record| (record.job, record.event)).collect();
        let of_job = |event| (Some(2), event);
        let expected = [
            of_job(DownloadEvent::Waiting { name: name() }.into()),
            of_job(DownloadEvent::Hashing { name: name() }.into()),
            (None, Event::info("x")),
        ];
        assert_eq!(told, expected);
    }
}
