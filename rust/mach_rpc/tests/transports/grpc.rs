//! gRPC on real sockets: statuses, deadlines, limits; the client is hyper's.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mach_rpc::aggregator::Refusal;
use mach_rpc::grpc::messages::{
    CreateTaskRequestMessage, CreateTaskResponseMessage, InitOperatorRequestMessage,
    InitOperatorResponseMessage,
};
use prost::Message;

use crate::support::{Serving, Step, serve};

async fn client(serving: &Serving) -> SendRequest<Full<Bytes>> {
    let port = serving.server.ports().grpc.unwrap();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &encoded].concat().into()
}

/// HTTP status, message without its prefix, and the metadata in which the gRPC status stands.
async fn call(
    client: &mut SendRequest<Full<Bytes>>,
    method: &str,
    body: Bytes,
    headers: &[(&str, &str)],
) -> (u16, Bytes, HeaderMap) {
    let mut request = Request::post(format!("http://aggregator/{method}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client
        .send_request(request.body(Full::new(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let metadata = body.trailers().cloned().unwrap_or(head.headers);
    let bytes = body.to_bytes();
    let message = if bytes.is_empty() {
        bytes
    } else {
        bytes.slice(5..)
    };
    (head.status.as_u16(), message, metadata)
}

fn status(metadata: &HeaderMap) -> (&str, &str) {
    let text = |name: &str| {
        metadata
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    (text("grpc-status"), text("grpc-message"))
}

const CREATE: &str = "aggregator.Aggregator/CreateTask";

fn create(byte: u8) -> Bytes {
    framed(&CreateTaskRequestMessage {
        alert_hash: vec![byte; 32],
    })
}

#[tokio::test]
async fn calls_succeed_and_fail_with_the_originals_statuses() {
    let serving = serve(|_| {});
    serving.core.then(Step::Task(3, 4));
    for refusal in [
        Refusal::TaskNotFound,
        Refusal::AlreadyFinished {
            alert_hash: [1; 32],
            tx_hash: [2; 32],
        },
        Refusal::Busy("the queue is full".into()),
        Refusal::Unavailable("L1 is away".into()),
    ] {
        serving.core.then(Step::Refuse(refusal));
    }
    let client = &mut client(&serving).await;
    let (http, message, metadata) = call(client, CREATE, create(9), &[]).await;
    let info = CreateTaskResponseMessage::decode(message)
        .unwrap()
        .info
        .unwrap();
    assert_eq!((http, status(&metadata)), (200, ("0", "")));
    assert_eq!(
        (
            info.alert_hash,
            info.task_index,
            info.reference_block_number
        ),
        (vec![9; 32], 3, 4)
    );
    for (code, words) in [
        ("2", "task not found".to_owned()),
        (
            "2",
            format!(
                "the task 0x{} already finished: 0x{}",
                "01".repeat(32),
                "02".repeat(32)
            ),
        ),
        ("8", "the queue is full".into()),
        ("14", "L1 is away".into()),
    ] {
        let (http, message, metadata) = call(client, CREATE, create(9), &[]).await;
        assert_eq!(
            (http, message.len(), status(&metadata)),
            (200, 0, (code, words.as_str()))
        );
    }
    let init = InitOperatorRequestMessage {
        layer1_chain_id: 1,
        operator_id: vec![0; 32],
        operator_address: "11".repeat(20),
        operator_state_retriever_addr: "11".repeat(20),
        registry_coordinator_addr: format!("0x{}", "11".repeat(20)),
        ..Default::default()
    };
    let (_, message, _) = call(
        client,
        "aggregator.Aggregator/InitOperator",
        framed(&init),
        &[],
    )
    .await;
    let answer = InitOperatorResponseMessage::decode(message).unwrap();
    assert_eq!(
        (answer.ok, answer.reason.as_str()),
        (false, "layer1_chain_id is 31337 here")
    );
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let serving = serve(|settings| settings.limits.max_body_bytes = 1000);
    let client = &mut client(&serving).await;
    let short = framed(&CreateTaskRequestMessage {
        alert_hash: vec![1; 31],
    });
    let compressed: Bytes = [&[1][..], &create(1)[1..]].concat().into();
    let large = framed(&CreateTaskRequestMessage {
        alert_hash: vec![1; 2000],
    });
    for (method, body, code, words) in [
        (CREATE, short, "2", "alertHash len should be 32"),
        (CREATE, create(0), "2", "alertHash must not be zero"),
        (
            CREATE,
            compressed,
            "12",
            "grpc: compressed messages are not offered here",
        ),
        (
            CREATE,
            Bytes::new(),
            "13",
            "grpc: the request holds no message",
        ),
        (CREATE, large, "8", "the request body is too large"),
        (
            "aggregator.Aggregator/None",
            create(1),
            "12",
            "unknown method None for service aggregator.Aggregator",
        ),
        (
            "other.Service/CreateTask",
            create(1),
            "12",
            "unknown service other.Service",
        ),
        ("", create(1), "12", "unknown service "),
    ] {
        let (_, _, metadata) = call(client, method, body, &[]).await;
        assert_eq!(status(&metadata), (code, words));
    }
    let (http, ..) = call(client, CREATE, create(1), &[("content-type", "text/html")]).await;
    assert_eq!(http, 415);
    assert!(serving.core.seen().is_empty());
}

#[tokio::test]
async fn deadlines_of_either_side_end_a_call_and_others_go_on() {
    let serving = serve(|settings| settings.limits.request_s = 1.0);
    serving.core.then(Step::Hang);
    serving.core.then(Step::Hang);
    let client = &mut client(&serving).await;
    let (_, _, metadata) = call(client, CREATE, create(1), &[]).await;
    assert_eq!(status(&metadata), ("4", "request timed out"));
    let (_, _, metadata) = call(client, CREATE, create(1), &[("grpc-timeout", "300m")]).await;
    assert_eq!(status(&metadata), ("4", "request timed out"));
    let (_, _, metadata) = call(client, CREATE, create(1), &[("grpc-timeout", "10S")]).await;
    assert_eq!(status(&metadata), ("0", ""));
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let serving = serve(|settings| settings.limits.max_requests_per_connection = 8);
    let mut client = client(&serving).await;
    // only now the client knows how many calls may go at once
    call(&mut client, CREATE, create(1), &[]).await;
    let calls = (0..100).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move { call(&mut client, CREATE, create(number + 1), &[]).await.1 })
    });
    let calls: Vec<_> = calls.collect();
    for (number, answer) in calls.into_iter().enumerate() {
        let message = tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .unwrap()
            .unwrap();
        let info = CreateTaskResponseMessage::decode(message)
            .unwrap()
            .info
            .unwrap();
        assert_eq!(usize::from(info.alert_hash[0]), number + 1);
    }
    assert_eq!(serving.core.seen().len(), 101);
}

#[tokio::test]
async fn a_peer_that_asks_too_often_is_told_when_to_come_back() {
    let serving = serve(|settings| {
        settings.limits.loopback.burst = 3;
        settings.limits.loopback.requests_per_second = 0.01;
    });
    let client = &mut client(&serving).await;
    for _ in 0..2 {
        assert_eq!(status(&call(client, CREATE, create(1), &[]).await.2).0, "0");
    }
    let (_, _, metadata) = call(client, CREATE, create(1), &[]).await;
    let (code, words) = status(&metadata);
    assert_eq!(code, "8");
    assert!(
        words.starts_with("too many requests from this address; try again in "),
        "{words}"
    );
    serving.assert_refused("rate", 1);
}

#[tokio::test]
async fn a_token_is_asked_for() {
    const TOKEN: &str = "5d1cf0e8a3b24c6f9e7d8a1b2c3d4e5f";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, TOKEN).unwrap();
    let serving = serve(|settings| settings.token_files = vec![file]);
    let client = &mut client(&serving).await;
    let (_, _, metadata) = call(client, CREATE, create(1), &[]).await;
    assert_eq!(status(&metadata), ("16", "a bearer token is needed here"));
    let presented = format!("Bearer {TOKEN}");
    let (_, _, metadata) = call(client, CREATE, create(1), &[("authorization", &presented)]).await;
    assert_eq!(status(&metadata), ("0", ""));
}
