//! The machine's rules, one by one.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::logic::select::{Candidate, LatencyOrigin};
use crate::rt::clock;
use crate::types::PieceSet;

const LEN: u64 = 1 << 20;
const NO_TIME: Duration = Duration::ZERO;

pub(super) fn source(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000 + number))
}

fn candidate(number: u16, latency_ms: u64, load: u32) -> Candidate {
    Candidate {
        endpoint: source(number),
        latency: Millis::from_ms(latency_ms),
        latency_origin: LatencyOrigin::Table,
        load,
        yours: 0,
    }
}

fn plan(pieces: u32) -> Plan {
    Plan {
        pieces,
        piece_len_bytes: LEN,
        marked: Vec::new(),
        first_piece: 0,
        seed: 0,
        sources_max: 8,
        load_weight: Millis::from_ms(10),
        retries: 0,
    }
}

/// A machine with its clock, driven in few words.
struct World {
    transfer: Transfer,
    now: Instant,
}

impl World {
    /// All of these have everything.
    fn new(plan: Plan, full: &[Candidate]) -> World {
        World::with(plan, full.iter().map(|one| (*one, None)).collect())
    }

    fn with(plan: Plan, ranked: Vec<Ranked>) -> World {
        let now = clock::now();
        World { transfer: Transfer::new(plan, ranked, now), now }
    }

    /// Carries out what it says for so long, once a second: a search finds these, a piece that is asked of a source that `sends` comes at
    /// once. Returns all that it has said.
    fn live(&mut self, time: Duration, found: &[Ranked], sends: impl Fn(SocketAddr) -> bool) -> Vec<Action> {
        let mut said = Vec::new();
        for _ in 0..time.as_secs() {
            let mut to_do = VecDeque::from(self.actions());
            while let Some(action) = to_do.pop_front() {
                match &action {
                    Action::Search => to_do.extend(self.tell(Event::Ranked(found.to_vec()))),
                    Action::Fetch { source, piece } if sends(*source) => {
                        let (source, piece) = (*source, *piece);
                        to_do.extend(self.tell(Event::Arrived { source, piece }));
                        to_do.extend(self.tell(Event::Verified { piece }));
                    }
                    _ => {}
                }
                said.push(action);
            }
            self.now += Duration::from_secs(1);
        }
        said
    }

    fn actions(&mut self) -> Vec<Action> {
        self.transfer.next_actions(self.now)
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.transfer.on_event(self.now, event);
        self.actions()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.actions()
    }

    fn arrive(&mut self, number: u16, piece: u32) -> Vec<Action> {
        self.tell(Event::Arrived { source: source(number), piece })
    }

    fn deliver(&mut self, number: u16, piece: u32) -> Vec<Action> {
        let mut actions = self.arrive(number, piece);
        actions.extend(self.tell(Event::Verified { piece }));
        actions
    }

    fn wrong(&mut self, piece: u32) -> Vec<Action> {
        self.tell(Event::Wrong { piece, why: "wrong bytes".into() })
    }

    fn fail(&mut self, number: u16) -> Vec<Action> {
        self.tell(Event::Failed { source: source(number), why: "reset".into(), by_digest: false })
    }

    fn receive(&mut self, number: u16, bytes: u64, held_back: Duration) {
        let source = source(number);
        self.transfer.on_event(self.now, Event::Received { source, bytes, held_back, waits_for_us: false });
    }

    /// So many bytes have come from it, and more wait for us.
    fn wait(&mut self, number: u16, bytes: u64) -> Vec<Action> {
        let source = source(number);
        self.tell(Event::Received { source, bytes, held_back: NO_TIME, waits_for_us: true })
    }
}

/// But for searches, which come with time.
fn no_search(mut actions: Vec<Action>) -> Vec<Action> {
    actions.retain(|action| *action != Action::Search);
    actions
}

fn open(number: u16) -> Action {
    Action::Open(source(number))
}

fn fetch(number: u16, piece: u32) -> Action {
    Action::Fetch { source: source(number), piece }
}

fn leave(number: u16, why: &str) -> Action {
    Action::Leave { source: source(number), why: Some(why.to_owned()) }
}

/// Left with no word to the user: nothing is wrong with it.
fn let_go(number: u16) -> Action {
    Action::Leave { source: source(number), why: None }
}

/// All of these have everything.
fn ranked(full: &[Candidate]) -> Event {
    Event::Ranked(full.iter().map(|one| (*one, None)).collect())
}

fn set(count: u32, pieces: impl IntoIterator<Item = u32>) -> PieceSet {
    let mut set = PieceSet::none(count);
    pieces.into_iter().for_each(|piece| set.set(piece, true));
    set
}

/// An idle source so far away that has these of `count` pieces only.
fn part(number: u16, latency_ms: u64, count: u32, pieces: impl IntoIterator<Item = u32>) -> Ranked {
    (candidate(number, latency_ms, 0), Some(set(count, pieces)))
}

/// An idle source so far away that has everything.
fn full(number: u16, latency_ms: u64) -> Ranked {
    (candidate(number, latency_ms, 0), None)
}

fn has(number: u16, count: u32, pieces: impl IntoIterator<Item = u32>) -> Event {
    Event::Has { source: source(number), pieces: set(count, pieces) }
}

fn lacks(number: u16, piece: u32) -> Event {
    Event::Lacks { source: source(number), piece }
}

#[test]
fn a_partial_source_is_asked_for_what_it_has_and_kept_while_it_may_have_more_soon() {
    let known = [full(1, 5), part(2, 0, 4, [1])];
    let mut world = World::with(plan(4), known.to_vec());
    let mut actions = world.actions();
    // The other one is asked for what the partial one does not have, in any order, and not for piece 1.
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Fetch { .. })).count(), 3);
    assert!(actions.contains(&fetch(2, 1)) && !actions.contains(&fetch(1, 1)), "{actions:?}");
    actions.retain(|action| matches!(action, Action::Open(_)));
    assert_eq!(actions, [open(2), open(1)]);
    assert_eq!(world.deliver(2, 1), []);
    // Until its end might close the connection; nothing is wrong with it then.
    assert_eq!(no_search(world.pass(REST - Duration::from_millis(1))), []);
    world.transfer.on_event(world.now, Event::Ranked(known.to_vec()));
    let actions = world.pass(Duration::from_millis(1));
    assert!(actions.contains(&let_go(2)), "{actions:?}");
    assert_eq!(world.transfer.failures(), []);
    // It comes to have all.
    world.transfer.on_event(world.now, ranked(&[candidate(2, 0, 0)]));
    let actions = world.fail(1);
    assert!(actions.contains(&open(2)), "{actions:?}");
}

#[test]
fn a_partial_source_that_does_not_have_a_piece_is_taken_to_have_none_until_it_tells_again() {
    let mut world = World::with(plan(4), vec![part(1, 0, 4, 0..4)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    // Nothing new: it was not asked for that.
    assert_eq!(world.tell(lacks(1, 3)), []);
    assert_eq!(world.tell(lacks(1, 0)), []);
    assert_eq!(world.transfer.failures().len(), 1);
    // What was asked before counts once with it; or it comes.
    assert_eq!(world.deliver(1, 1), []);
    assert_eq!(world.tell(has(1, 4, 0..4)), [fetch(1, 0), fetch(1, 2)]);
    assert_eq!(world.tell(lacks(1, 0)), []);
    assert_eq!(world.tell(lacks(1, 2)), []);
    assert_eq!(world.tell(has(1, 4, [0, 3])), [fetch(1, 0), fetch(1, 3)]);
    assert_eq!(world.deliver(1, 0), []);
    // For the third time.
    let leave = leave(1, "has no piece 3, though it says so");
    assert_eq!(world.tell(lacks(1, 3)), [leave, Action::GiveUp]);
    assert_eq!((world.transfer.done(), world.transfer.failures().len()), (2, 2));
}

/// A round trip for each time that it tells of everything, not for each piece.
#[test]
fn one_that_tells_of_all_pieces_and_has_none_is_asked_for_few() {
    let count = 4096;
    let known = vec![part(1, 0, count, 0..count), full(2, 900)];
    let mut world = World::with(plan(count), known.clone());
    let mut asked = 0;
    let mut actions = VecDeque::from(world.actions());
    for _ in 0..100 {
        while let Some(action) = actions.pop_front() {
            if let Action::Fetch { source: of, piece } = action
                && of == source(1)
            {
                asked += 1;
                actions.extend(world.tell(lacks(1, piece)));
            }
        }
        actions.extend(world.tell(Event::Ranked(known.clone())));
    }
    assert!(asked <= 6, "{asked} pieces");
    assert_eq!(world.transfer.failures().len(), 2);
}

#[test]
fn a_source_of_everything_that_does_not_have_a_piece_has_failed() {
    let mut world = World::new(plan(2), &[candidate(1, 0, 0), candidate(2, 900, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    let leave = leave(1, "has no piece 0, though it says so");
    assert_eq!(world.tell(lacks(1, 0)), [leave, open(2), fetch(2, 0), fetch(2, 1)]);
}

#[test]
fn the_only_one_that_has_a_piece_is_not_left_for_being_slow() {
    let known = [full(1, 0), part(2, 0, 100, 0..99)];
    let mut world = World::with(plan(100), known.to_vec());
    let mut actions = world.actions();
    assert!(actions.contains(&open(1)), "{actions:?}");
    let mut asked = VecDeque::new();
    for second in 1..=40 {
        let is_left = |action: &Action| matches!(action, Action::Leave { .. });
        assert!(!actions.iter().any(is_left), "{actions:?}");
        asked.extend(actions.iter().filter_map(|action| match action {
            Action::Fetch { source: of, piece } if *of == source(2) => Some(*piece),
            _ => None,
        }));
        world.now += Duration::from_secs(1);
        world.receive(2, second * LEN, NO_TIME);
        actions = world.arrive(2, asked.pop_front().expect("it always has something to send"));
        if actions.contains(&Action::Search) {
            actions.extend(world.tell(Event::Ranked(known.to_vec())));
        }
    }
    world.transfer.on_event(world.now, ranked(&[candidate(1, 0, 0), candidate(2, 0, 0)]));
    let is_left =
        |action: &Action| matches!(action, Action::Leave { source: left, .. } if *left == source(1));
    assert!(world.actions().iter().any(is_left), "the other one has everything now");
}

#[test]
fn where_nobody_can_be_asked_the_last_ranking_holds_with_its_parts() {
    let mut world = World::with(plan(2), vec![part(1, 0, 2, [0]), part(2, 0, 2, [1])]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(2, 1)]);
    let every = limits::ms(limits::SEARCH_AGAIN_MS);
    assert!(world.pass(every).contains(&Action::Search));
    world.receive(1, 1, NO_TIME);
    world.receive(2, 1, NO_TIME);
    assert_eq!(world.tell(Event::Unranked), []);
    assert_eq!(world.fail(1), [leave(1, "reset")], "nobody else has piece 0");
    assert_eq!(world.pass(every), [Action::Search], "it is tried again");
}

#[test]
fn a_partial_source_that_has_nothing_missing_is_not_opened_and_alone_is_none() {
    let mut world = World::with(plan(2), vec![part(2, 0, 2, [])]);
    let said = world.live(Duration::from_secs(60), &[part(2, 0, 2, [])], |_| true);
    let (last, searches) = said.split_last().expect("an end");
    assert!(*last == Action::GiveUp && searches.iter().all(|action| *action == Action::Search), "{said:?}");
    let why = "has 0 of 2 pieces, none that is missing here".to_owned();
    assert_eq!(world.transfer.failures(), [Failure { source: source(2), why, by_digest: false }]);
}

#[test]
fn partial_sources_that_have_everything_together_are_enough() {
    let mut world = World::with(plan(3), vec![part(1, 0, 3, [0, 1]), part(2, 0, 3, [2])]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(1, 1), fetch(2, 2)]);
}

#[test]
fn the_last_place_is_for_what_nobody_in_use_has() {
    let near = [part(1, 0, 100, 0..50), part(2, 0, 100, 0..50)];
    let mut world = World::with(Plan { sources_max: 2, ..plan(100) }, [&near[..], &[full(3, 900)]].concat());
    let actions = world.actions();
    assert_eq!(actions[..2], [open(1), open(3)]);
    let asked_of_3 = actions.iter().filter(
        |action| matches!(action, Action::Fetch { source: of, piece } if *of == source(3) && *piece >= 50),
    );
    assert_eq!(asked_of_3.count(), 2, "{actions:?}");
    // Where the best ones have something different, they are the best.
    let mut world = World::with(
        Plan { sources_max: 2, ..plan(100) },
        vec![part(1, 0, 100, 0..50), part(2, 0, 100, 50..100), full(3, 900)],
    );
    assert_eq!(world.actions()[..2], [open(1), open(2)]);
}

#[test]
fn who_has_nothing_of_its_own_makes_room_for_what_nobody_in_use_has() {
    let near = [part(1, 0, 100, 0..50), part(2, 1, 100, 0..40)];
    let mut world = World::with(Plan { sources_max: 2, ..plan(100) }, near.to_vec());
    assert_eq!(world.actions()[..2], [open(1), open(2)]);
    // One comes that has everything: no piece more is asked of the second one, and it is let go when it has sent what it was asked for.
    let all = [&near[..], &[full(3, 900)]].concat();
    assert_eq!(world.tell(Event::Ranked(all)), []);
    let asked: Vec<u32> = world.transfer.roster.wire_mut(source(2)).expect("in use").asked().collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(world.deliver(2, asked[0]), []);
    let actions = world.deliver(2, asked[1]);
    assert_eq!(actions[..2], [let_go(2), open(3)]);
    assert!(
        actions[2..]
            .iter()
            .all(|action| matches!(action, Action::Fetch { source: of, .. } if *of == source(3)))
    );
    // Nobody who has something of its own does.
    let mut world = World::with(
        Plan { sources_max: 2, ..plan(100) },
        vec![part(1, 0, 100, 0..50), part(2, 0, 100, 50..90), part(3, 0, 100, 90..100)],
    );
    let actions = world.live(Duration::from_secs(1), &[], |of| of != source(1));
    assert_eq!(actions[..2], [open(1), open(2)]);
    assert_eq!(actions.iter().filter(|action| **action == let_go(2)).count(), 1, "{actions:?}");
    assert!(world.transfer.done() >= 48, "{}", world.transfer.done());
}

#[test]
fn a_growing_partial_source_is_waited_for_while_it_grows() {
    let second = Duration::from_secs(1);
    let mut world = World::with(plan(20), vec![part(1, 0, 20, 0..10)]);
    let sends = |_: SocketAddr| true;
    world.live(second, &[], sends);
    assert_eq!(world.transfer.done(), 10);
    for pieces in 11..=20 {
        // It is neither left nor blamed, and no round is counted.
        let said = world.live(25 * second, &[part(1, 0, 20, 0..pieces - 1)], sends);
        assert!(said.iter().all(|action| *action == Action::Search), "{said:?}");
        assert_eq!(world.transfer.next_wake(world.now).map(|at| at <= world.now + 5 * second), Some(true));
        // As soon as it is told.
        let actions = world.tell(has(1, 20, 0..pieces));
        assert_eq!(no_search(actions), [fetch(1, pieces - 1)]);
        world.deliver(1, pieces - 1);
    }
    assert_eq!(world.transfer.done(), 20);
    assert_eq!(world.transfer.failures(), []);
}

#[test]
fn a_partial_source_that_grows_no_more_ends_the_round_and_is_named() {
    let known = [part(1, 0, 4, [0, 1]), part(2, 0, 4, [0])];
    let mut world = World::with(Plan { retries: 1, ..plan(4) }, known.to_vec());
    let mut said = world.live(Duration::from_secs(28), &known, |_| true);
    assert!(!said.iter().any(|action| matches!(action, Action::Pause { .. })), "{said:?}");
    said = world.live(Duration::from_secs(10), &known, |_| true);
    // Telling of less, and then of as much again, is no growth.
    assert!(said.iter().any(|action| matches!(action, Action::Pause { .. })), "{said:?}");
    assert_eq!(said.last(), Some(&Action::GiveUp));
    let why = "has 2 of 4 pieces, none that is missing here".to_owned();
    assert_eq!(world.transfer.failures(), [Failure { source: source(1), why, by_digest: false }]);
}

#[test]
fn partial_sources_that_go_and_come_back_bring_no_news() {
    let known = [part(1, 0, 4, [0, 1]), part(2, 0, 4, [0, 2])];
    let mut world = World::with(Plan { retries: 0, ..plan(4) }, known.to_vec());
    let mut said = Vec::new();
    for round in 0..12 {
        said.extend(world.live(limits::ms(limits::SEARCH_AGAIN_MS), &known[round % 2..][..1], |_| true));
    }
    assert_eq!(said.last(), Some(&Action::GiveUp));
}

#[test]
fn while_a_partial_source_is_waited_for_nobody_is_cleared_of_blame() {
    let known = [part(1, 0, 9, [0]), full(2, 900)];
    let mut world = World::with(plan(9), known.to_vec());
    world.actions();
    world.deliver(1, 0);
    for piece in [1, 2] {
        world.arrive(2, piece);
    }
    world.wrong(1);
    world.wrong(2);
    let said = world.live(Duration::from_secs(20), &known, |_| false);
    assert!(!said.contains(&open(2)), "{said:?}");
}

#[test]
fn one_that_erred_is_asked_for_what_the_others_do_not_have() {
    let mut world = World::with(plan(9), vec![full(1, 0), part(2, 900, 9, [8])]);
    world.actions();
    world.arrive(1, 0);
    let actions = world.wrong(0);
    let asked = actions
        .iter()
        .filter(|action| matches!(action, Action::Fetch { source: of, .. } if *of == source(1)));
    assert!(asked.count() > 0, "{actions:?}");
}

#[test]
fn while_a_partial_source_grows_those_that_failed_are_tried_again() {
    let known = [part(1, 0, 4, [0]), full(2, 900)];
    let mut world = World::with(plan(4), known.to_vec());
    world.actions();
    world.deliver(1, 0);
    assert_eq!(world.fail(2), [leave(2, "reset")]);
    assert_eq!(world.pass(limits::ms(limits::SEARCH_AGAIN_MS)), [Action::Search]);
    assert!(world.tell(Event::Ranked(known.to_vec())).contains(&open(2)));
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + LOOK));
}

/// One that nobody asks any more, as it has failed, must not have us think that others have everything.
#[test]
fn a_failed_liar_that_tells_of_everything_does_not_order_the_pieces() {
    let known = [full(1, 0), part(2, 900, 100, 0..100), part(3, 900, 100, 0..95)];
    let mut world = World::with(plan(100), known.to_vec());
    world
        .transfer
        .on_event(world.now, Event::NoList { source: source(2), why: "false list".into(), by_digest: true });
    let actions = world.actions();
    let asked = actions.iter().filter_map(|action| match action {
        Action::Fetch { source: of, piece } if *of == source(1) => Some(*piece),
        _ => None,
    });
    let asked: Vec<u32> = asked.collect();
    assert!(!asked.is_empty() && asked.iter().all(|piece| *piece >= 95), "{asked:?}");
}

/// Two that begin at the same place and at the same time, each served one piece a second by the only full source, each other's at once.
#[test]
fn two_that_fetch_together_take_different_pieces_of_a_slow_source() {
    for seed in 0..20 {
        let count = 100;
        let mut worlds = [2, 3].map(|other| {
            let plan = Plan { first_piece: 7, seed: seed * 10 + u64::from(other), ..plan(count) };
            (World::new(plan, &[candidate(1, 0, 0)]), other, VecDeque::new())
        });
        let mut sent = 0_u64;
        let mut told = [PieceSet::none(count), PieceSet::none(count)];
        for second in 0..110 {
            for (index, (world, other, asked)) in worlds.iter_mut().enumerate() {
                world.now += Duration::from_secs(1);
                let before: PieceSet = told[1 - index].clone();
                // From the first search on they know of each other.
                if second >= 5 && !world.transfer.pieces.all_done() {
                    let known = vec![full(1, 0), (candidate(*other, 0, 0), Some(before))];
                    world.transfer.on_event(world.now, Event::Ranked(known));
                }
                let mut to_do = VecDeque::from(world.actions());
                if let Some(piece) = asked.pop_front() {
                    sent += 1;
                    world.receive(1, (second + 1) * LEN, NO_TIME);
                    to_do.extend(world.deliver(1, piece));
                }
                while let Some(action) = to_do.pop_front() {
                    match action {
                        Action::Fetch { source: of, piece } if of == source(1) => asked.push_back(piece),
                        Action::Fetch { piece, .. } => to_do.extend(world.deliver(*other, piece)),
                        _ => {}
                    }
                }
            }
            told = worlds.each_ref().map(|(world, ..)| {
                let mut done = PieceSet::none(count);
                (0..count).for_each(|piece| done.set(piece, world.transfer.is_done(piece)));
                done
            });
        }
        assert!(worlds.iter().all(|(world, ..)| world.transfer.pieces.all_done()), "seed {seed}");
        // Five each are the same ones; so may be what is under way when either learns of the other's.
        assert!(sent < 130, "seed {seed}: {sent} pieces of {count} for two");
    }
}

#[test]
fn a_set_of_other_pieces_than_those_of_the_content_is_void() {
    let mut world = World::with(plan(2), vec![part(1, 0, 3, 0..3), part(2, 9, 2, [0])]);
    assert_eq!(world.actions(), [open(2), fetch(2, 0)]);
    assert_eq!(world.tell(has(2, 3, 0..3)), []);
    assert_eq!(world.tell(has(2, 2, 0..2)), [fetch(2, 1)]);
    // A source that has everything has not less later.
    let mut world = World::new(plan(1), &[candidate(1, 0, 0)]);
    world.transfer.on_event(world.now, has(1, 1, []));
    assert_eq!(world.actions(), [open(1), fetch(1, 0)]);
}

#[test]
fn no_pieces_means_no_request() {
    assert_eq!(World::new(plan(0), &[candidate(1, 0, 0)]).actions(), [Action::Finish]);
    assert_eq!(World::new(plan(0), &[]).actions(), [Action::Finish]);
}

#[test]
fn a_file_of_one_piece_comes_from_the_best_alone() {
    let mut world = World::new(plan(1), &[candidate(1, 40, 0), candidate(2, 10, 2), candidate(3, 20, 2)]);
    assert_eq!(world.actions(), [open(2), fetch(2, 0)]);
    assert_eq!(world.arrive(2, 0), []);
    assert!(!world.transfer.wants(0));
    assert_eq!(world.tell(Event::Verified { piece: 0 }), [Action::Finish]);
    assert_eq!(world.actions(), []);
}

#[test]
fn a_second_source_is_used_exactly_when_the_rule_says() {
    let check = |pieces, first: (u64, u32), second: (u64, u32), is_used| {
        let mut world =
            World::new(plan(pieces), &[candidate(1, first.0, first.1), candidate(2, second.0, second.1)]);
        assert_eq!(world.actions().contains(&open(2)), is_used, "{pieces} pieces, {first:?} {second:?}");
    };
    check(2, (0, 0), (9, 0), true);
    check(2, (0, 0), (11, 0), false);
    check(3, (0, 0), (11, 0), true);
    // The tie goes to the nearer.
    check(2, (0, 0), (10, 0), false);
    check(3, (0, 0), (10, 0), true);
    check(10, (0, 0), (0, 10), false);
    check(11, (0, 0), (0, 10), false);
    check(12, (0, 0), (0, 10), true);
    check(5, (0, 0), (0, 4), false);
    check(6, (0, 0), (0, 4), true);
}

#[test]
fn the_best_sources_are_opened_and_no_more_than_may_be() {
    let ranked = [candidate(1, 30, 0), candidate(2, 10, 0), candidate(3, 20, 0)];
    let mut world = World::new(Plan { sources_max: 2, ..plan(100) }, &ranked);
    let actions = world.actions();
    let expected = [open(2), open(3), fetch(2, 0), fetch(2, 1), fetch(3, 2), fetch(3, 3)];
    assert_eq!(actions, expected);
    assert_eq!((world.transfer.on_the_wire(), world.transfer.sources_in_use()), (4, 2));
    assert_eq!(world.deliver(2, 0), [fetch(2, 4)]);
}

#[test]
fn fetching_begins_at_the_first_piece_and_wraps() {
    let mut world = World::new(Plan { first_piece: 2, ..plan(4) }, &[candidate(1, 0, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 2), fetch(1, 3)]);
    assert_eq!(world.deliver(1, 2), [fetch(1, 0)]);
    assert_eq!(world.deliver(1, 3), [fetch(1, 1)]);
}

#[test]
fn more_is_asked_ahead_of_a_source_that_is_fast_and_far() {
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
        assert_eq!(world.transfer.on_the_wire(), depth, "{latency_ms} ms, {bytes_per_s} bytes/s");
    }
}

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
fn it_searches_again_while_it_fetches_and_takes_who_joins() {
    let every = limits::ms(limits::SEARCH_AGAIN_MS);
    let mut world = World::new(plan(100), &[candidate(1, 100, 0)]);
    world.actions();
    assert_eq!(world.pass(every - Duration::from_millis(1)), []);
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + Duration::from_millis(1)));
    assert_eq!(world.pass(Duration::from_millis(1)), [Action::Search]);
    // No answer, no other search.
    world.receive(1, LEN / 2, NO_TIME);
    assert_eq!(world.pass(every), []);
    world.now += Duration::from_secs(1);
    world.receive(1, LEN, NO_TIME);
    let actions = world.tell(ranked(&[candidate(2, 0, 0)]));
    assert_eq!(actions, [open(2), fetch(2, 2), fetch(2, 3)]);
    // The first one is not in that ranking, but works, and goes on.
    assert_eq!(world.deliver(1, 0), [fetch(1, 4)]);
    assert_eq!(world.pass(every - Duration::from_secs(1)), []);
    assert_eq!(world.pass(Duration::from_secs(1)), [Action::Search]);
}

#[test]
fn a_ranking_refreshes_load_and_own_transfers_do_not_count() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    let own = Candidate { load: 3, yours: 1, ..candidate(1, 0, 0) };
    assert_eq!(world.tell(ranked(&[own, candidate(2, 50, 0)])), []);
    let busy = Candidate { load: 4, yours: 1, ..candidate(1, 0, 0) };
    assert_eq!(world.tell(ranked(&[busy, candidate(2, 50, 0)])), [open(2), fetch(2, 2)]);
}

#[test]
fn a_crawling_source_is_left_only_if_there_is_another_one() {
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
fn an_emulated_latency_and_idle_time_are_no_crawl() {
    let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS);
    let held_back = Duration::from_secs(20);
    let is_left = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Leave { .. }));
    let ranked = [candidate(0, 0, 0), candidate(1, 500, 0)];
    let mut world = World::new(Plan { sources_max: 1, ..plan(1) }, &ranked);
    world.actions();
    world.receive(0, 0, held_back);
    assert!(!is_left(&world.pass(held_back)));
    world.receive(0, 0, held_back);
    assert!(is_left(&world.pass(window)));

    let mut world = World::new(Plan { marked: vec![1], sources_max: 1, ..plan(2) }, &ranked);
    world.actions();
    world.now += window / 2;
    world.arrive(0, 0);
    // Idle for long, then busy again for the other half of the window but for a moment.
    assert!(!is_left(&world.pass(10 * window)));
    assert!(world.wrong(1).contains(&fetch(0, 1)));
    assert!(!is_left(&world.pass(window / 2 - Duration::from_millis(1))));
    assert!(is_left(&world.pass(Duration::from_millis(1))));
}

#[test]
fn in_the_end_game_an_idle_source_takes_over_what_another_delays_and_the_later_copy_is_void() {
    let mut world = World::new(plan(4), &[candidate(1, 0, 0), candidate(2, 0, 0)]);
    assert_eq!(world.actions(), [open(1), open(2), fetch(1, 0), fetch(1, 1), fetch(2, 2), fetch(2, 3)]);
    world.now += Duration::from_millis(500);
    world.receive(1, 2 * LEN, NO_TIME);
    world.receive(2, LEN / 10, NO_TIME);
    world.arrive(1, 0);
    // The worst first, and one at a time.
    assert_eq!(world.arrive(1, 1), [fetch(1, 3)]);
    assert_eq!(world.arrive(1, 3), [fetch(1, 2)]);
    assert_eq!(world.arrive(1, 2), []);
    // The other one's copies come while the first ones are being verified.
    assert_eq!(world.arrive(2, 2), []);
    assert_eq!(world.wrong(2)[0], leave(1, "wrong bytes"));
    assert!(world.transfer.wants(2));
    for piece in [0, 1, 3] {
        world.tell(Event::Verified { piece });
    }
    assert_eq!(world.transfer.done(), 3);
    assert_eq!(world.arrive(2, 3), []);
    assert_eq!(world.transfer.on_the_wire(), 1);
    assert_eq!(world.deliver(2, 2), [Action::Finish]);
}

#[test]
fn nothing_is_fetched_twice_unless_much_time_is_gained() {
    // Rates in hundredths of a piece a second; the slower one is in its first of two pieces, or at its end.
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
fn a_source_that_has_sent_nothing_is_expected_to_take_as_long_again() {
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
fn a_holder_is_opened_for_what_a_silent_source_owes() {
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    assert_eq!(world.pass(Duration::from_millis(1999)), []);
    assert_eq!(world.transfer.next_wake(world.now), Some(world.now + LOOK_AT_END));
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 0)]);
    assert_eq!(world.pass(Duration::from_secs(2)), []);
    // What is held back on purpose is no silence.
    let held_back = Duration::from_secs(3);
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    world.receive(1, 0, held_back);
    assert_eq!(world.pass(Duration::from_millis(4999)), []);
    assert_eq!(world.pass(Duration::from_millis(1))[..2], [open(2), fetch(2, 0)]);
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

/// Would not end in an hour if each look took time proportional to the number of pieces.
#[test]
fn a_quarter_of_a_million_pieces_are_no_more_work_each() {
    let count = 1 << 18;
    let ranked = [candidate(1, 0, 0), candidate(2, 5, 1)];
    let mut world = World::new(Plan { first_piece: count / 2, ..plan(count) }, &ranked);
    let mut actions = VecDeque::from(world.actions());
    while let Some(action) = actions.pop_front() {
        if let Action::Fetch { source, piece } = action {
            world.transfer.on_event(world.now, Event::Arrived { source, piece });
            actions.extend(world.tell(Event::Verified { piece }));
        } else if action == Action::Finish {
            return;
        }
    }
    panic!("{} done", world.transfer.done());
}

/// Any sequence of events, most of them nonsense: no panic, and done pieces stay done.
#[test]
fn no_sequence_of_events_makes_it_panic() {
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
        let any_ranked = |rng: &mut SmallRng| -> Vec<Ranked> {
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
                13 => Event::Lacks { source, piece },
                12 => Event::Has { source, pieces: any_set(&mut rng) },
                0 => Event::Ranked(any_ranked(&mut rng)),
                1 => Event::Failed { source, why: "reset".into(), by_digest: rng.random() },
                2 | 3 => {
                    let bytes = if rng.random_ratio(1, 9) { u64::MAX } else { rng.random_range(0..4 * LEN) };
                    Event::Received {
                        source,
                        bytes,
                        held_back: any_time(&mut rng),
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

#[test]
fn what_waits_for_a_stalled_source_goes_to_another_and_the_stalled_one_is_named() {
    let mut world = World::new(plan(3), &[candidate(1, 1, 0), candidate(2, 100, 0)]);
    // All three are the near one's by the rule: 1, 11 and 21 are less than 100.
    assert_eq!(world.actions(), [open(1), fetch(1, 0), fetch(1, 1)]);
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS) - Duration::from_millis(1)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 2)]);
    // The end game.
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
        assert_eq!(no_search(world.wait(1, LEN / 2)), []);
    }
    // Before the next news it is not taken to have stopped waiting either.
    assert_eq!(world.pass(5 * second), []);
    // What passes while it changes does not count.
    world.receive(1, LEN / 2, NO_TIME);
    assert_eq!(world.actions(), []);
    assert_eq!(world.pass(limits::ms(limits::SOURCE_STALL_MS) - Duration::from_millis(1)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [open(2), fetch(2, 2)]);
}

#[test]
fn a_crawl_is_measured_only_while_nothing_waits_for_us() {
    let second = Duration::from_secs(1);
    let mut world = World::new(plan(1), &[candidate(1, 0, 0), candidate(2, 500, 0)]);
    world.actions();
    let mut bytes = 0;
    // Each second of crawling is followed by one of waiting, and another one in which that changes.
    for round in 0..9 {
        world.now += second;
        bytes += 1;
        world.receive(1, bytes, NO_TIME);
        assert_eq!(no_search(world.actions()), [], "round {round}");
        world.now += second;
        assert_eq!(no_search(world.wait(1, bytes)), [], "round {round}");
        world.now += second;
        world.receive(1, bytes, NO_TIME);
        assert_eq!(no_search(world.actions()), [], "round {round}");
    }
    world.now += second;
    world.receive(1, bytes + 1, NO_TIME);
    assert_eq!(world.actions()[0], leave(1, "slower than 16 KiB/s, and another source is left"));
}

#[test]
fn a_rate_is_that_of_the_time_in_which_nothing_waited_for_us() {
    let second = Duration::from_secs(1);
    let mut world = World::new(plan(1000), &[candidate(1, 100, 0)]);
    world.actions();
    world.now += second;
    world.receive(1, 25 * LEN, NO_TIME);
    world.actions();
    assert_eq!(world.transfer.on_the_wire(), 4);
    for (waits, bytes) in [(true, 26), (true, 200), (false, 400), (false, 425)] {
        world.now += second;
        match waits {
            true => drop(world.wait(1, bytes * LEN)),
            false => world.receive(1, bytes * LEN, NO_TIME),
        }
        world.actions();
        let wire = world.transfer.roster.wire_mut(source(1)).expect("in use");
        assert_eq!(wire.rate(world.now), Some(25 * LEN), "{bytes} pieces");
    }
    assert_eq!(world.transfer.on_the_wire(), 4);
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
