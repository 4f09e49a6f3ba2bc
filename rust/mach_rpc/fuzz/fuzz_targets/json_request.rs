//! Any body: validated as serde_json validates it, and every method reads any parameters without harm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_rpc::json::{Json, Kind, MAX_DEPTH, parse, write_string};
use mach_rpc::jsonrpc::envelope::read_call;
use mach_rpc::jsonrpc::methods::{read_create_task, read_init_operator, read_signed_task};

fn depth(json: Json<'_>) -> usize {
    let inner = match json.kind() {
        Kind::Array => json.elements().into_iter().flatten().map(depth).max(),
        Kind::Object => json
            .members()
            .into_iter()
            .flatten()
            .map(|(_, value)| depth(value))
            .max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

fn read(document: Json<'_>) {
    let Ok(call) = read_call(document) else {
        return;
    };
    let _ = read_create_task(call.params);
    let _ = read_init_operator(call.params);
    if let Ok(request) = read_signed_task(call.params) {
        assert!(request.alert.quorum_numbers.len() <= 192);
    }
    let mut written = Vec::new();
    write_string(&mut written, &call.method);
    assert_eq!(
        serde_json::from_slice::<String>(&written).as_deref().ok(),
        Some(&*call.method)
    );
}

fuzz_target!(|body: &[u8]| {
    let oracle = serde_json::from_slice::<serde_json::Value>(body);
    match parse(body) {
        Ok(document) => {
            assert!(depth(document) <= MAX_DEPTH);
            if let Err(error) = oracle {
                assert!(error.to_string().contains("number out of range"), "{error}");
            }
            match document.elements() {
                Some(calls) => calls.for_each(read),
                None => read(document),
            }
        }
        Err(_) => assert!(
            oracle.is_err() || body.iter().filter(|byte| b"[{".contains(byte)).count() > MAX_DEPTH
        ),
    }
});
