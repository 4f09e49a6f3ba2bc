//! Any bytes are a G1 point, a G1 public key and a signature with exactly that encoding, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_bls::point::{decode_g1, encode_g1};
use mach_bls::{PublicKeyG1, Signature, hash_to_g1};

fn check(bytes: &[u8]) {
    let point = decode_g1(bytes, "point");
    if let Ok(point) = &point {
        assert!(point.is_on_curve());
        assert_eq!(encode_g1(point), bytes);
    }
    let is_real = point.is_ok() && bytes.iter().any(|byte| *byte != 0);
    assert_eq!(PublicKeyG1::from_bytes(bytes).is_ok(), is_real);
    assert_eq!(Signature::from_bytes(bytes).is_ok(), is_real);
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // A real point, and one with a changed byte.
    if let Some((digest, rest)) = bytes.split_first_chunk() {
        let mut real = encode_g1(&hash_to_g1(digest));
        assert!(decode_g1(&real, "point").is_ok());
        if let [place, change, ..] = rest {
            real[usize::from(*place) % real.len()] ^= change;
            check(&real);
        }
    }
});
