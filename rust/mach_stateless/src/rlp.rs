//! Reading RLP item by item without copying. Total: every function ends with a value or an [`alloy_rlp::Error`].

use alloy_rlp::{Error, Header, Result};

/// One RLP item: its payload, and the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// Whether the item is a list.
    pub(crate) list: bool,
    /// The item without its header.
    pub(crate) payload: &'a [u8],
    /// The item with its header.
    pub(crate) encoded: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads the next item of `buf` and moves `buf` behind it. Only canonical length prefixes are accepted.
    pub(crate) fn next(buf: &mut &'a [u8]) -> Result<Self> {
        let start = *buf;
        let header = Header::decode(buf)?;
        let payload = buf
            .get(..header.payload_length)
            .ok_or(Error::InputTooShort)?;
        *buf = &buf[header.payload_length..];
        Ok(Self {
            list: header.list,
            payload,
            encoded: &start[..start.len() - buf.len()],
        })
    }

    /// Reads `bytes` as exactly one item.
    pub(crate) fn only(mut bytes: &'a [u8]) -> Result<Self> {
        let item = Self::next(&mut bytes)?;
        if bytes.is_empty() {
            Ok(item)
        } else {
            Err(Error::UnexpectedLength)
        }
    }

    /// The payload of a list.
    pub(crate) fn into_list(self) -> Result<&'a [u8]> {
        if self.list {
            Ok(self.payload)
        } else {
            Err(Error::UnexpectedString)
        }
    }

    /// The payload of a string.
    pub(crate) fn into_string(self) -> Result<&'a [u8]> {
        if self.list {
            Err(Error::UnexpectedList)
        } else {
            Ok(self.payload)
        }
    }
}

/// The number of items in a list's payload.
pub(crate) fn count(mut payload: &[u8]) -> Result<usize> {
    let mut items = 0;
    while !payload.is_empty() {
        Item::next(&mut payload)?;
        items += 1;
    }
    Ok(items)
}
