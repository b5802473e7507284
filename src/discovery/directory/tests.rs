//! A directory of finders that have their answers in memory.

use super::*;
use crate::types::{ContentId, FileEntry, FileName, Holding, Md5Digest, Md5Origin, NodeId};

/// A finder that always gives the same answer, once `waits_for` has delivered or closed.
struct FixedFinder {
    name: &'static str,
    answer: Answer,
    waits_for: Option<Receiver<()>>,
}

impl Finder for FixedFinder {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn find(&self, _: &Query, _: Instant, _: &Stop) -> Answer {
        if let Some(released) = &self.waits_for {
            released.recv().ok();
        }
        self.answer.clone()
    }
}

fn provider(node: u128, port: u16, content: u8, name: &str) -> Provider {
    let entry = FileEntry {
        name: FileName::new(name).expect("a name"),
        size_bytes: 1,
        mtime_ns: 0,
        content: ContentId([content; 32]),
        md5: Md5Digest([content; 16]),
        md5_origin: Md5Origin::Computed,
        holding: Holding::Full,
        attributes: vec![],
    };
    let endpoint = ([127, 0, 0, 1], port).into();
    Provider { node: NodeId(node), endpoint, entry, attributes: vec![] }
}

fn finder(name: &'static str, answer: Answer) -> Arc<dyn Finder> {
    Arc::new(FixedFinder { name, answer, waits_for: None })
}

fn fails(finder: &str) -> DiscoveryError {
    DiscoveryError::NoAnswer { finder: finder.into(), why: "it is gone".into() }
}

fn soon() -> Instant {
    clock::now() + Duration::from_secs(60)
}

fn query() -> Query {
    Query::Name(FileName::new("a").expect("a name"))
}

/// Asks a directory of `finders`; `patience`: how long it waits for them.
fn ask(
    finders: Vec<Arc<dyn Finder>>,
    patience: Duration,
) -> (Result<DirectoryAnswer, DiscoveryError>, Threads, Stop) {
    let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
    let directory = Directory::start(finders, &threads, &stop).expect("threads");
    let cancel = Stop::new().expect("a descriptor");
    let answer = directory.ask(&query(), clock::now() + patience, &cancel);
    (answer, threads, stop)
}

fn end(threads: &Threads, stop: &Stop) {
    stop.trigger();
    assert!(threads.join(soon()).is_clean());
}

#[test]
fn answers_are_merged_by_node_endpoint_content_and_name_in_the_order_of_the_finders() {
    let first = vec![provider(1, 1, 1, "a"), provider(2, 2, 1, "a")];
    let second =
        vec![provider(2, 2, 1, "a"), provider(2, 2, 1, "b"), provider(2, 2, 2, "a"), provider(3, 3, 1, "a")];
    let (answer, threads, stop) =
        ask(vec![finder("one", Ok(first)), finder("two", Ok(second))], Duration::from_secs(60));
    let answer = answer.expect("answered");
    let found: Vec<_> = answer
        .providers
        .iter()
        .map(|one| (one.node.0, one.endpoint.port(), one.entry.content.0[0], one.entry.name.as_str()))
        .collect();
    assert_eq!(
        found,
        [(1, 1, 1, "a"), (2, 2, 1, "a"), (2, 2, 1, "b"), (2, 2, 2, "a"), (3, 3, 1, "a")],
        "each provider once"
    );
    let reports: Vec<_> = answer.reports.iter().map(|one| (one.finder.as_str(), &one.outcome)).collect();
    assert_eq!(reports, [("one", &Ok(2)), ("two", &Ok(4))]);
    end(&threads, &stop);
}

#[test]
fn another_node_at_an_endpoint_and_a_larger_holding_are_not_masked_by_an_outdated_answer() {
    let with = |node, holding| {
        let mut provider = provider(node, 1, 1, "a");
        provider.entry.holding = holding;
        provider
    };
    let (part, more, full) = (Holding::Pieces(1), Holding::Pieces(2), Holding::Full);
    let one = vec![with(1, part), with(2, more), with(3, full)];
    let two = vec![with(9, part), with(1, full), with(2, part), with(3, more)];
    let finders =
        vec![finder("one", Ok(one)), finder("two", Ok(two)), finder("three", Ok(vec![with(2, full)]))];
    let (answer, threads, stop) = ask(finders, Duration::from_secs(60));
    let found: Vec<_> =
        answer.expect("answered").providers.iter().map(|one| (one.node.0, one.entry.holding)).collect();
    assert_eq!(found, [(1, full), (2, full), (3, full), (9, part)]);
    end(&threads, &stop);
}

#[test]
fn a_cancelled_finder_takes_nothing_from_the_others() {
    let cancelled = || finder("one", Err(DiscoveryError::Cancelled));
    let (answer, threads, stop) =
        ask(vec![cancelled(), finder("two", Ok(vec![provider(1, 1, 1, "a")]))], Duration::from_secs(60));
    assert_eq!(answer.expect("one has answered").providers, [provider(1, 1, 1, "a")]);
    end(&threads, &stop);
    let (answer, threads, stop) =
        ask(vec![cancelled(), finder("two", Err(fails("two")))], Duration::from_secs(60));
    assert_eq!(answer, Err(fails("two")), "the failure that says most");
    end(&threads, &stop);
}

#[test]
fn a_finder_that_fails_is_reported_and_takes_nothing_from_the_others() {
    let finders = vec![finder("one", Err(fails("one"))), finder("two", Ok(vec![provider(1, 1, 1, "a")]))];
    let (answer, threads, stop) = ask(finders, Duration::from_secs(60));
    let answer = answer.expect("one has answered");
    assert_eq!(answer.providers, [provider(1, 1, 1, "a")]);
    let outcomes: Vec<_> = answer.reports.into_iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Err(fails("one")), Ok(1)]);
    end(&threads, &stop);
}

#[test]
fn a_finder_without_an_answer_by_the_deadline_is_reported_as_late() {
    let (release, released) = bounded(0);
    let slow: Arc<dyn Finder> = Arc::new(FixedFinder {
        name: "slow",
        answer: Ok(vec![provider(2, 2, 1, "a")]),
        waits_for: Some(released),
    });
    let finders = vec![slow, finder("fast", Ok(vec![provider(1, 1, 1, "a")]))];
    let (answer, threads, stop) = ask(finders, Duration::from_millis(50));
    let answer = answer.expect("one has answered");
    assert_eq!(answer.providers, [provider(1, 1, 1, "a")]);
    let late = DiscoveryError::NoAnswer { finder: "slow".into(), why: "no answer in time".into() };
    let outcomes: Vec<_> = answer.reports.into_iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Err(late), Ok(1)]);
    drop::<crossbeam_channel::Sender<()>>(release);
    end(&threads, &stop);
}

#[test]
fn the_first_failure_is_the_error_when_every_finder_fails() {
    let (answer, threads, stop) = ask(
        vec![finder("one", Err(fails("one"))), finder("two", Err(fails("two")))],
        Duration::from_secs(60),
    );
    assert_eq!(answer, Err(fails("one")));
    end(&threads, &stop);
}

#[test]
fn an_empty_answer_is_not_a_failure() {
    let (answer, threads, stop) =
        ask(vec![finder("one", Ok(vec![])), finder("two", Err(fails("two")))], Duration::from_secs(60));
    assert_eq!(answer.expect("one has answered").providers, []);
    end(&threads, &stop);
}

#[test]
fn a_cancelled_find_does_not_wait_for_a_slow_finder() {
    let (release, released) = bounded(0);
    let slow: Arc<dyn Finder> =
        Arc::new(FixedFinder { name: "slow", answer: Ok(vec![]), waits_for: Some(released) });
    let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
    let directory =
        Directory::start(vec![slow, finder("fast", Ok(vec![]))], &threads, &stop).expect("threads");
    let cancel = Stop::new().expect("a descriptor");
    cancel.trigger();
    assert_eq!(directory.find(&query(), soon(), &cancel), Err(DiscoveryError::Cancelled));
    drop::<crossbeam_channel::Sender<()>>(release);
    end(&threads, &stop);
}

#[test]
fn a_directory_of_one_finder_starts_no_thread() {
    struct SameThread(std::thread::ThreadId);
    impl Finder for SameThread {
        fn name(&self) -> String {
            "one".into()
        }

        fn find(&self, _: &Query, _: Instant, _: &Stop) -> Answer {
            assert_eq!(std::thread::current().id(), self.0);
            Ok(vec![provider(1, 1, 1, "a")])
        }
    }
    let finder: Arc<dyn Finder> = Arc::new(SameThread(std::thread::current().id()));
    let (answer, threads, stop) = ask(vec![finder], Duration::from_secs(60));
    assert_eq!(answer.expect("answered").reports[0].outcome, Ok(1));
    end(&threads, &stop);
}
