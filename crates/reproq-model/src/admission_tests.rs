use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000_000_000;

fn candidate(id: i64, group: &str) -> Candidate {
    Candidate {
        id: RunId(id),
        claim_key: id,
        group: group.to_owned(),
        line: group.to_owned(),
        lock: None,
        concurrency: None,
        own_limit: 0,
        rates: vec!["global".to_owned()],
        own_rate: None,
        over_limit: OverLimit::Wait,
        is_latest: true,
        expired: false,
    }
}

fn limited(id: i64, key: &str, limit: i32) -> Candidate {
    Candidate { concurrency: Some(key.to_owned()), own_limit: limit, ..candidate(id, key) }
}

fn locked(id: i64, lock: &str) -> Candidate {
    Candidate { lock: Some(lock.to_owned()), ..candidate(id, lock) }
}

fn facts() -> Facts {
    Facts { now: NOW, ..Facts::default() }
}

fn set_rate(facts: &mut Facts, name: &str, per_second: f64, burst: i32) {
    let rate = Rate::new(per_second, burst).unwrap();
    facts.rates.insert(name.to_owned(), RateState { rate, tat: None, stated: false });
}

/// (run, verdict), in the order of the decisions.
fn decide(candidates: &[Candidate], facts: &Facts, room: usize) -> Vec<(i64, Verdict)> {
    let admission = admit(candidates, facts, room, true, &mut Served::new());
    admission.admitted.iter().map(|admitted| (admitted.id.0, admitted.verdict)).collect()
}

fn started(candidates: &[Candidate], facts: &Facts, room: usize) -> Vec<i64> {
    let starts = decide(candidates, facts, room).into_iter();
    starts.filter(|(_, verdict)| *verdict == Verdict::Start).map(|(id, _)| id).collect()
}

#[test]
fn a_lock_admits_one_and_lets_others_pass() {
    assert_eq!(started(&[locked(1, "k"), locked(2, "k"), locked(3, "other")], &facts(), 10), [1, 3]);
    let held = Facts { locks: HashSet::from(["k".to_owned()]), ..facts() };
    assert_eq!(started(&[locked(1, "k"), locked(3, "other")], &held, 10), [3]);
}

#[test]
fn a_limit_of_the_key_beats_what_a_run_says() {
    let runs: Vec<Candidate> = (1..9).map(|id| limited(id, "k", 5)).collect();
    assert_eq!(started(&runs, &facts(), 10).len(), 5);
    let lowered = Facts { limits: HashMap::from([("k".to_owned(), 2)]), ..facts() };
    assert_eq!(started(&runs, &lowered, 10).len(), 2);
    let full = Facts { slots: HashMap::from([("k".to_owned(), HashSet::from([1, 4]))]), ..lowered };
    assert!(started(&runs, &full, 10).is_empty());
    let without = Facts { limits: HashMap::from([("k".to_owned(), 0)]), ..facts() };
    assert_eq!(started(&runs, &without, 10).len(), 8);
}

#[test]
fn slots_are_the_smallest_free_numbers() {
    let taken = Facts { slots: HashMap::from([("k".to_owned(), HashSet::from([2]))]), ..facts() };
    let runs: Vec<Candidate> = (1..4).map(|id| limited(id, "k", 4)).collect();
    let admission = admit(&runs, &taken, 10, true, &mut Served::new());
    assert_eq!(admission.admitted.iter().map(|admitted| admitted.slot_no).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn groups_take_turns_and_one_slot_is_enough_for_that() {
    let runs: Vec<Candidate> =
        (1..100).map(|id| candidate(id, "large")).chain([candidate(1000, "small")]).collect();
    assert_eq!(started(&runs, &facts(), 4), [1, 1000, 2, 3]);
    let mut served = Served::new();
    let first = admit(&runs, &facts(), 1, true, &mut served);
    let second = admit(&runs[1..], &facts(), 1, true, &mut served);
    assert_eq!((first.admitted[0].id, second.admitted[0].id), (RunId(1), RunId(1000)));
    let third = admit(&runs[1..99], &facts(), 1, true, &mut served);
    assert_eq!(third.admitted[0].id, RunId(2));
}

#[test]
fn within_a_turn_the_best_run_is_first() {
    let late = Candidate { claim_key: -5, ..candidate(3, "c") };
    assert_eq!(started(&[candidate(1, "a"), candidate(2, "b"), late], &facts(), 2), [3, 1]);
}

#[test]
fn when_there_are_more_groups_elsewhere_nobody_has_a_second_run() {
    let runs = [candidate(1, "a"), candidate(2, "a"), candidate(3, "b")];
    let admission = admit(&runs, &facts(), 10, false, &mut Served::new());
    assert_eq!((admission.admitted.len(), admission.turn_is_over), (2, true));
}

#[test]
fn all_rates_are_charged_together_or_none() {
    let mut facts = facts();
    set_rate(&mut facts, "global", 1.0, 3);
    set_rate(&mut facts, "task:slow", 1.0, 1);
    let slow =
        |id| Candidate { rates: vec!["global".to_owned(), "task:slow".to_owned()], ..candidate(id, "slow") };
    let runs = [slow(1), slow(2), slow(3), candidate(4, "a"), candidate(5, "b"), candidate(6, "c")];
    // The slow ones that are not admitted have taken nothing of the global rate.
    assert_eq!(started(&runs, &facts, 10), [1, 4, 5]);
}

#[test]
fn a_whole_burst_starts_at_once_whatever_the_pace() {
    for per_second in [0.3, 3.0, 7.0, 1e-9] {
        let mut facts = facts();
        set_rate(&mut facts, "global", per_second, 4);
        let runs: Vec<Candidate> = (1..=6).map(|id| candidate(id, "a")).collect();
        let admission = admit(&runs, &facts, 10, true, &mut Served::new());
        assert_eq!(admission.admitted.len(), 4, "{per_second} per second");
        assert!(admission.again_at.is_some_and(|at| at > NOW), "{per_second} per second");
    }
}

#[test]
fn a_rate_says_when_it_will_admit_another() {
    let mut facts = facts();
    set_rate(&mut facts, "global", 10.0, 2);
    let runs = [candidate(1, "a"), candidate(2, "b"), candidate(3, "c")];
    let admission = admit(&runs, &facts, 10, true, &mut Served::new());
    assert_eq!((admission.admitted.len(), admission.again_at), (2, Some(NOW + 100_000)));
    assert_eq!(admit(&runs[..1], &facts, 10, true, &mut Served::new()).again_at, None);
}

#[test]
fn an_operators_rate_beats_the_runs_own() {
    let own = |id| Candidate {
        rates: vec!["key:u".to_owned()],
        own_rate: Some(("key:u".to_owned(), Rate::new(1.0, 2))),
        ..candidate(id, "u")
    };
    let runs = [own(1), own(2), own(3), own(4)];
    assert_eq!(started(&runs, &facts(), 10).len(), 2);
    let mut set = facts();
    set_rate(&mut set, "key:u", 1.0, 3);
    assert_eq!(started(&runs, &set, 10).len(), 3);
    let off = Facts { switched_off: HashSet::from(["key:u".to_owned()]), ..facts() };
    assert_eq!(started(&runs, &off, 10).len(), 4);
    let said = Facts { stated: HashMap::from([("key:u".to_owned(), Rate::new(1.0, 1))]), ..facts() };
    assert_eq!(started(&runs, &said, 10).len(), 1);
}

#[test]
fn over_the_limit_a_run_waits_or_goes_as_it_asked_for() {
    let with = |id, over_limit, is_latest| Candidate { over_limit, is_latest, ..limited(id, "k", 1) };
    let discard = [with(1, OverLimit::Discard, false), with(2, OverLimit::Discard, true)];
    assert_eq!(decide(&discard, &facts(), 10), [(1, Verdict::Start), (2, Verdict::Discarded)]);
    let replace = [1, 2, 3].map(|id| with(id, OverLimit::Replace, id == 3));
    assert_eq!(decide(&replace, &facts(), 10), [(1, Verdict::Start), (2, Verdict::Replaced)]);
    // Also when the worker has no room for what is behind.
    assert_eq!(decide(&replace, &facts(), 1), [(1, Verdict::Start), (2, Verdict::Replaced)]);
}

#[test]
fn a_run_is_not_replaced_by_one_that_starts_before_it() {
    let with = |id, claim_key| Candidate {
        claim_key,
        over_limit: OverLimit::Replace,
        is_latest: id == 2,
        ..limited(id, "k", 1)
    };
    // The older one has been tried before and is behind.
    assert_eq!(decide(&[with(1, 20), with(2, 10)], &facts(), 10), [(2, Verdict::Start)]);
}

#[test]
fn a_run_blocked_by_its_lock_is_not_over_the_limit() {
    let run = Candidate { lock: Some("l".to_owned()), over_limit: OverLimit::Discard, ..limited(1, "k", 1) };
    let held = Facts { locks: HashSet::from(["l".to_owned()]), ..facts() };
    assert!(decide(&[run], &held, 10).is_empty());
}

#[test]
fn what_has_expired_ends_whatever_its_keys_say() {
    let run = Candidate { expired: true, ..locked(1, "k") };
    let held = Facts { locks: HashSet::from(["k".to_owned()]), ..facts() };
    assert_eq!(decide(&[run], &held, 10), [(1, Verdict::Expired)]);
}

fn any_candidate(id: i64) -> impl Strategy<Value = Candidate> {
    (0..4_u8, 0..4_u8, 0..4_u8, 0..3_u8, any::<bool>(), 0..3_i16, 0..3_u8).prop_map(
        move |(lock, key, limit, group, rated, over, claim_key)| Candidate {
            claim_key: i64::from(claim_key),
            lock: (lock > 0).then(|| format!("l{lock}")),
            concurrency: (key > 0).then(|| format!("c{key}")),
            own_limit: i32::from(limit),
            own_rate: rated.then(|| ("key:r".to_owned(), Rate::new(1.0, 2))),
            rates: vec!["global".to_owned(), "key:r".to_owned()],
            over_limit: OverLimit::from_column(over),
            ..candidate(id, &format!("g{group}"))
        },
    )
}

proptest! {
    /// Whatever waits and whatever is taken: nothing is admitted beyond a lock, a limit or a rate, and nothing free is left.
    #[test]
    fn admission_is_exact_and_leaves_nothing_free(
        candidates in (1..25_i64).prop_flat_map(|count| (1..=count).map(any_candidate).collect::<Vec<_>>()),
        taken in prop::collection::hash_set(1..4_i32, 0..3),
        global in 1..12_i32,
        room in 1..12_usize,
    ) {
        let mut facts = Facts {
            slots: HashMap::from([("c1".to_owned(), taken)]),
            limits: HashMap::from([("c1".to_owned(), 2), ("c2".to_owned(), 3)]),
            locks: HashSet::from(["l3".to_owned()]),
            ..facts()
        };
        set_rate(&mut facts, "global", 0.5, global);
        let admission = admit(&candidates, &facts, room, true, &mut Served::new());
        let find = |id: RunId| candidates.iter().find(|candidate| candidate.id == id).unwrap();
        let starts: Vec<&Candidate> = admission.admitted.iter()
            .filter(|admitted| admitted.verdict == Verdict::Start).map(|admitted| find(admitted.id)).collect();
        prop_assert!(starts.len() <= room && starts.len() <= usize::try_from(global).unwrap());
        let holds = |lock: &str| starts.iter().filter(|run| run.lock.as_deref() == Some(lock)).count();
        prop_assert!(holds("l1") <= 1 && holds("l2") <= 1 && holds("l3") == 0);
        let running = |key: &str| facts.slots.get(key).map_or(0, HashSet::len)
            + starts.iter().filter(|run| run.concurrency.as_deref() == Some(key)).count();
        prop_assert!(running("c1") <= facts.slots["c1"].len().max(2) && running("c2") <= 3);
        prop_assert!(starts.iter().filter(|run| run.own_rate.is_some()).count() <= 2);
        let mut slots: Vec<(&Option<String>, i32)> = admission.admitted.iter()
            .filter(|admitted| admitted.slot_no > 0).map(|admitted| (&find(admitted.id).concurrency, admitted.slot_no)).collect();
        let count = slots.len();
        slots.sort_unstable();
        slots.dedup();
        prop_assert_eq!(slots.len(), count);
        let mut decided: Vec<RunId> = admission.admitted.iter().map(|admitted| admitted.id).collect();
        decided.sort_unstable();
        decided.dedup();
        prop_assert_eq!(decided.len(), admission.admitted.len());
        if starts.len() < room {
            let mut book = Book::open(&facts);
            for run in &starts {
                prop_assert!(book.start(run).is_some());
            }
            let left = candidates.iter().filter(|run| !decided.contains(&run.id));
            for run in left {
                prop_assert!(book.start(run).is_none(), "{:?} could have started", run);
            }
        }
    }
}
