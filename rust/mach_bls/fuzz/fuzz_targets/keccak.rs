//! Many messages hash as each alone. A zero byte ends a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_keccak::{keccak256, keccak256_many};

fuzz_target!(|bytes: &[u8]| {
    let messages: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let each: Vec<_> = messages.iter().map(|message| keccak256(message)).collect();
    assert_eq!(keccak256_many(&messages), each);
});
