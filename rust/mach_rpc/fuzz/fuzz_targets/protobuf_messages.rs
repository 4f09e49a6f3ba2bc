//! Any gRPC body as each request: read without harm; what was read survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_rpc::aggregator::{InitOperatorRequest, SignedTaskRequest};
use mach_rpc::grpc::messages::{
    CreateTaskRequestMessage, InitOperatorRequestMessage, SignedTaskRequestMessage,
};
use mach_rpc::grpc::unary;
use prost::Message;

fn read<M: Message + Default + PartialEq>(body: &[u8]) -> Option<M> {
    let message: M = unary::decode(body).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]);
    assert!(again.is_ok_and(|again| again == message));
    Some(message)
}

fuzz_target!(|message: &[u8]| {
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    let _ = unary::decode::<CreateTaskRequestMessage>(message);
    if let Some(request) = read::<SignedTaskRequestMessage>(&framed)
        && let Ok(request) = SignedTaskRequest::try_from(request)
    {
        assert!(request.alert.quorum_threshold_percentages.len() <= 192);
    }
    if let Some(request) = read::<InitOperatorRequestMessage>(&framed) {
        let _ = InitOperatorRequest::try_from(request);
    }
    if let Some(request) = read::<CreateTaskRequestMessage>(&framed) {
        let _ = request.checked();
    }
});
