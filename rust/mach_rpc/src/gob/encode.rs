//! Writing gob: what Go's decoder takes, in Go's own order of definitions.

use super::predefined::{BOOL, BYTES, FIRST_OWN, STRING, UINT};

/// A type as a definition describes it. Types are told apart by their address, so they are statics.
#[derive(Debug)]
pub struct StructType {
    /// Its name in Go; empty for a struct without one.
    pub name: &'static str,
    /// Names and types in order.
    pub fields: &'static [(&'static str, FieldType)],
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub enum FieldType {
    /// `bool`
    Bool,
    /// Any unsigned number.
    Uint,
    /// `[]byte`
    Bytes,
    /// `string`
    Text,
    /// An array of so many unsigned numbers (bytes too are numbers there), under its name in Go.
    Array(&'static str, u8),
    /// A struct.
    Struct(&'static StructType),
}

/// The types that a stream has defined so far. Go numbers them in the order of their first use, and so does this.
#[derive(Debug, Default)]
pub struct Encoder {
    structs: Vec<(&'static StructType, i64)>,
    arrays: Vec<(&'static str, i64)>,
    defined: i64,
}

impl Encoder {
    /// Appends a struct that `write` fills, after the definitions that it needs.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        of: &'static StructType,
        write: impl FnOnce(&mut Writer),
    ) {
        let id = self.struct_id(out, of);
        let mut writer = Writer {
            bytes: Vec::with_capacity(96),
            last: 0,
        };
        signed(&mut writer.bytes, id);
        write(&mut writer);
        writer.bytes.push(0);
        message(out, &writer.bytes);
    }

    fn new_id(&mut self) -> i64 {
        self.defined += 1;
        FIRST_OWN + self.defined - 1
    }

    fn struct_id(&mut self, out: &mut Vec<u8>, of: &'static StructType) -> i64 {
        let known = self
            .structs
            .iter()
            .find(|(known, _)| std::ptr::eq(*known, of));
        if let Some((_, id)) = known {
            return *id;
        }
        let id = self.new_id();
        self.structs.push((of, id));
        let mut inner = Vec::new();
        let mut definition = Vec::new();
        signed(&mut definition, -id);
        // wireType{StructT: structType{CommonType, Field []fieldType}}
        definition.push(3);
        common_type(&mut definition, of.name, id);
        if !of.fields.is_empty() {
            definition.push(1);
            unsigned(&mut definition, of.fields.len() as u64);
            for (name, field) in of.fields {
                definition.push(1);
                bytes(&mut definition, name.as_bytes());
                definition.push(1);
                let id = self.field_id(&mut inner, *field);
                signed(&mut definition, id);
                definition.push(0);
            }
        }
        definition.extend_from_slice(&[0, 0]);
        message(out, &definition);
        out.extend_from_slice(&inner);
        id
    }

    fn field_id(&mut self, out: &mut Vec<u8>, field: FieldType) -> i64 {
        match field {
            FieldType::Bool => BOOL,
            FieldType::Uint => UINT,
            FieldType::Bytes => BYTES,
            FieldType::Text => STRING,
            FieldType::Struct(of) => self.struct_id(out, of),
            FieldType::Array(name, length) => {
                if let Some((_, id)) = self.arrays.iter().find(|(known, _)| *known == name) {
                    return *id;
                }
                let id = self.new_id();
                self.arrays.push((name, id));
                let mut definition = Vec::new();
                signed(&mut definition, -id);
                // wireType{ArrayT: arrayType{CommonType, Elem typeId, Len int}}
                definition.push(1);
                common_type(&mut definition, name, id);
                definition.push(1);
                signed(&mut definition, UINT);
                definition.push(1);
                signed(&mut definition, i64::from(length));
                definition.extend_from_slice(&[0, 0]);
                message(out, &definition);
                id
            }
        }
    }
}

/// Field 1 of a definition, `CommonType{Name, Id}`.
fn common_type(out: &mut Vec<u8>, name: &str, id: i64) {
    out.push(1);
    if name.is_empty() {
        out.push(2);
    } else {
        out.push(1);
        bytes(out, name.as_bytes());
        out.push(1);
    }
    signed(out, id);
    out.push(0);
}

/// Fills the fields of one struct, in their order; their numbers count from 1. What is zero is left out, as Go does.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    last: u8,
}

impl Writer {
    fn start(&mut self, field: u8) {
        self.bytes.push(field - self.last);
        self.last = field;
    }

    /// A `bool`.
    pub fn flag(&mut self, field: u8, value: bool) {
        self.number(field, u64::from(value));
    }

    /// An unsigned number.
    pub fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.start(field);
            unsigned(&mut self.bytes, value);
        }
    }

    /// A text or a slice of bytes.
    pub fn bytes(&mut self, field: u8, value: &[u8]) {
        if !value.is_empty() {
            self.start(field);
            bytes(&mut self.bytes, value);
        }
    }

    /// An array, which is sent even if it is all zeros.
    pub fn array<T: Into<u64> + Copy>(&mut self, field: u8, values: &[T]) {
        self.start(field);
        unsigned(&mut self.bytes, values.len() as u64);
        for value in values {
            unsigned(&mut self.bytes, (*value).into());
        }
    }

    /// A struct.
    pub fn fields(&mut self, field: u8, write: impl FnOnce(&mut Self)) {
        self.start(field);
        let outer = std::mem::replace(&mut self.last, 0);
        write(self);
        self.bytes.push(0);
        self.last = outer;
    }
}

fn message(out: &mut Vec<u8>, content: &[u8]) {
    bytes(out, content);
}

fn bytes(out: &mut Vec<u8>, content: &[u8]) {
    unsigned(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn unsigned(out: &mut Vec<u8>, number: u64) {
    if number < 128 {
        out.push(number as u8);
        return;
    }
    let empty = number.leading_zeros() / 8;
    let count = 8 - empty as u8;
    out.push(count.wrapping_neg());
    out.extend_from_slice(&number.to_be_bytes()[empty as usize..]);
}

fn signed(out: &mut Vec<u8>, number: i64) {
    let sign = if number < 0 { !0 } else { 0 };
    unsigned(out, ((number << 1) ^ sign) as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, GobError, Message, frame};
    use super::*;

    static INNER: StructType = StructType {
        name: "Inner",
        fields: &[
            ("Limbs", FieldType::Array("[4]uint64", 4)),
            ("Flag", FieldType::Bool),
        ],
    };
    static OUTER: StructType = StructType {
        name: "Outer",
        fields: &[
            ("Text", FieldType::Text),
            ("Number", FieldType::Uint),
            ("Bytes", FieldType::Bytes),
            ("Inner", FieldType::Struct(&INNER)),
            ("Hash", FieldType::Array("Hash", 32)),
        ],
    };

    #[derive(Debug, Default, PartialEq, Clone)]
    struct Outer {
        text: String,
        number: u64,
        bytes: Vec<u8>,
        limbs: [u64; 4],
        hash: [u8; 32],
    }

    fn encoded(encoder: &mut Encoder, value: &Outer) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.encode(&mut out, &OUTER, |writer| {
            writer.bytes(1, value.text.as_bytes());
            writer.number(2, value.number);
            writer.bytes(3, &value.bytes);
            writer.fields(4, |inner| inner.array(1, &value.limbs));
            writer.array(5, &value.hash);
        });
        out
    }

    fn decoded(decoder: &mut Decoder, mut stream: &[u8]) -> Result<Outer, GobError> {
        loop {
            let (content, length) = frame(stream, 4096)?.ok_or(GobError::CutOff)?;
            stream = &stream[length..];
            let Message::Value(mut fields) = decoder.message(content)? else {
                continue;
            };
            let mut outer = Outer::default();
            while let Some((name, value)) = fields.next()? {
                match name {
                    "Text" => outer.text = value.text(name)?.into(),
                    "Number" => outer.number = value.unsigned(name)?,
                    "Bytes" => outer.bytes = value.bytes(name)?.into(),
                    "Inner" => {
                        let mut inner = value.fields(name)?;
                        while let Some((name, value)) = inner.next()? {
                            outer.limbs = value.numbers(name)?;
                        }
                    }
                    _ => outer.hash = value.byte_array(name)?,
                }
            }
            assert!(stream.is_empty());
            return Ok(outer);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            text in ".{0,40}", number in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..300),
            limbs in any::<[u64; 4]>(), hash in any::<[u8; 32]>(),
        ) {
            let value = Outer { text, number, bytes, limbs, hash };
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let first = encoded(&mut encoder, &value);
            let second = encoded(&mut encoder, &value);
            prop_assert!(second.len() < first.len(), "types are defined once");
            prop_assert_eq!(&decoded(&mut decoder, &first).unwrap(), &value);
            prop_assert_eq!(&decoded(&mut decoder, &second).unwrap(), &value);
            for cut in 0..first.len() {
                prop_assert!(decoded(&mut Decoder::default(), &first[..cut]).is_err());
            }
        }

        #[test]
        fn damaged_streams_end_in_a_value_or_an_error(
            place in any::<prop::sample::Index>(), byte in any::<u8>(), limbs in any::<[u64; 4]>(),
        ) {
            let mut stream = encoded(&mut Encoder::default(), &Outer { limbs, number: 1 << 40, ..Outer::default() });
            let place = place.index(stream.len());
            stream[place] = byte;
            let _ = decoded(&mut Decoder::default(), &stream);
        }

        #[test]
        fn any_message_is_read_without_harm(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let mut decoder = Decoder::default();
            for content in &contents {
                if let Ok(Message::Value(mut fields)) = decoder.message(content) {
                    while let Ok(Some((name, value))) = fields.next() {
                        let _ = (value.text(name), value.unsigned_32(name), value.numbers::<4>(name));
                    }
                }
            }
        }
    }

    #[test]
    fn a_type_that_holds_itself_is_read_to_a_bounded_depth() {
        let mut decoder = Decoder::default();
        // type 64 is struct{A type 64}
        let definition = [
            0x7f, 3, 1, 2, 0xff, 0x80, 0, 1, 1, 1, 1, b'A', 1, 0xff, 0x80, 0, 0, 0,
        ];
        assert!(matches!(
            decoder.message(&definition),
            Ok(Message::Definition)
        ));
        assert_eq!(
            decoder.message(&definition).unwrap_err(),
            GobError::Definition
        );
        let nested =
            |levels: usize| [vec![0xff, 0x80], vec![1; levels], vec![0; levels + 1]].concat();
        assert!(decoder.message(&nested(10)).is_ok());
        assert_eq!(
            decoder.message(&nested(10_000)).unwrap_err(),
            GobError::TooDeep
        );
    }

    #[test]
    fn lengths_and_counts_that_promise_too_much_are_refused() {
        assert_eq!(
            frame(&[0xf8, 1, 0, 0, 0, 0, 0, 0, 0], 100),
            Err(GobError::TooLong(1 << 56))
        );
        assert_eq!(frame(&[0xf7], 100), Err(GobError::Number));
        assert_eq!(frame(&[101], 100), Err(GobError::TooLong(101)));
        assert_eq!(frame(&[2, 1], 100), Ok(None));
        assert_eq!(frame(&[0xff], 100), Ok(None));
        let mut decoder = Decoder::default();
        // type 64 is [n]uint, type 65 struct{A type 64}
        decoder
            .message(&[0x7f, 1, 1, 2, 0xff, 0x80, 0, 1, 6, 1, 8, 0, 0])
            .unwrap();
        decoder
            .message(&[
                0xff, 0x81, 3, 1, 2, 0xff, 0x82, 0, 1, 1, 1, 1, b'A', 1, 0xff, 0x80, 0, 0, 0,
            ])
            .unwrap();
        let endless = [
            0xff, 0x82, 1, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1,
        ];
        assert_eq!(decoder.message(&endless).unwrap_err(), GobError::CutOff);
        assert_eq!(
            decoder.message(&[0xff, 0x84, 0]).unwrap_err(),
            GobError::UnknownType(66)
        );
    }
}
