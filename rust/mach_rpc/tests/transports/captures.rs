//! The original's operators, replayed byte by byte from captures, meet answers that they understand.

use std::io::{Read, Write};

use crate::support::{Chunk, Seen, Step, capture, read_answer, read_exactly, serve};
use flate2::read::GzDecoder;
use mach_rpc::aggregator::Refusal;
use serde_json::Value;

const ALERT: &str = "f22250648a51b71d4e060816d9fcd2b79a6c98ff937b7294edc8f03885b774ee";
const CONFIRMED_BY: &str = "fe2f5b3413030108acd037e2491ec67e7a229066f4d19998ff9b5405cef04971";

fn hash(digits: &str) -> [u8; 32] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

fn already_finished() -> Step {
    Step::Refuse(Refusal::AlreadyFinished {
        alert_hash: hash(ALERT),
        tx_hash: hash(CONFIRMED_BY),
    })
}

fn body_of(chunk: &Chunk) -> Vec<u8> {
    let start = chunk
        .bytes
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap()
        + 4;
    let body = &chunk.bytes[start..];
    if body.starts_with(b"\x1f\x8b") {
        let mut plain = Vec::new();
        GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        return plain;
    }
    body.to_vec()
}

#[test]
fn json_rpc_operators_get_what_the_original_answers() {
    let Some(chunks) = capture("wire/jsonrpc-capture.log") else {
        return;
    };
    let serving = serve(|_| {});
    serving.core.then(Step::Task(0, 57));
    serving.core.then(Step::Refuse(Refusal::TaskCompleted(0)));
    serving.core.then(already_finished());
    serving.core.then(Step::Reply(false, [0; 32]));
    let mut stream = serving.jsonrpc();
    for pair in chunks.chunks(2) {
        let [sent, expected] = pair else {
            panic!("{pair:?}")
        };
        stream.write_all(&sent.bytes).unwrap();
        let answer = read_answer(&mut stream);
        let expected = body_of(expected);
        let original: Value = serde_json::from_slice(&expected).unwrap();
        let ours: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: application/json"));
        if let Some(error) = original.get("error") {
            // the original puts a sentence of its own in front, and the alert's hash twice in hex
            let words = ours["error"]["message"].as_str().unwrap();
            let theirs = error["message"].as_str().unwrap();
            assert_eq!(ours["error"]["code"], error["code"]);
            assert!(
                theirs.ends_with(words) || theirs.ends_with(&words[words.len() - 85..]),
                "{words} / {theirs}"
            );
        } else if original["result"]["alert_hash"] == format!("0x{}", "0".repeat(64)) {
            // the original takes the zero hash for an alert
            assert_eq!(ours["error"]["code"], -32602);
        } else {
            assert_eq!(String::from_utf8(answer.body), String::from_utf8(expected));
        }
    }
    let seen = serving.core.seen();
    let Seen::Signed(signed) = &seen[2] else {
        panic!("{seen:?}")
    };
    assert_eq!(signed.alert.alert_hash, hash(ALERT));
    assert_eq!(
        (
            signed.alert.reference_block_number,
            signed.alert.quorum_numbers.as_slice()
        ),
        (57, &[0][..])
    );
    assert!(hex::encode(signed.signature).starts_with("0f964a86df2f0756386d25b43edaaca0"));
}

#[test]
fn net_rpc_operators_get_the_originals_bytes() {
    let Some(chunks) = capture("wire/net-rpc-gob-capture.log") else {
        return;
    };
    let serving = serve(|_| {});
    serving.core.then(Step::Task(0, 57));
    serving.core.then(Step::Reply(false, [0; 32]));
    serving.core.then(already_finished());
    let mut stream = serving.net_rpc();
    let (last, others) = chunks.split_last().unwrap();
    for chunk in others {
        if chunk.from_client {
            stream.write_all(&chunk.bytes).unwrap();
        } else {
            assert_eq!(read_exactly(&mut stream, chunk.bytes.len()), chunk.bytes);
        }
    }
    // The error's text names the alert once in hex, the original's twice; all around it is the same.
    let refusal = Refusal::AlreadyFinished {
        alert_hash: hash(ALERT),
        tx_hash: hash(CONFIRMED_BY),
    };
    let words = refusal.to_string();
    let twice = hex::encode(ALERT);
    let original = String::from_utf8_lossy(&last.bytes).into_owned();
    assert!(original.contains(&words.replace(ALERT, &twice)));
    let removed = twice.len() - ALERT.len();
    let ours = read_exactly(&mut stream, last.bytes.len() - removed);
    let tail = last.bytes.len() - 13;
    assert_eq!(ours[ours.len() - 13..], last.bytes[tail..]);
    assert!(String::from_utf8_lossy(&ours).contains(&words));

    let seen = serving.core.seen();
    let Seen::Init(init) = &seen[0] else {
        panic!("{seen:?}")
    };
    assert_eq!(init.layer1_chain_id, 31337);
    assert_eq!(
        hex::encode(init.registry_coordinator),
        "a82ff9afd8f496c3d6ac40e2a0f282e47488cfc9"
    );
    let Seen::Signed(signed) = &seen[2] else {
        panic!("{seen:?}")
    };
    assert_eq!(signed.alert.alert_hash, hash(ALERT));
    assert_eq!(signed.alert.reference_block_number, 57);
    let point = mach_bls::Signature::from_bytes(&signed.signature);
    assert!(point.is_ok(), "Montgomery limbs give a point of the curve");
    assert_eq!(
        hex::encode(signed.operator_id),
        "c7b8364cbb101fed48a5b6421077e96f71d8d5ce0f678b1cb08d3d993cc9c40a"
    );
}

/// One HTTP/2 frame: type, flags, stream, payload.
fn read_frame(stream: &mut impl Read) -> (u8, u8, u32, Vec<u8>) {
    let head = read_exactly(stream, 9);
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    (head[3], head[4], number, read_exactly(stream, length))
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// The DATA payloads of stream 1 until its end.
fn data_of_stream(stream: &mut impl Read) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let (kind, flags, number, payload) = read_frame(stream);
        if kind == DATA {
            data.extend(payload);
        }
        if number == 1 && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return data;
        }
    }
}

#[test]
fn grpc_operators_get_the_originals_messages() {
    let Some(chunks) = capture("wire/grpc-capture.log") else {
        return;
    };
    let serving = serve(|_| {});
    serving.core.then(Step::Task(0, 57));
    serving.core.then(Step::Reply(false, [0; 32]));
    serving.core.then(already_finished());
    for connection in ["c1", "c2", "c3", "c4"] {
        let of_this = |from_client| {
            chunks
                .iter()
                .filter(move |chunk| {
                    chunk.connection == connection && chunk.from_client == from_client
                })
                .flat_map(|chunk| chunk.bytes.clone())
                .collect::<Vec<u8>>()
        };
        let mut stream = serving.grpc();
        stream.write_all(&of_this(true)).unwrap();
        assert_eq!(
            data_of_stream(&mut stream),
            data_of_stream(&mut &of_this(false)[..]),
            "{connection}"
        );
    }
    let seen = serving.core.seen();
    let Seen::Signed(signed) = &seen[2] else {
        panic!("{seen:?}")
    };
    assert!(hex::encode(signed.signature).starts_with("1010e4f1b3444376e4c53d6df9a4d5ca"));
    assert_eq!(seen[1], Seen::Create(hash(ALERT)));
    assert_eq!(seen.len(), 4);
}
