//! Tasks and signatures one at a time: what is asked, what is answered, what is told to the owner.

use mach_rpc::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Refusal, SignedTaskReply,
};
use mach_rpc::intake::{Ending, Intake, IntakeError, IntakeSettings, Outcome};

use crate::support::{
    COUNTED, HEAD, Operators, SET_ID, alert, create, engine, engine_with, outcomes, peer, send,
    settings, signed, store_all, take_batch,
};

#[test]
fn the_same_alert_always_gets_the_same_task() {
    let intake = engine(&Operators::new(3));
    let first = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(
        first,
        AlertTaskInfo {
            alert_hash: alert(1),
            quorum_numbers: vec![0],
            quorum_threshold_percentages: vec![66],
            task_index: 0,
            reference_block_number: u64::from(HEAD),
        }
    );
    intake.set_head(HEAD + 1, SET_ID).unwrap();
    assert_eq!(create(&intake, &peer(2), alert(1)).unwrap(), first);
    let second = create(&intake, &peer(1), alert(2)).unwrap();
    assert_eq!(
        (second.task_index, second.reference_block_number),
        (1, u64::from(HEAD) + 1)
    );
}

#[test]
fn a_signature_is_answered_after_it_is_durable() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let mut asked = send(&intake, &peer(1), operators.sign(1, &task));
    let batch = take_batch(&intake).unwrap();
    assert_eq!(asked.poll(), None);
    assert_eq!(signed(&batch), [(0, operators.ids[1])]);
    assert_eq!(batch.signatures, operators.sign(1, &task).signature);
    assert_eq!(batch.reference_blocks, [HEAD]);
    let [stored] = &batch.tasks[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (
            stored.task_index,
            stored.alert_hash,
            stored.reference_block,
            stored.set_id
        ),
        (0, alert(1), HEAD, SET_ID)
    );
    assert!(batch.quorum_reached.is_empty());
    assert_eq!(intake.commit(batch.id, &[], &[]), Ok(vec![]));
    assert_eq!(asked.answer(), Ok(COUNTED));
}

#[test]
fn a_task_is_stored_once_and_its_quorum_told_once() {
    let operators = Operators::new(4);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let mut told = Vec::new();
    for operator in 0..4 {
        let asked = send(&intake, &peer(1), operators.sign(operator, &task));
        let batch = take_batch(&intake).unwrap();
        assert_eq!(batch.tasks.len(), usize::from(operator == 0));
        told.extend(batch.quorum_reached.iter().map(|index| (operator, *index)));
        intake.commit(batch.id, &[], &[]).unwrap();
        assert_eq!(asked.answer(), Ok(COUNTED));
    }
    assert_eq!(
        told,
        [(2, task.task_index)],
        "three of four are the first 66 percent; the fourth comes late"
    );
}

#[test]
fn repeats_are_answered_like_the_first_and_counted_once() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let request = operators.sign(0, &task);
    let queued = [1, 2].map(|from| send(&intake, &peer(from), request.clone()));
    let batch = take_batch(&intake).unwrap();
    let mut in_batch = send(&intake, &peer(3), request.clone());
    assert_eq!(in_batch.poll(), None, "a repeat waits for the same commit");
    assert_eq!(signed(&batch).len(), 1);
    intake.commit(batch.id, &[], &[]).unwrap();
    for asked in queued.into_iter().chain([in_batch]) {
        assert_eq!(asked.answer(), Ok(COUNTED));
    }
    assert_eq!(send(&intake, &peer(1), request).answer(), Ok(COUNTED));
    assert_eq!(take_batch(&intake), None);
    assert_eq!(
        (
            outcomes(&intake, Outcome::Counted),
            outcomes(&intake, Outcome::Repeated)
        ),
        (1, 3)
    );
}

#[test]
fn what_is_signed_must_be_the_stored_task() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let others = [
        AlertTaskInfo {
            alert_hash: alert(2),
            ..task.clone()
        },
        AlertTaskInfo {
            reference_block_number: u64::from(HEAD) - 1,
            ..task.clone()
        },
        AlertTaskInfo {
            reference_block_number: u64::MAX,
            ..task.clone()
        },
        AlertTaskInfo {
            quorum_numbers: vec![1],
            ..task.clone()
        },
        AlertTaskInfo {
            quorum_numbers: vec![],
            ..task.clone()
        },
        AlertTaskInfo {
            quorum_threshold_percentages: vec![1],
            ..task.clone()
        },
    ];
    for other in others {
        let mut request = operators.sign(0, &task);
        request.alert = other;
        assert_eq!(
            send(&intake, &peer(1), request).answer(),
            Err(Refusal::TaskCompleted(task.task_index))
        );
    }
    let unknown = AlertTaskInfo {
        task_index: 999_999,
        ..task
    };
    assert_eq!(
        send(&intake, &peer(1), operators.sign(0, &unknown)).answer(),
        Err(Refusal::TaskNotFound)
    );
    assert_eq!(take_batch(&intake), None);
}

#[test]
fn strangers_and_malformed_points_never_reach_the_queue() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let mut stranger = operators.sign(0, &task);
    stranger.operator_id = [9; 32];
    assert_eq!(
        send(&intake, &peer(1), stranger).answer(),
        Err(Refusal::NotInQuorum {
            task_index: 0,
            operator_id: [9; 32]
        })
    );
    let off_curve = [1; 64];
    let not_reduced = [0xff; 64];
    for signature in [off_curve, not_reduced, [0; 64]] {
        let mut request = operators.sign(0, &task);
        request.signature = signature;
        let refusal = send(&intake, &peer(1), request).answer().unwrap_err();
        assert!(
            refusal.to_string().ends_with("Incorrect Signature."),
            "{refusal}"
        );
    }
    assert_eq!(intake.stats().gauges.queue_depth, 0);
    assert_eq!(
        (
            outcomes(&intake, Outcome::NotRegistered),
            outcomes(&intake, Outcome::Malformed)
        ),
        (1, 3)
    );
    let by_operator = intake.stats().signatures_by_operator;
    assert_eq!(
        by_operator.len(),
        3,
        "only registered operators are counted apart"
    );
}

#[test]
fn another_operators_signature_does_not_count() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let mut request = operators.sign(0, &task);
    request.operator_id = operators.ids[1];
    let asked = send(&intake, &peer(1), request);
    let batch = take_batch(&intake).unwrap();
    assert!(batch.task_indices.is_empty());
    let [bad] = &batch.bad_signatures[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (
            bad.operator_id,
            bad.task_index,
            bad.alert_hash,
            bad.peer.as_str()
        ),
        (operators.ids[1], 0, alert(1), "192.0.2.1")
    );
    assert_eq!(
        asked.answer(),
        Err(Refusal::IncorrectSignature {
            task_index: 0,
            operator_id: operators.ids[1]
        })
    );
}

#[test]
fn a_finished_alert_is_answered_as_finished() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &task)));
    store_all(&intake);
    let mut late = send(&intake, &peer(1), operators.sign(1, &task));
    assert_eq!(late.poll(), None);
    assert!(intake.finish(task.task_index, Ending::Confirmed([5; 32])));
    let confirmed = SignedTaskReply {
        reply: true,
        tx_hash: [5; 32],
    };
    assert_eq!(late.answer(), Ok(confirmed), "who waits is told at once");
    assert_eq!(
        send(&intake, &peer(1), operators.sign(2, &task)).answer(),
        Ok(confirmed)
    );
    let refusal = create(&intake, &peer(1), alert(1)).unwrap_err();
    assert!(
        refusal.to_string().contains("already finished: 0x0505"),
        "{refusal}"
    );
    let other_index = AlertTaskInfo {
        task_index: 500,
        ..task.clone()
    };
    assert_eq!(
        send(&intake, &peer(1), operators.sign(2, &other_index)).answer(),
        Err(refusal)
    );
    assert!(!intake.finish(77, Ending::Failed));

    intake.alert_unconfirmed(alert(1));
    let again = create(&intake, &peer(1), alert(1)).unwrap();
    assert!(
        again.task_index > task.task_index,
        "indices are never used again"
    );
}

#[test]
fn a_failed_or_expired_alert_may_be_raised_anew() {
    let operators = Operators::new(3);
    for ending in [Ending::Failed, Ending::Expired] {
        let intake = engine(&operators);
        let task = create(&intake, &peer(1), alert(1)).unwrap();
        assert!(intake.finish(task.task_index, ending));
        assert_eq!(
            send(&intake, &peer(1), operators.sign(0, &task)).answer(),
            Err(Refusal::TaskCompleted(task.task_index))
        );
        assert_eq!(
            create(&intake, &peer(1), alert(1)).unwrap().task_index,
            task.task_index + 1
        );
    }
}

#[test]
fn an_alert_confirmed_by_others_ends_its_task() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    assert_eq!(
        intake.alert_confirmed(alert(1), [6; 32]),
        Some(task.task_index)
    );
    assert_eq!(intake.alert_confirmed(alert(2), [7; 32]), None);
    for number in [1, 2] {
        let refusal = create(&intake, &peer(1), alert(number)).unwrap_err();
        assert!(
            matches!(refusal, Refusal::AlreadyFinished { .. }),
            "{refusal:?}"
        );
    }
}

#[test]
fn every_quorum_has_its_threshold() {
    let operators = Operators::new(3);
    let whole: u128 = (1 << 96) - 1;
    let quorums = IntakeSettings {
        quorum_numbers: vec![0, 5],
        quorum_threshold_percentages: vec![50, 100],
        ..settings()
    };
    let intake = Intake::new(quorums).unwrap();
    // The first is in both quorums, each other in one.
    let mut definition = operators.with_stakes(1, vec![vec![10, 10, 0], vec![whole - 1, 0, 1]]);
    definition.total_stakes = vec![20, whole];
    intake.add_operator_set(definition).unwrap();
    intake.set_head(HEAD, 1).unwrap();
    intake.reserve(0, 10, 10).unwrap();
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    for (operator, quorum) in [(1, false), (0, false), (2, true)] {
        drop(send(&intake, &peer(1), operators.sign(operator, &task)));
        let batch = take_batch(&intake).unwrap();
        assert_eq!(signed(&batch), [(0, operators.ids[operator])]);
        assert_eq!(
            !batch.quorum_reached.is_empty(),
            quorum,
            "after operator {operator}"
        );
        intake.commit(batch.id, &[], &[]).unwrap();
    }
    // All at once, where the first one's key and signature are added twice.
    let task = create(&intake, &peer(1), alert(2)).unwrap();
    for operator in 0..3 {
        drop(send(&intake, &peer(1), operators.sign(operator, &task)));
    }
    let batch = take_batch(&intake).unwrap();
    assert_eq!(
        (signed(&batch).len(), &batch.quorum_reached),
        (3, &vec![task.task_index])
    );
}

#[test]
fn errors_that_cancel_out_among_unequal_members_are_found() {
    // What the contracts check adds the first operator's signature twice: σ₀ + Δ and σ₁ − Δ, which sum to the right
    // thing here once each, would not confirm.
    let operators = Operators::new(2);
    let two = IntakeSettings {
        quorum_numbers: vec![0, 1],
        quorum_threshold_percentages: vec![50, 50],
        ..settings()
    };
    let intake = Intake::new(two).unwrap();
    intake
        .add_operator_set(operators.with_stakes(1, vec![vec![1, 1], vec![1, 0]]))
        .unwrap();
    intake.set_head(HEAD, 1).unwrap();
    intake.reserve(0, 10, 10).unwrap();
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let (first, second) = (operators.sign(0, &task), operators.sign(1, &task));
    let mut swapped = [first.clone(), second.clone()];
    swapped[0].signature = second.signature;
    swapped[1].signature = first.signature;
    let asked = swapped.map(|request| send(&intake, &peer(1), request));
    intake.check_queued();
    for asked in asked {
        assert!(matches!(
            asked.answer(),
            Err(Refusal::IncorrectSignature { .. })
        ));
    }
}

#[test]
fn a_quorum_without_stake_is_never_reached() {
    let operators = Operators::new(2);
    let intake = Intake::new(settings()).unwrap();
    let mut definition = operators.with_stakes(1, vec![vec![0, 0]]);
    definition.total_stakes = vec![0];
    intake.add_operator_set(definition).unwrap();
    intake.set_head(HEAD, 1).unwrap();
    intake.reserve(0, 10, 10).unwrap();
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    for operator in 0..2 {
        drop(send(&intake, &peer(1), operators.sign(operator, &task)));
    }
    let batch = take_batch(&intake).unwrap();
    assert_eq!((signed(&batch).len(), batch.quorum_reached.len()), (2, 0));
}

#[test]
fn nothing_is_served_before_the_head_is_known() {
    let operators = Operators::new(3);
    let intake = Intake::new(settings()).unwrap();
    intake.reserve(0, 10, 10).unwrap();
    let refusal = create(&intake, &peer(1), alert(1)).unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
    let task = AlertTaskInfo {
        alert_hash: alert(1),
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        task_index: 3,
        reference_block_number: u64::from(HEAD),
    };
    let refusal = send(&intake, &peer(1), operators.sign(0, &task))
        .answer()
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
}

#[test]
fn what_is_wrong_with_a_set_up_is_said() {
    let intake = engine(&Operators::new(1));
    let good = InitOperatorRequest {
        layer1_chain_id: 31_337,
        chain_id: 901,
        operator_id: [1; 32],
        operator_address: [2; 20],
        operator_state_retriever: [0x11; 20],
        registry_coordinator: [0x22; 20],
    };
    assert_eq!(intake.init_operator(&peer(1), &good), None);
    let without_rollup = InitOperatorRequest {
        chain_id: 0,
        ..good.clone()
    };
    assert_eq!(intake.init_operator(&peer(1), &without_rollup), None);
    let cases = [
        (
            InitOperatorRequest {
                layer1_chain_id: 1,
                ..good.clone()
            },
            "layer1_chain_id is 31337 here, the operator has 1",
        ),
        (
            InitOperatorRequest {
                chain_id: 902,
                ..good.clone()
            },
            "chain_id is 901 here, the operator has 902",
        ),
        (
            InitOperatorRequest {
                operator_state_retriever: [3; 20],
                ..good.clone()
            },
            "operator_state_retriever_addr is 0x1111111111111111111111111111111111111111 here, the operator has \
             0x0303030303030303030303030303030303030303",
        ),
        (
            InitOperatorRequest {
                registry_coordinator: [4; 20],
                ..good
            },
            "registry_coordinator_addr is 0x2222222222222222222222222222222222222222 here, the operator has \
             0x0404040404040404040404040404040404040404",
        ),
    ];
    for (request, reason) in cases {
        assert_eq!(
            intake.init_operator(&peer(1), &request).as_deref(),
            Some(reason)
        );
    }
}

#[test]
fn contradicting_settings_and_sets_are_refused() {
    let refused = |change: fn(&mut IntakeSettings)| {
        let mut settings = settings();
        change(&mut settings);
        match Intake::new(settings) {
            Err(error @ IntakeError::Settings(_)) => error.to_string(),
            _ => panic!("not refused"),
        }
    };
    assert!(refused(|settings| settings.quorum_numbers.clear()).contains("0 quorum numbers"));
    assert!(
        refused(|settings| settings.quorum_threshold_percentages = vec![101])
            .contains("101 percent")
    );
    assert!(refused(|settings| settings.queue_bound = 0).contains("queue_bound is 0"));
    assert!(
        refused(|settings| {
            settings.quorum_numbers = vec![1, 1];
            settings.quorum_threshold_percentages = vec![66, 66];
        })
        .contains("ascending")
    );

    let operators = Operators::new(2);
    let intake = engine_with(settings(), &operators);
    let wrong = |change: fn(&mut mach_rpc::intake::OperatorSetDefinition)| {
        let mut definition = operators.definition(9);
        change(&mut definition);
        intake.add_operator_set(definition).unwrap_err().to_string()
    };
    assert!(wrong(|set| set.public_keys_g2.truncate(1)).contains("1 G2 keys"));
    assert!(wrong(|set| set.stakes[0].truncate(1)).contains("1 stakes for 2 operators"));
    assert!(wrong(|set| set.stakes.clear()).contains("stakes of 0"));
    assert!(wrong(|set| set.total_stakes = vec![1 << 96]).contains("96 bits"));
    assert!(wrong(|set| set.operator_ids[1] = set.operator_ids[0]).contains("twice"));
    assert!(wrong(|set| set.public_keys_g2[1] = [1; 128]).contains("not a point"));
    assert_eq!(
        intake.set_head(5, 9),
        Err(IntakeError::UnknownOperatorSet(9))
    );
}
