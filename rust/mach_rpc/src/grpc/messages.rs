//! Protobuf messages of `package aggregator`, field by field as aggregator.proto names them.

use prost::Message;

use crate::aggregator::{AlertTaskInfo, InitOperatorRequest, SignedTaskReply, SignedTaskRequest};
use crate::calls::{alert_hash, exact, quorum_bytes};

/// `InitOperatorRequest`
#[derive(Clone, PartialEq, Message)]
pub struct InitOperatorRequestMessage {
    /// Chain id of the L1.
    #[prost(uint32, tag = "1")]
    pub layer1_chain_id: u32,
    /// Chain id of the rollup.
    #[prost(uint32, tag = "2")]
    pub chain_id: u32,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub operator_id: Vec<u8>,
    /// 20 bytes in hex.
    #[prost(string, tag = "4")]
    pub operator_address: String,
    /// 20 bytes in hex.
    #[prost(string, tag = "5")]
    pub operator_state_retriever_addr: String,
    /// 20 bytes in hex.
    #[prost(string, tag = "6")]
    pub registry_coordinator_addr: String,
}

/// `InitOperatorResponse`
#[derive(Clone, PartialEq, Message)]
pub struct InitOperatorResponseMessage {
    /// Whether the operator is set up like this aggregator.
    #[prost(bool, tag = "1")]
    pub ok: bool,
    /// Which value differs.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// `CreateTaskRequest`
#[derive(Clone, PartialEq, Message)]
pub struct CreateTaskRequestMessage {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub alert_hash: Vec<u8>,
}

/// `CreateTaskResponse`
#[derive(Clone, PartialEq, Message)]
pub struct CreateTaskResponseMessage {
    /// The alert's task.
    #[prost(message, optional, tag = "1")]
    pub info: Option<AlertTaskInfoMessage>,
}

/// `AlertTaskInfo`
#[derive(Clone, PartialEq, Message)]
pub struct AlertTaskInfoMessage {
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub alert_hash: Vec<u8>,
    /// One byte each.
    #[prost(bytes = "vec", tag = "2")]
    pub quorum_numbers: Vec<u8>,
    /// One byte each.
    #[prost(bytes = "vec", tag = "3")]
    pub quorum_threshold_percentages: Vec<u8>,
    /// The task's number.
    #[prost(uint32, tag = "4")]
    pub task_index: u32,
    /// The L1 block whose stakes count.
    #[prost(uint64, tag = "5")]
    pub reference_block_number: u64,
}

/// `SignedTaskRespRequest`
#[derive(Clone, PartialEq, Message)]
pub struct SignedTaskRequestMessage {
    /// The task as the operator was told of it.
    #[prost(message, optional, tag = "1")]
    pub alert: Option<AlertTaskInfoMessage>,
    /// G1 point `x ‖ y`, 64 bytes big-endian.
    #[prost(bytes = "vec", tag = "2")]
    pub operator_request_signature: Vec<u8>,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub operator_id: Vec<u8>,
}

/// `SignedTaskRespResponse`
#[derive(Clone, PartialEq, Message)]
pub struct SignedTaskReplyMessage {
    /// Whether the alert stands on L1.
    #[prost(bool, tag = "1")]
    pub reply: bool,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub tx_hash: Vec<u8>,
}

impl TryFrom<InitOperatorRequestMessage> for InitOperatorRequest {
    type Error = String;

    fn try_from(message: InitOperatorRequestMessage) -> Result<Self, String> {
        Ok(Self {
            layer1_chain_id: message.layer1_chain_id,
            chain_id: message.chain_id,
            operator_id: exact(&message.operator_id, "operator_id")?,
            operator_address: address(&message.operator_address, "operator_address")?,
            operator_state_retriever: address(
                &message.operator_state_retriever_addr,
                "operator_state_retriever_addr",
            )?,
            registry_coordinator: address(
                &message.registry_coordinator_addr,
                "registry_coordinator_addr",
            )?,
        })
    }
}

fn address(text: &str, name: &str) -> Result<[u8; 20], String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| format!("{name} must be 20 bytes in hex"))?;
    Ok(bytes)
}

impl CreateTaskRequestMessage {
    /// The alert that a task is asked for.
    ///
    /// # Errors
    /// Says what is wrong with the hash.
    pub fn checked(&self) -> Result<[u8; 32], String> {
        alert_hash(&self.alert_hash).map_err(str::to_owned)
    }
}

impl TryFrom<SignedTaskRequestMessage> for SignedTaskRequest {
    type Error = String;

    fn try_from(message: SignedTaskRequestMessage) -> Result<Self, String> {
        let alert = message.alert.ok_or("alert is missing")?;
        Ok(Self {
            alert: AlertTaskInfo {
                alert_hash: exact(&alert.alert_hash, "alert_hash")?,
                quorum_numbers: quorum_bytes(alert.quorum_numbers, "quorum_numbers")?,
                quorum_threshold_percentages: quorum_bytes(
                    alert.quorum_threshold_percentages,
                    "quorum_threshold_percentages",
                )?,
                task_index: alert.task_index,
                reference_block_number: alert.reference_block_number,
            },
            signature: exact(
                &message.operator_request_signature,
                "operator_request_signature",
            )?,
            operator_id: exact(&message.operator_id, "operator_id")?,
        })
    }
}

impl From<AlertTaskInfo> for CreateTaskResponseMessage {
    fn from(task: AlertTaskInfo) -> Self {
        Self {
            info: Some(AlertTaskInfoMessage {
                alert_hash: task.alert_hash.to_vec(),
                quorum_numbers: task.quorum_numbers,
                quorum_threshold_percentages: task.quorum_threshold_percentages,
                task_index: task.task_index,
                reference_block_number: task.reference_block_number,
            }),
        }
    }
}

impl From<SignedTaskReply> for SignedTaskReplyMessage {
    fn from(reply: SignedTaskReply) -> Self {
        Self {
            reply: reply.reply,
            tx_hash: reply.tx_hash.to_vec(),
        }
    }
}

impl From<Option<String>> for InitOperatorResponseMessage {
    fn from(reason: Option<String>) -> Self {
        Self {
            ok: reason.is_none(),
            reason: reason.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_give_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = SignedTaskRequestMessage::decode(&bytes[..]) {
                let _ = SignedTaskRequest::try_from(message);
            }
        }

        #[test]
        fn a_signed_task_survives_the_wire(
            hash in any::<[u8; 32]>(), quorums in prop::collection::vec(any::<u8>(), 0..=192), index in any::<u32>(),
            block in any::<u64>(), operator_id in any::<[u8; 32]>(),
        ) {
            let task = AlertTaskInfo {
                alert_hash: hash,
                quorum_threshold_percentages: quorums.clone(),
                quorum_numbers: quorums,
                task_index: index,
                reference_block_number: block,
            };
            let signature: [u8; 64] = [hash, operator_id].concat().try_into().unwrap();
            let sent = SignedTaskRequestMessage {
                alert: CreateTaskResponseMessage::from(task.clone()).info,
                operator_request_signature: signature.to_vec(),
                operator_id: operator_id.to_vec(),
            };
            let received = SignedTaskRequestMessage::decode(&sent.encode_to_vec()[..]).unwrap();
            let expected = SignedTaskRequest { alert: task, signature, operator_id };
            prop_assert_eq!(SignedTaskRequest::try_from(received).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_lengths_are_named() {
        let short = SignedTaskRequestMessage::default();
        assert_eq!(
            SignedTaskRequest::try_from(short).unwrap_err(),
            "alert is missing"
        );
        let empty = SignedTaskRequestMessage {
            alert: Some(AlertTaskInfoMessage::default()),
            ..Default::default()
        };
        assert_eq!(
            SignedTaskRequest::try_from(empty).unwrap_err(),
            "alert_hash must be 32 bytes, got 0"
        );
        assert_eq!(
            CreateTaskRequestMessage {
                alert_hash: vec![1; 31]
            }
            .checked()
            .unwrap_err(),
            "alertHash len should be 32"
        );
        let init = InitOperatorRequestMessage {
            operator_id: vec![0; 32],
            operator_address: "0x12".into(),
            ..Default::default()
        };
        assert_eq!(
            InitOperatorRequest::try_from(init).unwrap_err(),
            "operator_address must be 20 bytes in hex"
        );
    }
}
