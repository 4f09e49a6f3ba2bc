//! Bounds: what a flood costs, and whom.

use std::sync::Arc;

use mach_rpc::aggregator::Refusal;
use mach_rpc::intake::{IntakeSettings, Outcome};

use crate::support::{
    COUNTED, Operators, alert, create, engine, engine_with, outcomes, peer, send, settings,
    store_all, take_batch,
};

#[test]
fn ten_thousand_tasks_of_one_peer_push_out_only_its_own() {
    let operators = Operators::new(3);
    let intake = engine(&operators);
    intake.reserve(1_000, 20_000, 21_000).unwrap();
    let honest = create(&intake, &peer(1), alert(0)).unwrap();
    for number in 1..=10_000 {
        create(&intake, &peer(2), alert(number)).unwrap();
    }
    let gauges = intake.stats().gauges;
    assert_eq!((gauges.open_tasks, gauges.unsigned_tasks), (51, 51));
    assert_eq!(intake.stats().evictions, 9_950);
    assert_eq!(create(&intake, &peer(3), alert(0)).unwrap(), honest);
    drop(send(&intake, &peer(1), operators.sign(0, &honest)));
    assert_eq!(take_batch(&intake).unwrap().tasks[0].alert_hash, alert(0));
}

#[test]
fn at_the_bound_the_greediest_peer_gives_way_and_signed_tasks_never() {
    let operators = Operators::new(3);
    let intake = engine_with(
        IntakeSettings {
            max_open_tasks: 5,
            ..settings()
        },
        &operators,
    );
    let signed = create(&intake, &peer(1), alert(1)).unwrap();
    drop(send(&intake, &peer(1), operators.sign(0, &signed)));
    store_all(&intake);
    let modest = create(&intake, &peer(1), alert(2)).unwrap();
    let greedy: Vec<_> = (3..6)
        .map(|number| create(&intake, &peer(2), alert(number)).unwrap())
        .collect();
    create(&intake, &peer(3), alert(6)).unwrap();
    assert_eq!(create(&intake, &peer(1), alert(2)).unwrap(), modest);
    assert_eq!(create(&intake, &peer(2), alert(4)).unwrap(), greedy[1]);
    assert_ne!(
        create(&intake, &peer(2), alert(3)).unwrap(),
        greedy[0],
        "its oldest was evicted"
    );

    let full = engine_with(
        IntakeSettings {
            max_open_tasks: 2,
            ..settings()
        },
        &operators,
    );
    for number in 1..3 {
        let task = create(&full, &peer(1), alert(number)).unwrap();
        drop(send(&full, &peer(1), operators.sign(0, &task)));
    }
    store_all(&full);
    let refusal = create(&full, &peer(1), alert(3)).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Busy(text) if text.contains("2 tasks are open")),
        "{refusal:?}"
    );
    assert_eq!(
        create(&full, &peer(1), alert(1)).unwrap().task_index,
        0,
        "known alerts are answered all the same"
    );
}

#[test]
fn the_queue_has_a_bound() {
    let operators = Operators::new(3);
    let intake = engine_with(
        IntakeSettings {
            queue_bound: 2,
            ..settings()
        },
        &operators,
    );
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let admitted = [0, 1].map(|operator| send(&intake, &peer(1), operators.sign(operator, &task)));
    let refusal = send(&intake, &peer(1), operators.sign(2, &task))
        .answer()
        .unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Busy(text) if text.starts_with("2 signatures wait")),
        "{refusal:?}"
    );
    let batch = take_batch(&intake).unwrap();
    assert!(
        send(&intake, &peer(1), operators.sign(2, &task))
            .answer()
            .is_err(),
        "until they are durable"
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    for asked in admitted {
        assert_eq!(asked.answer(), Ok(COUNTED));
    }
    assert_eq!(
        send(&intake, &peer(1), operators.sign(2, &task)).poll(),
        None
    );
    assert_eq!(outcomes(&intake, Outcome::Busy), 2);
}

#[test]
fn without_an_owner_memory_stays_bounded() {
    let operators = Operators::new(8);
    let bounds = IntakeSettings {
        queue_bound: 100,
        max_open_tasks: 1_000,
        max_unsigned_per_peer: 1_000,
        ..settings()
    };
    let intake = engine_with(bounds, &operators);
    let mut waiting = Vec::new();
    for number in 0..50 {
        let task = create(&intake, &peer(1), alert(number)).unwrap();
        for operator in 0..8 {
            let request = operators.sign(operator, &task);
            for _ in 0..2 {
                waiting.push(send(&intake, &peer(1), request.clone()));
            }
        }
        intake.check_queued();
    }
    // Nobody commits: the engine holds what its bounds allow, and says so to all others.
    let batch = take_batch(&intake).unwrap();
    assert!(batch.task_indices.len() <= 100);
    let gauges = intake.stats().gauges;
    assert_eq!((gauges.uncommitted, gauges.queue_depth), (100, 0));
    assert_eq!(gauges.waiting, 200);
    let refused = waiting.iter_mut().filter_map(|asked| asked.poll());
    assert!(
        refused
            .inspect(|answer| assert!(matches!(answer, Err(Refusal::Busy(_)))))
            .count()
            == 600
    );
    // The transports' deadlines drop requests, which makes room for others to wait.
    waiting.clear();
    assert_eq!(intake.stats().gauges.waiting, 0);
}

#[test]
fn a_million_repeats_cost_one_check_and_no_memory() {
    let operators = Operators::new(1);
    let intake = engine(&operators);
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let request = operators.sign(0, &task);
    let mut patient = send(&intake, &peer(1), request.clone());
    for _ in 0..500_000 {
        // Whoever asks and leaves is forgotten.
        assert_eq!(send(&intake, &peer(2), request.clone()).poll(), None);
    }
    assert_eq!(intake.stats().gauges.waiting, 1);
    assert_eq!(patient.poll(), None);
    store_all(&intake);
    assert_eq!(patient.answer(), Ok(COUNTED));
    for _ in 0..500_000 {
        assert_eq!(
            send(&intake, &peer(2), request.clone()).answer(),
            Ok(COUNTED)
        );
    }
    let stats = intake.stats();
    assert_eq!(stats.verify_seconds.counts.iter().sum::<u64>(), 1);
    assert_eq!(
        (
            outcomes(&intake, Outcome::Counted),
            outcomes(&intake, Outcome::Repeated)
        ),
        (1, 1_000_000)
    );
    assert_eq!(Arc::strong_count(&intake), 1);
}
