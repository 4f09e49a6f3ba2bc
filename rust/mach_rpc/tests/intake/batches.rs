//! Batches between the engine and the owner's database.

use std::time::{Duration, Instant};

use mach_rpc::aggregator::Refusal;
use mach_rpc::intake::{Ending, IntakeError, IntakeSettings, Outcome};

use crate::support::{
    COUNTED, HEAD, Operators, SET_ID, alert, create, engine, engine_with, outcomes, peer, send,
    settings, signed, store_all, take_batch,
};

#[test]
fn a_batch_that_could_not_be_stored_counts_nothing() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let asked = [0, 1].map(|operator| send(&intake, &peer(1), operators.sign(operator, &task)));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(batch.quorum_reached, [task.task_index]);
    intake.fail(batch.id, "the disk is full").unwrap();
    for asked in asked {
        assert_eq!(
            asked.answer(),
            Err(Refusal::Busy(
                "the disk is full: send it again in a few seconds".to_owned()
            ))
        );
    }
    assert_eq!(
        (
            outcomes(&intake, Outcome::Counted),
            outcomes(&intake, Outcome::NotStored)
        ),
        (0, 2)
    );
    assert_eq!(
        intake.stats().gauges.unsigned_tasks,
        1,
        "the task may be evicted again"
    );

    let again = [0, 1].map(|operator| send(&intake, &peer(1), operators.sign(operator, &task)));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        (batch.tasks.len(), signed(&batch).len()),
        (1, 2),
        "the task is new once more"
    );
    assert_eq!(batch.quorum_reached, [task.task_index]);
    intake.commit(batch.id, &[], &[]).unwrap();
    for asked in again {
        assert_eq!(asked.answer(), Ok(COUNTED));
    }
}

#[test]
fn a_task_is_not_signed_further_before_it_is_stored() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let [first, second] = [1, 2].map(|number| create(&intake, &peer(1), alert(number)).unwrap());
    drop(send(&intake, &peer(1), operators.sign(0, &first)));
    let storing = take_batch(&intake).unwrap();
    drop(send(&intake, &peer(1), operators.sign(1, &first)));
    assert_eq!(
        take_batch(&intake),
        None,
        "its signatures would refer to a task that may never be stored"
    );
    drop(send(&intake, &peer(1), operators.sign(0, &second)));
    let beside = take_batch(&intake).unwrap();
    assert_eq!(signed(&beside), [(second.task_index, operators.ids[0])]);
    drop(send(&intake, &peer(1), operators.sign(1, &second)));
    assert_eq!(take_batch(&intake), None, "two batches are outstanding");

    intake.fail(storing.id, "the disk is full").unwrap();
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        batch.tasks.len(),
        1,
        "the signature that was held back brings the task along"
    );
    assert_eq!(signed(&batch), [(first.task_index, operators.ids[1])]);
    for id in [beside.id, batch.id] {
        intake.commit(id, &[], &[]).unwrap();
    }
    let last = take_batch(&intake).unwrap();
    assert_eq!(
        (last.tasks.len(), signed(&last)),
        (0, vec![(second.task_index, operators.ids[1])])
    );
}

#[test]
fn quorum_that_only_two_batches_reach_together_is_told_by_the_last_commit() {
    let operators = Operators::new(4);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let sign = |operator| drop(send(&intake, &peer(1), operators.sign(operator, &task)));
    sign(0);
    store_all(&intake);
    sign(1);
    let one = take_batch(&intake).unwrap();
    sign(2);
    let two = take_batch(&intake).unwrap();
    assert!(one.quorum_reached.is_empty() && two.quorum_reached.is_empty());
    assert_eq!(intake.commit(two.id, &[], &[]), Ok(vec![]));
    assert_eq!(intake.commit(one.id, &[], &[]), Ok(vec![task.task_index]));
}

#[test]
fn a_batch_ends_once() {
    let operators = Operators::new(1);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &task)));
    let batch = take_batch(&intake).unwrap();
    intake.commit(batch.id, &[], &[]).unwrap();
    assert_eq!(
        intake.commit(batch.id, &[], &[]),
        Err(IntakeError::UnknownBatch(batch.id))
    );
    assert_eq!(
        intake.fail(batch.id, "late"),
        Err(IntakeError::UnknownBatch(batch.id))
    );
    assert_eq!(
        intake.fail(999, "never"),
        Err(IntakeError::UnknownBatch(999))
    );
}

#[test]
fn a_refused_task_goes_and_its_signers_are_sent_for_the_right_one() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let in_batch = send(&intake, &peer(1), operators.sign(0, &task));
    let batch = take_batch(&intake).unwrap();
    let queued = send(&intake, &peer(1), operators.sign(1, &task));
    assert_eq!(intake.commit(batch.id, &[task.task_index], &[]), Ok(vec![]));
    for asked in [in_batch, queued] {
        assert_eq!(asked.answer(), Err(Refusal::TaskCompleted(task.task_index)));
    }
    assert_eq!(outcomes(&intake, Outcome::Counted), 0);
    assert_eq!(take_batch(&intake), None);
}

#[test]
fn refusing_an_old_round_leaves_the_new_one_alone() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &task)));
    store_all(&intake);
    drop(send(&intake, &peer(1), operators.sign(1, &task)));
    let batch = take_batch(&intake).unwrap();
    intake.add_reference_block(HEAD + 5, SET_ID).unwrap();
    intake.new_round(task.task_index, HEAD + 5).unwrap();
    intake.commit(batch.id, &[task.task_index], &[]).unwrap();
    let again = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(
        (again.task_index, again.reference_block_number),
        (task.task_index, u64::from(HEAD) + 5)
    );
}

#[test]
fn a_task_that_ends_while_its_batch_is_stored_is_not_brought_back() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let asked = send(&intake, &peer(1), operators.sign(0, &task));
    let batch = take_batch(&intake).unwrap();
    intake.finish(task.task_index, Ending::Expired);
    assert_eq!(asked.answer(), Err(Refusal::TaskCompleted(task.task_index)));
    assert_eq!(intake.commit(batch.id, &[], &[]), Ok(vec![]));
    let gauges = intake.stats().gauges;
    assert_eq!(
        (gauges.open_tasks, gauges.uncommitted, gauges.queue_depth),
        (0, 0, 0)
    );
}

#[test]
fn more_indices_are_asked_for_before_they_run_out() {
    let operators = Operators::new(1);
    let intake = engine(&operators);
    assert_eq!(take_batch(&intake), None);
    let few = engine_with(
        IntakeSettings {
            max_unsigned_per_peer: 9_999,
            max_open_tasks: 9_999,
            ..settings()
        },
        &operators,
    );
    for number in 0..500 {
        assert!(!few.stats().gauges.needs_indices, "after {number}");
        create(&few, &peer(1), alert(number)).unwrap();
    }
    let batch = take_batch(&few).unwrap();
    assert!(batch.needs_indices && batch.task_indices.is_empty());
    few.fail(batch.id, "the database is away").unwrap();
    let batch = take_batch(&few).unwrap();
    assert!(batch.needs_indices, "what failed is asked for again");
    few.commit(batch.id, &[], &[]).unwrap();
    assert_eq!(take_batch(&few), None, "but no more than once");
    for number in 500..1_000 {
        create(&few, &peer(1), alert(number)).unwrap();
    }
    let refusal = create(&few, &peer(1), alert(1_000)).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Busy(text) if text.contains("indices")),
        "{refusal:?}"
    );
    few.reserve(5_000, 10, 6_000).unwrap();
    assert_eq!(
        create(&few, &peer(1), alert(1_000)).unwrap().task_index,
        5_000
    );
}

#[test]
fn waiting_for_a_batch_ends() {
    let intake = engine(&Operators::new(1));
    let started = Instant::now();
    assert_eq!(intake.next_batch(Duration::from_millis(30)), None);
    assert!(started.elapsed() >= Duration::from_millis(30));
    let waiting = {
        let intake = intake.clone();
        std::thread::spawn(move || intake.next_batch(Duration::from_secs(60)))
    };
    intake.stop();
    assert_eq!(waiting.join().unwrap(), None);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn stopping_answers_everyone() {
    let operators = Operators::new(2);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let stored = send(&intake, &peer(1), operators.sign(0, &task));
    let batch = take_batch(&intake).unwrap();
    let queued = send(&intake, &peer(1), operators.sign(1, &task));
    intake.stop();
    for asked in [
        stored,
        queued,
        send(&intake, &peer(1), operators.sign(1, &task)),
    ] {
        assert!(matches!(asked.answer(), Err(Refusal::Unavailable(_))));
    }
    assert!(matches!(
        create(&intake, &peer(1), alert(2)),
        Err(Refusal::Unavailable(_))
    ));
    assert_eq!(
        intake.commit(batch.id, &[], &[]),
        Ok(vec![]),
        "what is durable may still be said so"
    );
}
