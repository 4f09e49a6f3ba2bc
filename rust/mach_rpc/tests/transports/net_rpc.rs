//! Go's net/rpc on real sockets: handshake, errors as Go words them, limits.

use std::io::{Read, Write};
use std::net::TcpStream;

use mach_rpc::aggregator::Refusal;
use mach_rpc::gob::{Decoder, Encoder, FieldType, Message, StructType, frame};
use mach_rpc::net_rpc::MAX_MESSAGE_BYTES;
use proptest::prelude::*;

use crate::support::{Serving, Step, read_exactly, read_to_end, serve, wait_until};

static REQUEST: StructType = StructType {
    name: "Request",
    fields: &[("ServiceMethod", FieldType::Text), ("Seq", FieldType::Uint)],
};
static CREATE_TASK_REQUEST: StructType = StructType {
    name: "CreateTaskRequest",
    fields: &[
        ("AlertHash", FieldType::Array("Bytes32", 32)),
        ("New", FieldType::Text),
    ],
};
static WRONG_REQUEST: StructType = StructType {
    name: "CreateTaskRequest",
    fields: &[("AlertHash", FieldType::Text)],
};

/// A client as Go's, over a socket.
struct Client {
    stream: TcpStream,
    encoder: Encoder,
    decoder: Decoder,
    received: Vec<u8>,
}

/// `rpc.Response` with the names of its body's fields.
#[derive(Debug, PartialEq)]
struct Response {
    method: String,
    sequence: u64,
    error: String,
    fields: Vec<String>,
}

impl Client {
    fn connect(serving: &Serving) -> Self {
        let mut stream = serving.net_rpc();
        stream.write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n").unwrap();
        assert_eq!(
            read_exactly(&mut stream, 34),
            b"HTTP/1.0 200 Connected to Go RPC\n\n"
        );
        Self {
            stream,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            received: Vec::new(),
        }
    }

    fn header(&mut self, method: &str, sequence: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.encoder.encode(&mut out, &REQUEST, |request| {
            request.bytes(1, method.as_bytes());
            request.number(2, sequence);
        });
        out
    }

    fn send(&mut self, method: &str, sequence: u64) {
        let mut out = self.header(method, sequence);
        self.encoder.encode(&mut out, &CREATE_TASK_REQUEST, |body| {
            body.array(1, &[7_u8; 32]);
            body.bytes(2, b"a field of a later version");
        });
        self.stream.write_all(&out).unwrap();
    }

    /// The next value's field names, and those values that are texts or numbers.
    fn value(&mut self) -> Vec<(String, String, u64)> {
        loop {
            let Some((content, length)) = frame(&self.received, 4096).unwrap() else {
                let mut chunk = [0; 4096];
                let count = self.stream.read(&mut chunk).unwrap();
                assert!(count > 0, "the server closed the connection");
                self.received.extend_from_slice(&chunk[..count]);
                continue;
            };
            let content = content.to_vec();
            self.received.drain(..length);
            if let Message::Value(mut fields) = self.decoder.message(&content).unwrap() {
                let mut found = Vec::new();
                while let Some((name, value)) = fields.next().unwrap() {
                    let text = value.text("").unwrap_or_default();
                    found.push((
                        name.to_owned(),
                        text.to_owned(),
                        value.unsigned("").unwrap_or_default(),
                    ));
                }
                return found;
            }
        }
    }

    fn response(&mut self) -> Response {
        let header = self.value();
        let field = |wanted: &str| {
            header
                .iter()
                .find(|(name, ..)| name == wanted)
                .cloned()
                .unwrap_or_default()
        };
        let body = self.value();
        Response {
            method: field("ServiceMethod").1,
            sequence: field("Seq").2,
            error: field("Error").1,
            fields: body.into_iter().map(|(name, ..)| name).collect(),
        }
    }

    fn error(&mut self, method: &str, sequence: u64) -> String {
        self.send(method, sequence);
        let response = self.response();
        assert_eq!(
            (response.method.as_str(), response.sequence),
            (method, sequence)
        );
        assert!(response.fields.is_empty());
        response.error
    }
}

const CREATE: &str = "Aggregator.CreateTask";

#[test]
fn calls_succeed_and_fail_as_in_go() {
    let serving = serve(|settings| settings.limits.request_s = 0.2);
    let mut client = Client::connect(&serving);
    client.send(CREATE, 0);
    let response = client.response();
    assert_eq!(
        (response.error.as_str(), response.fields),
        ("", vec!["Info".to_owned()])
    );
    serving.core.then(Step::Refuse(Refusal::TaskNotFound));
    assert_eq!(client.error(CREATE, 1), "task not found");
    serving.core.then(Step::Hang);
    assert_eq!(client.error(CREATE, 2), "request timed out");
    assert_eq!(
        client.error("Aggregator.Other", 3),
        "rpc: can't find method Aggregator.Other"
    );
    assert_eq!(
        client.error("Other.CreateTask", 4),
        "rpc: can't find service Other.CreateTask"
    );
    assert_eq!(
        client.error("CreateTask", 5),
        "rpc: service/method request ill-formed: CreateTask"
    );
    let mut out = client.header(CREATE, 6);
    client
        .encoder
        .encode(&mut out, &WRONG_REQUEST, |body| body.bytes(1, b"0x12"));
    client.stream.write_all(&out).unwrap();
    assert_eq!(client.response().error, "gob: wrong type for AlertHash");
    client.send(CREATE, 7);
    assert_eq!(client.response().sequence, 7);
}

#[test]
fn calls_overtake_each_other_and_are_bounded() {
    let serving = serve(|settings| {
        settings.limits.max_requests_per_connection = 2;
        settings.limits.request_s = 0.5;
    });
    serving.core.then(Step::Hang);
    let mut client = Client::connect(&serving);
    for sequence in 1..=50 {
        client.send(CREATE, sequence);
    }
    let answers: Vec<_> = (1..=50).map(|_| client.response()).collect();
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.error == "request timed out")
            .count(),
        1
    );
    let mut sequences: Vec<_> = answers.iter().map(|answer| answer.sequence).collect();
    assert_ne!(sequences[0], 1, "the first call hangs, others go past it");
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(1..=50));
}

#[test]
fn what_is_no_net_rpc_is_closed() {
    let serving = serve(|_| {});
    for (sent, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP/1.0 404"),
        (b"GET /_goRPC_ HTTP/1.1\r\n\r\n", "HTTP/1.0 405"),
        (b"\x01\x02\x03\r\n\r\n", "HTTP/1.0 400"),
    ] {
        let mut stream = serving.net_rpc();
        stream.write_all(sent).unwrap();
        assert!(
            String::from_utf8(read_to_end(&mut stream))
                .unwrap()
                .starts_with(answer)
        );
    }
    let streams: [&[u8]; 6] = [
        // a message of 2^56 bytes, one past the bound, a length of nine bytes
        b"\xf8\x01\0\0\0\0\0\0\0",
        &[
            &[0xfd][..],
            &(MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes()[1..],
        ]
        .concat(),
        b"\xf7",
        // an undefined type, a malformed definition, a value that is no struct
        b"\x03\xff\x90\x00",
        b"\x04\x7f\x03\x01\x01",
        b"\x03\x06\x00\x01",
    ];
    for bytes in streams {
        let mut client = Client::connect(&serving);
        client.stream.write_all(bytes).unwrap();
        assert_eq!(read_to_end(&mut client.stream), b"", "{bytes:?}");
    }
    serving.assert_refused("protocol", 9);
    serving.assert_unharmed();
}

#[test]
fn a_peer_that_asks_too_often_is_told_when_to_come_back() {
    let serving = serve(|settings| {
        settings.limits.loopback.burst = 2;
        settings.limits.loopback.requests_per_second = 0.01;
    });
    let mut client = Client::connect(&serving);
    client.send(CREATE, 0);
    assert_eq!(client.response().error, "");
    assert!(
        client
            .error(CREATE, 1)
            .starts_with("too many requests from this address; try again in ")
    );
}

#[test]
fn a_client_that_ends_sending_still_gets_its_answers() {
    let serving = serve(|settings| settings.limits.request_s = 0.2);
    serving.core.then(Step::Hang);
    let mut client = Client::connect(&serving);
    client.send(CREATE, 5);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.response().error, "request timed out");
    assert_eq!(read_to_end(&mut client.stream), b"");
    wait_until("the connection's end", || serving.open() == 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_stream_ends_and_harms_nothing(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let serving = serve(|_| {});
        let mut client = Client::connect(&serving);
        client.stream.write_all(&bytes).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_end(&mut client.stream);
        serving.assert_unharmed();
    }
}
