//! Failures, wrong pieces and rounds.

use super::*;

#[test]
fn a_failed_source_is_left_and_its_pieces_come_from_another() {
    let mut world = World::new(plan(3), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    world.deliver(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset"), open(2), fetch(2, 1), fetch(2, 2)]);
    assert_eq!(world.transfer.failures().len(), 1);
    // A late report of the source that was left changes nothing, unless it is a complete piece.
    assert_eq!(world.fail(1), []);
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!((world.transfer.done(), world.transfer.failures().len()), (2, 1));
    assert_eq!(world.transfer.in_flight(), 2);
    // The failed source is not used again in this round, even if a ranking names it.
    assert_eq!(world.report(ranked(&[candidate(1, 0, 0), candidate(2, 500, 0)])), []);
}

#[test]
fn pieces_that_arrived_from_a_source_that_was_left_still_count() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset")]);
    assert_eq!(world.report(Event::Verified { piece: 0 }), [Action::Finish]);
}

#[test]
fn an_idle_source_that_closes_its_connection_has_not_failed() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.fail(1), [leave(1, "reset")]);
    assert_eq!(world.transfer.failures(), []);
    // A wrong digest counts even of an idle source.
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.report(Event::Failed { source: source(1), why: "false manifest".into(), sent_wrong_data: true });
    assert_eq!(world.transfer.failures().len(), 1);
}

#[test]
fn a_wrong_piece_puts_its_source_last_and_a_second_one_excludes_it_from_the_round() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(2), fetch(2, 0), fetch(2, 1)]);
    world.arrive(2, 0);
    // Both have sent a wrong piece now: the better one is used again.
    let actions = world.wrong(0);
    assert_eq!(actions, [leave(2, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 1)]);
    world.arrive(1, 1);
    let actions = world.wrong(1);
    assert_eq!(actions, [leave(1, "wrong bytes"), open(2), fetch(2, 0), fetch(2, 1)]);
    world.arrive(2, 0);
    assert_eq!(world.wrong(0), [leave(2, "wrong bytes"), Action::GiveUp]);
    assert_eq!(world.transfer.failures().len(), 4);
    assert!(world.transfer.failures().iter().all(|failure| failure.sent_wrong_data));
}

#[test]
fn a_source_that_was_left_is_blamed_for_its_wrong_piece() {
    let mut world = World::new(Plan { retries: 1, ..plan(3) }, &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.arrive(1, 1);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 2)]);
    // Piece 1 was sent before the source was left.
    let actions = world.wrong(1);
    assert_eq!(actions[0], leave(1, "wrong bytes"));
    assert!(matches!(actions[1..], [Action::Pause { round: 1, of: 1, .. }]), "{actions:?}");
    // A new round clears the fault.
    assert_eq!(world.pass(Duration::from_secs(1)), [Action::Search]);
    assert_eq!(world.report(ranked(&[candidate(1, 0, 0)])), [open(1), fetch(1, 0), fetch(1, 1)]);
}

#[test]
fn a_source_that_is_not_in_use_is_blamed_too_and_excluded_from_the_round() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    world.arrive(1, 1);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(2), fetch(2, 0)]);
    assert_eq!(world.wrong(1), [fetch(2, 1)]);
    assert_eq!(world.fail(2), [leave(2, "reset"), Action::GiveUp]);
    let sent_wrong_data: Vec<_> =
        world.transfer.failures().iter().map(|failure| failure.sent_wrong_data).collect();
    assert_eq!(sent_wrong_data, [true, true, false]);
}

#[test]
fn a_source_that_sent_a_wrong_piece_makes_room_for_one_that_did_not() {
    let mut world = World::new(Plan { sources_max: 1, ..plan(3) }, &[candidate(1, 0, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert_eq!(world.wrong(0), [leave(1, "wrong bytes"), open(1), fetch(1, 0), fetch(1, 1)]);
    assert_eq!(world.report(ranked(&[candidate(1, 0, 0), candidate(2, 90, 9)])), []);
    assert_eq!(world.deliver(1, 0), []);
    let why = "others, which sent no wrong piece, have the rest";
    assert_eq!(world.deliver(1, 1), [leave(1, why), open(2), fetch(2, 2)]);
    assert_eq!(world.deliver(2, 2), [Action::Finish]);
}

#[test]
fn leftover_pieces_are_not_fetched_and_no_source_is_blamed_for_them() {
    let mut world = World::new(Plan { marked: vec![0, 2], ..plan(3) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 1)]);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.report(Event::Verified { piece: 0 }), []);
    assert_eq!(world.wrong(2), [fetch(1, 2)]);
    assert_eq!(world.deliver(1, 2), [Action::Finish]);
    assert_eq!(world.transfer.failures(), []);
}

#[test]
fn a_round_does_not_end_while_leftover_pieces_are_being_verified() {
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.wrong(0), [Action::GiveUp]);
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.report(Event::Verified { piece: 0 }), [Action::Finish]);
}

#[test]
fn when_all_sources_have_failed_the_machine_searches_again_after_growing_pauses() {
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
fn a_round_in_which_a_piece_was_verified_resets_the_retries() {
    let mut world = World::new(Plan { retries: 1, ..plan(5) }, &[candidate(1, 0, 0)]);
    world.actions();
    for piece in 0..4 {
        world.deliver(1, piece);
        let actions = world.fail(1);
        let pause = Duration::from_secs(1);
        assert_eq!(actions[1..], [Action::Pause { round: 1, of: 1, pause }], "piece {piece}");
        world.pass(pause);
        world.report(ranked(&[candidate(1, 0, 0)]));
    }
    assert_eq!(world.fail(1), [leave(1, "reset"), Action::GiveUp]);
}

#[test]
fn the_latest_failures_are_kept_up_to_a_limit() {
    let mut world = World::new(Plan { retries: 1, ..plan(100) }, &[candidate(1, 0, 0)]);
    world.actions();
    for piece in 0..99 {
        world.deliver(1, piece);
        world.report(Event::Failed {
            source: source(1),
            why: format!("after {piece}"),
            sent_wrong_data: false,
        });
        world.pass(Duration::from_secs(1));
        world.report(ranked(&[candidate(1, 0, 0)]));
    }
    let failures = world.transfer.failures();
    assert_eq!((failures.len(), failures[63].why.as_str()), (64, "after 98"));
}

#[test]
fn a_dropped_piece_is_fetched_again_and_no_source_is_blamed() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.arrive(1, 0);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.report(Event::Dropped { piece: 0 }), [fetch(1, 0)]);
    assert!(world.transfer.wants(0));
    assert_eq!((world.transfer.failures(), world.transfer.sources_in_use()), (&[][..], 1));
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
}

#[test]
fn a_dropped_piece_that_is_still_requested_from_another_source_is_not_requested_again() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS)), [open(2), fetch(2, 0)]);
    // The first source delivers again, so that it is not left.
    world.receive(1, 1, NO_TIME);
    assert_eq!(world.arrive(2, 0), []);
    assert_eq!(world.report(Event::Dropped { piece: 0 }), []);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
}

#[test]
fn a_marked_piece_that_is_dropped_is_missing() {
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.report(Event::Dropped { piece: 0 }), [open(1), fetch(1, 0)]);
    assert_eq!(world.deliver(1, 0), [Action::Finish]);
    // No source is left to fetch it from: the round ends.
    let mut world = World::new(Plan { marked: vec![0], ..plan(1) }, &[]);
    assert_eq!(world.actions(), []);
    assert_eq!(world.report(Event::Dropped { piece: 0 }), [Action::GiveUp]);
}

#[test]
fn only_pieces_that_are_being_verified_can_be_dropped() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    world.deliver(1, 0);
    // These are done, requested, missing, and beyond the end.
    for piece in [0, 1, 3, 4] {
        assert_eq!(world.report(Event::Dropped { piece }), [], "piece {piece}");
    }
    assert_eq!((world.transfer.done(), world.transfer.in_flight()), (1, 2));
    assert_eq!(world.deliver(1, 1), [fetch(1, 3)]);
}

#[test]
fn a_source_without_a_manifest_has_failed_even_if_it_sent_pieces() {
    let mut world = World::new(plan(1), &[candidate(1, 1, 0)]);
    world.actions();
    world.arrive(1, 0);
    // The source is idle now, so the end of its connection alone would be no failure.
    world.report(Event::Dropped { piece: 0 });
    let why = "no manifest".to_owned();
    let actions = world.report(Event::NoManifest { source: source(1), why, sent_wrong_data: false });
    assert!(actions.ends_with(&[Action::GiveUp]), "{actions:?}");
    assert_eq!(world.transfer.failures().len(), 1);
}
