//! New rounds, restored tasks, and signatures that others stored.

use std::time::SystemTime;

use mach_rpc::aggregator::{Refusal, SignedTaskReply};
use mach_rpc::intake::{Ending, IntakeError, StoredState, StoredTask};

use crate::support::{
    COUNTED, HEAD, Operators, SET_ID, alert, create, engine, peer, send, signed, store_all,
    take_batch,
};

fn stored(task_index: u32, number: u64, state: StoredState, signers: &[[u8; 32]]) -> StoredTask {
    StoredTask {
        task_index,
        alert_hash: alert(number),
        reference_block: HEAD,
        state,
        created_at: SystemTime::UNIX_EPOCH,
        signers: signers.to_vec(),
    }
}

#[test]
fn a_new_round_forgets_every_signature_of_the_old() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let old = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &old)));
    store_all(&intake);
    let in_batch = send(&intake, &peer(1), operators.sign(1, &old));
    let batch = take_batch(&intake).unwrap();
    let queued = send(&intake, &peer(1), operators.sign(2, &old));
    let completed = Err(Refusal::TaskCompleted(old.task_index));

    assert_eq!(
        intake.new_round(old.task_index, HEAD + 9),
        Err(IntakeError::UnknownReferenceBlock {
            task_index: old.task_index,
            reference_block: HEAD + 9
        })
    );
    intake.set_head(HEAD + 9, SET_ID).unwrap();
    intake.new_round(old.task_index, HEAD + 9).unwrap();
    assert_eq!(in_batch.answer(), completed);
    assert_eq!(queued.answer(), completed);
    assert_eq!(
        intake.commit(batch.id, &[], &[]),
        Ok(vec![]),
        "what was stored of the old round does not count"
    );

    let new = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(
        (new.task_index, new.reference_block_number),
        (old.task_index, u64::from(HEAD) + 9)
    );
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &old)).answer(),
        completed
    );
    drop(send(&intake, &peer(1), operators.sign(0, &new)));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        (
            batch.tasks.len(),
            signed(&batch).len(),
            batch.quorum_reached.len()
        ),
        (0, 1, 0)
    );
    assert_eq!(batch.reference_blocks, [HEAD + 9]);
    drop(send(&intake, &peer(1), operators.sign(1, &new)));
    intake.commit(batch.id, &[], &[]).unwrap();
    assert_eq!(
        take_batch(&intake).unwrap().quorum_reached,
        [new.task_index]
    );
    assert_eq!(
        intake.new_round(55, HEAD + 9),
        Err(IntakeError::UnknownTask(55))
    );
}

#[test]
fn restored_tasks_go_on_where_they_stood() {
    let operators = Operators::new(4);
    let intake = engine(&operators);
    intake.reserve(1_000, 10, 2_000).unwrap();
    let met = intake.restore(vec![
        stored(1_500, 1, StoredState::Open, &operators.ids[..2]),
        stored(1_501, 2, StoredState::Open, &operators.ids[..3]),
        stored(1_502, 3, StoredState::Quorum, &operators.ids[..3]),
        stored(
            1_503,
            4,
            StoredState::Ended(Ending::Confirmed([8; 32])),
            &[],
        ),
        stored(1_504, 5, StoredState::Ended(Ending::Expired), &[]),
        stored(1_505, 6, StoredState::Open, &[[0xee; 32]]),
    ]);
    assert_eq!(
        met,
        Ok(vec![1_501]),
        "its quorum was reached, and nobody noted it"
    );
    let first = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(first.task_index, 1_500);
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &first)).answer(),
        Ok(COUNTED),
        "a repeat"
    );
    drop(send(&intake, &peer(1), operators.sign(2, &first)));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        (batch.tasks.len(), &batch.quorum_reached),
        (0, &vec![1_500])
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    assert!(matches!(
        create(&intake, &peer(1), alert(4)),
        Err(Refusal::AlreadyFinished { .. })
    ));
    assert_eq!(create(&intake, &peer(1), alert(5)).unwrap().task_index, 0);
    for number in [2, 3] {
        let task = create(&intake, &peer(1), alert(number)).unwrap();
        drop(send(&intake, &peer(1), operators.sign(3, &task)));
        let batch = take_batch(&intake).unwrap();
        assert!(batch.quorum_reached.is_empty(), "told before");
        intake.commit(batch.id, &[], &[]).unwrap();
    }
}

#[test]
fn restoring_asks_for_blocks_before_it_changes_anything() {
    let operators = Operators::new(1);
    let intake = engine(&operators);
    let old = StoredTask {
        reference_block: 5,
        ..stored(2, 2, StoredState::Open, &[])
    };
    let tasks = vec![stored(1, 1, StoredState::Open, &[]), old];
    assert_eq!(
        intake.restore(tasks.clone()),
        Err(IntakeError::UnknownReferenceBlock {
            task_index: 2,
            reference_block: 5
        })
    );
    assert_eq!(intake.stats().gauges.open_tasks, 0);
    intake.add_reference_block(5, SET_ID).unwrap();
    for head in HEAD..HEAD + 1_200 {
        intake.set_head(head, SET_ID).unwrap();
    }
    let tasks: Vec<_> = tasks
        .into_iter()
        .filter(|task| task.task_index == 2)
        .collect();
    intake.restore(tasks).unwrap();
    assert_eq!(
        create(&intake, &peer(1), alert(2))
            .unwrap()
            .reference_block_number,
        5,
        "old heads go, told blocks stay"
    );
}

#[test]
fn what_is_stored_wins_over_what_is_only_in_memory() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let rival = create(&intake, &peer(1), alert(1)).unwrap();
    let usurper = create(&intake, &peer(1), alert(2)).unwrap();
    let waiting = [&rival, &usurper].map(|task| send(&intake, &peer(1), operators.sign(0, task)));
    let stored_task = stored(
        usurper.task_index,
        1,
        StoredState::Open,
        &operators.ids[..1],
    );
    assert_eq!(intake.restore(vec![stored_task]), Ok(vec![]));
    for (asked, task) in waiting.into_iter().zip([&rival, &usurper]) {
        assert_eq!(asked.answer(), Err(Refusal::TaskCompleted(task.task_index)));
    }
    assert_eq!(
        create(&intake, &peer(1), alert(1)).unwrap().task_index,
        usurper.task_index
    );
    assert_eq!(take_batch(&intake), None);
    assert_eq!(intake.stats().gauges.unsigned_tasks, 0);
}

#[test]
fn a_task_learnt_from_another_keeps_what_waits_here() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let asked = send(&intake, &peer(1), operators.sign(0, &task));
    let learnt = stored(task.task_index, 1, StoredState::Open, &operators.ids[1..2]);
    assert_eq!(intake.restore(vec![learnt]), Ok(vec![]));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        (batch.tasks.len(), &batch.quorum_reached),
        (0, &vec![task.task_index])
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    assert_eq!(asked.answer(), Ok(COUNTED));
}

#[test]
fn signatures_that_others_stored_count_here() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    assert!(!intake.note_signatures(task.task_index, &[operators.ids[0], [0xee; 32]]));
    assert_eq!(
        intake.stats().gauges.unsigned_tasks,
        0,
        "somebody has it stored"
    );
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &task)).answer(),
        Ok(COUNTED)
    );
    let asked = send(&intake, &peer(1), operators.sign(1, &task));
    assert!(
        !intake.note_signatures(task.task_index, &operators.ids[..1]),
        "once each"
    );
    assert!(intake.note_signatures(task.task_index, &operators.ids[1..2]));
    assert_eq!(
        take_batch(&intake),
        None,
        "what is stored is not stored again"
    );
    assert_eq!(asked.answer(), Ok(COUNTED));
    assert!(!intake.note_signatures(999, &operators.ids));
}

#[test]
fn a_confirmation_that_l1_took_back_is_taken_back() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let ended = StoredState::Ended(Ending::Confirmed([8; 32]));
    intake.restore(vec![stored(5, 1, ended, &[])]).unwrap();
    intake
        .restore(vec![stored(5, 1, StoredState::Quorum, &operators.ids[..2])])
        .unwrap();
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(task.task_index, 5);
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &task)).answer(),
        Ok(COUNTED)
    );
    intake.finish(5, Ending::Failed);
    intake.finish(5, Ending::Confirmed([9; 32]));
    let confirmed = SignedTaskReply {
        reply: true,
        tx_hash: [9; 32],
    };
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &task)).answer(),
        Ok(confirmed)
    );
}

#[test]
fn operator_sets_are_kept_while_a_block_or_task_has_them() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    intake.add_operator_set(operators.definition(8)).unwrap();
    for head in HEAD + 1..HEAD + 1_001 {
        intake.set_head(head, 8).unwrap();
    }
    assert_eq!(
        intake.set_head(HEAD + 1_001, SET_ID),
        Err(IntakeError::UnknownOperatorSet(SET_ID))
    );
    assert_eq!(intake.stats().gauges.reference_blocks, 1_000);
    assert_eq!(
        intake.stats().gauges.open_tasks,
        0,
        "what nobody signed for so long is dropped"
    );
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &task)).answer(),
        Err(Refusal::TaskNotFound)
    );
}
