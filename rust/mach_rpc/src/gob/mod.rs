//! As much of Go's gob as net/rpc needs for messages that are structs of numbers, bytes, texts, arrays and structs.
//!
//! A stream is a row of messages, each with its length in front: type definitions, and values that name their type.
//! Source: the documentation of Go's `encoding/gob`, section "Encoding Details".

mod decode;
mod encode;

pub use decode::{Decoder, Fields, Message, Value, frame};
pub use encode::{Encoder, FieldType, StructType, Writer};

use thiserror::Error;

/// What a gob stream cannot hold here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GobError {
    /// A message is longer than allowed.
    #[error("gob: a message of {0} bytes is too long")]
    TooLong(u64),
    /// A message ends before its value.
    #[error("gob: a message is cut off")]
    CutOff,
    /// Something follows a value in its message.
    #[error("gob: extra data in a message")]
    ExtraData,
    /// A number has more than eight bytes.
    #[error("gob: a malformed number")]
    Number,
    /// A text is not UTF-8.
    #[error("gob: a text is not UTF-8")]
    Text,
    /// A definition is malformed, repeated, or one too many.
    #[error("gob: a malformed type definition")]
    Definition,
    /// A value is of a type that was not defined.
    #[error("gob: type {0} is not defined")]
    UnknownType(i64),
    /// A value is of another type than its field.
    #[error("gob: wrong type for {0}")]
    WrongType(String),
    /// A number does not fit into its field.
    #[error("gob: value for {0} out of range")]
    OutOfRange(String),
    /// Values nest too deeply.
    #[error("gob: values nest too deeply")]
    TooDeep,
}

/// Identifiers of predefined types.
mod predefined {
    pub(super) const BOOL: i64 = 1;
    pub(super) const INT: i64 = 2;
    pub(super) const UINT: i64 = 3;
    pub(super) const FLOAT: i64 = 4;
    pub(super) const BYTES: i64 = 5;
    pub(super) const STRING: i64 = 6;
    pub(super) const COMPLEX: i64 = 7;
    /// The first that a stream defines itself.
    pub(super) const FIRST_OWN: i64 = 64;
}
