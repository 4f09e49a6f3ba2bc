//! Bindings of `mach_rpc`: the aggregator's intake behind its transports.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mach_rpc::intake::{
    AnnouncedTask, Batch, Ending, Histogram, IntakeError, IntakeSettings, NewTask,
    OperatorSetDefinition, StoredState, StoredTask,
};
use mach_rpc::{Server, ServerSettings};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

pyo3::import_exception!(mach.errors, MachError);
pyo3::import_exception!(mach.errors, EnvironmentFaultError);
create_exception!(
    mach.transport.intake,
    IntakeRefusedError,
    MachError,
    "The intake was asked for something it cannot do."
);
create_exception!(
    mach.transport.intake,
    UnknownOperatorSetError,
    IntakeRefusedError,
    "A block was to use an operator set that is not held."
);
create_exception!(
    mach.transport.intake,
    UnknownReferenceBlockError,
    IntakeRefusedError,
    "A task's reference block has no operator set."
);
create_exception!(
    mach.transport.intake,
    ServerStartError,
    EnvironmentFaultError,
    "The transports cannot be served as told."
);

fn raised(error: IntakeError) -> PyErr {
    let text = error.to_string();
    match error {
        IntakeError::UnknownOperatorSet(_) => UnknownOperatorSetError::new_err(text),
        IntakeError::UnknownReferenceBlock { .. } => UnknownReferenceBlockError::new_err(text),
        IntakeError::Settings(_)
        | IntakeError::OperatorSet { .. }
        | IntakeError::Range { .. }
        | IntakeError::UnknownBatch(_)
        | IntakeError::UnknownTask(_)
        | IntakeError::Thread(_) => IntakeRefusedError::new_err(text),
    }
}

/// Signatures that were checked, on their way to the database.
#[pyclass(frozen, module = "mach._core")]
struct IntakeBatch(Batch);

type TaskRow = ([u8; 32], u32, u32, u64, f64);

#[pymethods]
impl IntakeBatch {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id
    }

    /// (alert hash, task index, reference block, set id, creation in Unix seconds) of each task to be stored.
    #[getter]
    fn tasks(&self) -> Vec<TaskRow> {
        self.0.tasks.iter().map(task_row).collect()
    }

    #[getter]
    fn task_indices(&self) -> Vec<u32> {
        self.0.task_indices.clone()
    }

    #[getter]
    fn reference_blocks(&self) -> Vec<u32> {
        self.0.reference_blocks.clone()
    }

    #[getter]
    fn operator_ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.operator_ids)
    }

    #[getter]
    fn signatures<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.signatures)
    }

    /// The alert hash of each task that has signatures here.
    #[getter]
    fn alert_hashes(&self) -> HashMap<u32, [u8; 32]> {
        self.0.alert_hashes.iter().copied().collect()
    }

    #[getter]
    fn quorum_reached(&self) -> Vec<u32> {
        self.0.quorum_reached.clone()
    }

    /// As `tasks`, of the tasks proposed for new alerts.
    #[getter]
    fn announcements(&self) -> Vec<TaskRow> {
        self.0.announcements.iter().map(task_row).collect()
    }

    /// (operator id, task index, alert hash, peer) of each bad signature.
    #[getter]
    fn bad_signatures(&self) -> Vec<([u8; 32], u32, [u8; 32], String)> {
        let bad = self.0.bad_signatures.iter();
        bad.map(|bad| {
            (
                bad.operator_id,
                bad.task_index,
                bad.alert_hash,
                bad.peer.clone(),
            )
        })
        .collect()
    }

    #[getter]
    fn needs_indices(&self) -> bool {
        self.0.needs_indices
    }
}

fn task_row(task: &NewTask) -> TaskRow {
    let created_at = task
        .created_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (
        task.alert_hash,
        task.task_index,
        task.reference_block,
        task.set_id,
        created_at.as_secs_f64(),
    )
}

/// The engine, its verifier threads and its server.
#[pyclass(frozen, module = "mach._core")]
struct Intake {
    engine: Arc<mach_rpc::intake::Intake>,
    servers: ServerSettings,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    server: Option<Server>,
    verifiers: Vec<JoinHandle<()>>,
}

#[pymethods]
impl Intake {
    /// An intake that knows nothing yet. `servers` is the JSON of the transports' settings, every key of which has a
    /// default; the rest is what the engine enforces.
    ///
    /// Raises IntakeRefusedError for settings that contradict themselves, ServerStartError for `servers`.
    #[new]
    #[pyo3(signature = (
        *, quorum_numbers, quorum_threshold_percentages, rollup_chain_id, layer1_chain_id, operator_state_retriever,
        registry_coordinator, max_open_tasks, max_unsigned_per_peer, cool_down_s, queue_bound, shared, verifier_threads,
        linger_s, servers
    ))]
    #[allow(clippy::too_many_arguments)] // Keywords in Python, where they are checked by name.
    fn new(
        quorum_numbers: Vec<u8>,
        quorum_threshold_percentages: Vec<u8>,
        rollup_chain_id: u64,
        layer1_chain_id: u32,
        operator_state_retriever: [u8; 20],
        registry_coordinator: [u8; 20],
        max_open_tasks: usize,
        max_unsigned_per_peer: usize,
        cool_down_s: f64,
        queue_bound: usize,
        shared: bool,
        verifier_threads: Option<usize>,
        linger_s: f64,
        servers: &str,
    ) -> PyResult<Self> {
        let engine = mach_rpc::intake::Intake::new(IntakeSettings {
            quorum_numbers,
            quorum_threshold_percentages,
            rollup_chain_id,
            layer1_chain_id,
            operator_state_retriever,
            registry_coordinator,
            max_open_tasks,
            max_unsigned_per_peer,
            cool_down: seconds(cool_down_s)?,
            queue_bound,
            shared,
            verifier_threads: verifier_threads
                .unwrap_or_else(IntakeSettings::default_verifier_threads),
            linger: seconds(linger_s)?,
        })
        .map_err(raised)?;
        let servers = serde_json::from_str(servers).map_err(|error| {
            ServerStartError::new_err(format!("settings of the servers: {error}"))
        })?;
        Ok(Self {
            engine,
            servers,
            running: Mutex::default(),
        })
    }

    /// Serve the transports and check signatures, on threads of its own; returns the ports by transport.
    ///
    /// Raises ServerStartError that names the address, the file or the setting.
    fn start(&self, py: Python<'_>) -> PyResult<(Option<u16>, Option<u16>, Option<u16>)> {
        py.detach(|| {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.server.is_some() {
                return Err(IntakeRefusedError::new_err("the intake was started before"));
            }
            let server = Server::start(&self.servers, Arc::clone(&self.engine))
                .map_err(|error| ServerStartError::new_err(error.to_string()))?;
            running.verifiers = self.engine.start_verifiers().map_err(raised)?;
            let ports = server.ports();
            running.server = Some(server);
            Ok((ports.jsonrpc, ports.grpc, ports.net_rpc))
        })
    }

    /// Refuse whatever comes, answer everyone who waits, and end all threads. Blocks for a few seconds at most.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            self.engine.stop();
            let Running { server, verifiers } =
                std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(server) = server {
                server.stop();
            }
            for verifier in verifiers {
                // One that panicked has said so.
                drop(verifier.join());
            }
        });
    }

    /// Teach the members of the quorums: n ids (32 bytes each), n G2 keys (128 bytes each), and for each quorum n
    /// stakes in wei and their total.
    ///
    /// Raises IntakeRefusedError.
    fn add_operator_set(
        &self,
        py: Python<'_>,
        set_id: u64,
        operator_ids: &[u8],
        public_keys_g2: &[u8],
        stakes: Vec<Vec<u128>>,
        total_stakes: Vec<u128>,
    ) -> PyResult<()> {
        let operator_ids = chunks::<32>(operator_ids, "operator_ids")?;
        let public_keys_g2 = chunks::<128>(public_keys_g2, "public_keys_g2")?;
        py.detach(|| {
            self.engine.add_operator_set(OperatorSetDefinition {
                set_id,
                operator_ids,
                public_keys_g2,
                stakes,
                total_stakes,
            })
        })
        .map_err(raised)
    }

    /// New tasks get this block and its operator set from now on.
    ///
    /// Raises UnknownOperatorSetError.
    fn set_head(&self, py: Python<'_>, reference_block: u32, set_id: u64) -> PyResult<()> {
        py.detach(|| self.engine.set_head(reference_block, set_id))
            .map_err(raised)
    }

    /// Tell which operator set a block has, without making it the head.
    ///
    /// Raises UnknownOperatorSetError.
    fn add_reference_block(
        &self,
        py: Python<'_>,
        reference_block: u32,
        set_id: u64,
    ) -> PyResult<()> {
        py.detach(|| self.engine.add_reference_block(reference_block, set_id))
            .map_err(raised)
    }

    /// Give `count` task indices from `first` on; all below `high_water` were given to somebody.
    ///
    /// Raises IntakeRefusedError.
    fn reserve(&self, py: Python<'_>, first: u32, count: u32, high_water: u64) -> PyResult<()> {
        py.detach(|| self.engine.reserve(first, count, high_water))
            .map_err(raised)
    }

    /// Take stored tasks in: (index, alert hash, reference block, state, creation in Unix seconds, transaction hash or
    /// None, signers' ids end to end). Returns indices of open ones whose thresholds are met.
    ///
    /// Raises UnknownReferenceBlockError, before anything is changed.
    fn restore(&self, py: Python<'_>, tasks: Vec<StoredRow<'_>>) -> PyResult<Vec<u32>> {
        let stored = tasks
            .into_iter()
            .map(stored_task)
            .collect::<PyResult<Vec<_>>>()?;
        py.detach(|| self.engine.restore(stored)).map_err(raised)
    }

    /// The next batch to store; None when there was none within the time, or the intake stops.
    fn next_batch(&self, py: Python<'_>, timeout_ms: u64) -> Option<IntakeBatch> {
        py.detach(|| self.engine.next_batch(Duration::from_millis(timeout_ms)))
            .map(IntakeBatch)
    }

    /// A batch is durable, but for tasks in `refused`; `announced` are (task index, alert hash, reference block) of its
    /// announcements. Returns tasks whose thresholds are met now, and of which the batch did not say so.
    ///
    /// Raises IntakeRefusedError or UnknownReferenceBlockError, before anything is changed.
    fn commit(
        &self,
        py: Python<'_>,
        batch: u64,
        refused: Vec<u32>,
        announced: Vec<(u32, [u8; 32], u32)>,
    ) -> PyResult<Vec<u32>> {
        let announced: Vec<_> = announced
            .into_iter()
            .map(|(task_index, alert_hash, reference_block)| AnnouncedTask {
                task_index,
                alert_hash,
                reference_block,
            })
            .collect();
        py.detach(|| self.engine.commit(batch, &refused, &announced))
            .map_err(raised)
    }

    /// A batch could not be stored: nothing of it counts, and its senders are told `reason`.
    ///
    /// Raises IntakeRefusedError.
    fn fail(&self, py: Python<'_>, batch: u64, reason: &str) -> PyResult<()> {
        py.detach(|| self.engine.fail(batch, reason))
            .map_err(raised)
    }

    /// A task ended as `state` says: confirmed (by `tx_hash`), failed or expired; returns whether it was known.
    #[pyo3(signature = (task_index, state, tx_hash=None))]
    fn finish(
        &self,
        py: Python<'_>,
        task_index: u32,
        state: &str,
        tx_hash: Option<[u8; 32]>,
    ) -> PyResult<bool> {
        let StoredState::Ended(ending) = state_of(state, tx_hash)? else {
            return Err(PyValueError::new_err(format!(
                "{state:?} is no state that ends a task"
            )));
        };
        Ok(py.detach(|| self.engine.finish(task_index, ending)))
    }

    /// An alert stands on L1, whoever brought it there; returns the live task that ended by it.
    fn alert_confirmed(
        &self,
        py: Python<'_>,
        alert_hash: [u8; 32],
        tx_hash: [u8; 32],
    ) -> Option<u32> {
        py.detach(|| self.engine.alert_confirmed(alert_hash, tx_hash))
    }

    /// An alert stands on L1 no more: its block was reorganised away.
    fn alert_unconfirmed(&self, py: Python<'_>, alert_hash: [u8; 32]) {
        py.detach(|| self.engine.alert_unconfirmed(alert_hash));
    }

    /// Collect a task's signatures anew over another block.
    ///
    /// Raises IntakeRefusedError or UnknownReferenceBlockError.
    fn new_round(&self, py: Python<'_>, task_index: u32, reference_block: u32) -> PyResult<()> {
        py.detach(|| self.engine.new_round(task_index, reference_block))
            .map_err(raised)
    }

    /// Count signatures that another replica stored (operator ids end to end); returns whether thresholds are met.
    fn note_signatures(
        &self,
        py: Python<'_>,
        task_index: u32,
        operator_ids: &[u8],
    ) -> PyResult<bool> {
        let operator_ids = chunks::<32>(operator_ids, "operator_ids")?;
        Ok(py.detach(|| self.engine.note_signatures(task_index, &operator_ids)))
    }

    /// What happened since the start, and how full everything is: see `mach.transport.intake.IntakeStats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.engine.stats());
        let gauges = &stats.gauges;
        let told = PyDict::new(py);
        for (name, value) in [
            ("queue_depth", gauges.queue_depth as u64),
            ("cooled_depth", gauges.cooled_depth as u64),
            ("uncommitted", gauges.uncommitted as u64),
            ("batches_outstanding", gauges.batches_outstanding as u64),
            ("waiting", gauges.waiting as u64),
            ("open_tasks", gauges.open_tasks as u64),
            ("unsigned_tasks", gauges.unsigned_tasks as u64),
            ("announcing", gauges.announcing as u64),
            ("finished_tasks", gauges.finished_tasks as u64),
            ("cooling_operators", gauges.cooling_operators as u64),
            ("indices_left", gauges.indices_left),
            ("reference_blocks", gauges.reference_blocks as u64),
            ("evictions", stats.evictions),
            ("rebuilt", stats.rebuilt),
        ] {
            told.set_item(name, value)?;
        }
        let outcomes = PyDict::new(py);
        for (outcome, count) in &stats.signatures {
            outcomes.set_item(outcome.as_str(), count)?;
        }
        told.set_item("signatures", outcomes)?;
        let by_operator = PyDict::new(py);
        for (operator_id, counts) in &stats.signatures_by_operator {
            let of_one = PyDict::new(py);
            for (outcome, count) in counts {
                of_one.set_item(outcome.as_str(), count)?;
            }
            by_operator.set_item(PyBytes::new(py, operator_id), of_one)?;
        }
        told.set_item("signatures_by_operator", by_operator)?;
        told.set_item("verify_seconds", histogram(&stats.verify_seconds))?;
        told.set_item("group_sizes", histogram(&stats.group_sizes))?;
        told.set_item("batch_sizes", histogram(&stats.batch_sizes))?;
        told.set_item("requests", self.requests(py)?)?;
        Ok(told)
    }
}

impl Intake {
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = &running.server else {
            return Ok(told);
        };
        let snapshot = server.stats().snapshot();
        let calls = PyList::empty(py);
        for call in snapshot.calls {
            calls.append((
                call.transport,
                call.method,
                call.outcomes,
                call.buckets.to_vec(),
                call.seconds,
            ))?;
        }
        told.set_item("calls", calls)?;
        told.set_item("bounds", mach_rpc::stats::DURATION_BOUNDS_S.to_vec())?;
        let connections = PyList::empty(py);
        for kind in snapshot.connections {
            connections.append((
                kind.transport,
                kind.open,
                kind.accepted,
                kind.bytes_in,
                kind.bytes_out,
            ))?;
        }
        told.set_item("connections", connections)?;
        told.set_item("refused", snapshot.refused)?;
        Ok(told)
    }
}

fn histogram(histogram: &Histogram) -> (Vec<f64>, Vec<u64>, f64) {
    (
        histogram.bounds.clone(),
        histogram.counts.clone(),
        histogram.sum,
    )
}

type StoredRow<'a> = (
    u32,
    [u8; 32],
    u32,
    String,
    f64,
    Option<[u8; 32]>,
    Bound<'a, PyBytes>,
);

fn stored_task(
    (task_index, alert_hash, reference_block, state, created_at, tx_hash, operator_ids): StoredRow<
        '_,
    >,
) -> PyResult<StoredTask> {
    Ok(StoredTask {
        task_index,
        alert_hash,
        reference_block,
        state: state_of(&state, tx_hash)?,
        created_at: SystemTime::UNIX_EPOCH + seconds(created_at)?,
        signers: chunks::<32>(operator_ids.as_bytes(), "operator_ids")?,
    })
}

fn state_of(state: &str, tx_hash: Option<[u8; 32]>) -> PyResult<StoredState> {
    match (state, tx_hash) {
        ("open", _) => Ok(StoredState::Open),
        ("quorum" | "submitted", _) => Ok(StoredState::Quorum),
        ("confirmed", Some(tx_hash)) => Ok(StoredState::Ended(Ending::Confirmed(tx_hash))),
        ("failed", _) => Ok(StoredState::Ended(Ending::Failed)),
        ("expired", _) => Ok(StoredState::Ended(Ending::Expired)),
        _ => Err(PyValueError::new_err(format!(
            "{state:?} is no state of a task, or lacks its transaction"
        ))),
    }
}

fn chunks<const N: usize>(bytes: &[u8], what: &str) -> PyResult<Vec<[u8; N]>> {
    let (whole, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() {
        return Ok(whole.to_vec());
    }
    Err(PyValueError::new_err(format!(
        "{what} must be a whole number of {N} bytes, got {}",
        bytes.len()
    )))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|error| PyValueError::new_err(format!("{value} s: {error}")))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Intake>()?;
    module.add_class::<IntakeBatch>()?;
    module.add("IntakeRefusedError", py.get_type::<IntakeRefusedError>())?;
    module.add(
        "UnknownOperatorSetError",
        py.get_type::<UnknownOperatorSetError>(),
    )?;
    module.add(
        "UnknownReferenceBlockError",
        py.get_type::<UnknownReferenceBlockError>(),
    )?;
    module.add("ServerStartError", py.get_type::<ServerStartError>())
}
