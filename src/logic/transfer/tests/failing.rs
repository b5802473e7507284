//! Failures, blame and rounds.

use super::*;

#[test]
fn a_failed_source_is_left_and_its_pieces_come_from_another() {
    let mut world = World::new(plan(3), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    world.deliver(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset"), open(2), fetch(2, 1), fetch(2, 2)]);
    assert_eq!(world.transfer.failures().len(), 1);
    // Late news from the source that was left changes nothing, but for a piece that was complete.
    assert_eq!(world.fail(1), []);
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!((world.transfer.done(), world.transfer.failures().len()), (2, 1));
    assert_eq!(world.transfer.on_the_wire(), 2);
    // It is not taken again in this round, whatever a ranking says.
    assert_eq!(world.tell(ranked(&[candidate(1, 0, 0), candidate(2, 500, 0)])), []);
}

#[test]
fn what_arrived_from_a_source_that_was_left_still_counts() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset")]);
    assert_eq!(world.tell(Event::Verified { piece: 0 }), [Action::Finish]);
}

#[test]
fn a_source_that_closes_when_nothing_is_asked_of_it_has_not_failed() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset")]);
    assert_eq!(world.transfer.failures(), []);
    // But for digests, which are no matter of being idle.
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.tell(Event::Failed { source: source(1), why: "false list".into(), by_digest: true });
    assert_eq!(world.transfer.failures().len(), 1);
}

#[test]
fn a_wrong_piece_puts_its_source_last_and_a_second_one_drops_it() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(2), fetch(2, 0), fetch(2, 1)]);
    world.arrive(2, 0);
    // Both have sent one now: the better is used again.
    let actions = world.wrong(0);
    assert_eq!(actions, [leave(2, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 1)]);
    world.arrive(1, 1);
    let actions = world.wrong(1);
    assert_eq!(actions, [leave(1, "wrong bytes"), open(2), fetch(2, 0), fetch(2, 1)]);
    world.arrive(2, 0);
    assert_eq!(world.wrong(0), [leave(2, "wrong bytes"), Action::GiveUp]);
    assert_eq!(world.transfer.failures().len(), 4);
    assert!(world.transfer.failures().iter().all(|failure| failure.by_digest));
}

#[test]
fn blame_falls_on_a_source_that_was_left_already() {
    let mut world = World::new(Plan { retries: 1, ..plan(3) }, &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.arrive(1, 1);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 2)]);
    // Sent before it was left.
    let actions = world.wrong(1);
    assert_eq!(actions[0], leave(1, "wrong bytes"));
    assert!(matches!(actions[1..], [Action::Pause { round: 1, of: 1, .. }]), "{actions:?}");
    // A new round forgives.
    assert_eq!(world.pass(Duration::from_secs(1)), [Action::Search]);
    assert_eq!(world.tell(ranked(&[candidate(1, 0, 0)])), [open(1), fetch(1, 0), fetch(1, 1)]);
}

#[test]
fn a_source_that_is_not_in_use_is_blamed_too_and_dropped() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.arrive(1, 1);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(2), fetch(2, 0)]);
    assert_eq!(world.wrong(1), [fetch(2, 1)]);
    assert_eq!(world.fail(2), [leave(2, "reset"), Action::GiveUp]);
    let by_digest: Vec<_> = world.transfer.failures().iter().map(|failure| failure.by_digest).collect();
    assert_eq!(by_digest, [true, true, false]);
}

#[test]
fn a_blamed_source_makes_room_for_one_that_is_not() {
    let mut world = World::new(Plan { sources_max: 1, ..plan(3) }, &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 1)]);
    assert_eq!(world.tell(ranked(&[candidate(1, 0, 0), candidate(2, 90, 9)])), []);
    assert_eq!(world.deliver(1, 0), []);
    let why = "others, which sent no wrong piece, have the rest";
    assert_eq!(world.deliver(1, 1), [leave(1, why), open(2), fetch(2, 2)]);
    assert_eq!(world.deliver(2, 2), [Action::Finish]);
}

#[test]
fn marked_pieces_are_neither_fetched_nor_blamed_on_anyone() {
    let mut world = World::new(Plan { marked: vec![0, 2], ..plan(3) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 1)]);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.tell(Event::Verified { piece: 0 }), []);
    assert_eq!(world.wrong(2), [fetch(1, 2)]);
    assert_eq!(world.deliver(1, 2), [Action::Finish]);
    assert_eq!(world.transfer.failures(), []);
}

#[test]
fn a_round_does_not_end_while_marked_pieces_are_being_verified() {
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.wrong(0), [Action::GiveUp]);
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.tell(Event::Verified { piece: 0 }), [Action::Finish]);
}

#[test]
fn when_all_have_failed_it_searches_again_after_growing_pauses() {
    let mut world = World::new(Plan { retries: 2, ..plan(1) }, &[]);
    for (round, seconds) in [(1, 1), (2, 2)] {
        let pause = Duration::from_secs(seconds);
        assert_eq!(world.actions(), [Action::Pause { round, of: 2, pause }]);
        assert_eq!(world.transfer.next_wake(world.now), Some(world.now + pause));
        assert_eq!(world.pass(pause / 2), []);
        assert_eq!(world.pass(pause / 2), [Action::Search]);
        world.transfer.on_event(world.now, ranked(&[]));
    }
    assert_eq!(world.actions(), [Action::GiveUp]);
}

#[test]
fn a_round_that_brought_a_piece_gives_the_retries_back() {
    let mut world = World::new(Plan { retries: 1, ..plan(5) }, &[candidate(1, 0, 0)]);
    world.actions();
    for piece in 0..4 {
        world.deliver(1, piece);
        let actions = world.fail(1);
        let pause = Duration::from_secs(1);
        assert_eq!(actions[1..], [Action::Pause { round: 1, of: 1, pause }], "piece {piece}");
        world.pass(pause);
        world.tell(ranked(&[candidate(1, 0, 0)]));
    }
    assert_eq!(world.fail(1), [leave(1, "reset"), Action::GiveUp]);
}

#[test]
fn failures_are_kept_but_not_without_end() {
    let mut world = World::new(Plan { retries: 1, ..plan(100) }, &[candidate(1, 0, 0)]);
    world.actions();
    for piece in 0..99 {
        world.deliver(1, piece);
        world.tell(Event::Failed { source: source(1), why: format!("after {piece}"), by_digest: false });
        world.pass(Duration::from_secs(1));
        world.tell(ranked(&[candidate(1, 0, 0)]));
    }
    let failures = world.transfer.failures();
    assert_eq!((failures.len(), failures[63].why.as_str()), (64, "after 98"));
}

#[test]
fn a_dropped_piece_is_fetched_again_and_nobody_is_blamed() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.tell(Event::Dropped { piece: 0 }), [fetch(1, 0)]);
    assert!(world.transfer.wants(0));
    assert_eq!((world.transfer.failures(), world.transfer.sources_in_use()), (&[][..], 1));
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
}

#[test]
fn a_dropped_piece_that_is_asked_of_another_source_still_is_not_asked_for_again() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS)), [open(2), fetch(2, 0)]);
    // The first one is alive again, so that it is not left.
    world.receive(1, 1, NO_TIME);
    assert_eq!(world.arrive(2, 0), []);
    assert_eq!(world.tell(Event::Dropped { piece: 0 }), []);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
}

#[test]
fn a_marked_piece_that_is_dropped_is_missing() {
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.tell(Event::Dropped { piece: 0 }), [open(1), fetch(1, 0)]);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
    // With nobody to fetch it from, the round ends.
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.tell(Event::Dropped { piece: 0 }), [Action::GiveUp]);
}

#[test]
fn only_what_is_being_verified_can_be_dropped() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    world.deliver(1, 0);
    // Done, asked for, missing, none.
    for piece in [0, 1, 3, 4] {
        assert_eq!(world.tell(Event::Dropped { piece }), [], "piece {piece}");
    }
    assert_eq!((world.transfer.done(), world.transfer.on_the_wire()), (1, 2));
    assert_eq!(world.deliver(1, 1), [fetch(1, 3)]);
}

#[test]
fn a_source_without_a_piece_list_has_failed_however_many_pieces_it_sent() {
    let mut world = World::new(plan(1), &[candidate(1, 1, 0)]);
    world.actions();
    world.arrive(1, 0);
    // It is idle now, and the end of its connection alone would be no failure.
    world.tell(Event::Dropped { piece: 0 });
    let why = "no list".to_owned();
    let actions = world.tell(Event::NoList { source: source(1), why, by_digest: false });
    assert!(actions.ends_with(&[Action::GiveUp]), "{actions:?}");
    assert_eq!(world.transfer.failures().len(), 1);
}
