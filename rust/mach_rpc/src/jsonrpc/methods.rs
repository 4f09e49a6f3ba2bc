//! The aggregator's JSON-RPC methods, named and shaped as the original's.
//!
//! Hashes and points are hex with or without `0x`; byte lists (`quorum_numbers`, `quorum_threshold_percentages`,
//! `tx_hash`) are base64 as Go writes them, and are accepted as arrays of numbers too.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::JsonRpcMethods;
use super::envelope::{FAILURE, RpcError, TIMED_OUT};
use crate::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Refusal, SignedTaskReply, SignedTaskRequest,
};
use crate::calls::{Calls, MAX_QUORUMS, alert_hash, quorum_bytes};
use crate::json::{Json, write_string};
use crate::limits::PeerGuard;
use crate::stats::Method;

/// `aggregator_initOperator`, `aggregator_createTask` and `aggregator_processSignedTaskResponse`.
pub struct AggregatorMethods<A>(Calls<A>);

impl<A> AggregatorMethods<A> {
    /// The methods that call `calls`.
    pub fn new(calls: Calls<A>) -> Self {
        Self(calls)
    }
}

impl<A: Aggregator> JsonRpcMethods for AggregatorMethods<A> {
    async fn call(
        &self,
        peer: &PeerGuard,
        method: &str,
        params: Option<Json<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RpcError> {
        let calls = &self.0;
        let invalid = |method, message| {
            calls.invalid(method);
            RpcError::invalid_params(message)
        };
        match method {
            "aggregator_processSignedTaskResponse" => {
                let request = read_signed_task(params)
                    .map_err(|message| invalid(Method::ProcessSignedTaskResponse, message))?;
                let reply = calls.process_signed_task_response(peer.address(), request);
                write_reply(out, &reply.await.map_err(refused)?);
            }
            "aggregator_createTask" => {
                let hash = read_create_task(params)
                    .map_err(|message| invalid(Method::CreateTask, message))?;
                let info = calls.create_task(peer.address(), hash);
                write_task(out, &info.await.map_err(refused)?);
            }
            "aggregator_initOperator" => {
                let request = read_init_operator(params)
                    .map_err(|message| invalid(Method::InitOperator, message))?;
                let reason = calls.init_operator(peer.address(), &request);
                write_init_answer(out, reason);
            }
            unknown => {
                calls.invalid(Method::Other);
                return Err(RpcError::method_not_found(unknown));
            }
        }
        Ok(())
    }

    fn not_called(&self) {
        self.0.invalid(Method::Other);
    }
}

fn refused(refusal: Refusal) -> RpcError {
    let code = match refusal {
        Refusal::TimedOut => TIMED_OUT,
        _ => FAILURE,
    };
    RpcError::new(code, refusal.to_string())
}

/// Why parameters do not fit, in words.
pub type Misfit = Cow<'static, str>;

/// `[alert, signature, operator_id]`
///
/// # Errors
/// Names the field.
pub fn read_signed_task(params: Option<Json<'_>>) -> Result<SignedTaskRequest, Misfit> {
    let [alert, signature, operator_id] = positional(params)?;
    Ok(SignedTaskRequest {
        alert: read_task(alert)?,
        signature: fixed_bytes(Some(signature), "signature")?,
        operator_id: fixed_bytes(Some(operator_id), "operator_id")?,
    })
}

/// `[alert_hash]`
///
/// # Errors
/// Names the field.
pub fn read_create_task(params: Option<Json<'_>>) -> Result<[u8; 32], Misfit> {
    let [hash] = positional(params)?;
    let hash: [u8; 32] =
        fixed_bytes(Some(hash), "alertHash").map_err(|_| "alertHash len should be 32")?;
    Ok(alert_hash(&hash)?)
}

/// `[layer1_chain_id, chain_id, operator_id, operator_address, operator_state_retriever, registry_coordinator]`
///
/// # Errors
/// Names the field.
pub fn read_init_operator(params: Option<Json<'_>>) -> Result<InitOperatorRequest, Misfit> {
    let [layer1, chain, operator_id, address, retriever, coordinator] = positional(params)?;
    Ok(InitOperatorRequest {
        operator_id: fixed_bytes(Some(operator_id), "operator_id")?,
        operator_address: fixed_bytes(Some(address), "operator_address")?,
        layer1_chain_id: unsigned_32(Some(layer1), "layer1_chain_id")?,
        chain_id: unsigned_32(Some(chain), "chain_id")?,
        operator_state_retriever: fixed_bytes(Some(retriever), "operator_state_retriever_addr")?,
        registry_coordinator: fixed_bytes(Some(coordinator), "registry_coordinator_addr")?,
    })
}

fn read_task(value: Json<'_>) -> Result<AlertTaskInfo, Misfit> {
    let members = value.members().ok_or("the task must be an object")?;
    let (mut hash, mut quorums, mut thresholds, mut index, mut block) = Default::default();
    for (name, value) in members {
        let field = match &*name {
            "alert_hash" => &mut hash,
            "quorum_numbers" => &mut quorums,
            "quorum_threshold_percentages" => &mut thresholds,
            "task_index" => &mut index,
            "reference_block_number" => &mut block,
            _ => continue,
        };
        *field = Some(value);
    }
    Ok(AlertTaskInfo {
        alert_hash: fixed_bytes(hash, "alert_hash")?,
        quorum_numbers: byte_list(quorums, "quorum_numbers")?,
        quorum_threshold_percentages: byte_list(thresholds, "quorum_threshold_percentages")?,
        task_index: unsigned_32(index, "task_index")?,
        reference_block_number: block
            .and_then(Json::unsigned)
            .ok_or("reference_block_number must be an integer of 0 to 2^64 - 1")?,
    })
}

/// Exactly `COUNT` positional parameters.
fn positional<const COUNT: usize>(params: Option<Json<'_>>) -> Result<[Json<'_>; COUNT], Misfit> {
    let mut elements = params.and_then(Json::elements).ok_or("non-array args")?;
    let mut values = [None; COUNT];
    for (place, value) in values.iter_mut().enumerate() {
        *value = elements.next();
        if value.is_none() {
            return Err(format!("missing value for required argument {place}").into());
        }
    }
    if elements.next().is_some() {
        return Err(format!("too many arguments, want at most {COUNT}").into());
    }
    // Each is there, so nothing is left out.
    let mut values = values.into_iter().flatten();
    Ok(std::array::from_fn(|_| values.next().unwrap_or(Json::NULL)))
}

/// Exactly `LENGTH` bytes from hex, with or without 0x.
fn fixed_bytes<const LENGTH: usize>(
    value: Option<Json<'_>>,
    name: &'static str,
) -> Result<[u8; LENGTH], Misfit> {
    let mut bytes = [0; LENGTH];
    let not_hex = || Misfit::from(format!("{name} must be {LENGTH} bytes in hex"));
    let text = value.and_then(Json::string).ok_or_else(not_hex)?;
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(&text);
    if digits.len() == 2 * LENGTH {
        return if decode_hex(digits.as_bytes(), &mut bytes) {
            Ok(bytes)
        } else {
            Err(not_hex())
        };
    }
    let is_hex = digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(not_hex());
    }
    let got = digits.len() / 2;
    Err(format!("{name} must be {LENGTH} bytes, got {got}").into())
}

/// The value of each hexadecimal digit; 16 for what is none.
const HEX_VALUES: [u8; 256] = {
    let mut values = [16; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Whether all of `digits`, twice as many as `bytes`, are hexadecimal. Without a branch a digit: most of a request is hex.
fn decode_hex(digits: &[u8], bytes: &mut [u8]) -> bool {
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        let (high, low) = (
            HEX_VALUES[usize::from(*high)],
            HEX_VALUES[usize::from(*low)],
        );
        seen |= high | low;
        *byte = high << 4 | low;
    }
    seen < 16
}

fn unsigned_32(value: Option<Json<'_>>, name: &'static str) -> Result<u32, Misfit> {
    value
        .and_then(Json::unsigned)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("{name} must be an integer of 0 to 2^32 - 1").into())
}

/// What Go's decoder takes: padding is needed, stray bits of the last character are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes from base64 or from an array of numbers.
fn byte_list(value: Option<Json<'_>>, name: &'static str) -> Result<Vec<u8>, Misfit> {
    let misfit = || Misfit::from(format!("{name} must be base64 or an array of bytes"));
    let value = value.ok_or_else(misfit)?;
    if let Some(text) = value.string() {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| misfit())?;
        return Ok(quorum_bytes(bytes, name)?);
    }
    let mut bytes = Vec::new();
    for element in value.elements().ok_or_else(misfit)? {
        if bytes.len() == MAX_QUORUMS {
            return Err(misfit());
        }
        let byte = element
            .unsigned()
            .and_then(|number| u8::try_from(number).ok());
        bytes.push(byte.ok_or_else(|| format!("{name} must be an integer of 0 to 2^8 - 1"))?);
    }
    Ok(bytes)
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
}

fn write_task(out: &mut Vec<u8>, task: &AlertTaskInfo) {
    let mut hash = [0; 64];
    // The lengths fit each other, so this cannot fail.
    let _ = hex::encode_to_slice(task.alert_hash, &mut hash);
    out.extend_from_slice(b"{\"alert_hash\":\"0x");
    out.extend_from_slice(&hash);
    out.extend_from_slice(b"\",\"quorum_numbers\":");
    write_base64(out, &task.quorum_numbers);
    out.extend_from_slice(b",\"quorum_threshold_percentages\":");
    write_base64(out, &task.quorum_threshold_percentages);
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        ",\"task_index\":{},\"reference_block_number\":{}}}",
        task.task_index, task.reference_block_number
    );
}

fn write_reply(out: &mut Vec<u8>, reply: &SignedTaskReply) {
    let start: &[u8] = if reply.reply {
        b"{\"reply\":true,\"tx_hash\":"
    } else {
        b"{\"reply\":false,\"tx_hash\":"
    };
    out.extend_from_slice(start);
    write_base64(out, &reply.tx_hash);
    out.push(b'}');
}

fn write_init_answer(out: &mut Vec<u8>, reason: Option<String>) {
    match reason {
        None => out.extend_from_slice(b"{\"ok\":true,\"reason\":\"\"}"),
        Some(reason) => {
            out.extend_from_slice(b"{\"ok\":false,\"reason\":");
            write_string(out, &reason);
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::parse;

    fn misfit<T: std::fmt::Debug>(
        read: fn(Option<Json<'_>>) -> Result<T, Misfit>,
        params: &str,
    ) -> String {
        read(Some(parse(params.as_bytes()).unwrap()))
            .unwrap_err()
            .into_owned()
    }

    fn any_task() -> impl Strategy<Value = AlertTaskInfo> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..=MAX_QUORUMS);
        (
            any::<[u8; 32]>(),
            bytes(),
            bytes(),
            any::<u32>(),
            any::<u64>(),
        )
            .prop_map(
                |(
                    alert_hash,
                    quorum_numbers,
                    quorum_threshold_percentages,
                    task_index,
                    reference_block_number,
                )| {
                    AlertTaskInfo {
                        alert_hash,
                        quorum_numbers,
                        quorum_threshold_percentages,
                        task_index,
                        reference_block_number,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_written_task_reads_back_with_a_signature(
            task in any_task(), signature in any::<[u8; 32]>(), operator_id in any::<[u8; 32]>(),
            upper in any::<bool>(), prefix in any::<bool>(),
        ) {
            let signature: [u8; 64] = [signature, operator_id].concat().try_into().unwrap();
            let mut json = Vec::new();
            write_task(&mut json, &task);
            let hex = if upper { hex::encode_upper(signature) } else { hex::encode(signature) };
            let text = format!(
                "[{},\"{}{hex}\",\"0x{}\"]",
                String::from_utf8(json).unwrap(), if prefix { "0x" } else { "" }, hex::encode(operator_id),
            );
            let expected = SignedTaskRequest { alert: task, signature, operator_id };
            prop_assert_eq!(read_signed_task(Some(parse(text.as_bytes()).unwrap())).unwrap(), expected);
        }

        #[test]
        fn byte_lists_may_be_arrays(bytes in prop::collection::vec(any::<u8>(), 0..=MAX_QUORUMS)) {
            let text = serde_json::to_string(&bytes).unwrap();
            prop_assert_eq!(byte_list(Some(parse(text.as_bytes()).unwrap()), "x").unwrap(), bytes);
        }
    }

    proptest! {
        #[test]
        fn hex_is_read_as_the_hex_crate_reads_it(text in "[0-9a-fA-F]{63}[0-9a-gA-G/:@`]") {
            let json = format!("\"{text}\"");
            let ours = fixed_bytes::<32>(Some(parse(json.as_bytes()).unwrap()), "x").ok();
            prop_assert_eq!(ours.map(Vec::from), hex::decode(&text).ok());
        }
    }

    #[test]
    fn misfits_name_the_field() {
        let task = r#"{"alert_hash":"","quorum_numbers":"AA==","quorum_threshold_percentages":[66],"task_index":0}"#;
        for (params, words) in [
            ("{}", "non-array args"),
            ("[]", "missing value for required argument 0"),
            ("[1,2,3,4]", "too many arguments, want at most 3"),
            ("[1,2,3]", "the task must be an object"),
            (r#"[{},"0x","0x"]"#, "alert_hash must be 32 bytes in hex"),
            (
                &format!("[{task},1,2]"),
                "alert_hash must be 32 bytes, got 0",
            ),
        ] {
            assert_eq!(misfit(read_signed_task, params), words);
        }
        assert!(read_signed_task(None).is_err());
        for params in [r#"["0x12"]"#, "[null]", r#"["zz"]"#] {
            assert_eq!(
                misfit(read_create_task, params),
                "alertHash len should be 32"
            );
        }
        let zero = format!("[\"0x{}\"]", "0".repeat(64));
        assert_eq!(
            misfit(read_create_task, &zero),
            "alertHash must not be zero"
        );
        let strange = format!(
            "[1e99,0,\"{0}\",\"{1}\",\"{1}\",\"{1}\"]",
            "00".repeat(32),
            "00".repeat(20)
        );
        assert_eq!(
            misfit(read_init_operator, &strange),
            "layer1_chain_id must be an integer of 0 to 2^32 - 1"
        );
        let read = |text: &str| byte_list(Some(parse(text.as_bytes()).unwrap()), "x");
        assert_eq!(
            read("[256]").unwrap_err(),
            "x must be an integer of 0 to 2^8 - 1"
        );
        assert_eq!(
            read("\"A\"").unwrap_err(),
            "x must be base64 or an array of bytes"
        );
        assert_eq!(
            read("null").unwrap_err(),
            "x must be base64 or an array of bytes"
        );
        let long = format!("\"{}\"", BASE64.encode([0; 193]));
        assert_eq!(
            read(&long).unwrap_err(),
            "x holds 193 bytes, at most 192 are possible"
        );
    }
}
