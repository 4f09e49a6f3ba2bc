//! Any bytes are a secret key with exactly that encoding, or an error that does not show them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_bls::SecretKey;

fuzz_target!(|bytes: &[u8]| {
    match SecretKey::from_bytes(bytes) {
        Ok(key) => {
            assert_eq!(key.to_bytes().as_slice(), bytes);
            assert_eq!(format!("{key:?}"), "SecretKey(..)");
        }
        Err(error) => assert!(error.to_string().len() < 120),
    }
});
