//! The JSON-RPC dialect on real sockets: codes and words, batches, encodings, guards.

use std::io::Write;

use crate::support::{Seen, Step, post, read_answer, read_to_end, serve};
use flate2::Compression;
use flate2::write::GzEncoder;
use mach_rpc::aggregator::Refusal;
use proptest::prelude::*;
use serde_json::{Value, json};

const HASH: &str = "f22250648a51b71d4e060816d9fcd2b79a6c98ff937b7294edc8f03885b774ee";

fn create(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"aggregator_createTask","params":["{HASH}"]}}"#)
}

fn signed() -> Value {
    let task = json!({
        "alert_hash": format!("0x{HASH}"), "quorum_numbers": "AA==", "quorum_threshold_percentages": [66],
        "task_index": 7, "reference_block_number": 57,
    });
    json!({
        "id": 1, "method": "aggregator_processSignedTaskResponse",
        "params": [task, format!("0x{}", "ab".repeat(64)), "cd".repeat(32)],
    })
}

#[test]
fn bad_requests_have_the_originals_codes() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    let deep = "[".repeat(100_000);
    let zero = format!(
        r#"{{"id":1,"method":"aggregator_createTask","params":["0x{}"]}}"#,
        "0".repeat(64)
    );
    for (body, id, code) in [
        ("", Value::Null, -32700),
        ("{", Value::Null, -32700),
        (deep.as_str(), Value::Null, -32700),
        ("[]", Value::Null, -32600),
        ("7", Value::Null, -32600),
        (r#"{"method":5}"#, Value::Null, -32600),
        (
            r#"{"id":{},"method":"aggregator_createTask"}"#,
            Value::Null,
            -32600,
        ),
        (
            r#"{"id":"a","method":"aggregator_nothing"}"#,
            json!("a"),
            -32601,
        ),
        (
            r#"{"id":1,"method":"aggregator_createTask"}"#,
            json!(1),
            -32602,
        ),
        (
            r#"{"id":1,"method":"aggregator_createTask","params":{}}"#,
            json!(1),
            -32602,
        ),
        (
            r#"{"id":1,"method":"aggregator_createTask","params":["0x12"]}"#,
            json!(1),
            -32602,
        ),
        (zero.as_str(), json!(1), -32602),
        (
            r#"{"id":1,"method":"aggregator_initOperator","params":[1e99,0,"","","",""]}"#,
            json!(1),
            -32602,
        ),
    ] {
        let answer = post(&mut stream, body.as_bytes(), "");
        assert_eq!(answer.status, 200);
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&document["id"], &document["error"]["code"]),
            (&id, &json!(code)),
            "{body:.80}"
        );
        assert_eq!(document["jsonrpc"], "2.0");
    }
    assert!(serving.core.seen().is_empty());
}

#[test]
fn refusals_keep_their_words() {
    let serving = serve(|_| {});
    let operator_id = [0xcd; 32];
    for (refusal, words) in [
        (Refusal::TaskNotFound, "task not found".to_owned()),
        (
            Refusal::TaskCompleted(7),
            "task 7 not initialized or already completed".into(),
        ),
        (
            Refusal::NotInQuorum {
                task_index: 7,
                operator_id,
            },
            format!("operator 0x{} not part of task 7's quorum", "cd".repeat(32)),
        ),
        (
            Refusal::Busy("the queue is full".into()),
            "the queue is full".into(),
        ),
    ] {
        serving.core.then(Step::Refuse(refusal));
        let answer = serving.call(&signed().to_string());
        assert_eq!(answer["error"], json!({"code": -32000, "message": words}));
    }
    serving.core.then(Step::Refuse(Refusal::IncorrectSignature {
        task_index: 7,
        operator_id,
    }));
    let answer = serving.call(&signed().to_string());
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("Incorrect Signature.")
    );
}

#[test]
fn a_signature_arrives_and_its_reply_is_base64() {
    let serving = serve(|_| {});
    let mut tx_hash = [0; 32];
    tx_hash[31] = 1;
    serving.core.then(Step::Reply(true, tx_hash));
    let answer = serving.call(&signed().to_string());
    assert_eq!(
        answer["result"],
        json!({"reply": true, "tx_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="})
    );
    let seen = serving.core.seen();
    let [Seen::Signed(request)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (request.signature, request.operator_id),
        ([0xab; 64], [0xcd; 32])
    );
    assert_eq!(
        (
            request.alert.task_index,
            request.alert.quorum_threshold_percentages.as_slice()
        ),
        (7, &[66][..])
    );
}

#[test]
fn an_operator_of_another_chain_is_told() {
    let serving = serve(|_| {});
    let call = |chain: u32| {
        let (id, address) = ("00".repeat(32), "11".repeat(20));
        serving.call(
            &json!({"id": 1, "method": "aggregator_initOperator",
            "params": [chain, 0, id, address, address, address]})
            .to_string(),
        )
    };
    assert_eq!(call(31337)["result"], json!({"ok": true, "reason": ""}));
    assert_eq!(
        call(1)["result"],
        json!({"ok": false, "reason": "layer1_chain_id is 31337 here"})
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    let requests: String = (0..50)
        .map(|id| {
            let body = create(id);
            let length = body.len();
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        })
        .collect();
    // a host that is refused does not end the connection
    stream
        .write_all(requests.replace("Host: a", "Host: localhost").as_bytes())
        .unwrap();
    for id in 0..50 {
        let answer: Value = serde_json::from_slice(&read_answer(&mut stream).body).unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]["task_index"]),
            (&json!(id), &json!(0))
        );
    }
}

#[test]
fn batches_are_answered_together_and_bounded() {
    let serving = serve(|settings| settings.limits.max_batch = 3);
    serving.core.then(Step::Task(5, 6));
    serving.core.then(Step::Refuse(Refusal::TaskNotFound));
    let answer = serving.call(&format!(
        r#"[{},{{"id":"x","method":"none"}},{}]"#,
        create(1),
        create(2)
    ));
    let codes: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [Value::Null, json!(-32601), json!(-32000)]);
    assert_eq!(
        (&answer[0]["id"], &answer[0]["result"]["task_index"]),
        (&json!(1), &json!(5))
    );
    let answer = serving.call("[1,2,3,4]");
    assert_eq!(
        answer["error"],
        json!({"code": -32600, "message": "a batch must hold 1 to 3 requests, got 4"})
    );
}

#[test]
fn gzip_is_accepted_and_other_types_are_not() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(create(3).as_bytes()).unwrap();
    let answer = post(
        &mut stream,
        &encoder.finish().unwrap(),
        "Content-Encoding: gzip\r\n",
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&answer.body).unwrap()["id"],
        3
    );
    assert_eq!(
        post(&mut stream, b"{}", "Content-Encoding: gzip\r\n").status,
        400
    );
    assert_eq!(
        post(&mut stream, b"{}", "Content-Encoding: br\r\n").status,
        400
    );
    for content_type in [
        "text/plain",
        "application/jsonx",
        "application/x-www-form-urlencoded",
    ] {
        let header = format!("Content-Type: {content_type}\r\n");
        assert_eq!(
            post(&mut stream, create(1).as_bytes(), &header).status,
            415,
            "{content_type}"
        );
    }
    let header = "Content-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(post(&mut stream, create(1).as_bytes(), header).status, 200);
}

#[test]
fn browsers_and_other_names_are_refused() {
    let serving = serve(|settings| settings.rpc_cors = vec!["https://good.example".into()]);
    let mut stream = serving.jsonrpc();
    let mut ask = |head: &str| {
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        read_answer(&mut stream)
    };
    let get = ask("GET / HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!(get.status, 405);
    assert!(get.head.contains("allow: options, post"));
    assert_eq!(
        ask("POST /other HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n").status,
        404
    );
    let evil = "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 0\r\n";
    assert_eq!(ask(evil).status, 403);
    let preflight =
        ask("OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://good.example\r\n");
    assert_eq!(preflight.status, 204);
    assert!(
        preflight
            .head
            .contains("access-control-allow-origin: https://good.example")
    );
    let preflight =
        ask("OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n");
    assert!(!preflight.head.contains("access-control"));
    assert_eq!(
        post(
            &mut stream,
            create(1).as_bytes(),
            "Origin: https://evil.example\r\n"
        )
        .status,
        403
    );
    let answer = post(
        &mut stream,
        create(1).as_bytes(),
        "Origin: https://good.example\r\n",
    );
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("access-control-allow-origin: https://good.example")
    );
    serving.assert_refused("header", 2);
}

#[test]
fn what_is_no_http_closes_the_connection_only() {
    let serving = serve(|_| {});
    let mut stream = serving.jsonrpc();
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    read_to_end(&mut stream);
    let mut stream = serving.jsonrpc();
    let endless = vec![b'a'; 100_000];
    stream.write_all(b"POST / HTTP/1.1\r\nX: ").unwrap();
    // the server may close before all of it is taken
    let _ = stream.write_all(&endless);
    read_to_end(&mut stream);
    serving.assert_unharmed();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_body_gets_an_answer(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let serving = serve(|_| {});
        let mut stream = serving.jsonrpc();
        for body in bodies {
            let answer = post(&mut stream, &body, "");
            prop_assert_eq!(answer.status, 200);
            prop_assert!(serde_json::from_slice::<Value>(&answer.body).unwrap().get("error").is_some());
        }
    }
}
