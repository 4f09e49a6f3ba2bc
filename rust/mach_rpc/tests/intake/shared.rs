//! Several aggregators on one database: the owner says which task an alert gets.

use std::sync::Arc;

use mach_rpc::aggregator::{AlertTaskInfo, Refusal};
use mach_rpc::intake::{AnnouncedTask, Intake, IntakeError, IntakeSettings};

use crate::support::{
    COUNTED, HEAD, Operators, SET_ID, alert, ask_create, create, engine_with, peer, send, settings,
    take_batch,
};

fn shared(operators: &Operators) -> Arc<Intake> {
    engine_with(
        IntakeSettings {
            shared: true,
            max_unsigned_per_peer: 2,
            ..settings()
        },
        operators,
    )
}

fn announced(task_index: u32, number: u64, reference_block: u32) -> AnnouncedTask {
    AnnouncedTask {
        task_index,
        alert_hash: alert(number),
        reference_block,
    }
}

#[test]
fn a_new_alert_gets_the_task_that_the_database_says() {
    let operators = Operators::new(3);
    let intake = shared(&operators);
    let mut asked = [1, 2].map(|from| ask_create(&intake, &peer(from), alert(1)));
    let batch = intake.next_batch(std::time::Duration::ZERO).unwrap();
    assert!(asked.iter_mut().all(|asked| asked.poll().is_none()));
    let [proposal] = &batch.announcements[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (
            proposal.task_index,
            proposal.alert_hash,
            proposal.reference_block,
            proposal.set_id
        ),
        (0, alert(1), HEAD, SET_ID)
    );
    assert_eq!(take_batch(&intake), None, "it is announced once");
    let theirs = announced(7_000, 1, HEAD - 3);
    assert_eq!(
        intake.commit(batch.id, &[], &[theirs]),
        Err(IntakeError::UnknownReferenceBlock {
            task_index: 7_000,
            reference_block: HEAD - 3
        })
    );
    intake.add_reference_block(HEAD - 3, SET_ID).unwrap();
    intake.commit(batch.id, &[], &[theirs]).unwrap();
    let task = AlertTaskInfo {
        alert_hash: alert(1),
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        task_index: 7_000,
        reference_block_number: u64::from(HEAD) - 3,
    };
    for asked in asked {
        assert_eq!(asked.answer(), Ok(task.clone()));
    }
    assert_eq!(
        create(&intake, &peer(3), alert(1)),
        Ok(task.clone()),
        "known from now on"
    );
    let signed = send(&intake, &peer(1), operators.sign(0, &task));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(batch.tasks[0].task_index, 7_000);
    intake.commit(batch.id, &[], &[]).unwrap();
    assert_eq!(signed.answer(), Ok(COUNTED));
}

#[test]
fn an_alert_that_became_known_meanwhile_is_answered_by_what_is_known() {
    let operators = Operators::new(3);
    let intake = shared(&operators);
    let asked = ask_create(&intake, &peer(1), alert(1));
    let batch = take_batch(&intake).unwrap();
    intake.alert_confirmed(alert(1), [4; 32]);
    intake
        .commit(batch.id, &[], &[announced(5, 1, HEAD)])
        .unwrap();
    assert!(matches!(
        asked.answer(),
        Err(Refusal::AlreadyFinished { .. })
    ));
    assert_eq!(intake.stats().gauges.open_tasks, 0);
}

#[test]
fn announcements_that_come_to_nothing_may_be_tried_again() {
    let operators = Operators::new(3);
    let intake = shared(&operators);
    for failing in [true, false] {
        let asked = ask_create(&intake, &peer(1), alert(1));
        let batch = take_batch(&intake).unwrap();
        assert_eq!(batch.announcements.len(), 1);
        if failing {
            intake.fail(batch.id, "the database is away").unwrap();
        } else {
            intake.commit(batch.id, &[], &[]).unwrap();
        }
        assert!(matches!(asked.answer(), Err(Refusal::Busy(_))));
    }
    assert_eq!(intake.stats().gauges.announcing, 0);
}

#[test]
fn announcements_of_one_peer_are_bounded() {
    let operators = Operators::new(3);
    let intake = shared(&operators);
    let waiting = [1, 2].map(|number| ask_create(&intake, &peer(1), alert(number)));
    let refusal = create(&intake, &peer(1), alert(3)).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Busy(text) if text.contains("192.0.2.1")),
        "{refusal:?}"
    );
    let other = ask_create(&intake, &peer(2), alert(3));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(batch.announcements.len(), 3);
    let tasks: Vec<_> = (1..4)
        .map(|number| announced(u32::try_from(number).unwrap(), number, HEAD))
        .collect();
    intake.commit(batch.id, &[], &tasks).unwrap();
    assert!(
        waiting
            .into_iter()
            .chain([other])
            .all(|asked| asked.answer().is_ok())
    );
    assert_eq!(
        ask_create(&intake, &peer(1), alert(4)).poll(),
        None,
        "there is room again"
    );
    intake.stop();
}
