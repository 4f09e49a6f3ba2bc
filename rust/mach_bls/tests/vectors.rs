//! Equality with vectors that other programs computed: py-ecc (`tests/vectors/bls.json`) and the original's Go code
//! (`mach-go-vectors.json` in the folder `$MACH_TESTDATA`, by default `../shared/testdata` beside the repository).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};

use mach_bls::point::{self, decode_batch};
use mach_bls::statements::{block_mismatch_hash, output_oracle_mismatch_hash, sign_hash};
use mach_bls::{
    BlsError, PublicKeyG1, PublicKeyG2, SecretKey, Signature, hash_to_g1, sum_g1, sum_g2,
    verify_aggregate,
};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn own_vectors() -> Value {
    read_json(&repository().join("tests/vectors/bls.json"))
}

/// The original's vectors, or `None` and a line on stderr where the shared test data is not at hand.
fn go_vectors(test: &str) -> Option<Value> {
    let folder = std::env::var_os("MACH_TESTDATA")
        .map_or_else(|| repository().join("../shared/testdata"), PathBuf::from);
    let path = folder.join("mach-go-vectors.json");
    if path.exists() {
        return Some(read_json(&path));
    }
    let line = format!(
        "skipped {test}: no {} (set MACH_TESTDATA)\n",
        path.display()
    );
    // Past the test harness, which keeps what a passing test prints with eprintln!.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let items = value[name].as_array().unwrap();
    assert!(!items.is_empty(), "no vectors under {name}");
    items
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    hex::decode(text(value, name).trim_start_matches("0x")).unwrap()
}

fn bytes32(value: &Value, name: &str) -> [u8; 32] {
    bytes(value, name).try_into().unwrap()
}

fn concatenated(value: &Value, name: &str) -> Vec<u8> {
    let items = value[name].as_array().unwrap();
    items
        .iter()
        .flat_map(|item| hex::decode(item.as_str().unwrap()).unwrap())
        .collect()
}

#[test]
fn keys_equal_those_of_py_ecc() {
    for vector in list(&own_vectors(), "keys") {
        let key = SecretKey::from_bytes(&bytes(vector, "secret_key")).unwrap();
        assert_eq!(key.to_bytes().to_vec(), bytes(vector, "secret_key"));
        assert_eq!(
            key.public_key_g1().to_bytes().to_vec(),
            bytes(vector, "public_key_g1")
        );
        assert_eq!(
            key.public_key_g2().to_bytes().to_vec(),
            bytes(vector, "public_key_g2")
        );
        assert_eq!(
            key.public_key_g1().operator_id(),
            bytes32(vector, "operator_id")
        );
        assert_eq!(
            PublicKeyG1::from_bytes(&bytes(vector, "public_key_g1")),
            Ok(key.public_key_g1())
        );
        assert_eq!(
            PublicKeyG2::from_bytes(&bytes(vector, "public_key_g2")),
            Ok(key.public_key_g2())
        );
    }
}

#[test]
fn signatures_equal_those_of_py_ecc() {
    for vector in list(&own_vectors(), "signatures") {
        let key = SecretKey::from_bytes(&bytes(vector, "secret_key")).unwrap();
        let message = bytes32(vector, "message");
        let hashed = hash_to_g1(&message);
        assert_eq!(
            point::encode_g1(&hashed).to_vec(),
            bytes(vector, "hash_to_g1")
        );
        let signature = Signature::from_bytes(&bytes(vector, "signature")).unwrap();
        assert_eq!(key.sign(&message), signature);
        assert_eq!(key.sign_point(&hashed), Ok(*signature.as_point()));
        assert!(signature.verify(&key.public_key_g2(), &message));
    }
}

#[test]
fn sums_equal_those_of_py_ecc() {
    for vector in list(&own_vectors(), "aggregates") {
        let decode_g1 = |bytes: &[u8]| point::decode_g1(bytes, "point");
        let decode_g2 = |bytes: &[u8]| point::decode_g2(bytes, "point");
        let public_keys_g1 = decode_batch(
            &concatenated(vector, "public_keys_g1"),
            64,
            "points",
            decode_g1,
        )
        .unwrap();
        let public_keys_g2 = decode_batch(
            &concatenated(vector, "public_keys_g2"),
            128,
            "points",
            decode_g2,
        )
        .unwrap();
        let signatures =
            decode_batch(&concatenated(vector, "signatures"), 64, "points", decode_g1).unwrap();
        assert_eq!(
            point::encode_g1(&sum_g1(public_keys_g1)).to_vec(),
            bytes(vector, "aggregate_public_key_g1")
        );
        assert_eq!(
            point::encode_g2(&sum_g2(public_keys_g2)).to_vec(),
            bytes(vector, "aggregate_public_key_g2")
        );
        assert_eq!(
            point::encode_g1(&sum_g1(signatures)).to_vec(),
            bytes(vector, "aggregate_signature")
        );
    }
}

#[test]
fn aggregates_of_py_ecc_are_valid_unless_their_keys_cancel_out() {
    for vector in list(&own_vectors(), "aggregates") {
        let public_keys: Vec<PublicKeyG2> = concatenated(vector, "public_keys_g2")
            .chunks(128)
            .map(|chunk| PublicKeyG2::from_bytes(chunk).unwrap())
            .collect();
        let signatures: Vec<Signature> = concatenated(vector, "signatures")
            .chunks(64)
            .map(|chunk| Signature::from_bytes(chunk).unwrap())
            .collect();
        let message = bytes32(vector, "message");
        assert_eq!(
            verify_aggregate(&public_keys, &message, &signatures),
            Ok(vector["valid"].as_bool().unwrap()),
            "{}",
            text(vector, "case")
        );
    }
}

#[test]
fn faulty_encodings_are_rejected_with_their_fault() {
    for vector in list(&own_vectors(), "rejected") {
        let bytes = bytes(vector, "bytes");
        let error = match text(vector, "kind") {
            "secret_key" => SecretKey::from_bytes(&bytes).map(drop),
            "g1" => {
                let as_signature = Signature::from_bytes(&bytes).unwrap_err();
                let as_key = PublicKeyG1::from_bytes(&bytes).unwrap_err();
                assert_eq!(fault(&as_signature), fault(&as_key));
                Err(as_key)
            }
            "g2" => PublicKeyG2::from_bytes(&bytes).map(drop),
            kind => panic!("unknown kind {kind}"),
        }
        .unwrap_err();
        assert_eq!(fault(&error), text(vector, "fault"), "{vector}");
    }
}

fn fault(error: &BlsError) -> &'static str {
    match error {
        BlsError::WrongLength { .. } => "wrong_length",
        BlsError::SecretKeyZero | BlsError::SecretKeyOutOfRange => "secret_key_range",
        BlsError::NonCanonicalCoordinate { .. } => "non_canonical_coordinate",
        BlsError::NotOnCurve { .. } => "not_on_curve",
        BlsError::NotInSubgroup { .. } => "not_in_subgroup",
        BlsError::Identity { .. } => "identity",
        other => panic!("unexpected {other}"),
    }
}

#[test]
fn statement_hashes_equal_those_of_eth_abi() {
    for vector in list(&own_vectors(), "statements") {
        let expected = bytes32(vector, "expect_output_root");
        let number = vector["number"].as_u64().unwrap();
        let reference_block =
            u32::try_from(vector["reference_block_number"].as_u64().unwrap()).unwrap();
        let chain_id = bytes32(vector, "rollup_chain_id");
        let message =
            block_mismatch_hash(&bytes32(vector, "invalid_output_root"), &expected, number);
        assert_eq!(message, bytes32(vector, "block_mismatch_hash"));
        assert_eq!(
            output_oracle_mismatch_hash(&expected, number),
            bytes32(vector, "output_oracle_mismatch_hash")
        );
        assert_eq!(
            sign_hash(&message, reference_block, None),
            bytes32(vector, "sign_hash_v1")
        );
        assert_eq!(
            sign_hash(&message, reference_block, Some(&chain_id)),
            bytes32(vector, "sign_hash_v2")
        );
    }
}

#[test]
fn alert_and_sign_hashes_equal_those_of_the_original() {
    let Some(vectors) = go_vectors("alert_and_sign_hashes_equal_those_of_the_original") else {
        return;
    };
    for vector in list(&vectors, "alerts") {
        let request = &vector["block_mismatch_request"];
        let message = block_mismatch_hash(
            &bytes32(request, "invalid_output_root"),
            &bytes32(request, "expect_output_root"),
            request["l2_block_number"].as_u64().unwrap(),
        );
        assert_eq!(message, bytes32(vector, "block_mismatch_hash"));
        let reference_block =
            u32::try_from(vector["reference_block_number"].as_u64().unwrap()).unwrap();
        assert_eq!(
            sign_hash(&message, reference_block, None),
            bytes32(vector, "legacy_sign_hash")
        );
        let request = &vector["output_oracle_request"];
        assert_eq!(
            output_oracle_mismatch_hash(
                &bytes32(request, "expect_output_root"),
                request["invalid_output_index"].as_u64().unwrap(),
            ),
            bytes32(vector, "output_oracle_hash")
        );
    }
}

#[test]
fn keys_signatures_and_operator_ids_equal_those_of_the_original() {
    let Some(vectors) = go_vectors("keys_signatures_and_operator_ids_equal_those_of_the_original")
    else {
        return;
    };
    for vector in list(&vectors, "bls") {
        let key = SecretKey::from_bytes(&bytes(vector, "secret_key")).unwrap();
        assert_eq!(
            key.public_key_g1().to_bytes().to_vec(),
            bytes(vector, "public_key_g1")
        );
        assert_eq!(
            key.public_key_g1().operator_id(),
            bytes32(vector, "operator_id")
        );
        let parts = &vector["public_key_g2"];
        let public_key_g2: Vec<u8> = ["x_c1", "x_c0", "y_c1", "y_c0"]
            .iter()
            .flat_map(|name| bytes(parts, name))
            .collect();
        assert_eq!(key.public_key_g2().to_bytes().to_vec(), public_key_g2);
        let signature = key.sign(&bytes32(vector, "message"));
        assert_eq!(signature.to_bytes().to_vec(), bytes(vector, "signature"));
        assert!(signature.verify(&key.public_key_g2(), &bytes32(vector, "message")));
    }
}
