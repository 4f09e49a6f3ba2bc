//! An aggregator that follows a script, a server around it, and plain sockets to talk to it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mach_rpc::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Peer, Refusal, SignedTaskReply,
    SignedTaskRequest,
};
use mach_rpc::{Server, ServerSettings};

/// Longer than anything here takes, so that a hang fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the aggregator answers next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Task(u32, u64),
    Reply(bool, [u8; 32]),
    Refuse(Refusal),
    Hang,
}

/// What the aggregator was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Init(InitOperatorRequest),
    Create([u8; 32]),
    Signed(SignedTaskRequest),
}

/// Answers as scripted; after the script: task 0 at block 57, and zeros.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) steps: Mutex<VecDeque<Step>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

impl Scripted {
    pub(crate) fn then(&self, step: Step) {
        self.steps.lock().unwrap().push_back(step);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn next(&self, seen: Seen) -> Option<Step> {
        self.seen.lock().unwrap().push(seen);
        self.steps.lock().unwrap().pop_front()
    }
}

impl Aggregator for Scripted {
    fn init_operator(&self, _peer: &Peer, request: &InitOperatorRequest) -> Option<String> {
        self.seen.lock().unwrap().push(Seen::Init(request.clone()));
        (request.layer1_chain_id != 31337).then(|| "layer1_chain_id is 31337 here".into())
    }

    async fn create_task(
        &self,
        peer: &Peer,
        alert_hash: [u8; 32],
    ) -> Result<AlertTaskInfo, Refusal> {
        assert!(peer.address.is_loopback());
        let (task_index, reference_block_number) = match self.next(Seen::Create(alert_hash)) {
            None => (0, 57),
            Some(Step::Task(index, block)) => (index, block),
            Some(Step::Refuse(refusal)) => return Err(refusal),
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Reply(..)) => panic!("the script has a reply where a task is asked for"),
        };
        Ok(AlertTaskInfo {
            alert_hash,
            quorum_numbers: vec![0],
            quorum_threshold_percentages: vec![66],
            task_index,
            reference_block_number,
        })
    }

    async fn process_signed_task_response(
        &self,
        _peer: &Peer,
        request: SignedTaskRequest,
    ) -> Result<SignedTaskReply, Refusal> {
        let (reply, tx_hash) = match self.next(Seen::Signed(request)) {
            None => (false, [0; 32]),
            Some(Step::Reply(reply, tx_hash)) => (reply, tx_hash),
            Some(Step::Refuse(refusal)) => return Err(refusal),
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Task(..)) => panic!("the script has a task where a signature comes"),
        };
        Ok(SignedTaskReply { reply, tx_hash })
    }
}

/// A running server on free ports of loopback.
pub(crate) struct Serving {
    pub(crate) server: Server,
    pub(crate) core: Arc<Scripted>,
}

/// All three transports, with changed settings.
pub(crate) fn serve(change: impl FnOnce(&mut ServerSettings)) -> Serving {
    let mut settings = ServerSettings {
        workers: 2,
        ..ServerSettings::default()
    };
    for listener in [
        &mut settings.listeners.jsonrpc,
        &mut settings.listeners.grpc,
        &mut settings.listeners.net_rpc,
    ] {
        *listener = Some("127.0.0.1:0".into());
    }
    change(&mut settings);
    let core = Arc::new(Scripted::default());
    let server = Server::start(&settings, Arc::clone(&core)).unwrap();
    Serving { server, core }
}

impl Serving {
    pub(crate) fn jsonrpc(&self) -> TcpStream {
        connect(self.server.ports().jsonrpc.unwrap())
    }

    pub(crate) fn grpc(&self) -> TcpStream {
        connect(self.server.ports().grpc.unwrap())
    }

    pub(crate) fn net_rpc(&self) -> TcpStream {
        connect(self.server.ports().net_rpc.unwrap())
    }

    /// How often a limit or guard refused something.
    pub(crate) fn refused(&self, kind: &str) -> u64 {
        let snapshot = self.server.stats().snapshot();
        snapshot
            .refused
            .iter()
            .find(|(name, _)| *name == kind)
            .unwrap()
            .1
    }

    /// Waits until `kind` has refused exactly `count` things; a connection may end a moment before it is counted.
    pub(crate) fn assert_refused(&self, kind: &str, count: u64) {
        wait_until(&format!("refusal {count} by {kind}"), || {
            self.refused(kind) == count
        });
    }

    /// Connections open now, all transports together.
    pub(crate) fn open(&self) -> u64 {
        self.server
            .stats()
            .snapshot()
            .connections
            .iter()
            .map(|one| one.open)
            .sum()
    }

    /// One call over a connection of its own, and what it is answered with.
    pub(crate) fn call(&self, body: &str) -> serde_json::Value {
        let answer = post(&mut self.jsonrpc(), body.as_bytes(), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Whether the server still answers, over JSON-RPC and net/rpc.
    pub(crate) fn assert_unharmed(&self) {
        let answer = self.call(r#"{"id":1,"method":"aggregator_none"}"#);
        assert_eq!(answer["error"]["code"], -32601);
        let mut stream = self.net_rpc();
        stream.write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n").unwrap();
        assert_eq!(
            read_exactly(&mut stream, 34),
            b"HTTP/1.0 200 Connected to Go RPC\n\n"
        );
    }
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything until the server closes; a reset counts as the end.
pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the server does not close: {error}; so far {bytes:?}"),
        }
    }
}

/// Polls until `done`, or fails with `what`.
pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what} does not happen");
        std::thread::yield_now();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Posts to / with `headers` (each ended by CRLF) besides the usual ones.
pub(crate) fn post(stream: &mut (impl Read + Write), body: &[u8], headers: &str) -> Answer {
    let content_type = if headers.contains("Content-Type") {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\n{content_type}{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    read_answer(stream)
}

pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exactly(stream, 1));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: read_exactly(stream, length),
        head,
    }
}

/// Ends what this side sends.
pub(crate) fn end_sending(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// The shared test data: `$MACH_TESTDATA`, by default `../shared/testdata` beside the repository.
pub(crate) fn testdata(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("MACH_TESTDATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata"),
    };
    let file = folder.join(name);
    if file.exists() {
        return Some(file);
    }
    eprintln!(
        "skipped: {} is not there; set MACH_TESTDATA",
        file.display()
    );
    None
}

/// One chunk of a capture: the connection's name, whether the client sent it, its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) connection: String,
    pub(crate) from_client: bool,
    pub(crate) bytes: Vec<u8>,
}

/// All chunks of a capture, in their order.
pub(crate) fn capture(name: &str) -> Option<Vec<Chunk>> {
    let text = std::fs::read_to_string(testdata(name)?).unwrap();
    let mut chunks = Vec::new();
    let mut title = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("=== ") {
            title = rest.split(' ').nth(1).unwrap();
        } else if let Some(digits) = line.strip_prefix("hex ") {
            let (connection, direction) = title.split_at(title.len() - 1);
            chunks.push(Chunk {
                connection: connection.into(),
                from_client: direction == ">",
                bytes: hex::decode(digits).unwrap(),
            });
        }
    }
    Some(chunks)
}
