//! Starting, stopping, and the errors that name what is wrong.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mach_rpc::{Server, ServerSettings};
use serde_json::json;

use crate::support::{Scripted, Step, post, read_answer, read_to_end, serve, wait_until};

fn start(change: impl FnOnce(&mut ServerSettings)) -> Result<Server, String> {
    let mut settings = ServerSettings::default();
    settings.listeners.jsonrpc = Some("0".into());
    change(&mut settings);
    Server::start(&settings, Arc::new(Scripted::default())).map_err(|error| error.to_string())
}

#[test]
fn only_what_has_an_address_listens() {
    let server = start(|_| {}).unwrap();
    let ports = server.ports();
    assert!(ports.jsonrpc.is_some() && ports.grpc.is_none() && ports.net_rpc.is_none());
}

#[test]
fn errors_name_the_address_the_setting_and_the_file() {
    let held = start(|_| {}).unwrap();
    let port = held.ports().jsonrpc.unwrap();
    let error = start(|settings| settings.listeners.grpc = Some(port.to_string())).unwrap_err();
    assert_eq!(
        error,
        format!(
            "127.0.0.1:{port} is already in use; stop the process that listens there or set another port"
        )
    );
    assert!(
        start(|settings| settings.workers = 0)
            .unwrap_err()
            .contains("workers is 0")
    );
    assert!(
        start(|settings| settings.listeners.net_rpc = Some("nowhere".into()))
            .unwrap_err()
            .contains("\"nowhere\"")
    );
    let error = start(|settings| settings.token_files = vec!["/no/tokens".into()]).unwrap_err();
    assert!(error.contains("/no/tokens"), "{error}");
}

#[test]
fn stopping_lets_requests_end_and_frees_the_port() {
    let serving = serve(|settings| {
        settings.limits.request_s = 0.5;
        settings.limits.drain_s = 10.0;
    });
    serving.core.then(Step::Hang);
    let port = serving.server.ports().jsonrpc.unwrap();
    let mut idle = serving.jsonrpc();
    let mut busy = serving.jsonrpc();
    let body = json!({"id": 1, "method": "aggregator_createTask", "params": ["11".repeat(32)]})
        .to_string();
    let asked = std::thread::spawn(move || post(&mut busy, body.as_bytes(), ""));
    wait_until("the request's arrival", || !serving.core.seen().is_empty());
    serving.server.stop();
    let answer = asked.join().unwrap();
    assert!(
        String::from_utf8(answer.body)
            .unwrap()
            .contains("request timed out")
    );
    assert_eq!(read_to_end(&mut idle), b"");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(serving.open(), 0);
    start(|settings| settings.listeners.jsonrpc = Some(port.to_string())).unwrap();
    serving.server.stop();
}

#[test]
fn stopping_does_not_wait_longer_than_told() {
    let serving = serve(|settings| settings.limits.drain_s = 0.1);
    serving.core.then(Step::Hang);
    let mut stream = serving.jsonrpc();
    let body = json!({"id": 1, "method": "aggregator_createTask", "params": ["11".repeat(32)]})
        .to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    wait_until("the request's arrival", || !serving.core.seen().is_empty());
    let start = Instant::now();
    drop(serving);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(read_to_end(&mut stream), b"");
}

#[tokio::test]
async fn a_server_may_be_dropped_on_a_runtime() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    assert_eq!(post(&mut stream, b"{}", "").status, 200);
    drop(serving);
    assert_eq!(read_to_end(&mut stream), b"");
}

#[test]
fn what_happened_is_counted() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    for body in [
        json!({"id": 1, "method": "aggregator_createTask", "params": ["11".repeat(32)]}),
        json!({"id": 1, "method": "aggregator_createTask", "params": []}),
        json!({"id": 1, "method": "other"}),
    ] {
        post(&mut stream, body.to_string().as_bytes(), "");
    }
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).status, 405);
    let snapshot = serving.server.stats().snapshot();
    let calls: Vec<_> = snapshot
        .calls
        .iter()
        .map(|calls| (calls.method, calls.outcomes.clone()))
        .collect();
    assert_eq!(
        calls,
        [
            ("createTask", vec![("ok", 1), ("invalid", 1)]),
            ("other", vec![("invalid", 1)])
        ]
    );
    let jsonrpc = &snapshot.connections[0];
    assert_eq!(
        (jsonrpc.transport, jsonrpc.open, jsonrpc.accepted),
        ("jsonrpc", 1, 1)
    );
    assert!(jsonrpc.bytes_in > 300 && jsonrpc.bytes_out > 300);
}
