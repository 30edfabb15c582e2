//! Finds floats that JSON has no spelling for.
//!
//! `serde_json` writes NaN and the infinities as `null`, which is no number when it is read back. A
//! record that holds one is refused before it is written.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// The first float of a value that is NaN or infinite.
#[derive(Debug)]
pub(crate) struct NotFinite(String);

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotFinite {}

impl ser::Error for NotFinite {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Checks that every float in `value` is finite.
pub(crate) fn check(value: &impl Serialize) -> Result<(), NotFinite> {
    value.serialize(FloatCheck)
}

/// A serializer that checks floats and drops everything else.
#[derive(Clone, Copy)]
struct FloatCheck;

type Checked = Result<(), NotFinite>;

/// Accepts values of these types.
macro_rules! accept {
    ($($method:ident: $kind:ty),*) => {
        $(fn $method(self, _: $kind) -> Checked { Ok(()) })*
    };
}

impl Serializer for FloatCheck {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    accept!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str
    );

    fn serialize_f32(self, value: f32) -> Checked {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Checked {
        if value.is_finite() { Ok(()) } else { Err(NotFinite(value.to_string())) }
    }

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NotFinite> {
        Ok(self)
    }
}

/// Checks the parts of a sequence.
macro_rules! check_parts {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for FloatCheck {
            type Ok = ();
            type Error = NotFinite;

            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Checked {
                value.serialize(*self)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

check_parts!(
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
);

/// Checks the fields of a structure; its message names the outermost one.
macro_rules! check_fields {
    ($($kind:ident),*) => {
        $(impl ser::$kind for FloatCheck {
            type Ok = ();
            type Error = NotFinite;

            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Checked {
                value.serialize(*self).map_err(|NotFinite(found)| {
                    NotFinite(if found.contains('`') {
                        found.replacen('`', &format!("`{key}."), 1)
                    } else {
                        format!("`{key}` is {found}")
                    })
                })
            }

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

check_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for FloatCheck {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, _: &T) -> Checked {
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Checked {
        value.serialize(*self)
    }

    fn end(self) -> Checked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Outer {
        name: &'static str,
        inner: Option<Inner>,
    }

    #[derive(Serialize)]
    enum Inner {
        Logprobs { values: Vec<f32> },
        Table(BTreeMap<&'static str, f64>),
        Pair((), f64),
    }

    fn found(inner: Inner) -> Option<String> {
        check(&Outer { name: "x", inner: Some(inner) }).err().map(|error| error.to_string())
    }

    #[test]
    fn floats_are_found_wherever_they_are() {
        let values = vec![0.5, f32::NAN];
        let at = found(Inner::Logprobs { values }).expect("not a number");
        assert_eq!(at, "`inner.values` is NaN");
        let table = BTreeMap::from([("a", 1.0), ("b", f64::INFINITY)]);
        assert_eq!(found(Inner::Table(table)).expect("infinite"), "`inner` is inf");
        let pair = Inner::Pair((), f64::NEG_INFINITY);
        assert_eq!(found(pair).expect("infinite"), "`inner` is -inf");
    }

    #[test]
    fn finite_values_pass() {
        assert_eq!(found(Inner::Logprobs { values: vec![f32::MAX, -0.0] }), None);
        assert!(check(&Outer { name: "x", inner: None }).is_ok());
        assert!(check(&serde_json::json!({"a": [1, "NaN", null, true]})).is_ok());
    }
}
