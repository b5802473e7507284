//! Which sources are opened, which pieces are requested from them, and how far ahead.

use super::*;

#[test]
fn a_content_without_pieces_is_finished_at_once() {
    assert_eq!(World::new(plan(0), &[candidate(1, 0, 0)]).actions(), [Action::Finish]);
    assert_eq!(World::new(plan(0), &[]).actions(), [Action::Finish]);
}

#[test]
fn a_content_of_one_piece_comes_from_the_best_source_alone() {
    let mut world = World::new(plan(1), &[candidate(1, 40, 0), candidate(2, 10, 2), candidate(3, 20, 2)]);
    assert_eq!(world.actions(), [open(2), fetch(2, 0)]);
    assert_eq!(world.arrive(2, 0), []);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.report(Event::Verified { piece: 0 }), [Action::Finish]);
    assert_eq!(world.actions(), []);
}

#[test]
fn a_second_source_is_used_exactly_when_the_rule_demands_it() {
    let check = |pieces, first: (u64, u32), second: (u64, u32), is_used| {
        let mut world =
            World::new(plan(pieces), &[candidate(1, first.0, first.1), candidate(2, second.0, second.1)]);
        assert_eq!(world.actions().contains(&open(2)), is_used, "{pieces} pieces, {first:?} {second:?}");
    };
    check(2, (0, 0), (9, 0), true);
    check(2, (0, 0), (11, 0), false);
    check(3, (0, 0), (11, 0), true);
    // With equal scores the nearer source wins.
    check(2, (0, 0), (10, 0), false);
    check(3, (0, 0), (10, 0), true);
    check(10, (0, 0), (0, 10), false);
    check(11, (0, 0), (0, 10), false);
    check(12, (0, 0), (0, 10), true);
    check(5, (0, 0), (0, 4), false);
    check(6, (0, 0), (0, 4), true);
}

#[test]
fn the_best_sources_are_opened_up_to_the_limit() {
    let ranked = [candidate(1, 30, 0), candidate(2, 10, 0), candidate(3, 20, 0)];
    let mut world = World::new(Plan { sources_max: 2, ..plan(100) }, &ranked);
    let actions = world.actions();
    let expected = [open(2), open(3), fetch(2, 0), fetch(2, 1), fetch(3, 2), fetch(3, 3)];
    assert_eq!(actions, expected);
    assert_eq!((world.transfer.in_flight(), world.transfer.sources_in_use()), (4, 2));
    assert_eq!(world.deliver(2, 0), [fetch(2, 4)]);
}

#[test]
fn requests_begin_at_the_first_piece_of_the_plan_and_wrap() {
    let mut world = World::new(Plan { first_piece: 2, ..plan(4) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 2), fetch(1, 3)]);
    assert_eq!(world.deliver(1, 2), [fetch(1, 0)]);
    assert_eq!(world.deliver(1, 3), [fetch(1, 1)]);
}

#[test]
fn a_fast_and_far_source_gets_more_requests_ahead() {
    for (latency_ms, bytes_per_s, depth) in [
        (1, LEN, 2),
        (1, 20 * LEN, 2),
        (1, 100 * LEN, 6),
        (100, 20 * LEN, 3),
        (100, 25 * LEN, 4),
        (1000, 100 * LEN, 16),
    ] {
        let mut world = World::new(plan(1000), &[candidate(1, latency_ms, 0)]);
        world.actions();
        world.now += Duration::from_secs(1);
        world.receive(1, bytes_per_s, NO_TIME);
        world.actions();
        assert_eq!(world.transfer.in_flight(), depth, "{latency_ms} ms, {bytes_per_s} bytes/s");
    }
}

#[test]
fn the_machine_searches_while_it_fetches_and_uses_new_sources() {
    let every = limits::ms(limits::SEARCH_AGAIN_MS);
    let mut world = World::new(plan(100), &[candidate(1, 100, 0)]);
    world.actions();
    assert_eq!(world.pass(every - Duration::from_millis(1)), []);
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + Duration::from_millis(1)));
    assert_eq!(world.pass(Duration::from_millis(1)), [Action::Search]);
    // While a search has no result there is no other one.
    world.receive(1, LEN / 2, NO_TIME);
    assert_eq!(world.pass(every), []);
    world.now += Duration::from_secs(1);
    world.receive(1, LEN, NO_TIME);
    let actions = world.report(ranked(&[candidate(2, 0, 0)]));
    assert_eq!(actions, [open(2), fetch(2, 2), fetch(2, 3)]);
    // That ranking does not name the first source, but it works and stays in use.
    assert_eq!(world.deliver(1, 0), [fetch(1, 4)]);
    assert_eq!(world.pass(every - Duration::from_secs(1)), []);
    assert_eq!(world.pass(Duration::from_secs(1)), [Action::Search]);
}

#[test]
fn a_ranking_replaces_the_load_and_own_transfers_do_not_count() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    let own = Candidate { load: 3, yours: 1, ..candidate(1, 0, 0) };
    assert_eq!(world.report(ranked(&[own, candidate(2, 50, 0)])), []);
    let busy = Candidate { load: 4, yours: 1, ..candidate(1, 0, 0) };
    assert_eq!(world.report(ranked(&[busy, candidate(2, 50, 0)])), [open(2), fetch(2, 2)]);
}

/// If each pass took time proportional to the number of pieces, this would take more than an hour.
#[test]
fn the_work_for_a_piece_does_not_grow_with_the_number_of_pieces() {
    let count = 1 << 18;
    let ranked = [candidate(1, 0, 0), candidate(2, 5, 1)];
    let mut world = World::new(Plan { first_piece: count / 2, ..plan(count) }, &ranked);
    let mut actions = VecDeque::from(world.actions());
    while let Some(action) = actions.pop_front() {
        if let Action::Fetch { source, piece } = action {
            world.transfer.on_event(world.now, Event::Arrived { source, piece });
            actions.extend(world.report(Event::Verified { piece }));
        } else if action == Action::Finish {
            return;
        }
    }
    panic!("{} done", world.transfer.done());
}

/// Any sequence of events, most of them wrong, causes no panic, and done pieces stay done.
#[test]
fn no_sequence_of_events_makes_the_machine_panic() {
    for seed in 0..2_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let pieces = rng.random_range(0..6);
        let any_candidates = |rng: &mut SmallRng| -> Vec<Candidate> {
            let one = |rng: &mut SmallRng| Candidate {
                yours: rng.random_range(0..3),
                latency: Millis::from_micros(if rng.random_ratio(1, 9) {
                    u64::MAX
                } else {
                    rng.random_range(0..99_999)
                }),
                ..candidate(rng.random_range(0..4), 0, if rng.random_ratio(1, 9) { u32::MAX } else { 1 })
            };
            (0..rng.random_range(0..4)).map(|_| one(rng)).collect()
        };
        let any_set = |rng: &mut SmallRng| {
            let count = if rng.random_ratio(1, 9) { 9 } else { pieces };
            let bits: Vec<u32> = (0..count).filter(|_| rng.random()).collect();
            set(count, bits)
        };
        let any_ranked = |rng: &mut SmallRng| -> Vec<RankedSource> {
            let full = any_candidates(rng).into_iter();
            full.map(|one| (one, rng.random::<bool>().then(|| any_set(rng)))).collect()
        };
        let plan = Plan {
            piece_len_bytes: rng.random_range(0..3) * LEN,
            marked: (0..rng.random_range(0..3)).map(|_| rng.random_range(0..8)).collect(),
            first_piece: rng.random_range(0..9),
            sources_max: rng.random_range(0..4),
            load_weight: Millis::from_micros(if rng.random_ratio(1, 9) { u64::MAX } else { 10_000 }),
            retries: rng.random_range(0..3),
            ..plan(pieces)
        };
        let mut world = World::with(plan, any_ranked(&mut rng));
        let mut done = 0;
        for _ in 0..200 {
            let source = source(rng.random_range(0..5));
            let piece = rng.random_range(0..pieces + 2);
            let any_time = |rng: &mut SmallRng| match rng.random_range(0..20) {
                0 => Duration::MAX,
                _ => Duration::from_millis(rng.random_range(0..3000)),
            };
            let event = match rng.random_range(0..15) {
                14 => Event::Unranked,
                13 => Event::LacksPiece { source, piece },
                12 => Event::HasPieces { source, pieces: any_set(&mut rng) },
                0 => Event::Ranked(any_ranked(&mut rng)),
                1 => Event::Failed { source, why: "reset".into(), sent_wrong_data: rng.random() },
                2 | 3 => {
                    let bytes = if rng.random_ratio(1, 9) { u64::MAX } else { rng.random_range(0..4 * LEN) };
                    Event::Received {
                        source,
                        bytes,
                        reply_delay: any_time(&mut rng),
                        waits_for_us: rng.random(),
                    }
                }
                4 => Event::Dropped { piece },
                5 => Event::Wrong { piece, why: "wrong bytes".into() },
                6 | 7 => Event::Verified { piece },
                _ => Event::Arrived { source, piece },
            };
            // Time may even go back a little.
            world.now += Duration::from_millis(rng.random_range(0..500));
            let then = world.now - Duration::from_millis(rng.random_range(0..300));
            world.transfer.on_event(then, event);
            if rng.random() {
                world.actions();
                let wake = world.transfer.next_wake(world.now);
                assert!(wake.is_none_or(|at| at > world.now), "seed {seed}");
            }
            assert!(world.transfer.done() >= done, "seed {seed}");
            assert!(world.transfer.failures().len() <= 64, "seed {seed}");
            done = world.transfer.done();
        }
    }
}
