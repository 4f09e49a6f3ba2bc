//! Operators with real keys, and requests that are asked without a runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mach_bls::SecretKey;
use mach_bls::statements::sign_hash;
use mach_rpc::aggregator::{
    Aggregator, AlertTaskInfo, Peer, Refusal, SignedTaskReply, SignedTaskRequest,
};
use mach_rpc::intake::{Batch, Intake, IntakeSettings, OperatorSetDefinition, Outcome};

pub(crate) const ROLLUP_CHAIN_ID: u64 = 901;
pub(crate) const HEAD: u32 = 100;
pub(crate) const SET_ID: u64 = 7;
pub(crate) const COUNTED: SignedTaskReply = SignedTaskReply {
    reply: false,
    tx_hash: [0; 32],
};

pub(crate) struct Operators {
    keys: Vec<SecretKey>,
    pub(crate) ids: Vec<[u8; 32]>,
}

impl Operators {
    pub(crate) fn new(count: u16) -> Self {
        let keys: Vec<_> = (1..=count)
            .map(|number| {
                let mut scalar = [0; 32];
                scalar[30..].copy_from_slice(&number.to_be_bytes());
                SecretKey::from_bytes(&scalar).unwrap()
            })
            .collect();
        let ids = keys
            .iter()
            .map(|key| key.public_key_g1().operator_id())
            .collect();
        Self { keys, ids }
    }

    /// All of them in one quorum with one wei each.
    pub(crate) fn definition(&self, set_id: u64) -> OperatorSetDefinition {
        self.with_stakes(set_id, vec![vec![1; self.ids.len()]])
    }

    pub(crate) fn with_stakes(&self, set_id: u64, stakes: Vec<Vec<u128>>) -> OperatorSetDefinition {
        OperatorSetDefinition {
            set_id,
            operator_ids: self.ids.clone(),
            public_keys_g2: self
                .keys
                .iter()
                .map(|key| key.public_key_g2().to_bytes())
                .collect(),
            total_stakes: stakes.iter().map(|quorum| quorum.iter().sum()).collect(),
            stakes,
        }
    }

    pub(crate) fn sign(&self, operator: usize, task: &AlertTaskInfo) -> SignedTaskRequest {
        let mut chain_id = [0; 32];
        chain_id[24..].copy_from_slice(&ROLLUP_CHAIN_ID.to_be_bytes());
        let block = u32::try_from(task.reference_block_number).unwrap();
        let digest = sign_hash(&task.alert_hash, block, Some(&chain_id));
        SignedTaskRequest {
            alert: task.clone(),
            signature: self.keys[operator].sign(&digest).to_bytes(),
            operator_id: self.ids[operator],
        }
    }

    /// A point of the curve in an operator's name that is no signature of its; different for each `salt`.
    pub(crate) fn sign_badly(
        &self,
        operator: usize,
        task: &AlertTaskInfo,
        salt: u8,
    ) -> SignedTaskRequest {
        SignedTaskRequest {
            signature: self.keys[operator].sign(&[salt; 32]).to_bytes(),
            ..self.sign(operator, task)
        }
    }
}

pub(crate) fn settings() -> IntakeSettings {
    IntakeSettings {
        quorum_numbers: vec![0],
        quorum_threshold_percentages: vec![66],
        rollup_chain_id: ROLLUP_CHAIN_ID,
        layer1_chain_id: 31_337,
        operator_state_retriever: [0x11; 20],
        registry_coordinator: [0x22; 20],
        max_open_tasks: 100,
        max_unsigned_per_peer: 50,
        cool_down: Duration::from_secs(30),
        queue_bound: 4_096,
        shared: false,
        verifier_threads: 2,
        linger: Duration::from_millis(2),
    }
}

/// An engine that serves `operators` at [`HEAD`]; nothing is checked until it is told to.
pub(crate) fn engine_with(settings: IntakeSettings, operators: &Operators) -> Arc<Intake> {
    let intake = Intake::new(settings).unwrap();
    intake
        .add_operator_set(operators.definition(SET_ID))
        .unwrap();
    intake.set_head(HEAD, SET_ID).unwrap();
    intake.reserve(0, 1_000, 1_000).unwrap();
    intake
}

pub(crate) fn engine(operators: &Operators) -> Arc<Intake> {
    engine_with(settings(), operators)
}

pub(crate) fn peer(last: u8) -> Peer {
    Peer {
        address: [192, 0, 2, last].into(),
    }
}

pub(crate) fn alert(number: u64) -> [u8; 32] {
    let mut hash = [0xa1; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash
}

/// A request on its way.
pub(crate) struct Asked<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Asked<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// The answer, if it is there.
    pub(crate) fn poll(&mut self) -> Option<T> {
        match self
            .0
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// The answer, which is there.
    #[track_caller]
    pub(crate) fn answer(mut self) -> T {
        self.poll().expect("no answer yet")
    }
}

pub(crate) type Created = Result<AlertTaskInfo, Refusal>;
pub(crate) type Processed = Result<SignedTaskReply, Refusal>;

pub(crate) fn ask_create(
    intake: &Arc<Intake>,
    from: &Peer,
    alert_hash: [u8; 32],
) -> Asked<Created> {
    let (intake, from) = (Arc::clone(intake), from.clone());
    let mut asked = Asked::new(async move { intake.create_task(&from, alert_hash).await });
    if let Some(answer) = asked.poll() {
        return Asked::new(std::future::ready(answer));
    }
    asked
}

pub(crate) fn create(intake: &Arc<Intake>, from: &Peer, alert_hash: [u8; 32]) -> Created {
    ask_create(intake, from, alert_hash).answer()
}

/// Sends a signature; it is in the engine when this returns.
pub(crate) fn send(
    intake: &Arc<Intake>,
    from: &Peer,
    request: SignedTaskRequest,
) -> Asked<Processed> {
    let (intake, from) = (Arc::clone(intake), from.clone());
    let mut asked =
        Asked::new(async move { intake.process_signed_task_response(&from, request).await });
    if let Some(answer) = asked.poll() {
        return Asked::new(std::future::ready(answer));
    }
    asked
}

/// The batch that is there now, after everything queued was checked.
pub(crate) fn take_batch(intake: &Intake) -> Option<Batch> {
    intake.check_queued();
    intake.next_batch(Duration::ZERO)
}

/// Checks and stores everything.
pub(crate) fn store_all(intake: &Intake) {
    while let Some(batch) = take_batch(intake) {
        intake.commit(batch.id, &[], &[]).unwrap();
    }
}

pub(crate) fn outcomes(intake: &Intake, outcome: Outcome) -> u64 {
    let stats = intake.stats();
    stats
        .signatures
        .iter()
        .find(|(of, _)| *of == outcome)
        .unwrap()
        .1
}

/// Who signed what, as the batch tells it.
pub(crate) fn signed(batch: &Batch) -> Vec<(u32, [u8; 32])> {
    let (ids, rest) = batch.operator_ids.as_chunks::<32>();
    assert!(rest.is_empty());
    assert_eq!(batch.signatures.len(), 64 * ids.len());
    assert_eq!(batch.reference_blocks.len(), ids.len());
    batch
        .task_indices
        .iter()
        .copied()
        .zip(ids.iter().copied())
        .collect()
}
