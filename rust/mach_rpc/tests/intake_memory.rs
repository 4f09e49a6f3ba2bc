//! What open tasks and waiting signatures cost in memory, counted by the allocator.

// Counting needs an allocator, which is unsafe to implement.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use mach_bls::SecretKey;
use mach_rpc::aggregator::{Aggregator, AlertTaskInfo, Peer, SignedTaskRequest};
use mach_rpc::intake::{Intake, IntakeSettings, OperatorSetDefinition, StoredState, StoredTask};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counter has no part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TASKS: u32 = 10_000;
const OPERATORS: u8 = 200;
const HEAD: u32 = 100;

#[test]
fn ten_thousand_tasks_of_two_hundred_operators_are_small() {
    let keys: Vec<SecretKey> = (1..=OPERATORS)
        .map(|number| {
            let mut scalar = [0; 32];
            scalar[31] = number;
            SecretKey::from_bytes(&scalar).unwrap()
        })
        .collect();
    let ids: Vec<_> = keys
        .iter()
        .map(|key| key.public_key_g1().operator_id())
        .collect();
    let intake = Intake::new(IntakeSettings {
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        rollup_chain_id: 901,
        layer1_chain_id: 31_337,
        operator_state_retriever: [0; 20],
        registry_coordinator: [0; 20],
        max_open_tasks: TASKS as usize,
        max_unsigned_per_peer: TASKS as usize,
        cool_down: Duration::from_secs(30),
        queue_bound: 20_000,
        shared: false,
        verifier_threads: 1,
        linger: Duration::from_millis(2),
    })
    .unwrap();
    intake
        .add_operator_set(OperatorSetDefinition {
            set_id: 1,
            operator_ids: ids.clone(),
            public_keys_g2: keys
                .iter()
                .map(|key| key.public_key_g2().to_bytes())
                .collect(),
            stakes: vec![vec![1; ids.len()]],
            total_stakes: vec![u128::from(OPERATORS)],
        })
        .unwrap();
    intake.set_head(HEAD, 1).unwrap();

    let before = ALLOCATED.load(Ordering::Relaxed);
    for index in 0..TASKS {
        let mut alert_hash = [7; 32];
        alert_hash[..4].copy_from_slice(&index.to_be_bytes());
        let stored = StoredTask {
            task_index: index,
            alert_hash,
            reference_block: HEAD,
            state: StoredState::Open,
            created_at: SystemTime::UNIX_EPOCH,
            signers: ids.clone(),
        };
        intake.restore(vec![stored]).unwrap();
    }
    let of_tasks = ALLOCATED.load(Ordering::Relaxed) - before;
    assert_eq!(intake.stats().gauges.open_tasks, TASKS as usize);
    let per_task = of_tasks / TASKS as usize;
    println!("{per_task} bytes an open task that {OPERATORS} operators signed");
    assert!(per_task <= 4_096, "{per_task} bytes");

    // Signatures on their way, of tasks that are new.
    intake.finish(0, mach_rpc::intake::Ending::Failed);
    intake.reserve(TASKS, 1, u64::from(TASKS) + 1).unwrap();
    let peer = Peer {
        address: [127, 0, 0, 1].into(),
    };
    let mut context = Context::from_waker(Waker::noop());
    let created = std::pin::pin!(intake.create_task(&peer, [9; 32])).poll(&mut context);
    let Poll::Ready(Ok(task)) = created else {
        panic!("no task")
    };
    let requests: Vec<_> = keys
        .iter()
        .zip(&ids)
        .map(|(key, id)| sign(key, *id, &task))
        .collect();
    // What the first check of a process prepares, once and for all.
    let known = mach_bls::Signature::from_bytes(&requests[0].signature).unwrap();
    assert!(!known.verify(&keys[0].public_key_g2(), &[0; 32]));
    let before = ALLOCATED.load(Ordering::Relaxed);
    let waiting: Vec<_> = requests
        .iter()
        .map(|request| intake.process_signed_task_response(&peer, request.clone()))
        .collect();
    // The futures themselves are the transports'.
    let of_futures = waiting.len() * size_of_val(&waiting[0]);
    let per_signature =
        (ALLOCATED.load(Ordering::Relaxed) - before - of_futures) / usize::from(OPERATORS);
    println!("{per_signature} bytes a signature that waits, with its answer");
    assert_eq!(intake.stats().gauges.queue_depth, usize::from(OPERATORS));
    assert!(per_signature <= 400, "{per_signature} bytes");

    intake.check_queued();
    let batch = intake.next_batch(Duration::ZERO).unwrap();
    assert_eq!(batch.task_indices.len(), usize::from(OPERATORS));
    intake.commit(batch.id, &[], &[]).unwrap();
    drop((batch, waiting));
    let left = ALLOCATED.load(Ordering::Relaxed).saturating_sub(before);
    println!("{left} bytes left when all of them are counted");
    assert!(left <= 8_192, "{left} bytes");
}

fn sign(key: &SecretKey, operator_id: [u8; 32], task: &AlertTaskInfo) -> SignedTaskRequest {
    let mut chain_id = [0; 32];
    chain_id[24..].copy_from_slice(&901_u64.to_be_bytes());
    let digest = mach_bls::statements::sign_hash(&task.alert_hash, HEAD, Some(&chain_id));
    SignedTaskRequest {
        alert: task.clone(),
        signature: key.sign(&digest).to_bytes(),
        operator_id,
    }
}
