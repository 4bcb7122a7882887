//! Tests of `queues.rs`.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn plan(entries: &str) -> QueuePlan {
    QueuePlan::parse(entries.split(','), None).unwrap()
}

fn ordered(entries: &str, order: QueueOrder) -> QueuePlan {
    QueuePlan::parse(entries.split(','), Some(order)).unwrap()
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn rounds(plan: &QueuePlan, existing: &str) -> Vec<Vec<String>> {
    plan.rounds(&plan.select(&names(existing)), &mut rand::rng())
}

#[test]
fn plain_names_are_selected_as_listed_whatever_exists() {
    let plan = plan("mail,default");
    assert_eq!(plan.select(&names("default other")), ["mail", "default"]);
    assert!(!plan.is_open_ended() && plan.matches("mail") && !plan.matches("other"));
    assert_eq!((plan.order(), rounds(&plan, "")), (QueueOrder::Merged, vec![names("mail default")]));
}

#[test]
fn a_glob_finds_what_exists_by_name() {
    let plan = plan("mail-*,default");
    assert!(plan.is_open_ended() && plan.matches("mail-") && !plan.matches("email-a"));
    assert_eq!(plan.select(&names("other mail-b default mail-a")), ["mail-a", "mail-b", "default"]);
    assert_eq!(plan.select(&[]), ["default"]);
}

#[test]
fn a_star_is_any_text_and_a_question_mark_one_character() {
    for (pattern, fits, fails) in [
        ("*", "a * default", ""),
        ("a?c", "abc a☃c a?c", "ac abbc abcd"),
        ("*-late", "mail-late -late a-late-late", "late mail-later"),
        ("a*b*c", "abc aXbYc abcbc", "acb ab bc"),
        ("a**", "a ab", "ba"),
        ("[ab]", "[ab]", "a b"),
    ] {
        let plan = plan(pattern);
        assert!(names(fits).iter().all(|name| plan.matches(name)), "{pattern} does not match all of {fits}");
        assert!(!names(fails).iter().any(|name| plan.matches(name)), "{pattern} matches one of {fails}");
    }
}

#[test]
fn an_exclusion_takes_away_from_globs_and_alone_from_everything() {
    for entries in ["*,!slow,!tmp-*", "!slow,!tmp-*"] {
        let plan = plan(entries);
        assert!(plan.is_open_ended() && plan.matches("slower") && !plan.matches("slow"), "{entries}");
        assert_eq!(plan.select(&names("slow tmp-1 b tmp a")), ["a", "b", "tmp"], "{entries}");
    }
}

#[test]
fn what_is_registered_is_what_was_written_without_weights() {
    let plan = plan("critical=6,mail-* = 2,a=b=3,!slow");
    assert_eq!(plan.patterns(), ["critical", "mail-*", "a=b", "!slow"]);
    for queue in ["critical", "mail-x", "a=b", "slow", "other"] {
        assert_eq!(serves(plan.patterns(), queue), plan.matches(queue), "{queue}");
    }
    assert!(!serves(&[], "default"), "a worker that has registered nothing serves nothing");
    assert!(serves(&names("!slow"), "default") && !serves(&names("!slow"), "slow"));
}

#[test]
fn weights_make_the_order_weighted_unless_it_is_given() {
    assert_eq!(plan("a=2,b").order(), QueueOrder::Weighted);
    assert_eq!(plan("a,b").order(), QueueOrder::Merged);
    assert_eq!(ordered("a,b", QueueOrder::Weighted).order(), QueueOrder::Weighted);
}

#[test]
fn in_strict_order_each_entry_is_a_group_and_the_first_match_counts() {
    let plan = ordered("high,mail-urgent,mail-*,*,!slow", QueueOrder::Strict);
    let groups = rounds(&plan, "z mail-b slow mail-urgent a mail-a");
    assert_eq!(groups, [names("high"), names("mail-urgent"), names("mail-a mail-b"), names("a z")]);
    assert_eq!(rounds(&ordered("mail-*", QueueOrder::Strict), "other"), [[""; 0]; 0]);
}

#[test]
fn a_list_that_makes_no_sense_says_why() {
    let refused = |entries: &str, order| QueuePlan::parse(entries.split(','), order).unwrap_err();
    let (merged, strict) = (Some(QueueOrder::Merged), Some(QueueOrder::Strict));
    for (entries, order, message) in [
        ("a,", None, "`` names no queue"),
        ("!", None, "`!` names no queue"),
        ("=3", None, "`=3` names no queue"),
        ("a,b,a", None, "`a` is listed twice"),
        ("a=2,a=3", None, "`a` is listed twice"),
        ("a=2,b", strict, "`a=2` has a weight, which the strict order does not use"),
        ("b,a=2", merged, "`a=2` has a weight, which the merged order does not use"),
        ("*,!a=2", None, "`!a=2` excludes a queue, and what is not served has no weight"),
        ("tmp-a,*,!tmp-*", None, "`tmp-a` is listed, and `!tmp-*` excludes it"),
        ("*,low", strict, "`low` has no place of its own: `*` is listed before it and matches it"),
    ] {
        assert_eq!(refused(entries, order).to_string(), message);
    }
    for entry in ["a=0", "a=-1", "a=1.5", "a=many", "a=", "a=4294967296"] {
        assert_eq!(refused(entry, None), QueuePlanError::Weight(entry.to_owned()));
    }
    assert_eq!(QueuePlan::parse([""; 0], None), Err(QueuePlanError::Nothing));
    assert!(QueuePlan::parse(["*", "low"], None).is_ok(), "where places do not count, nothing is lost");
}

/// How often each entry's group came first in `draws` draws.
fn firsts(plan: &QueuePlan, selected: &[String], draws: u32, rng: &mut StdRng) -> HashMap<String, f64> {
    let mut firsts = HashMap::new();
    for _ in 0..draws {
        *firsts.entry(plan.rounds(selected, rng).swap_remove(0).join(" ")).or_insert(0.0) += 1.0;
    }
    firsts
}

#[test]
fn the_glob_of_a_weighted_plan_has_one_weight_for_all_that_it_finds() {
    let plan = plan("a,b-*=3");
    let selected = plan.select(&names("b-1 b-2 b-3 b-4"));
    let firsts = firsts(&plan, &selected, 4000, &mut StdRng::seed_from_u64(3));
    assert!((0.70..0.80).contains(&(firsts["b-1 b-2 b-3 b-4"] / 4000.0)), "{firsts:?}");
}

#[test]
fn the_second_place_is_drawn_from_those_that_are_left() {
    let plan = plan("a=8,b=3,c=1");
    let (selected, mut rng) = (plan.select(&[]), StdRng::seed_from_u64(4));
    let seconds: Vec<String> = (0..20_000)
        .map(|_| plan.rounds(&selected, &mut rng))
        .filter(|groups| groups[0] == ["a"])
        .map(|mut groups| groups.swap_remove(1).swap_remove(0))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let share = seconds.iter().filter(|queue| *queue == "b").count() as f64 / seconds.len() as f64;
    assert!((0.72..0.78).contains(&share), "{share}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_first_places_follow_the_weights(weights in vec(1_u32..20, 2..6), seed: u64) {
        let entries = weights.iter().enumerate().map(|(number, weight)| format!("q{number}={weight}"));
        let plan = QueuePlan::parse(entries, None).unwrap();
        let firsts = firsts(&plan, &plan.select(&[]), 4000, &mut StdRng::seed_from_u64(seed));
        for (number, weight) in weights.iter().enumerate() {
            let expected = f64::from(*weight) / f64::from(weights.iter().sum::<u32>());
            let share = firsts.get(&format!("q{number}")).unwrap_or(&0.0) / 4000.0;
            // Five standard deviations at the widest.
            prop_assert!((share - expected).abs() < 0.04, "q{number} of {weights:?}: {share}");
        }
    }

    #[test]
    fn a_claim_goes_once_through_every_selected_queue(
        entries in vec("!?[abc*?]{1,3}(=[1-9])?", 1..6), existing in vec("[abc]{1,3}", 0..12), order in 0..4_usize,
    ) {
        let order = [None, Some(QueueOrder::Merged), Some(QueueOrder::Strict), Some(QueueOrder::Weighted)][order];
        let Ok(plan) = QueuePlan::parse(&entries, order) else { return Ok(()) };
        let selected = plan.select(&existing);
        prop_assert!(selected.iter().all(|queue| plan.matches(queue)));
        prop_assert!(existing.iter().all(|queue| selected.contains(queue) == plan.matches(queue)));
        let mut visited: Vec<String> = plan.rounds(&selected, &mut rand::rng()).concat();
        if plan.order() == QueueOrder::Merged {
            prop_assert_eq!(&visited, &selected);
        }
        visited.sort_unstable();
        let mut expected = selected;
        expected.sort_unstable();
        prop_assert_eq!(&visited, &expected);
        visited.dedup();
        prop_assert_eq!(visited, expected, "none twice");
    }
}
