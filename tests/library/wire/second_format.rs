//! A second implementation of the encoding that docs/PROTOCOL.md describes, without bincode: little endian,
//! fixed widths, u64 lengths, u32 numbers of variants. It shows that bincode can be replaced.

use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor};
use serde::ser::{self, Serialize};
use serde::{Deserialize, forward_to_deserialize_any};
use thiserror::Error;

/// Why a value is not of this format.
#[derive(Debug, Error)]
pub(super) enum FormatError {
    /// The bytes end within a value, or are no such value.
    #[error("{0}")]
    Malformed(String),
    /// The wire has no such type.
    #[error("the wire has no {0}")]
    NotOnTheWire(&'static str),
}

impl de::Error for FormatError {
    fn custom<T: std::fmt::Display>(why: T) -> FormatError {
        FormatError::Malformed(why.to_string())
    }
}

impl ser::Error for FormatError {
    fn custom<T: std::fmt::Display>(why: T) -> FormatError {
        FormatError::Malformed(why.to_string())
    }
}

/// Encodes a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FormatError> {
    let mut writer = Writer(Vec::new());
    value.serialize(&mut writer)?;
    Ok(writer.0)
}

/// Decodes bytes that must be exactly one value.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FormatError> {
    let mut reader = Reader(bytes);
    let value = T::deserialize(&mut reader)?;
    match reader.0.len() {
        0 => Ok(value),
        left => Err(FormatError::Malformed(format!("{left} bytes after the value"))),
    }
}

struct Writer(Vec<u8>);

macro_rules! write_integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), FormatError> {
            self.0.extend_from_slice(&value.to_le_bytes());
            Ok(())
        })*
    };
}

macro_rules! not_on_the_wire {
    ($($method:ident($($type:ty),*) -> $result:ty: $what:literal),*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$result, FormatError> {
            Err(FormatError::NotOnTheWire($what))
        })*
    };
}

impl ser::Serializer for &mut Writer {
    type Ok = ();
    type Error = FormatError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = ser::Impossible<(), FormatError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    write_integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    not_on_the_wire!(serialize_f32(f32) -> (): "float", serialize_f64(f64) -> (): "float",
        serialize_char(char) -> (): "character", serialize_map(Option<usize>) -> Self::SerializeMap: "map");

    fn serialize_bool(self, value: bool) -> Result<(), FormatError> {
        self.serialize_u8(value.into())
    }

    fn serialize_str(self, value: &str) -> Result<(), FormatError> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), FormatError> {
        self.serialize_u64(value.len() as u64)?;
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), FormatError> {
        self.serialize_u8(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), FormatError> {
        self.serialize_u8(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), FormatError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), FormatError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
    ) -> Result<(), FormatError> {
        self.serialize_u32(number)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), FormatError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), FormatError> {
        self.serialize_u32(number)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, FormatError> {
        let len = len.ok_or(FormatError::NotOnTheWire("sequence of unknown length"))?;
        self.serialize_u64(len as u64)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, FormatError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, FormatError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, FormatError> {
        self.serialize_u32(number)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, FormatError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, FormatError> {
        self.serialize_u32(number)?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a sequence, tuple or struct follow each other.
macro_rules! write_parts {
    ($($trait:ident: $method:ident($($key:ty)?)),*) => {
        $(impl ser::$trait for &mut Writer {
            type Ok = ();
            type Error = FormatError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $key,)?
                value: &T,
            ) -> Result<(), FormatError> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), FormatError> {
                Ok(())
            }
        })*
    };
}

write_parts!(SerializeSeq: serialize_element(), SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(), SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str), SerializeStructVariant: serialize_field(&'static str));

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| de::Error::custom("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.take(N).map(|bytes| bytes.try_into().expect("N bytes"))
    }

    fn len(&mut self) -> Result<usize, FormatError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(de::Error::custom)
    }

    fn flag(&mut self) -> Result<bool, FormatError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(de::Error::custom(format!("{other} is neither 0 nor 1"))),
        }
    }
}

macro_rules! read_integers {
    ($($method:ident: $visit:ident($type:ty)),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
            visitor.$visit(<$type>::from_le_bytes(self.array()?))
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = FormatError;

    read_integers!(deserialize_u8: visit_u8(u8), deserialize_u16: visit_u16(u16),
        deserialize_u32: visit_u32(u32), deserialize_u64: visit_u64(u64),
        deserialize_u128: visit_u128(u128), deserialize_i8: visit_i8(i8),
        deserialize_i16: visit_i16(i16), deserialize_i32: visit_i32(i32), deserialize_i64: visit_i64(i64));

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FormatError> {
        Err(FormatError::NotOnTheWire("value without a known type"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        visitor.visit_bool(self.flag()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        let len = self.len()?;
        visitor.visit_borrowed_str(std::str::from_utf8(self.take(len)?).map_err(de::Error::custom)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        let len = self.len()?;
        visitor.visit_borrowed_bytes(self.take(len)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        if self.flag()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormatError> {
        let left = self.len()?;
        visitor.visit_seq(Parts { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, FormatError> {
        visitor.visit_seq(Parts { reader: self, left })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        self.deserialize_tuple(left, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! { f32 f64 char map identifier ignored_any }
}

/// The parts of a sequence, tuple or struct that are left.
struct Parts<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl<'a> SeqAccess<'a> for Parts<'_, 'a> {
    type Error = FormatError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FormatError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'a> EnumAccess<'a> for &mut Reader<'a> {
    type Error = FormatError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), FormatError> {
        let number = u32::from_le_bytes(self.array()?);
        let deserializer: de::value::U32Deserializer<FormatError> = number.into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'a> VariantAccess<'a> for &mut Reader<'a> {
    type Error = FormatError;

    fn unit_variant(self) -> Result<(), FormatError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, FormatError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, FormatError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormatError> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}
