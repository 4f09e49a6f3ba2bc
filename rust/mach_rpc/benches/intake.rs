//! The intake engine alone, without transports and database: signatures of 50 operators taken in, checked and committed.
//!
//! The baseline of each run is one pairing check for each signature, as the original does it.

#![allow(clippy::expect_used, missing_docs)] // A benchmark fails like a test; criterion's macros document nothing.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mach_bls::statements::sign_hash;
use mach_bls::{PublicKeyG2, SecretKey, Signature};
use mach_rpc::aggregator::{Aggregator, AlertTaskInfo, Peer, SignedTaskRequest};
use mach_rpc::intake::{Intake, IntakeSettings, OperatorSetDefinition};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const OPERATORS: u8 = 50;
const TASKS: u32 = 100;
const HEAD: u32 = 100;
const ROLLUP_CHAIN_ID: u64 = 901;
const PEER: Peer = Peer {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
};

struct Operator {
    key: SecretKey,
    id: [u8; 32],
    public_key: PublicKeyG2,
}

fn operators() -> Vec<Operator> {
    (1..=OPERATORS)
        .map(|number| {
            let mut scalar = [0; 32];
            scalar[31] = number;
            let key = SecretKey::from_bytes(&scalar).expect("in range");
            Operator {
                id: key.public_key_g1().operator_id(),
                public_key: key.public_key_g2(),
                key,
            }
        })
        .collect()
}

fn engine(operators: &[Operator], verifier_threads: usize) -> Arc<Intake> {
    let intake = Intake::new(IntakeSettings {
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        rollup_chain_id: ROLLUP_CHAIN_ID,
        layer1_chain_id: 31_337,
        operator_state_retriever: [0; 20],
        registry_coordinator: [0; 20],
        max_open_tasks: 10_000,
        max_unsigned_per_peer: 10_000,
        cool_down: Duration::from_secs(30),
        queue_bound: 20_000,
        shared: false,
        verifier_threads,
        linger: IntakeSettings::DEFAULT_LINGER,
    })
    .expect("good settings");
    intake
        .add_operator_set(OperatorSetDefinition {
            set_id: 1,
            operator_ids: operators.iter().map(|operator| operator.id).collect(),
            public_keys_g2: operators
                .iter()
                .map(|operator| operator.public_key.to_bytes())
                .collect(),
            stakes: vec![vec![1; operators.len()]],
            total_stakes: vec![operators.len() as u128],
        })
        .expect("a good set");
    intake.set_head(HEAD, 1).expect("the set is there");
    intake.reserve(0, 10_000, 10_000).expect("free indices");
    intake
}

fn digest(task: &AlertTaskInfo) -> [u8; 32] {
    let mut chain_id = [0; 32];
    chain_id[24..].copy_from_slice(&ROLLUP_CHAIN_ID.to_be_bytes());
    sign_hash(&task.alert_hash, HEAD, Some(&chain_id))
}

/// Every operator's signature over each of the first tasks, task by task.
fn requests(runtime: &Runtime, operators: &[Operator]) -> Vec<SignedTaskRequest> {
    let intake = engine(operators, 1);
    (0..TASKS)
        .flat_map(|number| {
            let task = runtime
                .block_on(intake.create_task(&PEER, alert(number)))
                .expect("a task");
            operators
                .iter()
                .map(|operator| SignedTaskRequest {
                    signature: operator.key.sign(&digest(&task)).to_bytes(),
                    operator_id: operator.id,
                    alert: task.clone(),
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn alert(number: u32) -> [u8; 32] {
    let mut alert_hash = [7; 32];
    alert_hash[..4].copy_from_slice(&number.to_be_bytes());
    alert_hash
}

/// An engine with all tasks created.
fn ready(runtime: &Runtime, operators: &[Operator], verifier_threads: usize) -> Arc<Intake> {
    let intake = engine(operators, verifier_threads);
    for number in 0..TASKS {
        runtime
            .block_on(intake.create_task(&PEER, alert(number)))
            .expect("a task");
    }
    intake
}

/// From the first request to the last answer, with verifiers, an owner that stores nothing, and clients.
fn serve(
    runtime: &Runtime,
    operators: &[Operator],
    requests: &[SignedTaskRequest],
    verifier_threads: usize,
) -> Duration {
    let intake = ready(runtime, operators, verifier_threads);
    let verifiers = intake.start_verifiers().expect("threads");
    let owner = {
        let intake = Arc::clone(&intake);
        thread::spawn(move || {
            while let Some(batch) = intake.next_batch(Duration::from_secs(5)) {
                intake.commit(batch.id, &[], &[]).expect("outstanding");
            }
        })
    };
    let started = Instant::now();
    runtime.block_on(async {
        let mut waiting = JoinSet::new();
        for request in requests.iter().cloned() {
            let intake = Arc::clone(&intake);
            waiting.spawn(async move { intake.process_signed_task_response(&PEER, request).await });
        }
        while let Some(answer) = waiting.join_next().await {
            answer.expect("no panic").expect("counted");
        }
    });
    let took = started.elapsed();
    intake.stop();
    for verifier in verifiers {
        verifier.join().expect("no panic");
    }
    owner.join().expect("no panic");
    took
}

fn bench(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let operators = operators();
    let requests = requests(&runtime, &operators);
    let mut group = criterion.benchmark_group("intake");
    group.sample_size(10);

    group.throughput(Throughput::Elements(u64::from(OPERATORS)));
    group.bench_function("baseline: a pairing check for each signature", |bencher| {
        bencher.iter(|| {
            for (operator, request) in operators.iter().zip(&requests) {
                let signature = Signature::from_bytes(&request.signature).expect("a point");
                assert!(signature.verify(&operator.public_key, black_box(&digest(&request.alert))));
            }
        });
    });

    group.throughput(Throughput::Elements(requests.len() as u64));
    group.bench_function("take in, check and commit on one thread", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let intake = ready(&runtime, &operators, 1);
                    let started = Instant::now();
                    let waiting: Vec<_> = requests
                        .iter()
                        .map(|request| intake.process_signed_task_response(&PEER, request.clone()))
                        .collect();
                    intake.check_queued();
                    while let Some(batch) = intake.next_batch(Duration::ZERO) {
                        intake.commit(batch.id, &[], &[]).expect("outstanding");
                    }
                    for answer in waiting {
                        runtime.block_on(answer).expect("counted");
                    }
                    started.elapsed()
                })
                .sum()
        });
    });
    group.bench_function("take in only", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let intake = ready(&runtime, &operators, 1);
                    let owned = requests.clone();
                    let started = Instant::now();
                    let waiting: Vec<_> = owned
                        .into_iter()
                        .map(|request| intake.process_signed_task_response(&PEER, request))
                        .collect();
                    let took = started.elapsed();
                    drop(waiting);
                    took
                })
                .sum()
        });
    });
    for threads in [1, 2] {
        group.bench_function(
            format!("serve with {threads} verifier threads"),
            |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds)
                        .map(|_| serve(&runtime, &operators, &requests, threads))
                        .sum()
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
