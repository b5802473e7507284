//! Tests of the indexer without a worker pool: the test does the work of the workers.

use rustix::io::Errno;

use super::*;
use crate::rt::Threads;
use crate::store::{HashError, RealDisk};
use crate::types::{Layout, NodeId, NodeTraits};
use crossbeam_channel::bounded;

#[derive(Debug)]
struct NoPublisher;

impl Publisher for NoPublisher {
    fn publish(&self) {}
}

/// An indexer of a directory with one file called `a`. Its pool has no thread.
fn indexer() -> (Indexer, tempfile::TempDir) {
    indexer_with(Layout::Flat)
}

fn indexer_with(layout: Layout) -> (Indexer, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a"), b"a").expect("written");
    let stop = Stop::new().expect("a descriptor");
    let folders = ShareFolders::open(dir.path(), layout, None, Arc::new(RealDisk)).expect("a share");
    let parts = IndexerParts {
        state: Arc::new(NodeState::new(NodeId(1), NodeTraits::default())),
        folders: Arc::new(folders),
        publisher: Arc::new(NoPublisher),
        pool: Pool::start("none", 0, 10, &Threads::new(), &stop).expect("no thread"),
        broadcast: EventBroadcast::default(),
        events: bounded(10),
        first_scan: Some(bounded(1).0),
        stop,
    };
    (Indexer::new(parts), dir)
}

#[test]
fn a_file_that_the_walk_missed_stays_published_if_a_look_found_it() {
    let (mut indexer, _dir) = indexer();
    let name = FileName::new("a").expect("a name");
    indexer.state.scan = Some(Scan { is_walking: true, ..Scan::default() });
    indexer.look(name.clone());
    run_task(&mut indexer);
    indexer.handle(Event::WalkEnded(Ok(())));
    indexer.end_scan_if_done();
    assert!(indexer.state.scan.is_none(), "the scan is done");
    assert!(indexer.parts.state.catalog.read().get(&name).is_some(), "a look found it");
}

#[test]
fn a_shared_file_stays_published_when_descriptors_run_out() {
    let (mut indexer, _dir) = indexer();
    let name = FileName::new("a").expect("a name");
    indexer.look(name.clone());
    run_task(&mut indexer);
    for (errno, stays) in
        [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOMEM, true), (Errno::IO, false)]
    {
        indexer.look(name.clone());
        take_task(&mut indexer);
        let outcome = LookOutcome::Failed(HashError::Io(errno.into()));
        indexer.handle(Event::Looked { name: name.clone(), outcome });
        assert_eq!(indexer.shared_file(&name).is_some(), stays, "{errno}");
    }
}

#[test]
fn a_file_that_changes_during_a_look_is_looked_at_again() {
    let (mut indexer, dir) = indexer();
    let name = FileName::new("a").expect("a name");
    let (reply, answer) = bounded(1);
    indexer.look(name.clone());
    let stale = take_task(&mut indexer).run(&indexer.parts.folders, &indexer.parts.stop);
    std::fs::write(dir.path().join("a"), b"changed").expect("written");
    indexer.handle(Event::Check { name: name.clone(), reply });
    indexer.handle(stale);
    assert!(answer.try_recv().is_err(), "a result from before the request is no reply");
    run_task(&mut indexer);
    let answered = answer.try_recv().expect("answered").expect("shared");
    assert_eq!(answered.entry.size_bytes, 7);
}

/// Kind and size of the file that is published as `a`.
fn published(indexer: &Indexer) -> Option<(FileOrigin, u64)> {
    let name = FileName::new("a").expect("a name");
    indexer.shared_file(&name).map(|file| (file.origin, file.entry.size_bytes))
}

/// Runs a whole scan on this thread; returns its warnings.
fn scan(indexer: &mut Indexer) -> Vec<String> {
    let mut notices = indexer.parts.broadcast.subscribe();
    indexer.state.scan = Some(Scan { is_walking: true, ..Scan::default() });
    for (origin, folder) in indexer.parts.folders.shared() {
        let stop = indexer.parts.stop.clone();
        walk(&folder, &stop, &mut |file| indexer.handle(Event::Found(origin, file)), &mut |_| ())
            .expect("walked");
    }
    indexer.handle(Event::WalkEnded(Ok(())));
    while !indexer.state.tasks.is_empty() {
        run_task(indexer);
    }
    indexer.end_scan_if_done();
    assert!(indexer.state.scan.is_none(), "the scan is done");
    let text = |record: &event::Record| match &record.event {
        event::Event::Notice { text, .. } => Some(text.clone()).filter(|text| !text.starts_with("ready")),
        _ => None,
    };
    notices.catch_up().items.iter().filter_map(|(_, record)| text(record)).collect()
}

#[test]
fn of_two_files_with_one_name_the_first_kind_is_published_with_a_warning() {
    let (mut indexer, dir) = indexer_with(Layout::Split);
    let path = |origin: FileOrigin| dir.path().join(Layout::Split.folder(origin)).join("a");
    for (origin, bytes) in
        [(FileOrigin::Local, "1"), (FileOrigin::Downloaded, "22"), (FileOrigin::Replicated, "333")]
    {
        std::fs::write(path(origin), bytes).expect("written");
    }
    let hidden = |folder: &str| format!("`{folder}/a` is not shared: another file of yours is `a`");
    assert_eq!(scan(&mut indexer), [hidden("downloaded"), hidden("replicated")]);
    assert_eq!(published(&indexer), Some((FileOrigin::Local, 1)));
    std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
    assert_eq!(scan(&mut indexer), [hidden("replicated")]);
    assert_eq!(published(&indexer), Some((FileOrigin::Downloaded, 2)));
    std::fs::rename(path(FileOrigin::Downloaded), path(FileOrigin::Local)).expect("renamed");
    assert_eq!(scan(&mut indexer), [hidden("replicated")]);
    assert_eq!(published(&indexer), Some((FileOrigin::Local, 2)));
    std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
    assert_eq!((scan(&mut indexer), published(&indexer)), (vec![], Some((FileOrigin::Replicated, 3))));
    std::fs::remove_file(path(FileOrigin::Replicated)).expect("removed");
    assert_eq!((scan(&mut indexer), published(&indexer)), (vec![], None));
}

#[test]
fn a_placed_file_does_not_replace_a_published_file_of_an_earlier_kind() {
    let (mut indexer, dir) = indexer_with(Layout::Split);
    let path = |origin: FileOrigin| dir.path().join(Layout::Split.folder(origin)).join("a");
    std::fs::write(path(FileOrigin::Local), "1").expect("written");
    scan(&mut indexer);
    let place = |indexer: &mut Indexer, origin: FileOrigin| {
        let name = FileName::new("a").expect("a name");
        std::fs::write(path(origin), "22").expect("written");
        let folder = indexer.parts.folders.of(origin).expect("a folder");
        let hashed = crate::store::hash_file(&folder, &name, &indexer.parts.stop).expect("hashed");
        let (reply, done) = bounded(1);
        indexer.handle(Event::Placed { file: SharedFile::hashed(&name, origin, hashed), reply });
        assert_eq!(done.try_recv(), Ok(()));
    };
    place(&mut indexer, FileOrigin::Replicated);
    assert_eq!(published(&indexer), Some((FileOrigin::Local, 1)));
    // The look that follows notices that the user has removed the published file.
    std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
    run_task(&mut indexer);
    assert_eq!(published(&indexer), Some((FileOrigin::Replicated, 2)));
    place(&mut indexer, FileOrigin::Downloaded);
    assert_eq!(published(&indexer), Some((FileOrigin::Downloaded, 2)));
}

/// Runs the waiting task as a worker does.
fn run_task(indexer: &mut Indexer) {
    let event = take_task(indexer).run(&indexer.parts.folders, &indexer.parts.stop);
    indexer.handle(event);
}

fn take_task(indexer: &mut Indexer) -> Task {
    indexer.next_task().expect("a task waits")
}

#[test]
fn a_file_that_could_not_be_hashed_now_is_looked_at_again() {
    let (mut indexer, dir) = indexer();
    let name = FileName::new("a").expect("a name");
    std::fs::write(dir.path().join("a"), "12").expect("written");
    for is_changing in [true, false] {
        let failure = || if is_changing { HashError::Changing } else { HashError::Io(Errno::AGAIN.into()) };
        let mut notices = indexer.parts.broadcast.subscribe();
        for _ in 0..2 {
            indexer.state.in_flight += 1;
            indexer.handle(Event::Looked { name: name.clone(), outcome: LookOutcome::Failed(failure()) });
        }
        assert_eq!(notices.catch_up().items.len(), 1, "one warning for all looks");
        assert_eq!(published(&indexer), None);
        let at = indexer.state.retries.next_at().expect("a retry");
        assert_eq!(indexer.state.retries.take_due(at), std::slice::from_ref(&name));
        indexer.look(name.clone());
        run_task(&mut indexer);
        assert_eq!(published(&indexer), Some((FileOrigin::Local, 2)));
        assert_eq!(indexer.state.retries.next_at(), None);
        std::fs::remove_file(dir.path().join("a")).expect("removed");
        indexer.look(name.clone());
        run_task(&mut indexer);
        std::fs::write(dir.path().join("a"), "12").expect("written");
    }
}

#[test]
fn what_the_walk_cannot_read_now_stays_published() {
    let (mut indexer, dir) = indexer();
    std::fs::create_dir(dir.path().join("d")).expect("made");
    for file in ["a", "d/b", "e"] {
        std::fs::write(dir.path().join(file), "12").expect("written");
    }
    scan(&mut indexer);
    // This scan finds nothing, and cannot read the file `a` and the directory `d`.
    indexer.state.scan = Some(Scan { is_walking: true, ..Scan::default() });
    let name = |text: &str| FileName::new(text).expect("a name");
    for unread in [Unread::File(name("a")), Unread::Dir(name("d"))] {
        let skipped = SkippedEntry { why: "skipped".to_owned(), unread: Some(unread) };
        indexer.handle(Event::Skipped(FileOrigin::Local, skipped));
    }
    indexer.handle(Event::WalkEnded(Ok(())));
    while !indexer.state.tasks.is_empty() {
        run_task(&mut indexer);
    }
    indexer.end_scan_if_done();
    let published: Vec<_> = indexer.parts.state.catalog.read().names().cloned().collect();
    assert_eq!(published, [name("a"), name("d/b")]);
}
