//! Typed access to the keys of a genesis `config` object.

use alloc::{
    format,
    string::{String, ToString},
};
use alloy_primitives::Address;
use serde_json::{Map, Value};

use crate::error::ConfigError;

/// A JSON object, and where it stands in the configuration.
pub(super) struct Config<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Config<'a> {
    pub(super) const fn new(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
        }
    }

    /// The value of a key; an explicit `null` is the same as absence.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A non-negative integer of at most 64 bits, as a number or a `0x` string.
    pub(super) fn integer(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        match value.as_u64().or_else(|| value.as_str().and_then(hex)) {
            Some(integer) => Ok(Some(integer)),
            None => Err(self.wrong(key, value, "a non-negative integer below 2^64")),
        }
    }

    pub(super) fn required_integer(&self, key: &'static str) -> Result<u64, ConfigError> {
        self.integer(key)?.ok_or(ConfigError::Missing(key))
    }

    /// As [`Config::integer`], but 0 is refused.
    pub(super) fn positive(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match (self.integer(key)?, self.get(key)) {
            (Some(0), Some(value)) => Err(self.wrong(key, value, "an integer above 0")),
            (integer, _) => Ok(integer),
        }
    }

    pub(super) fn address(&self, key: &str) -> Result<Option<Address>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_str().and_then(|text| text.parse().ok()) {
            Some(address) => Ok(Some(address)),
            None => Err(self.wrong(key, value, "an address")),
        }
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                map,
                path: format!("{}{key}.", self.path),
            })),
            Some(value) => Err(self.wrong(key, value, "an object")),
        }
    }

    pub(super) fn wrong(&self, key: &str, value: &Value, expected: &'static str) -> ConfigError {
        ConfigError::Value {
            key: format!("{}{key}", self.path),
            value: value.to_string(),
            expected,
        }
    }

    /// Reads forks that follow each other: a later one may neither come earlier nor be set without the one before it.
    pub(super) fn schedule<const N: usize>(
        &self,
        keys: [&'static str; N],
    ) -> Result<[Option<u64>; N], ConfigError> {
        let mut times = [None; N];
        for (index, key) in keys.into_iter().enumerate() {
            times[index] = self.integer(key)?;
            if index == 0 {
                continue;
            }
            let out_of_order = match (times[index - 1], times[index]) {
                (Some(earlier), Some(later)) => earlier > later,
                (None, Some(_)) => true,
                _ => false,
            };
            if out_of_order {
                let at = |time: Option<u64>| {
                    time.map_or_else(|| "never".to_string(), |time| time.to_string())
                };
                return Err(ConfigError::Order {
                    earlier: keys[index - 1],
                    earlier_at: at(times[index - 1]),
                    later: key,
                    later_at: at(times[index]),
                });
            }
        }
        Ok(times)
    }
}
