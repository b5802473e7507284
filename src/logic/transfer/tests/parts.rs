//! Partial sources.

use super::*;

#[test]
fn a_partial_source_gets_requests_for_its_pieces_and_stays_while_it_may_grow() {
    let known = [full(1, 5), part(2, 0, 4, [1])];
    let mut world = World::with(plan(4), known.to_vec());
    let mut actions = world.actions();
    // The full source gets requests for the pieces that the partial one does not have, in any order.
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Fetch { .. })).count(), 3);
    assert!(actions.contains(&fetch(2, 1)) && !actions.contains(&fetch(1, 1)), "{actions:?}");
    actions.retain(|action| matches!(action, Action::Open(_)));
    assert_eq!(actions, [open(2), open(1)]);
    assert_eq!(world.deliver(2, 1), []);
    // It stays until the peer might close the connection. Then it is left without a fault.
    assert_eq!(without_search(world.pass(REST_MAX - Duration::from_millis(1))), []);
    world.transfer.on_event(world.now, Event::Ranked(known.to_vec()));
    let actions = world.pass(Duration::from_millis(1));
    assert!(actions.contains(&leave_without_fault(2)), "{actions:?}");
    assert_eq!(world.transfer.failures(), []);
    // The partial source has all pieces now.
    world.transfer.on_event(world.now, ranked(&[candidate(2, 0, 0)]));
    let actions = world.fail(1);
    assert!(actions.contains(&open(2)), "{actions:?}");
}

#[test]
fn a_partial_source_that_lacks_a_reported_piece_counts_as_empty_until_its_next_report() {
    let mut world = World::with(plan(4), vec![part(1, 0, 4, 0..4)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    // Piece 3 was not requested: ignored.
    assert_eq!(world.report(lacks(1, 3)), []);
    assert_eq!(world.report(lacks(1, 0)), []);
    assert_eq!(world.transfer.failures().len(), 1);
    // All earlier requests count as one refusal. A piece that comes nevertheless counts.
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.report(has(1, 4, 0..4)), [fetch(1, 0), fetch(1, 2)]);
    assert_eq!(world.report(lacks(1, 0)), []);
    assert_eq!(world.report(lacks(1, 2)), []);
    assert_eq!(world.report(has(1, 4, [0, 3])), [fetch(1, 0), fetch(1, 3)]);
    assert_eq!(world.deliver(1, 0), []);
    // The third refusal.
    let leave = leave(1, "has no piece 3, though it says so");
    assert_eq!(world.report(lacks(1, 3)), [leave, Action::GiveUp]);
    assert_eq!((world.transfer.done(), world.transfer.failures().len()), (2, 2));
}

/// Each false report costs one round trip, not one for each piece.
#[test]
fn a_source_that_reports_all_pieces_and_has_none_gets_few_requests() {
    let count = 4096;
    let known = vec![part(1, 0, count, 0..count), full(2, 900)];
    let mut world = World::with(plan(count), known.clone());
    let mut requested = 0;
    let mut actions = VecDeque::from(world.actions());
    for _ in 0..100 {
        while let Some(action) = actions.pop_front() {
            if let Action::Fetch { source: of, piece } = action
                && of == source(1)
            {
                requested += 1;
                actions.extend(world.report(lacks(1, piece)));
            }
        }
        actions.extend(world.report(Event::Ranked(known.clone())));
    }
    assert!(requested <= 6, "{requested} pieces");
    assert_eq!(world.transfer.failures().len(), 2);
}

#[test]
fn a_full_source_that_lacks_a_piece_has_failed() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 900, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    let leave = leave(1, "has no piece 0, though it says so");
    assert_eq!(world.report(lacks(1, 0)), [leave, open(2), fetch(2, 0), fetch(2, 1)]);
}

#[test]
fn the_only_source_of_a_piece_is_not_left_for_being_slow() {
    let known = [full(1, 0), part(2, 0, 100, 0..99)];
    let mut world = World::with(plan(100), known.to_vec());
    let mut actions = world.actions();
    assert!(actions.contains(&open(1)), "{actions:?}");
    let mut requested = VecDeque::new();
    for second in 1..=40 {
        let is_left = |action: &Action| matches!(action, Action::Leave { .. });
        assert!(!actions.iter().any(is_left), "{actions:?}");
        requested.extend(actions.iter().filter_map(|action| match action {
            Action::Fetch { source: of, piece } if *of == source(2) => Some(*piece),
            _ => None,
        }));
        world.now += Duration::from_secs(1);
        world.receive(2, second * LEN, NO_TIME);
        actions = world.arrive(2, requested.pop_front().expect("a piece is always requested"));
        if actions.contains(&Action::Search) {
            actions.extend(world.report(Event::Ranked(known.to_vec())));
        }
    }
    world.transfer.on_event(world.now, ranked(&[candidate(1, 0, 0), candidate(2, 0, 0)]));
    let is_left =
        |action: &Action| matches!(action, Action::Leave { source: left, .. } if *left == source(1));
    assert!(world.actions().iter().any(is_left), "the other source has all pieces now");
}

#[test]
fn without_an_answer_of_discovery_the_last_ranking_stays_with_its_pieces() {
    let mut world = World::with(plan(2), vec![part(1, 0, 2, [0]), part(2, 0, 2, [1])]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(2, 1)]);
    let every = limits::ms(limits::SEARCH_AGAIN_MS);
    assert!(world.pass(every).contains(&Action::Search));
    world.receive(1, 1, NO_TIME);
    world.receive(2, 1, NO_TIME);
    assert_eq!(world.report(Event::Unranked), []);
    assert_eq!(world.fail(1), [leave(1, "reset")], "no other source has piece 0");
    assert_eq!(world.pass(every), [Action::Search], "the machine searches again");
}

#[test]
fn a_partial_source_without_a_missing_piece_is_not_opened_and_does_not_keep_the_round_alive() {
    let mut world = World::with(plan(2), vec![part(2, 0, 2, [])]);
    let actions = world.run_for(Duration::from_secs(60), &[part(2, 0, 2, [])], |_| true);
    let (last, searches) = actions.split_last().expect("an end");
    assert!(
        *last == Action::GiveUp && searches.iter().all(|action| *action == Action::Search),
        "{actions:?}"
    );
    let why = "has 0 of 2 pieces, none that is missing here".to_owned();
    assert_eq!(world.transfer.failures(), [SourceFailure { source: source(2), why, sent_wrong_data: false }]);
}

#[test]
fn partial_sources_that_together_have_all_pieces_suffice() {
    let mut world = World::with(plan(3), vec![part(1, 0, 3, [0, 1]), part(2, 0, 3, [2])]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(1, 1), fetch(2, 2)]);
}

#[test]
fn the_last_source_in_use_is_one_with_pieces_that_no_other_has() {
    let near = [part(1, 0, 100, 0..50), part(2, 0, 100, 0..50)];
    let mut world = World::with(Plan { sources_max: 2, ..plan(100) }, [&near[..], &[full(3, 900)]].concat());
    let actions = world.actions();
    assert_eq!(actions[..2], [open(1), open(3)]);
    let requests_to_3 = actions.iter().filter(
        |action| matches!(action, Action::Fetch { source: of, piece } if *of == source(3) && *piece >= 50),
    );
    assert_eq!(requests_to_3.count(), 2, "{actions:?}");
    // If the best sources have different pieces, they are the ones in use.
    let mut world = World::with(
        Plan { sources_max: 2, ..plan(100) },
        vec![part(1, 0, 100, 0..50), part(2, 0, 100, 50..100), full(3, 900)],
    );
    assert_eq!(world.actions()[..2], [open(1), open(2)]);
}

#[test]
fn a_source_without_pieces_of_its_own_makes_room_for_one_with_such_pieces() {
    let near = [part(1, 0, 100, 0..50), part(2, 1, 100, 0..40)];
    let mut world = World::with(Plan { sources_max: 2, ..plan(100) }, near.to_vec());
    assert_eq!(world.actions()[..2], [open(1), open(2)]);
    // A full source comes: no further piece is requested from source 2, which is closed when it has sent the
    // requested pieces.
    let all = [&near[..], &[full(3, 900)]].concat();
    assert_eq!(world.report(Event::Ranked(all)), []);
    let requested: Vec<u32> =
        world.transfer.sources.connection_mut(source(2)).expect("in use").requested().collect();
    assert_eq!(requested.len(), 2);
    assert_eq!(world.deliver(2, requested[0]), []);
    let actions = world.deliver(2, requested[1]);
    assert_eq!(actions[..2], [leave_without_fault(2), open(3)]);
    assert!(
        actions[2..]
            .iter()
            .all(|action| matches!(action, Action::Fetch { source: of, .. } if *of == source(3)))
    );
    // A source with pieces of its own makes no room.
    let mut world = World::with(
        Plan { sources_max: 2, ..plan(100) },
        vec![part(1, 0, 100, 0..50), part(2, 0, 100, 50..90), part(3, 0, 100, 90..100)],
    );
    let actions = world.run_for(Duration::from_secs(1), &[], |of| of != source(1));
    assert_eq!(actions[..2], [open(1), open(2)]);
    assert_eq!(actions.iter().filter(|action| **action == leave_without_fault(2)).count(), 1, "{actions:?}");
    assert!(world.transfer.done() >= 48, "{}", world.transfer.done());
}

#[test]
fn a_partial_source_is_awaited_while_it_grows() {
    let second = Duration::from_secs(1);
    let mut world = World::with(plan(20), vec![part(1, 0, 20, 0..10)]);
    let sends = |_: SocketAddr| true;
    world.run_for(second, &[], sends);
    assert_eq!(world.transfer.done(), 10);
    for pieces in 11..=20 {
        // The source is neither left nor blamed, and no round ends.
        let actions = world.run_for(25 * second, &[part(1, 0, 20, 0..pieces - 1)], sends);
        assert!(actions.iter().all(|action| *action == Action::Search), "{actions:?}");
        assert_eq!(world.transfer.next_wake(world.now).map(|at| at <= world.now + 5 * second), Some(true));
        // A new piece is requested as soon as it is reported.
        let actions = world.report(has(1, 20, 0..pieces));
        assert_eq!(without_search(actions), [fetch(1, pieces - 1)]);
        world.deliver(1, pieces - 1);
    }
    assert_eq!(world.transfer.done(), 20);
    assert_eq!(world.transfer.failures(), []);
}

#[test]
fn a_round_ends_when_partial_sources_grow_no_more_and_the_largest_is_named() {
    let known = [part(1, 0, 4, [0, 1]), part(2, 0, 4, [0])];
    let mut world = World::with(Plan { retries: 1, ..plan(4) }, known.to_vec());
    let mut actions = world.run_for(Duration::from_secs(28), &known, |_| true);
    assert!(!actions.iter().any(|action| matches!(action, Action::Pause { .. })), "{actions:?}");
    actions = world.run_for(Duration::from_secs(10), &known, |_| true);
    // A report of as many pieces as before is not growth.
    assert!(actions.iter().any(|action| matches!(action, Action::Pause { .. })), "{actions:?}");
    assert_eq!(actions.last(), Some(&Action::GiveUp));
    let why = "has 2 of 4 pieces, none that is missing here".to_owned();
    assert_eq!(world.transfer.failures(), [SourceFailure { source: source(1), why, sent_wrong_data: false }]);
}

#[test]
fn partial_sources_that_go_and_come_back_have_not_grown() {
    let known = [part(1, 0, 4, [0, 1]), part(2, 0, 4, [0, 2])];
    let mut world = World::with(Plan { retries: 0, ..plan(4) }, known.to_vec());
    let mut actions = Vec::new();
    for round in 0..12 {
        actions
            .extend(world.run_for(limits::ms(limits::SEARCH_AGAIN_MS), &known[round % 2..][..1], |_| true));
    }
    assert_eq!(actions.last(), Some(&Action::GiveUp));
}

#[test]
fn while_a_partial_source_is_awaited_wrong_pieces_of_others_still_count() {
    let known = [part(1, 0, 9, [0]), full(2, 900)];
    let mut world = World::with(plan(9), known.to_vec());
    world.actions();
    world.deliver(1, 0);
    for piece in [1, 2] {
        world.arrive(2, piece);
    }
    world.wrong(1);
    world.wrong(2);
    let actions = world.run_for(Duration::from_secs(20), &known, |_| false);
    assert!(!actions.contains(&open(2)), "{actions:?}");
}

#[test]
fn a_blamed_source_gets_requests_for_pieces_that_the_others_do_not_have() {
    let mut world = World::with(plan(9), vec![full(1, 0), part(2, 900, 9, [8])]);
    world.actions();
    world.arrive(1, 0);
    let actions = world.wrong(0);
    let requested = actions
        .iter()
        .filter(|action| matches!(action, Action::Fetch { source: of, .. } if *of == source(1)));
    assert!(requested.count() > 0, "{actions:?}");
}

#[test]
fn while_a_partial_source_grows_failed_sources_are_tried_again() {
    let known = [part(1, 0, 4, [0]), full(2, 900)];
    let mut world = World::with(plan(4), known.to_vec());
    world.actions();
    world.deliver(1, 0);
    assert_eq!(world.fail(2), [leave(2, "reset")]);
    assert_eq!(world.pass(limits::ms(limits::SEARCH_AGAIN_MS)), [Action::Search]);
    assert!(world.report(Event::Ranked(known.to_vec())).contains(&open(2)));
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + RATE_CHECK));
}

/// A source that gets no requests after a failure must not count as one that has all pieces.
#[test]
fn a_failed_source_that_reports_everything_does_not_change_the_order_of_pieces() {
    let known = [full(1, 0), part(2, 900, 100, 0..100), part(3, 900, 100, 0..95)];
    let mut world = World::with(plan(100), known.to_vec());
    world.transfer.on_event(
        world.now,
        Event::NoManifest { source: source(2), why: "false manifest".into(), sent_wrong_data: true },
    );
    let actions = world.actions();
    let requested = actions.iter().filter_map(|action| match action {
        Action::Fetch { source: of, piece } if *of == source(1) => Some(*piece),
        _ => None,
    });
    let requested: Vec<u32> = requested.collect();
    assert!(!requested.is_empty() && requested.iter().all(|piece| *piece >= 95), "{requested:?}");
}

/// Two downloads begin at the same place and time. The only full source serves each of them one piece a
/// second; they serve each other at once.
#[test]
fn two_downloads_take_different_pieces_from_a_slow_source() {
    for seed in 0..20 {
        let count = 100;
        let mut worlds = [2, 3].map(|other| {
            let plan = Plan { first_piece: 7, seed: seed * 10 + u64::from(other), ..plan(count) };
            (World::new(plan, &[candidate(1, 0, 0)]), other, VecDeque::new())
        });
        let mut sent = 0_u64;
        let mut reported = [PieceSet::none(count), PieceSet::none(count)];
        for second in 0..110 {
            for (index, (world, other, requested)) in worlds.iter_mut().enumerate() {
                world.now += Duration::from_secs(1);
                let before: PieceSet = reported[1 - index].clone();
                // The first search, after 5 s, finds the other download.
                if second >= 5 && !world.transfer.pieces.all_done() {
                    let known = vec![full(1, 0), (candidate(*other, 0, 0), Some(before))];
                    world.transfer.on_event(world.now, Event::Ranked(known));
                }
                let mut to_do = VecDeque::from(world.actions());
                if let Some(piece) = requested.pop_front() {
                    sent += 1;
                    world.receive(1, (second + 1) * LEN, NO_TIME);
                    to_do.extend(world.deliver(1, piece));
                }
                while let Some(action) = to_do.pop_front() {
                    match action {
                        Action::Fetch { source: of, piece } if of == source(1) => requested.push_back(piece),
                        Action::Fetch { piece, .. } => to_do.extend(world.deliver(*other, piece)),
                        _ => {}
                    }
                }
            }
            reported = worlds.each_ref().map(|(world, ..)| {
                let mut done = PieceSet::none(count);
                (0..count).for_each(|piece| done.set(piece, world.transfer.is_done(piece)));
                done
            });
        }
        assert!(worlds.iter().all(|(world, ..)| world.transfer.pieces.all_done()), "seed {seed}");
        // At most five pieces each are the same, and those that were under way when one learned of the
        // other's.
        assert!(sent < 130, "seed {seed}: {sent} pieces of {count} for two");
    }
}

#[test]
fn a_set_of_another_number_of_pieces_is_ignored() {
    let mut world = World::with(plan(2), vec![part(1, 0, 3, 0..3), part(2, 9, 2, [0])]);
    assert_eq!(world.actions(), [open(2), fetch(2, 0)]);
    assert_eq!(world.report(has(2, 3, 0..3)), []);
    assert_eq!(world.report(has(2, 2, 0..2)), [fetch(2, 1)]);
    // A full source does not have less later.
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.transfer.on_event(world.now, has(1, 1, []));
    assert_eq!(world.actions(), [open(1), fetch(1, 0)]);
}
