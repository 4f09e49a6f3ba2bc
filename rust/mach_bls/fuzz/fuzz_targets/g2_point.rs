//! Any bytes are a G2 point and a G2 public key with exactly that encoding, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_bls::point::{decode_g2, decode_g2_many, encode_g2};
use mach_bls::{PublicKeyG2, SecretKey, SignerSet, portably};

fn check(bytes: &[u8]) {
    let point = decode_g2(bytes, "point");
    if let Ok(point) = &point {
        // The check of arkworks is another than ours.
        assert!(point.is_on_curve() && point.is_in_correct_subgroup_assuming_on_curve());
        assert_eq!(encode_g2(point), bytes);
    }
    let is_real = point.is_ok() && bytes.iter().any(|byte| *byte != 0);
    assert_eq!(PublicKeyG2::from_bytes(bytes).is_ok(), is_real);
    assert_eq!(SignerSet::from_bytes(bytes).is_ok_and(|set| set.len() == 1), is_real);
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some((scalar, rest)) = bytes.split_first_chunk::<32>()
        && let Ok(key) = SecretKey::from_bytes(scalar)
    {
        let real = key.public_key_g2().to_bytes();
        assert!(decode_g2(&real, "point").is_ok());
        if let [place, change, ..] = rest {
            let mut changed = real;
            changed[usize::from(*place) % real.len()] ^= change;
            check(&changed);
            let mut batch = [real; 9];
            batch[usize::from(place ^ change) % batch.len()] = changed;
            let batch = batch.concat();
            let many = decode_g2_many(&batch, "point");
            assert_eq!(portably(|| decode_g2_many(&batch, "point")), many);
            assert_eq!(many.is_ok(), decode_g2(&changed, "point").is_ok());
        }
    }
});
