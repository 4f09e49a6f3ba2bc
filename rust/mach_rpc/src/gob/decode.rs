//! Reading gob: total, and bounded in types, depth and length.

use std::collections::HashMap;

use super::GobError;
use super::predefined::{BOOL, BYTES, COMPLEX, FIRST_OWN, FLOAT, INT, STRING, UINT};

/// Types that one stream may define; a client of the aggregator needs ten.
const MAX_TYPES: usize = 64;
/// Fields of one type.
const MAX_FIELDS: usize = 64;
/// Bytes of a name.
const MAX_NAME: usize = 256;
/// Levels of values within values.
const MAX_DEPTH: usize = 16;

/// The next message at the start of `stream`: its content and how many bytes it takes with its length. `None` until
/// all of it is there.
///
/// # Errors
/// A length of more than `max_length`, or none at all.
pub fn frame(stream: &[u8], max_length: usize) -> Result<Option<(&[u8], usize)>, GobError> {
    let mut cursor = Cursor { rest: stream };
    let length = match cursor.unsigned() {
        Ok(length) => length,
        Err(GobError::CutOff) => return Ok(None),
        Err(error) => return Err(error),
    };
    let fits = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max_length);
    let length = fits.ok_or(GobError::TooLong(length))?;
    let prefix = stream.len() - cursor.rest.len();
    Ok(cursor
        .rest
        .get(..length)
        .map(|content| (content, prefix + length)))
}

/// How a defined type is built.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WireType {
    /// Slices too: both are a count and the elements.
    Array {
        element: i64,
    },
    Struct {
        fields: Vec<(String, i64)>,
    },
    Map {
        key: i64,
        element: i64,
    },
    /// A type with an encoding of its own: bytes.
    Opaque,
}

/// The types that a stream has defined so far.
#[derive(Debug, Default)]
pub struct Decoder {
    types: HashMap<i64, WireType>,
}

/// What a message is.
#[derive(Debug)]
pub enum Message<'a> {
    /// It defined a type.
    Definition,
    /// It holds a struct.
    Value(Fields<'a>),
    /// It holds a value of another kind.
    Other,
}

impl Decoder {
    /// Reads one message's content.
    ///
    /// # Errors
    /// The message makes no sense; the stream cannot be read on if it was a definition.
    pub fn message<'a>(&'a mut self, content: &'a [u8]) -> Result<Message<'a>, GobError> {
        let mut cursor = Cursor { rest: content };
        let id = cursor.signed()?;
        if id < 0 {
            let id = id.checked_neg().ok_or(GobError::Definition)?;
            let definition = wire_type(&mut cursor)?;
            if !cursor.rest.is_empty() {
                return Err(GobError::ExtraData);
            }
            if id < FIRST_OWN || self.types.len() == MAX_TYPES || self.types.contains_key(&id) {
                return Err(GobError::Definition);
            }
            self.types.insert(id, definition);
            return Ok(Message::Definition);
        }
        let value = Value {
            decoder: self,
            id,
            bytes: cursor.rest,
            depth: 0,
        };
        match self.types.get(&id) {
            Some(WireType::Struct { .. }) => {
                let fields = value.fields("the message")?;
                let length = value.length()?;
                if length == cursor.rest.len() {
                    Ok(Message::Value(fields))
                } else {
                    Err(GobError::ExtraData)
                }
            }
            Some(_) => Ok(Message::Other),
            None if id < FIRST_OWN => Ok(Message::Other),
            None => Err(GobError::UnknownType(id)),
        }
    }
}

/// The definition that a struct `wireType` holds: field 1 an array, 2 a slice, 3 a struct, 4 a map, 5 to 7 opaque.
fn wire_type(cursor: &mut Cursor<'_>) -> Result<WireType, GobError> {
    let kind = cursor.unsigned()?;
    let mut numbers = [0; 3];
    let mut fields = Vec::new();
    let mut field = 0_u64;
    loop {
        let delta = cursor.unsigned()?;
        if delta == 0 {
            break;
        }
        field = field.checked_add(delta).ok_or(GobError::Definition)?;
        match (field, kind) {
            (1, _) => common_type(cursor)?,
            (2, 3) => fields = field_types(cursor)?,
            (2, 1 | 2 | 4) | (3, 1 | 4) => {
                // both fields stand below 4, so the place is in range
                if let Some(number) = numbers.get_mut(field as usize - 1) {
                    *number = cursor.signed()?;
                }
            }
            _ => return Err(GobError::Definition),
        }
    }
    let wire_type = match kind {
        1 | 2 => WireType::Array {
            element: numbers[1],
        },
        3 => WireType::Struct { fields },
        4 => WireType::Map {
            key: numbers[1],
            element: numbers[2],
        },
        5..=7 => WireType::Opaque,
        _ => return Err(GobError::Definition),
    };
    if cursor.unsigned()? == 0 {
        Ok(wire_type)
    } else {
        Err(GobError::Definition)
    }
}

/// `CommonType{Name string, Id int}`, of which nothing is needed: values name their type by its number.
fn common_type(cursor: &mut Cursor<'_>) -> Result<(), GobError> {
    named_number(cursor).map(|_| ())
}

fn field_types(cursor: &mut Cursor<'_>) -> Result<Vec<(String, i64)>, GobError> {
    let count = cursor.unsigned()?;
    if count > MAX_FIELDS as u64 {
        return Err(GobError::Definition);
    }
    (0..count).map(|_| named_number(cursor)).collect()
}

/// A struct of a text, field 1, and a number, field 2.
fn named_number(cursor: &mut Cursor<'_>) -> Result<(String, i64), GobError> {
    let (mut name, mut number) = (String::new(), 0);
    let mut field = 0_u64;
    loop {
        let delta = cursor.unsigned()?;
        if delta == 0 {
            return Ok((name, number));
        }
        field = field.checked_add(delta).ok_or(GobError::Definition)?;
        match field {
            1 => {
                let bytes = cursor.bytes()?;
                if bytes.len() > MAX_NAME {
                    return Err(GobError::Definition);
                }
                std::str::from_utf8(bytes)
                    .map_err(|_| GobError::Text)?
                    .clone_into(&mut name);
            }
            2 => number = cursor.signed()?,
            _ => return Err(GobError::Definition),
        }
    }
}

/// A value of a known type at the start of some bytes.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    decoder: &'a Decoder,
    id: i64,
    bytes: &'a [u8],
    depth: usize,
}

impl<'a> Value<'a> {
    fn cursor(&self) -> Cursor<'a> {
        Cursor { rest: self.bytes }
    }

    fn within(&self, id: i64, bytes: &'a [u8]) -> Self {
        Self {
            id,
            bytes,
            depth: self.depth + 1,
            ..*self
        }
    }

    /// How many bytes the value takes.
    fn length(&self) -> Result<usize, GobError> {
        if self.depth > MAX_DEPTH {
            return Err(GobError::TooDeep);
        }
        let mut cursor = self.cursor();
        match self.id {
            BOOL | INT | UINT | FLOAT => {
                cursor.unsigned()?;
            }
            BYTES | STRING => {
                cursor.bytes()?;
            }
            COMPLEX => {
                cursor.unsigned()?;
                cursor.unsigned()?;
            }
            _ => match self.decoder.types.get(&self.id) {
                None => return Err(GobError::UnknownType(self.id)),
                Some(WireType::Opaque) => {
                    cursor.bytes()?;
                }
                Some(WireType::Array { element }) => {
                    for _ in 0..cursor.unsigned()? {
                        cursor.skip(self.within(*element, cursor.rest).length()?)?;
                    }
                }
                Some(WireType::Map { key, element }) => {
                    for _ in 0..cursor.unsigned()? {
                        cursor.skip(self.within(*key, cursor.rest).length()?)?;
                        cursor.skip(self.within(*element, cursor.rest).length()?)?;
                    }
                }
                Some(WireType::Struct { .. }) => {
                    let mut fields = self.fields("")?;
                    while fields.next()?.is_some() {}
                    cursor.rest = fields.cursor.rest;
                }
            },
        }
        Ok(self.bytes.len() - cursor.rest.len())
    }

    /// A struct's fields.
    ///
    /// # Errors
    /// [`GobError::WrongType`] names `field`.
    pub fn fields(&self, field: &str) -> Result<Fields<'a>, GobError> {
        match self.decoder.types.get(&self.id) {
            Some(WireType::Struct { fields }) => Ok(Fields {
                owner: *self,
                types: fields,
                cursor: self.cursor(),
                next: 0,
            }),
            _ => Err(GobError::WrongType(field.to_owned())),
        }
    }

    /// An unsigned number below 2^64.
    ///
    /// # Errors
    /// [`GobError::WrongType`] names `field`.
    pub fn unsigned(&self, field: &str) -> Result<u64, GobError> {
        match self.id {
            UINT => self.cursor().unsigned(),
            _ => Err(GobError::WrongType(field.to_owned())),
        }
    }

    /// An unsigned number below 2^32.
    ///
    /// # Errors
    /// [`GobError::WrongType`] and [`GobError::OutOfRange`] name `field`.
    pub fn unsigned_32(&self, field: &str) -> Result<u32, GobError> {
        u32::try_from(self.unsigned(field)?).map_err(|_| GobError::OutOfRange(field.to_owned()))
    }

    /// A text.
    ///
    /// # Errors
    /// [`GobError::WrongType`] names `field`; [`GobError::Text`].
    pub fn text(&self, field: &str) -> Result<&'a str, GobError> {
        match self.id {
            STRING => std::str::from_utf8(self.cursor().bytes()?).map_err(|_| GobError::Text),
            _ => Err(GobError::WrongType(field.to_owned())),
        }
    }

    /// A slice of bytes.
    ///
    /// # Errors
    /// [`GobError::WrongType`] names `field`.
    pub fn bytes(&self, field: &str) -> Result<&'a [u8], GobError> {
        match self.id {
            BYTES => self.cursor().bytes(),
            _ => Err(GobError::WrongType(field.to_owned())),
        }
    }

    /// An array of exactly `LENGTH` unsigned numbers.
    ///
    /// # Errors
    /// [`GobError::WrongType`] names `field` where the type or the count is another.
    pub fn numbers<const LENGTH: usize>(&self, field: &str) -> Result<[u64; LENGTH], GobError> {
        let wrong_type = || GobError::WrongType(field.to_owned());
        let Some(WireType::Array { element: UINT }) = self.decoder.types.get(&self.id) else {
            return Err(wrong_type());
        };
        let mut cursor = self.cursor();
        if cursor.unsigned()? != LENGTH as u64 {
            return Err(wrong_type());
        }
        let mut numbers = [0; LENGTH];
        for number in &mut numbers {
            *number = cursor.unsigned()?;
        }
        Ok(numbers)
    }

    /// An array of exactly `LENGTH` bytes, which gob sends as numbers.
    ///
    /// # Errors
    /// [`GobError::WrongType`] and [`GobError::OutOfRange`] name `field`.
    pub fn byte_array<const LENGTH: usize>(&self, field: &str) -> Result<[u8; LENGTH], GobError> {
        let numbers = self.numbers::<LENGTH>(field)?;
        let mut bytes = [0; LENGTH];
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            *byte = u8::try_from(number).map_err(|_| GobError::OutOfRange(field.to_owned()))?;
        }
        Ok(bytes)
    }
}

/// The fields of a struct that were sent: gob leaves out those that are zero.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    owner: Value<'a>,
    types: &'a [(String, i64)],
    cursor: Cursor<'a>,
    /// The place of the next field, counted from 0, as long as there may be one.
    next: usize,
}

impl<'a> Fields<'a> {
    /// The next field's name and value; not an iterator's `next`, since it may fail.
    ///
    /// # Errors
    /// The struct is malformed.
    #[expect(clippy::should_implement_trait, reason = "it may fail")]
    pub fn next(&mut self) -> Result<Option<(&'a str, Value<'a>)>, GobError> {
        let delta = self.cursor.unsigned()?;
        if delta == 0 {
            return Ok(None);
        }
        let place = usize::try_from(delta)
            .ok()
            .and_then(|delta| self.next.checked_add(delta - 1));
        let field = place.and_then(|place| self.types.get(place));
        let ((name, id), place) = field.zip(place).ok_or(GobError::CutOff)?;
        let value = self.owner.within(*id, self.cursor.rest);
        self.cursor.skip(value.length()?)?;
        self.next = place + 1;
        Ok(Some((name, value)))
    }
}

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, count: usize) -> Result<&'a [u8], GobError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(GobError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte below 128 is the number; else it is the negated count of the big-endian bytes that follow.
    fn unsigned(&mut self) -> Result<u64, GobError> {
        let (first, rest) = self.rest.split_first().ok_or(GobError::CutOff)?;
        if *first < 128 {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let count = usize::from(first.wrapping_neg());
        if count > 8 {
            return Err(GobError::Number);
        }
        let bytes = rest.get(..count).ok_or(GobError::CutOff)?;
        self.rest = &rest[count..];
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The sign is the lowest bit; a negative number is stored complemented.
    fn signed(&mut self) -> Result<i64, GobError> {
        let number = self.unsigned()?;
        let magnitude = (number >> 1) as i64;
        Ok(if number & 1 == 1 {
            !magnitude
        } else {
            magnitude
        })
    }

    fn bytes(&mut self) -> Result<&'a [u8], GobError> {
        let count = self.unsigned()?;
        self.skip(usize::try_from(count).map_err(|_| GobError::CutOff)?)
    }
}
