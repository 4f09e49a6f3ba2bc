//! Slow, large, many: what strangers do to servers, and that others are served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Step, end_sending, post, read_answer, read_exactly, read_to_end, serve, wait_until,
};

/// Sends one byte of `bytes` every 20 ms, over and over, until the server closes.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let start = Instant::now();
    for byte in bytes.iter().cycle() {
        assert!(start.elapsed() < DEADLINE, "the server waits for ever");
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        match stream.read(&mut [0; 512]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) | Ok(0) => break,
            Ok(_) => {}
        }
    }
    start.elapsed()
}

#[test]
fn a_head_that_comes_too_slowly_is_cut_off() {
    let serving = serve(|settings| settings.limits.head_s = 0.4);
    let mut jsonrpc = serving.jsonrpc();
    jsonrpc.write_all(b"POST / HTTP/1.1\r\nX: ").unwrap();
    assert!(drip(&mut jsonrpc, b"a") >= Duration::from_millis(350));
    let mut net_rpc = serving.net_rpc();
    assert!(drip(&mut net_rpc, b"C") < DEADLINE);
    let mut net_rpc = serving.net_rpc();
    net_rpc.write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n").unwrap();
    read_exactly(&mut net_rpc, 34);
    assert!(
        drip(&mut net_rpc, b"\x7f") < DEADLINE,
        "part of a gob message"
    );
    serving.assert_refused("slow", 3);
    serving.assert_unharmed();
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let serving = serve(|settings| settings.limits.head_s = 0.2);
    assert_eq!(read_to_end(&mut serving.jsonrpc()), b"");
    assert_eq!(read_to_end(&mut serving.net_rpc()), b"");
    // an HTTP/2 server speaks first
    read_to_end(&mut serving.grpc());
    serving.assert_refused("slow", 3);
}

#[test]
fn a_peer_that_asks_first_need_not_send_a_large_body() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    stream
        .write_all(format!("{head}Content-Length: 100000000\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut stream).status, 413);
    let mut stream = serving.jsonrpc();
    stream
        .write_all(format!("{head}Content-Length: 2\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut stream).status, 100);
    stream.write_all(b"{}").unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
}

#[test]
fn a_body_that_comes_too_slowly_is_answered() {
    let serving = serve(|settings| settings.limits.body_s = 0.3);
    let mut stream = serving.jsonrpc();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(
        (answer.status, &answer.body[..]),
        (408, &b"request body came too slowly\n"[..])
    );
    serving.assert_refused("slow", 1);
}

#[test]
fn idle_connections_end_and_busy_ones_do_not() {
    let serving = serve(|settings| {
        settings.limits.idle_s = 0.2;
        settings.limits.request_s = 0.8;
    });
    serving.core.then(Step::Hang);
    let mut busy = serving.jsonrpc();
    let mut idle = serving.jsonrpc();
    let mut long_lived = serving.net_rpc();
    let body = json!({"id": 1, "method": "aggregator_createTask", "params": ["11".repeat(32)]})
        .to_string();
    assert_eq!(
        read_to_end_while(&mut idle, || post(&mut busy, body.as_bytes(), "").status),
        200
    );
    serving.assert_refused("idle", 1);
    long_lived
        .write_all(b"CONNECT /_goRPC_ HTTP/1.0\n\n")
        .unwrap();
    read_exactly(&mut long_lived, 34);
    assert_eq!(read_to_end(&mut busy), b"");
}

/// Does something, then sees that the stream has ended meanwhile.
fn read_to_end_while<T>(stream: &mut TcpStream, work: impl FnOnce() -> T) -> T {
    let result = work();
    assert_eq!(read_to_end(stream), b"");
    result
}

#[test]
fn a_peer_that_takes_no_answers_is_cut_off() {
    let serving = serve(|settings| settings.limits.write_s = 0.3);
    let mut stream = serving.jsonrpc();
    let body = format!("{{\"id\":\"{}\",\"method\":\"x\"}}", "a".repeat(1_000_000));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let start = Instant::now();
    while serving.refused("slow") == 0 {
        assert!(start.elapsed() < DEADLINE, "the server waits for ever");
        // it stops taking requests once its answers pile up, and closes in the end
        let _ = stream.write_all(request.as_bytes());
    }
    serving.assert_unharmed();
}

/// Sends `count` bytes of a body, and what the server answered in the end.
fn send_large(
    stream: &mut TcpStream,
    head: &str,
    count: usize,
    chunked: bool,
) -> crate::support::Answer {
    stream
        .write_all(
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    let piece = vec![b' '; 65_536];
    for _ in 0..count / piece.len() {
        if chunked {
            stream.write_all(b"10000\r\n").unwrap();
        }
        stream.write_all(&piece).unwrap();
        if chunked {
            stream.write_all(b"\r\n").unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
    read_answer(stream)
}

#[test]
fn a_body_of_100_mb_is_refused_and_not_kept() {
    let serving = serve(|_| {});
    let length = 100 * 1024 * 1024;
    let before = resident_bytes();
    let declared = send_large(
        &mut serving.jsonrpc(),
        &format!("Content-Length: {length}\r\n"),
        length,
        false,
    );
    let chunked = send_large(
        &mut serving.jsonrpc(),
        "Transfer-Encoding: chunked\r\n",
        length,
        true,
    );
    assert_eq!((declared.status, chunked.status), (413, 413));
    assert!(resident_bytes().saturating_sub(before) < 64 * 1024 * 1024);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; length]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert_eq!(
        post(&mut serving.jsonrpc(), &bomb, "Content-Encoding: gzip\r\n").status,
        413
    );
    serving.assert_refused("body_size", 3);
    let largest = format!("[{}]", " ".repeat(5 * 1024 * 1024 - 2));
    assert_eq!(
        post(&mut serving.jsonrpc(), largest.as_bytes(), "").status,
        200
    );
    serving.assert_unharmed();
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn large_bodies_together_are_bounded() {
    let serving = serve(|settings| settings.limits.max_body_memory_bytes = 1_500_000);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let mut first = serving.jsonrpc();
    first.write_all(head.as_bytes()).unwrap();
    first.write_all(&vec![b' '; 999_999]).unwrap();
    wait_until("the first body's arrival", || {
        serving.server.stats().snapshot().connections[0].bytes_in >= 999_999
    });
    let second = post(&mut serving.jsonrpc(), &vec![b' '; 1_000_000], "");
    assert_eq!(second.status, 503);
    first.write_all(b"7").unwrap();
    assert_eq!(read_answer(&mut first).status, 200);
    assert_eq!(
        post(&mut serving.jsonrpc(), &vec![b' '; 1_000_000], "").status,
        200
    );
    serving.assert_refused("body_memory", 1);
}

#[test]
fn connections_are_bounded_for_each_peer_and_for_all() {
    let serving = serve(|settings| settings.limits.loopback.connections = 3);
    let kept: Vec<_> = (0..3).map(|_| serving.jsonrpc()).collect();
    wait_until("three connections", || serving.open() == 3);
    assert_eq!(read_to_end(&mut serving.net_rpc()), b"");
    serving.assert_refused("peer_connections", 1);
    drop(kept);
    wait_until("their end", || serving.open() == 0);
    serving.assert_unharmed();

    let serving = serve(|settings| settings.limits.max_connections = 1);
    let kept = serving.grpc();
    wait_until("one connection", || serving.open() == 1);
    assert_eq!(read_to_end(&mut serving.jsonrpc()), b"");
    serving.assert_refused("connections", 1);
    drop(kept);
}

#[test]
fn a_peer_that_asks_too_often_is_told_when_to_come_back() {
    let serving = serve(|settings| {
        settings.limits.loopback.burst = 5;
        settings.limits.loopback.requests_per_second = 0.01;
    });
    let mut stream = serving.jsonrpc();
    let statuses: Vec<_> = (0..5)
        .map(|_| post(&mut stream, b"{}", "").status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
    let answer = post(&mut stream, b"{}", "");
    assert!(answer.head.contains("retry-after: "));
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["error"]["code"], -32005);
    assert_eq!(
        read_to_end(&mut serving.jsonrpc()),
        b"",
        "a new connection costs one too"
    );
}

#[test]
fn a_batch_costs_as_many_as_it_holds() {
    let serving = serve(|settings| {
        settings.limits.loopback.burst = 5;
        settings.limits.loopback.requests_per_second = 0.01;
    });
    let mut stream = serving.jsonrpc();
    let too_many: Value =
        serde_json::from_slice(&post(&mut stream, b"[1,2,3,4,5]", "").body).unwrap();
    assert_eq!(too_many["error"]["code"], -32005);
    let fits: Value = serde_json::from_slice(&post(&mut stream, b"[1,2,3]", "").body).unwrap();
    assert_eq!(fits.as_array().map(Vec::len), Some(3));
}

#[test]
fn requests_in_progress_are_bounded_and_time_out() {
    let serving = serve(|settings| {
        settings.limits.max_requests_in_progress = 2;
        settings.limits.request_s = 0.5;
    });
    let body = json!({"id": 1, "method": "aggregator_createTask", "params": ["11".repeat(32)]})
        .to_string();
    serving.core.then(Step::Hang);
    serving.core.then(Step::Hang);
    let answer = serving.call(&format!("[{body},{body},{body}]"));
    let errors: Vec<_> = (0..3).map(|place| answer[place]["error"].clone()).collect();
    assert_eq!(
        errors[0],
        json!({"code": -32002, "message": "request timed out"})
    );
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[2]["code"], -32000);
    assert!(serving.call(&body)["result"].is_object());
    let calls = serving.server.stats().snapshot().calls;
    assert_eq!(
        calls[0].outcomes,
        [("ok", 1), ("busy", 1), ("timed_out", 2)]
    );
}

#[test]
fn noise_harms_no_transport() {
    let serving = serve(|_| {});
    let noise: Vec<u8> = (0..20_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for _ in 0..20 {
        for mut stream in [serving.jsonrpc(), serving.grpc(), serving.net_rpc()] {
            // the server may close before it has taken all
            let _ = stream.write_all(&noise);
            if stream.shutdown(std::net::Shutdown::Write).is_ok() {
                read_to_end(&mut stream);
            }
        }
    }
    let half = serving.grpc();
    end_sending(&half);
    wait_until("the connections' end", || serving.open() == 0);
    serving.assert_unharmed();
}
