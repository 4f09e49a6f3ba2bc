//! What holds for every key, message and byte string.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use mach_bls::point::{
    G1_BYTES, G2_BYTES, decode_batch, decode_g1, decode_g1_many, decode_g2, encode_g1, encode_g2,
};
use mach_bls::{
    BlsError, PublicKeyG1, PublicKeyG2, SecretKey, Signature, SignedMessage, SignerSet,
    SumToVerify, find_invalid, hash_to_g1, portably, sum_g1, sum_g2, verify_aggregate,
    verify_batch, verify_each, verify_possession, verify_registration, verify_sums,
};
use proptest::prelude::*;

fn secret_key() -> impl Strategy<Value = SecretKey> {
    any::<[u8; 32]>().prop_filter_map("not below the group order", |mut bytes| {
        bytes[0] &= 0x3f;
        SecretKey::from_bytes(&bytes).ok()
    })
}

/// A G1 point: any multiple of the generator, the identity too.
fn g1_point() -> impl Strategy<Value = mach_bls::G1Affine> {
    prop_oneof![
        8 => secret_key().prop_map(|key| *key.public_key_g1().as_point()),
        1 => Just(mach_bls::G1Affine::identity()),
    ]
}

/// Encodings of keys and points, and bytes that are seldom one.
fn encoding_or_noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..=130),
        any::<[u8; 32]>().prop_map(|scalar| scalar.to_vec()),
        g1_point().prop_map(|point| encode_g1(&point).to_vec()),
        secret_key().prop_map(|key| key.public_key_g2().to_bytes().to_vec()),
    ]
}

fn negated(signature: &Signature) -> Signature {
    Signature::from_bytes(&encode_g1(&-*signature.as_point())).unwrap()
}

proptest! {
    #[test]
    fn encodings_survive_a_round_trip(key in secret_key(), message: [u8; 32]) {
        let again = SecretKey::from_bytes(key.to_bytes().as_slice()).unwrap();
        prop_assert_eq!(again.to_bytes(), key.to_bytes());
        prop_assert_eq!(PublicKeyG1::from_bytes(&key.public_key_g1().to_bytes()), Ok(key.public_key_g1()));
        prop_assert_eq!(PublicKeyG2::from_bytes(&key.public_key_g2().to_bytes()), Ok(key.public_key_g2()));
        let signature = key.sign(&message);
        prop_assert_eq!(Signature::from_bytes(&signature.to_bytes()), Ok(signature));
    }

    #[test]
    fn bytes_are_a_point_or_key_with_that_one_encoding_or_an_error(bytes in encoding_or_noise()) {
        if let Ok(point) = decode_g1(&bytes, "point") {
            prop_assert_eq!(encode_g1(&point).to_vec(), bytes.clone());
        }
        if let Ok(point) = decode_g2(&bytes, "point") {
            prop_assert_eq!(encode_g2(&point).to_vec(), bytes.clone());
        }
        if let Ok(key) = SecretKey::from_bytes(&bytes) {
            prop_assert_eq!(key.to_bytes().to_vec(), bytes.clone());
        }
    }

    #[test]
    fn a_changed_byte_never_decodes_to_the_same_point(key in secret_key(), index in 0..G2_BYTES, change in 1..=u8::MAX) {
        let mut bytes = key.public_key_g2().to_bytes();
        bytes[index] ^= change;
        prop_assert_ne!(PublicKeyG2::from_bytes(&bytes), Ok(key.public_key_g2()));
        let mut bytes = key.public_key_g1().to_bytes();
        bytes[index % G1_BYTES] ^= change;
        prop_assert_ne!(PublicKeyG1::from_bytes(&bytes), Ok(key.public_key_g1()));
    }

    #[test]
    fn sums_do_not_depend_on_order_or_grouping(points in proptest::collection::vec(g1_point(), 0..8), cut in 0..8_usize) {
        // Equal and opposite points beside the random ones.
        let mut points = points;
        points.extend(points.clone());
        points.extend(points.first().map(|point| -*point));
        let total = sum_g1(points.iter().copied());
        prop_assert_eq!(sum_g1(points.iter().rev().copied()), total);
        let (left, right) = points.split_at(cut.min(points.len()));
        prop_assert_eq!(sum_g1([sum_g1(left.iter().copied()), sum_g1(right.iter().copied())]), total);
    }

    #[test]
    fn a_point_and_its_opposite_sum_to_nothing(key in secret_key()) {
        let (g1, g2) = (*key.public_key_g1().as_point(), *key.public_key_g2().as_point());
        prop_assert_eq!(encode_g1(&sum_g1([g1, -g1])), [0; G1_BYTES]);
        prop_assert_eq!(encode_g2(&sum_g2([g2, -g2])), [0; G2_BYTES]);
        prop_assert_eq!(sum_g1([g1, g1, -g1]), g1);
        prop_assert_eq!(sum_g2([g2, g2, -g2]), g2);
    }
}

// Pairings take a millisecond each.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_signature_is_of_its_key_and_message_only(key in secret_key(), other in secret_key(), message: [u8; 32], another: [u8; 32]) {
        prop_assume!(key.public_key_g1() != other.public_key_g1() && hash_to_g1(&message) != hash_to_g1(&another));
        let signature = key.sign(&message);
        prop_assert!(signature.verify(&key.public_key_g2(), &message));
        prop_assert!(!signature.verify(&key.public_key_g2(), &another));
        prop_assert!(!signature.verify(&other.public_key_g2(), &message));
        prop_assert!(!negated(&signature).verify(&key.public_key_g2(), &message));
    }

    #[test]
    fn an_aggregate_is_of_its_keys_and_message_only(
        keys in proptest::collection::vec(secret_key(), 1..6),
        message: [u8; 32],
        another: [u8; 32],
        bad in any::<prop::sample::Index>(),
    ) {
        prop_assume!(hash_to_g1(&message) != hash_to_g1(&another));
        let public_keys: Vec<_> = keys.iter().map(SecretKey::public_key_g2).collect();
        let mut signatures: Vec<_> = keys.iter().map(|key| key.sign(&message)).collect();
        prop_assert_eq!(verify_aggregate(&public_keys, &message, &signatures), Ok(true));
        prop_assert_eq!(verify_aggregate(&public_keys, &another, &signatures), Ok(false));
        let bad = bad.index(keys.len());
        signatures[bad] = keys[bad].sign(&another);
        prop_assert_eq!(verify_aggregate(&public_keys, &message, &signatures), Ok(false));
    }
}

#[test]
fn new_keys_differ() {
    let (one, other) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    assert_ne!(one.to_bytes(), other.to_bytes());
}

#[test]
fn a_secret_key_does_not_show_itself() {
    let key = SecretKey::from_bytes(&[0x11; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "SecretKey(..)");
}

#[test]
fn the_point_at_infinity_is_not_signed() {
    let key = SecretKey::from_bytes(&[0x11; 32]).unwrap();
    let identity = decode_g1(&[0; G1_BYTES], "point").unwrap();
    assert_eq!(
        key.sign_point(&identity),
        Err(BlsError::Identity {
            what: "point to sign"
        })
    );
}

#[test]
fn keys_and_signatures_must_pair_up() {
    let key = SecretKey::from_bytes(&[0x11; 32]).unwrap();
    let verdict = verify_aggregate(&[key.public_key_g2()], &[0; 32], &[]);
    assert_eq!(
        verdict,
        Err(BlsError::CountMismatch {
            public_keys: 1,
            signatures: 0
        })
    );
}

#[test]
fn a_batch_error_names_the_position_and_the_cause() {
    let good = SecretKey::from_bytes(&[0x11; 32])
        .unwrap()
        .sign(&[0; 32])
        .to_bytes();
    let batch = [good, [0; G1_BYTES], good].concat();
    let error = decode_batch(&batch, G1_BYTES, "signature", Signature::from_bytes).unwrap_err();
    assert_eq!(error.cause(), &BlsError::Identity { what: "signature" });
    assert!(
        error.to_string().starts_with("at index 1: signature "),
        "{error}"
    );
    let error =
        decode_batch(&batch[1..], G1_BYTES, "signature", Signature::from_bytes).unwrap_err();
    assert_eq!(
        error,
        BlsError::PartialBatch {
            what: "signature",
            size: 64,
            actual: 191
        }
    );
}

fn some_keys(count: u8) -> Vec<SecretKey> {
    (1..=count)
        .map(|index| {
            let mut bytes = [0x11; 32];
            bytes[31] = index;
            SecretKey::from_bytes(&bytes).unwrap()
        })
        .collect()
}

#[test]
fn a_signer_set_sums_who_is_present_or_all_but_who_is_absent() {
    let keys: Vec<_> = some_keys(40).iter().map(SecretKey::public_key_g2).collect();
    let set = SignerSet::new(keys.clone());
    for modulus in [1, 2, 3, 7, 50] {
        let (absent, present): (Vec<usize>, Vec<usize>) =
            (0..40).partition(|index| index % modulus == 1);
        let expected = sum_g2(present.iter().map(|index| *keys[*index].as_point()));
        assert_eq!(set.aggregate(&present), Ok(expected));
        assert_eq!(set.aggregate_without(&absent), Ok(expected));
    }
    assert_eq!(set.aggregate(&[]), Ok(mach_bls::G2Affine::identity()));
    assert_eq!(set.aggregate_without(&[]), Ok(*set.total()));
    let unknown = BlsError::UnknownSigner {
        index: 40,
        signers: 40,
    };
    assert_eq!(set.aggregate(&[1, 40]), Err(unknown));
    let repeated = BlsError::RepeatedSigner { index: 3 };
    assert_eq!(set.aggregate_without(&[3, 3]), Err(repeated));
}

/// The verdict of `work` on both ways of computing, which must agree.
fn both_ways<R: PartialEq + std::fmt::Debug>(work: impl Fn() -> R) -> R {
    let result = work();
    assert_eq!(portably(&work), result);
    result
}

/// Signatures by `keys` over `message`, but over `another` at the indices `bad`.
fn sign(
    keys: &[SecretKey],
    message: &[u8; 32],
    bad: &[usize],
    another: &[u8; 32],
) -> Vec<Signature> {
    keys.iter()
        .enumerate()
        .map(|(index, key)| {
            key.sign(if bad.contains(&index) {
                another
            } else {
                message
            })
        })
        .collect()
}

#[test]
fn many_points_sum_as_few_do_even_where_equal_and_opposite_ones_meet() {
    let distinct: Vec<_> = some_keys(200)
        .iter()
        .map(|key| *key.public_key_g1().as_point())
        .collect();
    let identity = mach_bls::G1Affine::identity();
    let mut batches = vec![distinct.clone(), distinct.repeat(2), vec![distinct[0]; 200]];
    batches.push(
        distinct
            .iter()
            .flat_map(|point| [*point, identity])
            .collect(),
    );
    // Opposite points meet where a list is folded in halves, eights and neighbours.
    batches.push(
        distinct
            .iter()
            .copied()
            .chain(distinct.iter().map(|point| -*point))
            .collect(),
    );
    batches.push(
        distinct
            .iter()
            .flat_map(|point| [*point, -*point])
            .collect(),
    );
    for batch in batches {
        let expected = batch
            .chunks(5)
            .map(|few| sum_g1(few.iter().copied()))
            .fold(identity, |total, few| sum_g1([total, few]));
        assert_eq!(both_ways(|| sum_g1(batch.iter().copied())), expected);
    }
}

#[test]
fn a_batch_of_points_is_read_as_each_is() {
    let encoded: Vec<_> = some_keys(37)
        .iter()
        .map(|key| key.public_key_g1().to_bytes())
        .collect();
    let expected: Vec<_> = encoded
        .iter()
        .map(|bytes| decode_g1(bytes, "point").unwrap())
        .collect();
    let read = |bytes: &[u8]| both_ways(|| decode_g1_many(bytes, "point"));
    assert_eq!(read(&encoded.concat()), Ok(expected));
    assert_eq!(read(&[]), Ok(vec![]));
    assert_eq!(
        read(&[0; 20 * G1_BYTES]),
        Ok(vec![mach_bls::G1Affine::identity(); 20])
    );
    let modulus =
        hex::decode("30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47").unwrap();
    for index in [0, 7, 8, 21, 36] {
        let mut bad = encoded.clone();
        bad[index][63] ^= 1;
        let error = read(&bad.concat()).unwrap_err();
        let source = Box::new(BlsError::NotOnCurve { what: "point" });
        assert_eq!(error, BlsError::InBatch { index, source });
        bad[index][..32].copy_from_slice(&modulus);
        let error = read(&bad.concat()).unwrap_err();
        let source = Box::new(BlsError::NonCanonicalCoordinate {
            what: "point",
            coordinate: "x",
        });
        assert_eq!(error, BlsError::InBatch { index, source });
        assert_eq!(
            read(&bad[index + 1..].concat()).map(|points| points.len()),
            Ok(36 - index)
        );
    }
    let error = read(&encoded.concat()[1..]).unwrap_err();
    assert_eq!(
        error,
        BlsError::PartialBatch {
            what: "point",
            size: 64,
            actual: 37 * 64 - 1
        }
    );
    let keys: Vec<_> = some_keys(21).iter().map(SecretKey::public_key_g2).collect();
    let mut encoded_keys: Vec<_> = keys.iter().map(PublicKeyG2::to_bytes).collect();
    let read_keys = |bytes: &[u8]| both_ways(|| PublicKeyG2::from_bytes_many(bytes));
    assert_eq!(read_keys(&encoded_keys.concat()), Ok(keys));
    for index in [20, 8, 3] {
        encoded_keys[index][127] ^= 1;
        let error = read_keys(&encoded_keys.concat()).unwrap_err();
        let what = "G2 public key";
        let source = Box::new(BlsError::NotOnCurve { what });
        assert_eq!(error, BlsError::InBatch { index, source });
    }
    let mut signatures = encoded.clone();
    signatures[9] = [0; G1_BYTES];
    let error = both_ways(|| Signature::from_bytes_many(&signatures.concat())).unwrap_err();
    let source = Box::new(BlsError::Identity { what: "signature" });
    assert_eq!(error, BlsError::InBatch { index: 9, source });
    // The first fault is the one named, whatever comes after it.
    signatures[12][63] ^= 1;
    let error_with_another = Signature::from_bytes_many(&signatures.concat()).unwrap_err();
    assert_eq!(error_with_another, error);
}

#[test]
fn errors_that_cancel_out_pass_a_sum_but_not_a_check_of_each() {
    let message = [7; 32];
    let keys = some_keys(30);
    let public_keys: Vec<_> = keys.iter().map(SecretKey::public_key_g2).collect();
    let mut signatures = sign(&keys, &message, &[], &message);
    let error = *keys[0].sign(&[8; 32]).as_point();
    for (index, error) in [(3, error), (17, -error)] {
        let point = sum_g1([*signatures[index].as_point(), error]);
        signatures[index] = Signature::from_bytes(&encode_g1(&point)).unwrap();
    }
    let batch = signed_messages(&public_keys, &signatures, |_| message);
    assert_eq!(
        both_ways(|| verify_aggregate(&public_keys, &message, &signatures)),
        Ok(true)
    );
    assert_eq!(
        both_ways(|| find_invalid(&public_keys, &hash_to_g1(&message), &signatures)),
        Ok(vec![])
    );
    assert_eq!(
        both_ways(|| verify_each(&public_keys, &message, &signatures)),
        Ok(false)
    );
    assert_eq!(both_ways(|| verify_batch(&batch)), Ok(false));
    // Beside another bad one, they are found or not, depending on where they stand; innocents never are.
    signatures[5] = keys[5].sign(&[9; 32]);
    let found = find_invalid(&public_keys, &hash_to_g1(&message), &signatures).unwrap();
    assert!(found.contains(&5) && found.iter().all(|index| [3, 5, 17].contains(index)));
}

fn signed_messages(
    public_keys: &[PublicKeyG2],
    signatures: &[Signature],
    message: impl Fn(usize) -> [u8; 32],
) -> Vec<SignedMessage> {
    let pairs = public_keys.iter().zip(signatures).enumerate();
    pairs
        .map(|(index, (public_key, signature))| SignedMessage {
            public_key: *public_key,
            message: message(index),
            signature: *signature,
        })
        .collect()
}

#[test]
fn nothing_is_proved_by_nothing() {
    assert_eq!(verify_each(&[], &[0; 32], &[]), Ok(false));
    assert_eq!(verify_batch(&[]), Ok(false));
    assert_eq!(find_invalid(&[], &hash_to_g1(&[0; 32]), &[]), Ok(vec![]));
    assert_eq!(verify_sums(&[]), vec![]);
    let identity = (
        mach_bls::G1Affine::identity(),
        mach_bls::G2Affine::identity(),
    );
    let key = some_keys(1)[0].public_key_g2();
    let of_nothing = [
        (identity.0, identity.1),
        (*some_keys(1)[0].sign(&[0; 32]).as_point(), identity.1),
        (identity.0, *key.as_point()),
    ]
    .map(|(signature_sum, key_sum)| SumToVerify {
        signature_sum,
        key_sum,
        message_point: hash_to_g1(&[0; 32]),
    });
    assert_eq!(both_ways(|| verify_sums(&of_nothing)), vec![false; 3]);
}

#[test]
fn a_proof_of_possession_is_of_both_keys_of_one_secret() {
    let [one, other] = [[0x11; 32], [0x12; 32]].map(|bytes| SecretKey::from_bytes(&bytes).unwrap());
    let (g1, g2) = (one.public_key_g1(), one.public_key_g2());
    let proof = one.prove_possession();
    assert!(verify_possession(&g1, &g2, &proof));
    assert!(!verify_possession(&other.public_key_g1(), &g2, &proof));
    assert!(!verify_possession(&g1, &other.public_key_g2(), &proof));
    assert!(!verify_possession(&g1, &g2, &other.prove_possession()));
    assert!(!verify_possession(&g1, &g2, &one.sign(&[0; 32])));
    // A key chosen so that the sum with another's is known: its sender cannot sign for it.
    let rogue = sum_g1([*g1.as_point(), -*other.public_key_g1().as_point()]);
    let rogue = PublicKeyG1::from_bytes(&encode_g1(&rogue)).unwrap();
    assert!(!verify_possession(&rogue, &g2, &proof));

    let point = hash_to_g1(&[0x33; 32]);
    let signed = Signature::from_bytes(&encode_g1(&one.sign_point(&point).unwrap())).unwrap();
    assert!(verify_registration(&g1, &g2, &point, &signed));
    assert!(!verify_registration(
        &g1,
        &g2,
        &hash_to_g1(&[0x34; 32]),
        &signed
    ));
    assert!(!verify_registration(
        &other.public_key_g1(),
        &g2,
        &point,
        &signed
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exactly_the_bad_signatures_are_found(
        count in 1..30_u8,
        bad in proptest::collection::btree_set(0..30_usize, 0..6),
        message: [u8; 32],
        another: [u8; 32],
    ) {
        prop_assume!(hash_to_g1(&message) != hash_to_g1(&another));
        let keys = some_keys(count);
        let bad: Vec<usize> = bad.into_iter().filter(|index| *index < keys.len()).collect();
        let signatures = sign(&keys, &message, &bad, &another);
        let set = SignerSet::new(keys.iter().map(SecretKey::public_key_g2).collect());
        let present: Vec<usize> = (0..keys.len()).collect();
        let point = hash_to_g1(&message);
        prop_assert_eq!(both_ways(|| set.verify_aggregate(&present, &message, &signatures)), Ok(bad.is_empty()));
        prop_assert_eq!(both_ways(|| verify_each(set.keys(), &message, &signatures)), Ok(bad.is_empty()));
        prop_assert_eq!(both_ways(|| set.find_invalid(&present, &point, &signatures)), Ok(bad.clone()));
        let sums: Vec<_> = set
            .keys()
            .iter()
            .zip(&signatures)
            .map(|(key, signature)| SumToVerify {
                signature_sum: *signature.as_point(),
                key_sum: *key.as_point(),
                message_point: point,
            })
            .collect();
        let verdicts: Vec<_> = (0..keys.len()).map(|index| !bad.contains(&index)).collect();
        prop_assert_eq!(both_ways(|| verify_sums(&sums)), verdicts);
    }

    #[test]
    fn a_batch_of_messages_is_good_until_one_signature_is_not(
        // Which key signs which message: with few of each, they are shared in all ways.
        items in proptest::collection::vec((0..5_usize, 0..5_u8), 1..40),
        bad in any::<prop::sample::Index>(),
    ) {
        let keys = some_keys(5);
        let signers: Vec<_> = items.iter().map(|(key, _)| keys[*key].public_key_g2()).collect();
        let mut signatures: Vec<_> = items.iter().map(|(key, message)| keys[*key].sign(&[*message; 32])).collect();
        let batch = |signatures: &[Signature]| signed_messages(&signers, signatures, |index| [items[index].1; 32]);
        let good = batch(&signatures);
        prop_assert_eq!(both_ways(|| verify_batch(&good)), Ok(true));
        let bad = bad.index(items.len());
        signatures[bad] = keys[items[bad].0].sign(&[77; 32]);
        let good_but_one = batch(&signatures);
        prop_assert_eq!(both_ways(|| verify_batch(&good_but_one)), Ok(false));
    }
}
