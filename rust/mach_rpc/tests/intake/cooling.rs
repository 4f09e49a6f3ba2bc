//! Bad signatures: found among good ones, and at the cost of whoever sends them.

use std::time::{Duration, Instant};

use mach_rpc::aggregator::Refusal;
use mach_rpc::intake::{IntakeSettings, Outcome};

use crate::support::{
    COUNTED, Operators, alert, create, engine, engine_with, outcomes, peer, send, settings, signed,
    store_all, take_batch,
};

#[test]
fn one_bad_signature_among_a_thousand_is_named() {
    let operators = Operators::new(1_000);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let mut asked: Vec<_> = (0..1_000)
        .map(|operator| {
            let request = match operator {
                617 => operators.sign_badly(operator, &task, 1),
                _ => operators.sign(operator, &task),
            };
            send(&intake, &peer(1), request)
        })
        .collect();
    let batch = take_batch(&intake).unwrap();
    assert_eq!(signed(&batch).len(), 999);
    assert_eq!(batch.bad_signatures.len(), 1);
    let bad = asked.remove(617).answer();
    assert!(
        matches!(bad, Err(Refusal::IncorrectSignature { operator_id, .. }) if operator_id == operators.ids[617])
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    assert!(asked.into_iter().all(|asked| asked.answer() == Ok(COUNTED)));
    let stats = intake.stats();
    assert_eq!(stats.gauges.cooling_operators, 1);
    let (_, by_outcome) = stats
        .signatures_by_operator
        .iter()
        .find(|(id, _)| *id == operators.ids[617])
        .unwrap();
    assert!(by_outcome.contains(&(Outcome::Invalid, 1)));
}

#[test]
fn who_sent_a_bad_signature_is_checked_alone_and_one_at_a_time() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let tasks: Vec<_> = (0..4)
        .map(|number| create(&intake, &peer(1), alert(number)).unwrap())
        .collect();
    drop(send(
        &intake,
        &peer(1),
        operators.sign_badly(0, &tasks[0], 1),
    ));
    store_all(&intake);
    assert_eq!(intake.stats().gauges.cooling_operators, 1);
    // Its next signatures: one waits apart, the others are refused.
    let alone = send(&intake, &peer(1), operators.sign(0, &tasks[1]));
    assert_eq!(intake.stats().gauges.cooled_depth, 1);
    let refusal = send(&intake, &peer(1), operators.sign(0, &tasks[2]))
        .answer()
        .unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Busy(text) if text.contains("checked last")),
        "{refusal:?}"
    );
    // Others are not checked with it.
    let others =
        [1, 2].map(|operator| send(&intake, &peer(1), operators.sign(operator, &tasks[1])));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(signed(&batch).len(), 3);
    let groups = intake.stats().group_sizes;
    assert_eq!(
        (groups.counts[0], groups.counts[1]),
        (2, 1),
        "two alone, and the two others together"
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    assert!(
        others
            .into_iter()
            .chain([alone])
            .all(|asked| asked.answer() == Ok(COUNTED))
    );
}

#[test]
fn cooling_senders_get_a_few_checks_a_second() {
    let operators = Operators::new(20);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    for operator in 0..20 {
        drop(send(
            &intake,
            &peer(1),
            operators.sign_badly(operator, &task, 1),
        ));
    }
    store_all(&intake);
    for operator in 0..20 {
        drop(send(
            &intake,
            &peer(1),
            operators.sign_badly(operator, &task, 2),
        ));
    }
    let started = Instant::now();
    intake.check_queued();
    let checked = 20 - intake.stats().gauges.cooled_depth;
    let seconds = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let most = 2.0 + 4.0 * seconds;
    assert!(
        checked >= 1 && (checked as f64) <= most,
        "{checked} in {seconds} s"
    );
}

#[test]
fn nobody_else_pays_for_a_bad_name() {
    // A stranger sends bad signatures in an operator's name before the operator itself does.
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    for stranger in 10..15 {
        drop(send(
            &intake,
            &peer(stranger),
            operators.sign_badly(0, &task, stranger),
        ));
    }
    let honest = send(&intake, &peer(1), operators.sign(0, &task));
    store_all(&intake);
    assert_eq!(honest.answer(), Ok(COUNTED));
    assert_eq!(
        (
            outcomes(&intake, Outcome::Counted),
            outcomes(&intake, Outcome::Invalid)
        ),
        (1, 5)
    );
    let other = create(&intake, &peer(1), alert(2)).unwrap();
    let next = send(&intake, &peer(1), operators.sign(0, &other));
    assert_eq!(
        intake.stats().gauges.cooled_depth,
        0,
        "its own address is not cooling"
    );
    store_all(&intake);
    assert_eq!(next.answer(), Ok(COUNTED));
}

#[test]
fn a_flood_of_bad_signatures_costs_one_check_for_each_name() {
    let operators = Operators::new(4);
    let intake = engine(&operators);
    let tasks: Vec<_> = (0..40)
        .map(|number| create(&intake, &peer(2), alert(number)).unwrap())
        .collect();
    let mut asked = Vec::new();
    for task in &tasks {
        for operator in 0..4 {
            asked.push(send(
                &intake,
                &peer(9),
                operators.sign_badly(operator, task, 1),
            ));
        }
    }
    // One more for the same task and name is not even queued.
    let again = send(&intake, &peer(9), operators.sign_badly(0, &tasks[0], 2))
        .answer()
        .unwrap_err();
    assert!(
        matches!(&again, Refusal::Busy(text) if text.contains("is being checked")),
        "{again:?}"
    );
    intake.check_queued();
    let checked = intake.stats().group_sizes.counts.iter().sum::<u64>();
    let at_once = if mach_bls::has_avx512() { 8 } else { 1 };
    assert!(
        checked <= at_once + 1,
        "{checked} groups for 160 signatures"
    );
    assert!(intake.stats().gauges.queue_depth == 0);
    assert!(
        asked
            .iter_mut()
            .filter_map(|asked| asked.poll())
            .all(|answer| answer.is_err())
    );
}

#[test]
fn what_contradicts_a_valid_signature_is_bad_without_a_check() {
    let operators = Operators::new(2);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &task)));
    intake.check_queued();
    let refusal = send(&intake, &peer(2), operators.sign_badly(0, &task, 1)).answer();
    assert!(matches!(refusal, Err(Refusal::IncorrectSignature { .. })));
    assert_eq!(intake.stats().verify_seconds.counts.iter().sum::<u64>(), 1);
}

#[test]
fn a_cool_down_ends() {
    let operators = Operators::new(2);
    let brief = IntakeSettings {
        cool_down: Duration::ZERO,
        ..settings()
    };
    let intake = engine_with(brief, &operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign_badly(0, &task, 1)));
    store_all(&intake);
    let asked = send(&intake, &peer(1), operators.sign(0, &task));
    assert_eq!(intake.stats().gauges.cooled_depth, 0);
    store_all(&intake);
    assert_eq!(asked.answer(), Ok(COUNTED));
    assert_eq!(intake.stats().gauges.cooling_operators, 0);
}
