//! Many threads at once, with verifiers and an owner that runs beside them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mach_rpc::aggregator::{Aggregator, AlertTaskInfo, Refusal};
use mach_rpc::intake::{Ending, Intake, IntakeSettings};
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    COUNTED, HEAD, Operators, Processed, SET_ID, alert, create, engine_with, peer, settings, signed,
};

const DEADLINE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap()
}

/// What an owner's database holds: tasks, signers by task, and tasks in quorum.
#[derive(Default)]
struct Database {
    tasks: HashMap<u32, [u8; 32]>,
    signers: HashMap<u32, HashSet<[u8; 32]>>,
    quorums: Vec<u32>,
}

/// Stores batches until the engine stops.
fn own(intake: &Arc<Intake>, database: &Arc<Mutex<Database>>) -> thread::JoinHandle<()> {
    let (intake, database) = (Arc::clone(intake), Arc::clone(database));
    thread::spawn(move || {
        let mut next_range = 1_000_000;
        loop {
            let Some(batch) = intake.next_batch(Duration::from_millis(200)) else {
                if intake.stats().gauges.open_tasks == 0 || intake.stats().gauges.waiting == 0 {
                    return;
                }
                continue;
            };
            let mut database = database.lock().unwrap();
            for task in &batch.tasks {
                assert_eq!(
                    database.tasks.insert(task.task_index, task.alert_hash),
                    None,
                    "stored twice"
                );
            }
            for (task, operator) in signed(&batch) {
                assert!(
                    database.tasks.contains_key(&task),
                    "a signature without its task"
                );
                assert!(
                    database.signers.entry(task).or_default().insert(operator),
                    "counted twice"
                );
            }
            database.quorums.extend(&batch.quorum_reached);
            if batch.needs_indices {
                intake
                    .reserve(next_range, 10_000, u64::from(next_range) + 10_000)
                    .unwrap();
                next_range += 10_000;
            }
            database
                .quorums
                .extend(intake.commit(batch.id, &[], &[]).unwrap());
        }
    })
}

#[test]
fn the_same_alert_of_all_operators_at_the_same_instant_is_one_task() {
    const ROUNDS: u64 = 200;
    let operators = Arc::new(Operators::new(8));
    let intake = engine_with(
        IntakeSettings {
            max_open_tasks: 5_000,
            ..settings()
        },
        &operators,
    );
    let verifiers = intake.start_verifiers().unwrap();
    let database = Arc::new(Mutex::new(Database::default()));
    let runtime = runtime();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0_u8..8)
        .map(|operator| {
            let (intake, operators, barrier) = (
                Arc::clone(&intake),
                Arc::clone(&operators),
                Arc::clone(&barrier),
            );
            let handle = runtime.handle().clone();
            thread::spawn(move || {
                let from = peer(operator);
                (0..ROUNDS)
                    .map(|round| {
                        barrier.wait();
                        handle.block_on(async {
                            let task = intake.create_task(&from, alert(round)).await.unwrap();
                            let request = operators.sign(usize::from(operator), &task);
                            let answer = intake.process_signed_task_response(&from, request);
                            assert_eq!(
                                tokio::time::timeout(DEADLINE, answer).await.unwrap(),
                                Ok(COUNTED)
                            );
                            task
                        })
                    })
                    .collect::<Vec<AlertTaskInfo>>()
            })
        })
        .collect();
    let owner = own(&intake, &database);
    let told: HashSet<(u32, [u8; 32])> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .map(|task| (task.task_index, task.alert_hash))
        .collect();
    assert_eq!(told.len() as u64, ROUNDS);
    intake.stop();
    owner.join().unwrap();
    verifiers
        .into_iter()
        .for_each(|verifier| verifier.join().unwrap());
    let database = database.lock().unwrap();
    assert_eq!(database.tasks.len() as u64, ROUNDS);
    assert!(database.signers.values().all(|signers| signers.len() == 8));
    let quorums: HashSet<_> = database.quorums.iter().collect();
    assert_eq!(
        (quorums.len() as u64, database.quorums.len() as u64),
        (ROUNDS, ROUNDS),
        "each quorum is told once"
    );
}

#[test]
fn endings_and_new_rounds_race_with_signatures_and_everyone_is_answered() {
    let operators = Arc::new(Operators::new(6));
    let intake = engine_with(settings(), &operators);
    let verifiers = intake.start_verifiers().unwrap();
    let runtime = runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let owner = {
        let (intake, stop) = (Arc::clone(&intake), Arc::clone(&stop));
        thread::spawn(move || {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let Some(batch) = intake.next_batch(Duration::from_millis(20)) else {
                    continue;
                };
                number += 1;
                // Now and then the disk is full, a task belongs to others, or has just ended.
                match (number % 7, batch.tasks.first()) {
                    (0, _) => intake.fail(batch.id, "the disk is full").unwrap(),
                    (3, Some(task)) => {
                        intake.commit(batch.id, &[task.task_index], &[]).unwrap();
                    }
                    _ => {
                        intake.commit(batch.id, &[], &[]).unwrap();
                    }
                }
                if batch.needs_indices {
                    let first = 1_000 * (number + 1);
                    intake
                        .reserve(first, 1_000, u64::from(first) + 1_000)
                        .unwrap();
                }
                for (task, _) in signed(&batch).into_iter().take(1) {
                    match number % 5 {
                        0 => drop(intake.finish(task, Ending::Failed)),
                        1 => drop(intake.finish(task, Ending::Confirmed([1; 32]))),
                        2 => drop(intake.new_round(task, HEAD + number % 3)),
                        3 => drop(intake.note_signatures(task, &[[0; 32]])),
                        _ => {}
                    }
                }
            }
        })
    };
    for head in 1..3 {
        intake.add_reference_block(HEAD + head, SET_ID).unwrap();
    }
    let threads: Vec<_> = (0_u8..6)
        .map(|operator| {
            let (intake, operators) = (Arc::clone(&intake), Arc::clone(&operators));
            let handle = runtime.handle().clone();
            thread::spawn(move || {
                let from = peer(operator);
                let mut counted = 0;
                for round in 0..300 {
                    let Ok(task) = create(&intake, &from, alert(round / 3)) else {
                        continue;
                    };
                    let request = if round % 11 == u64::from(operator) {
                        operators.sign_badly(usize::from(operator), &task, 1)
                    } else {
                        operators.sign(usize::from(operator), &task)
                    };
                    let answer: Processed = handle.block_on(async {
                        let answer = intake.process_signed_task_response(&from, request);
                        tokio::time::timeout(DEADLINE, answer)
                            .await
                            .expect("somebody was never answered")
                    });
                    match answer {
                        Ok(_) => counted += 1,
                        Err(Refusal::TimedOut | Refusal::Unavailable(_)) => panic!("{answer:?}"),
                        Err(_) => {}
                    }
                }
                counted
            })
        })
        .collect();
    let counted: u32 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert!(counted > 0);
    let started = Instant::now();
    let settled = |intake: &Intake| {
        let gauges = intake.stats().gauges;
        gauges.queue_depth + gauges.uncommitted + gauges.cooled_depth == 0 && gauges.waiting == 0
    };
    while !settled(&intake) {
        assert!(started.elapsed() < DEADLINE, "{:?}", intake.stats().gauges);
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    intake.stop();
    owner.join().unwrap();
    verifiers
        .into_iter()
        .for_each(|verifier| verifier.join().unwrap());
}

#[test]
fn signatures_in_reach_of_the_threshold_do_not_wait_for_others() {
    let operators = Operators::new(3);
    let patient = IntakeSettings {
        linger: Duration::from_secs(50),
        verifier_threads: 1,
        ..settings()
    };
    let intake = engine_with(patient, &operators);
    let verifiers = intake.start_verifiers().unwrap();
    let task = create(&intake, &peer(1), alert(1)).unwrap();
    let from = peer(1);
    let first = intake.process_signed_task_response(&from, operators.sign(0, &task));
    assert_eq!(intake.next_batch(Duration::from_millis(50)), None);
    let second = intake.process_signed_task_response(&from, operators.sign(1, &task));
    let batch = intake.next_batch(Duration::from_secs(20)).unwrap();
    assert_eq!(
        (signed(&batch).len(), &batch.quorum_reached),
        (2, &vec![task.task_index])
    );
    intake.commit(batch.id, &[], &[]).unwrap();
    runtime().block_on(async {
        assert_eq!((first.await, second.await), (Ok(COUNTED), Ok(COUNTED)));
    });
    intake.stop();
    verifiers
        .into_iter()
        .for_each(|verifier| verifier.join().unwrap());
}
