//! Any stream of gob messages: read without harm, and in time and memory that its length bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_rpc::gob::{Decoder, Encoder, Message, frame};
use mach_rpc::net_rpc::messages::{
    Answer, Header, read_create_task, read_header, read_init_operator, read_signed_task,
    write_answer,
};
use mach_rpc::net_rpc::{MAX_MESSAGE_BYTES, handshake};

fuzz_target!(|bytes: &[u8]| {
    let _ = handshake::read(bytes);
    let mut decoder = Decoder::default();
    let mut encoder = Encoder::default();
    let mut stream = bytes;
    while let Ok(Some((content, length))) = frame(stream, MAX_MESSAGE_BYTES) {
        stream = &stream[length..];
        let Ok(message) = decoder.message(content) else {
            return;
        };
        let Message::Value(fields) = message else {
            continue;
        };
        let header = read_header(fields.clone()).unwrap_or_default();
        let _ = read_init_operator(fields.clone());
        let _ = read_create_task(fields.clone());
        if let Ok(request) = read_signed_task(fields) {
            answer(&mut encoder, &header, &Answer::CreateTask(request.alert));
        }
        answer(&mut encoder, &header, &Answer::Error("no".into()));
    }
});

/// What we write, we read.
fn answer(encoder: &mut Encoder, header: &Header, answer: &Answer) {
    let mut out = Vec::new();
    write_answer(&mut out, encoder, header, answer);
    let mut rest = &out[..];
    while !rest.is_empty() {
        let framed = frame(rest, 1 << 20);
        let Ok(Some((_, length))) = framed else {
            panic!("{framed:?}");
        };
        rest = &rest[length..];
    }
}
