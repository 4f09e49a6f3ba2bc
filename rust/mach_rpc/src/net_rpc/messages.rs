//! The aggregator's Go structs, as its original operators send and expect them.
//!
//! Fields are found by name; a field that was not sent is zero, one that we do not know is passed over.

use ark_bn254::Fq;
use ark_ff::{BigInt, BigInteger, PrimeField};

use crate::aggregator::{
    AlertTaskInfo, InitOperatorRequest, Refusal, SignedTaskReply, SignedTaskRequest,
};
use crate::calls::{alert_hash, quorum_bytes};
use crate::gob::{Encoder, FieldType, Fields, GobError, StructType, Value};

/// `rpc.Request`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// `Service.Method`
    pub service_method: String,
    /// The caller's number for it.
    pub sequence: u64,
}

/// What a call is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Which value of an operator's set-up differs, if one does.
    InitOperator(Option<String>),
    /// The alert's task.
    CreateTask(AlertTaskInfo),
    /// The signature is counted.
    ProcessSignedTaskResponse(SignedTaskReply),
    /// The call failed.
    Error(String),
}

/// Why a message cannot be taken, in words.
pub type Misfit = String;

impl From<GobError> for Misfit {
    fn from(error: GobError) -> Self {
        error.to_string()
    }
}

/// `rpc.Request{ServiceMethod, Seq}`
///
/// # Errors
/// A field is of another type, or the name is longer than any of ours could be.
pub fn read_header(mut fields: Fields<'_>) -> Result<Header, GobError> {
    let mut header = Header::default();
    while let Some((name, value)) = fields.next()? {
        match name {
            "ServiceMethod" => value.text(name)?.clone_into(&mut header.service_method),
            "Seq" => header.sequence = value.unsigned(name)?,
            _ => {}
        }
    }
    Ok(header)
}

/// `InitOperatorRequest`
///
/// # Errors
/// Names the field.
pub fn read_init_operator(mut fields: Fields<'_>) -> Result<InitOperatorRequest, Misfit> {
    let mut request = InitOperatorRequest {
        layer1_chain_id: 0,
        chain_id: 0,
        operator_id: [0; 32],
        operator_address: [0; 20],
        operator_state_retriever: [0; 20],
        registry_coordinator: [0; 20],
    };
    while let Some((name, value)) = fields.next()? {
        match name {
            "Layer1ChainId" => request.layer1_chain_id = value.unsigned_32(name)?,
            "ChainId" => request.chain_id = value.unsigned_32(name)?,
            "OperatorId" => request.operator_id = value.byte_array(name)?,
            "OperatorAddress" => request.operator_address = value.byte_array(name)?,
            "OperatorStateRetrieverAddr" => {
                request.operator_state_retriever = value.byte_array(name)?
            }
            "RegistryCoordinatorAddr" => request.registry_coordinator = value.byte_array(name)?,
            _ => {}
        }
    }
    Ok(request)
}

/// `CreateTaskRequest`
///
/// # Errors
/// Names the field; the zero hash is no alert's.
pub fn read_create_task(mut fields: Fields<'_>) -> Result<[u8; 32], Misfit> {
    let mut hash = [0; 32];
    while let Some((name, value)) = fields.next()? {
        if name == "AlertHash" {
            hash = value.byte_array(name)?;
        }
    }
    Ok(alert_hash(&hash)?)
}

/// `SignedTaskRespRequest`
///
/// # Errors
/// Names the field; a coordinate of the signature that is not below p is none.
pub fn read_signed_task(mut fields: Fields<'_>) -> Result<SignedTaskRequest, Misfit> {
    let mut request = SignedTaskRequest {
        alert: AlertTaskInfo {
            alert_hash: [0; 32],
            quorum_numbers: Vec::new(),
            quorum_threshold_percentages: Vec::new(),
            task_index: 0,
            reference_block_number: 0,
        },
        signature: [0; 64],
        operator_id: [0; 32],
    };
    while let Some((name, value)) = fields.next()? {
        match name {
            "Alert" => read_task(value.fields(name)?, &mut request.alert)?,
            "BlsSignature" => request.signature = read_signature(value)?,
            "OperatorId" => request.operator_id = value.byte_array(name)?,
            _ => {}
        }
    }
    Ok(request)
}

fn read_task(mut fields: Fields<'_>, task: &mut AlertTaskInfo) -> Result<(), Misfit> {
    while let Some((name, value)) = fields.next()? {
        match name {
            "AlertHash" => task.alert_hash = value.byte_array(name)?,
            "QuorumNumbers" => {
                task.quorum_numbers = quorum_bytes(value.bytes(name)?.to_vec(), name)?;
            }
            "QuorumThresholdPercentages" => {
                task.quorum_threshold_percentages =
                    quorum_bytes(value.bytes(name)?.to_vec(), name)?;
            }
            "TaskIndex" => task.task_index = value.unsigned_32(name)?,
            "ReferenceBlockNumber" => task.reference_block_number = value.unsigned(name)?,
            _ => {}
        }
    }
    Ok(())
}

/// `Signature{G1Point{G1Affine{X, Y [4]uint64}}}`: two embedded structs around gnark's point.
fn read_signature(value: Value<'_>) -> Result<[u8; 64], Misfit> {
    let mut bytes = [0; 64];
    let mut signature = value.fields("BlsSignature")?;
    while let Some((name, value)) = signature.next()? {
        if name != "G1Point" {
            continue;
        }
        let mut point = value.fields(name)?;
        while let Some((name, value)) = point.next()? {
            if name != "G1Affine" {
                continue;
            }
            let mut affine = value.fields(name)?;
            while let Some((name, value)) = affine.next()? {
                let (x, y) = bytes.split_at_mut(32);
                match name {
                    "X" => x.copy_from_slice(&coordinate(value.numbers(name)?, name)?),
                    "Y" => y.copy_from_slice(&coordinate(value.numbers(name)?, name)?),
                    _ => {}
                }
            }
        }
    }
    Ok(bytes)
}

/// Big-endian bytes of a field element that gnark keeps as little-endian limbs in Montgomery form (R = 2^256).
fn coordinate(limbs: [u64; 4], name: &str) -> Result<[u8; 32], Misfit> {
    let montgomery = BigInt::new(limbs);
    if montgomery >= Fq::MODULUS {
        return Err(format!(
            "signature: {name} is not below the field's modulus"
        ));
    }
    let mut bytes = [0; 32];
    let big_endian = Fq::new_unchecked(montgomery).into_bigint().to_bytes_be();
    bytes.copy_from_slice(&big_endian);
    Ok(bytes)
}

static RESPONSE: StructType = StructType {
    name: "Response",
    fields: &[
        ("ServiceMethod", FieldType::Text),
        ("Seq", FieldType::Uint),
        ("Error", FieldType::Text),
    ],
};
static INIT_OPERATOR_RESPONSE: StructType = StructType {
    name: "InitOperatorResponse",
    fields: &[("Ok", FieldType::Bool), ("Res", FieldType::Text)],
};
static ALERT_TASK_INFO: StructType = StructType {
    name: "AlertTaskInfo",
    fields: &[
        ("AlertHash", FieldType::Array("Bytes32", 32)),
        ("QuorumNumbers", FieldType::Bytes),
        ("QuorumThresholdPercentages", FieldType::Bytes),
        ("TaskIndex", FieldType::Uint),
        ("ReferenceBlockNumber", FieldType::Uint),
    ],
};
static CREATE_TASK_RESPONSE: StructType = StructType {
    name: "CreateTaskResponse",
    fields: &[("Info", FieldType::Struct(&ALERT_TASK_INFO))],
};
static SIGNED_TASK_RESP_RESPONSE: StructType = StructType {
    name: "SignedTaskRespResponse",
    fields: &[
        ("Reply", FieldType::Bool),
        ("TxHash", FieldType::Array("[32]uint8", 32)),
    ],
};
/// What net/rpc sends in place of a result.
static INVALID_REQUEST: StructType = StructType {
    name: "",
    fields: &[],
};

/// Appends `rpc.Response` and its body.
pub fn write_answer(out: &mut Vec<u8>, encoder: &mut Encoder, header: &Header, answer: &Answer) {
    let error = match answer {
        Answer::Error(error) => error.as_str(),
        _ => "",
    };
    encoder.encode(out, &RESPONSE, |response| {
        response.bytes(1, header.service_method.as_bytes());
        response.number(2, header.sequence);
        response.bytes(3, error.as_bytes());
    });
    match answer {
        Answer::InitOperator(reason) => encoder.encode(out, &INIT_OPERATOR_RESPONSE, |body| {
            body.flag(1, reason.is_none());
            body.bytes(2, reason.as_deref().unwrap_or("").as_bytes());
        }),
        Answer::CreateTask(task) => encoder.encode(out, &CREATE_TASK_RESPONSE, |body| {
            body.fields(1, |info| {
                info.array(1, &task.alert_hash);
                info.bytes(2, &task.quorum_numbers);
                info.bytes(3, &task.quorum_threshold_percentages);
                info.number(4, u64::from(task.task_index));
                info.number(5, task.reference_block_number);
            });
        }),
        Answer::ProcessSignedTaskResponse(reply) => {
            encoder.encode(out, &SIGNED_TASK_RESP_RESPONSE, |body| {
                body.flag(1, reply.reply);
                body.array(2, &reply.tx_hash);
            });
        }
        Answer::Error(_) => encoder.encode(out, &INVALID_REQUEST, |_| {}),
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Error(refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_are_montgomery_and_little_endian() {
        // R mod p, the Montgomery form of 1 (EIP-196's field prime)
        let one = [
            0xd35d_438d_c58f_0d9d,
            0x0a78_eb28_f5c7_0b3d,
            0x666e_a36f_7879_462c,
            0x0e0a_77c1_9a07_df2f,
        ];
        let mut expected = [0; 32];
        expected[31] = 1;
        assert_eq!(coordinate(one, "X").unwrap(), expected);
        assert_eq!(coordinate([0; 4], "X").unwrap(), [0; 32]);
    }

    #[test]
    fn limbs_that_are_not_reduced_are_refused() {
        let modulus = Fq::MODULUS.0;
        assert!(coordinate(modulus, "X").unwrap_err().contains('X'));
        assert!(coordinate([u64::MAX; 4], "Y").is_err());
        let mut below = modulus;
        below[0] -= 1;
        assert!(coordinate(below, "X").is_ok());
    }
}
