//! Tasks that are rebuilt from what operators send: after an eviction, and after a restart.

use mach_rpc::aggregator::{AlertTaskInfo, Refusal};
use mach_rpc::intake::{Ending, IntakeSettings};

use crate::support::{
    COUNTED, HEAD, Operators, SET_ID, alert, create, engine, engine_with, peer, send, settings,
    signed, store_all, take_batch,
};

/// A task that another process announced: its index is reserved, and not by this one.
fn foreign(task_index: u32, number: u64) -> AlertTaskInfo {
    AlertTaskInfo {
        alert_hash: alert(number),
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        task_index,
        reference_block_number: u64::from(HEAD),
    }
}

#[test]
fn an_evicted_task_comes_back_with_its_first_valid_signature() {
    let operators = Operators::new(3);
    let intake = engine_with(
        IntakeSettings {
            max_unsigned_per_peer: 1,
            ..settings()
        },
        &operators,
    );
    let evicted = create(&intake, &peer(1), alert(1)).unwrap();
    create(&intake, &peer(1), alert(2)).unwrap();
    let asked = [0, 1].map(|operator| send(&intake, &peer(1), operators.sign(operator, &evicted)));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(batch.tasks[0].task_index, evicted.task_index);
    assert_eq!(
        (signed(&batch).len(), &batch.quorum_reached),
        (2, &vec![evicted.task_index])
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    assert!(asked.into_iter().all(|asked| asked.answer() == Ok(COUNTED)));
    assert_eq!(create(&intake, &peer(1), alert(1)).unwrap(), evicted);
    assert_eq!(intake.stats().rebuilt, 1);
}

#[test]
fn an_eviction_does_not_lose_a_signature_that_waits() {
    let operators = Operators::new(3);
    let intake = engine_with(
        IntakeSettings {
            max_unsigned_per_peer: 1,
            ..settings()
        },
        &operators,
    );
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let asked = send(&intake, &peer(1), operators.sign(0, &task));
    create(&intake, &peer(1), alert(2)).unwrap();
    assert_eq!(intake.stats().evictions, 1);
    store_all(&intake);
    assert_eq!(asked.answer(), Ok(COUNTED));
    assert_eq!(create(&intake, &peer(1), alert(1)).unwrap(), task);
}

#[test]
fn a_restart_loses_nothing() {
    let operators = Operators::new(3);
    let before = engine(&operators);
    let task = create(&before, &peer(1), alert(1)).unwrap();
    before.stop();
    let after = engine_after(&operators);
    let asked = send(&after, &peer(1), operators.sign(0, &task));
    store_all(&after);
    assert_eq!(asked.answer(), Ok(COUNTED));
    assert_eq!(create(&after, &peer(1), alert(1)).unwrap(), task);
}

/// An engine whose owner reserved the first thousand indices in another life.
fn engine_after(operators: &Operators) -> std::sync::Arc<mach_rpc::intake::Intake> {
    let intake = mach_rpc::intake::Intake::new(settings()).unwrap();
    intake
        .add_operator_set(operators.definition(SET_ID))
        .unwrap();
    intake.set_head(HEAD, SET_ID).unwrap();
    intake.reserve(1_000, 1_000, 2_000).unwrap();
    intake
}

#[test]
fn only_what_could_have_been_announced_is_rebuilt() {
    let operators = Operators::new(3);
    let intake = engine_after(&operators);
    let live = create(&intake, &peer(1), alert(1)).unwrap();
    intake.alert_confirmed(alert(2), [3; 32]);
    let cases = [
        ("its alert has a task", foreign(5, 1)),
        ("its index is given to nobody yet", foreign(1_500, 9)),
        (
            "its index is beyond what was ever reserved",
            foreign(2_000, 9),
        ),
        (
            "its block is unknown",
            AlertTaskInfo {
                reference_block_number: u64::from(HEAD) - 1,
                ..foreign(5, 9)
            },
        ),
        (
            "its block is no block",
            AlertTaskInfo {
                reference_block_number: 1 << 40,
                ..foreign(5, 9)
            },
        ),
        (
            "its quorums are others",
            AlertTaskInfo {
                quorum_numbers: vec![0, 1],
                ..foreign(5, 9)
            },
        ),
        (
            "its threshold is lower",
            AlertTaskInfo {
                quorum_threshold_percentages: vec![1],
                ..foreign(5, 9)
            },
        ),
    ];
    for (why, info) in cases {
        let mut request = operators.sign(0, &live);
        request.alert = info;
        assert_eq!(
            send(&intake, &peer(1), request).answer(),
            Err(Refusal::TaskNotFound),
            "{why}"
        );
    }
    let confirmed = send(&intake, &peer(1), operators.sign(0, &foreign(5, 2))).answer();
    assert!(matches!(confirmed, Err(Refusal::AlreadyFinished { .. })));
    let stranger = mach_rpc::aggregator::SignedTaskRequest {
        operator_id: [9; 32],
        ..operators.sign(0, &foreign(5, 9))
    };
    assert!(matches!(
        send(&intake, &peer(1), stranger).answer(),
        Err(Refusal::NotInQuorum { .. })
    ));
    intake.check_queued();
    assert_eq!(intake.stats().gauges.open_tasks, 1);
}

#[test]
fn a_bad_signature_rebuilds_nothing() {
    let operators = Operators::new(3);
    let intake = engine_after(&operators);
    let asked = send(
        &intake,
        &peer(1),
        operators.sign_badly(0, &foreign(5, 1), 1),
    );
    store_all(&intake);
    assert!(matches!(
        asked.answer(),
        Err(Refusal::IncorrectSignature { .. })
    ));
    assert_eq!(intake.stats().gauges.open_tasks, 0);
    let other = send(&intake, &peer(2), operators.sign(0, &foreign(5, 2)));
    store_all(&intake);
    assert_eq!(
        other.answer(),
        Ok(COUNTED),
        "the index is still free for its own alert"
    );
}

#[test]
fn an_index_and_an_alert_are_bound_by_whoever_signs_first() {
    let operators = Operators::new(3);
    let intake = engine_after(&operators);
    let asked = [foreign(5, 1), foreign(5, 2), foreign(6, 1)].map(|task| {
        let signed = send(&intake, &peer(1), operators.sign(0, &task));
        intake.check_queued();
        signed
    });
    let batch = take_batch(&intake).unwrap();
    assert_eq!(signed(&batch), [(5, operators.ids[0])]);
    intake.commit(batch.id, &[], &[]).unwrap();
    let [first, same_index, same_alert] = asked.map(|asked| asked.answer());
    assert_eq!(first, Ok(COUNTED));
    assert_eq!(same_index, Err(Refusal::TaskCompleted(5)));
    assert_eq!(same_alert, Err(Refusal::TaskNotFound));
    // Checked at the same time, the first that is applied wins.
    let racing = [foreign(7, 3), foreign(7, 4), foreign(8, 3)]
        .map(|task| send(&intake, &peer(1), operators.sign(1, &task)));
    store_all(&intake);
    let answers = racing.map(|asked| asked.answer());
    assert_eq!(
        answers,
        [
            Ok(COUNTED),
            Err(Refusal::TaskNotFound),
            Err(Refusal::TaskNotFound)
        ]
    );
}

#[test]
fn a_task_created_meanwhile_wins_over_one_to_be_rebuilt() {
    let operators = Operators::new(3);
    let intake = engine_after(&operators);
    let asked = send(&intake, &peer(1), operators.sign(0, &foreign(5, 1)));
    let created = create(&intake, &peer(2), alert(1)).unwrap();
    assert_eq!(created.task_index, 1_000);
    store_all(&intake);
    assert_eq!(asked.answer(), Err(Refusal::TaskNotFound));
    let again = send(&intake, &peer(1), operators.sign(0, &created));
    store_all(&intake);
    assert_eq!(again.answer(), Ok(COUNTED));
}

#[test]
fn rebuilt_tasks_find_room_or_wait() {
    let operators = Operators::new(3);
    let intake = engine_with(
        IntakeSettings {
            max_open_tasks: 1,
            ..settings()
        },
        &operators,
    );
    intake.reserve(1_000, 1, 2_000).unwrap();
    create(&intake, &peer(1), alert(1)).unwrap();
    let first = send(&intake, &peer(1), operators.sign(0, &foreign(1_500, 2)));
    store_all(&intake);
    assert_eq!(first.answer(), Ok(COUNTED), "an unsigned task gives way");
    let second = send(&intake, &peer(1), operators.sign(0, &foreign(1_501, 3)));
    store_all(&intake);
    assert!(matches!(second.answer(), Err(Refusal::Busy(_))));
    assert!(intake.finish(1_500, Ending::Confirmed([1; 32])));
    let again = send(&intake, &peer(1), operators.sign(0, &foreign(1_501, 3)));
    store_all(&intake);
    assert_eq!(again.answer(), Ok(COUNTED));
}
