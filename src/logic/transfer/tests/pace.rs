//! Slow and silent sources, and the end game.

use super::*;

#[test]
fn a_source_below_the_minimum_rate_is_left_only_if_there_is_another_one() {
    let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS);
    let enough = limits::SOURCE_RATE_MIN_BYTES_PER_S * limits::SOURCE_RATE_WINDOW_MS / 1000;
    for (has_other, bytes, is_left) in [(true, enough - 1, true), (true, enough, false), (false, 0, false)] {
        let ranked = [candidate(0, 0, 0), candidate(1, 500, 0)];
        let mut world = World::new(plan(2), &ranked[..1 + usize::from(has_other)]);
        world.actions();
        world.now += window / 2;
        world.receive(0, bytes / 2, NO_TIME);
        assert!(!world.actions().iter().any(|action| matches!(action, Action::Leave { .. })));
        world.now += window / 2;
        world.receive(0, bytes, NO_TIME);
        let left = world.actions().iter().any(|action| matches!(action, Action::Leave { .. }));
        assert_eq!(left, is_left, "{has_other}, {bytes} bytes");
    }
}

#[test]
fn neither_an_emulated_latency_nor_idle_time_counts_as_slow() {
    let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS);
    let reply_delay = Duration::from_secs(20);
    let is_left = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Leave { .. }));
    let ranked = [candidate(0, 0, 0), candidate(1, 500, 0)];
    let mut world = World::new(Plan { sources_max: 1, ..plan(1) }, &ranked);
    world.actions();
    world.receive(0, 0, reply_delay);
    assert!(!is_left(&world.pass(reply_delay)));
    world.receive(0, 0, reply_delay);
    assert!(is_left(&world.pass(window)));

    let mut world = World::new(Plan { marked: vec![1], sources_max: 1, ..plan(2) }, &ranked);
    world.actions();
    world.now += window / 2;
    world.arrive(0, 0);
    // The source is idle for long, then busy for the other half of the window but 1 ms.
    assert!(!is_left(&world.pass(10 * window)));
    assert!(world.wrong(1).contains(&fetch(0, 1)));
    assert!(!is_left(&world.pass(window / 2 - Duration::from_millis(1))));
    assert!(is_left(&world.pass(Duration::from_millis(1))));
}

#[test]
fn in_the_end_game_an_idle_source_gets_late_pieces_of_another_and_the_later_copy_is_ignored() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 0, 0)]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(1, 1), fetch(2, 2), fetch(2, 3)]);
    world.now += Duration::from_millis(500);
    world.receive(1, 2 * LEN, NO_TIME);
    world.receive(2, LEN / 10, NO_TIME);
    world.arrive(1, 0);
    // The latest piece is requested first, one at a time.
    assert_eq!(world.arrive(1, 1), [fetch(1, 3)]);
    assert_eq!(world.arrive(1, 3), [fetch(1, 2)]);
    assert_eq!(world.arrive(1, 2), []);
    // The copies from the other source arrive while the first copies are being verified.
    assert_eq!(world.arrive(2, 2), []);
    assert_eq!(world.wrong(2)[0], leave(1, "wrong bytes"));
    assert!(world.transfer.wants(2));
    for piece in [0, 1, 3] {
        world.report(Event::Verified { piece });
    }
    assert_eq!(world.transfer.done(), 3);
    assert_eq!(world.arrive(2, 3), []);
    assert_eq!(world.transfer.in_flight(), 1);
    assert_eq!(world.deliver(2, 2), [Action::Finish]);
}

#[test]
fn a_piece_is_fetched_twice_only_if_that_saves_much_time() {
    // Rates in hundredths of a piece a second. The comments compare the time that the idle source needs for a
    // piece with the time that the other source still needs for its last one.
    for (idle_rate, holder_rate, is_worth_it) in [
        (1000, 400, false), // 100 ms against 250
        (1000, 300, true),  // against 333
        (100, 75, false),   // 1 s against 1.7
        (100, 60, true),    // against 2.3
        (100, 100, false),
    ] {
        let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 0, 0)]);
        world.actions();
        world.now += Duration::from_secs(1);
        world.receive(1, LEN * idle_rate / 100, NO_TIME);
        world.receive(2, LEN * holder_rate / 100, NO_TIME);
        world.arrive(1, 0);
        let expected: &[Action] = if is_worth_it { &[fetch(1, 3)] } else { &[] };
        assert_eq!(world.arrive(1, 1), expected, "{idle_rate} against {holder_rate}");
    }
}

#[test]
fn a_source_that_has_sent_nothing_is_expected_to_need_as_long_again() {
    let ms = Duration::from_millis;
    let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 0, 0)]);
    world.actions();
    world.now += ms(200);
    world.receive(1, 2 * LEN, NO_TIME);
    world.arrive(1, 0);
    assert_eq!(world.arrive(1, 1), []);
    assert_eq!(world.pass(ms(99)), []);
    assert_eq!(world.pass(ms(1)), [fetch(1, 3)]);
}

#[test]
fn another_holder_is_opened_for_the_pieces_of_a_silent_source() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    assert_eq!(world.pass(Duration::from_millis(1999)), []);
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + RATE_CHECK_AT_END));
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 0)]);
    assert_eq!(world.pass(Duration::from_secs(2)), []);
    // An emulated latency does not count as silence.
    let reply_delay = Duration::from_secs(3);
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.receive(1, 0, reply_delay);
    assert_eq!(world.pass(Duration::from_millis(4999)), []);
    assert_eq!(world.pass(Duration::from_millis(1))[..2], [open(2), fetch(2, 0)]);
}

#[test]
fn pieces_of_a_stalled_source_come_from_another_and_the_stalled_one_is_named() {
    let mut world = World::new(plan(3), &[candidate(1, 1, 0), candidate(2, 100, 0)]);
    // All three belong to the near source by the rule: 1, 11 and 21 are less than 100.
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS) - Duration::from_millis(1)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 2)]);
    // The end game: the other source gets the pieces of the stalled one.
    assert!(world.deliver(2, 2).contains(&fetch(2, 1)));
    assert!(world.deliver(2, 1).contains(&fetch(2, 0)));
    let actions = world.deliver(2, 0);
    let stalled = leave(1, "stalled: no byte in 2 s, others sent its pieces");
    assert!(actions.contains(&stalled), "{actions:?}");
    assert_eq!(actions.last(), Some(&Action::Finish));
}

#[test]
fn a_source_whose_bytes_wait_for_us_is_neither_silent_nor_slow() {
    let second = Duration::from_secs(1);
    let mut world = World::new(plan(3), &[candidate(1, 1, 0), candidate(2, 100, 0)]);
    world.actions();
    for _ in 0..30 {
        world.now += second;
        assert_eq!(without_search(world.report_waiting_bytes(1, LEN / 2)), []);
    }
    // The bytes count as waiting until the next report.
    assert_eq!(world.pass(5 * second), []);
    // The time up to a report with a change does not count.
    world.receive(1, LEN / 2, NO_TIME);
    assert_eq!(world.actions(), []);
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS) - Duration::from_millis(1)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 2)]);
}

#[test]
fn slowness_is_measured_only_while_no_byte_waits_for_us() {
    let second = Duration::from_secs(1);
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    let mut bytes = 0;
    // Each slow second is followed by a second in which bytes wait here, and by one in which that changes.
    for round in 0..9 {
        world.now += second;
        bytes += 1;
        world.receive(1, bytes, NO_TIME);
        assert_eq!(without_search(world.actions()), [], "round {round}");
        world.now += second;
        assert_eq!(without_search(world.report_waiting_bytes(1, bytes)), [], "round {round}");
        world.now += second;
        world.receive(1, bytes, NO_TIME);
        assert_eq!(without_search(world.actions()), [], "round {round}");
    }
    world.now += second;
    world.receive(1, bytes + 1, NO_TIME);
    assert_eq!(world.actions()[0], leave(1, "slower than 16 KiB/s, and another source is left"));
}

#[test]
fn the_rate_counts_only_time_in_which_no_byte_waited_for_us() {
    let second = Duration::from_secs(1);
    let mut world = World::new(plan(1000), &[candidate(1, 100, 0)]);
    world.actions();
    world.now += second;
    world.receive(1, 25 * LEN, NO_TIME);
    world.actions();
    assert_eq!(world.transfer.in_flight(), 4);
    for (waits, bytes) in [(true, 26), (true, 200), (false, 400), (false, 425)] {
        world.now += second;
        if waits {
            drop(world.report_waiting_bytes(1, bytes * LEN))
        } else {
            world.receive(1, bytes * LEN, NO_TIME)
        }
        world.actions();
        let connection = world.transfer.sources.connection_mut(source(1)).expect("in use");
        assert_eq!(connection.rate(world.now), Some(25 * LEN), "{bytes} pieces");
    }
    assert_eq!(world.transfer.in_flight(), 4);
}
