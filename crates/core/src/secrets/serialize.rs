//! JSON with every string masked. Names of fields and variants stay, and so does what is written with [`as_verbatim`], so
//! that what was written can be read again whatever the secrets are.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Mask;

/// The name of a newtype whose text is not masked.
const VERBATIM: &str = "cacheproof verbatim";

/// Writes a text that must not be masked: one that was masked already, or is not readable by people.
pub(crate) fn as_verbatim<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(VERBATIM, text)
}

/// A value as JSON, without the secrets that the mask knows.
///
/// # Errors
/// When the value can't be written as JSON.
pub fn to_masked_json<T: Serialize + ?Sized>(value: &T, mask: &Mask) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Masked { value, mask })
}

struct Masked<'a, T: ?Sized> {
    value: &'a T,
    mask: &'a Mask,
}

impl<T: Serialize + ?Sized> Serialize for Masked<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Masking { inner: serializer, mask: self.mask })
    }
}

/// A serializer, or what it returns for a list or a table, with a mask in front of it.
struct Masking<'a, S> {
    inner: S,
    mask: &'a Mask,
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $method(self $(, $name: $type)*) -> Result<S::Ok, S::Error> { self.inner.$method($($name),*) })*
    };
}

macro_rules! open {
    ($($method:ident($($name:ident: $type:ty),*) -> $compound:ident;)*) => {
        $(fn $method(self $(, $name: $type)*) -> Result<Self::$compound, S::Error> {
            Ok(Masking { inner: self.inner.$method($($name),*)?, mask: self.mask })
        })*
    };
}

impl<'a, S: Serializer> Serializer for Masking<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Masking<'a, S::SerializeSeq>;
    type SerializeTuple = Masking<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Masking<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Masking<'a, S::SerializeTupleVariant>;
    type SerializeMap = Masking<'a, S::SerializeMap>;
    type SerializeStruct = Masking<'a, S::SerializeStruct>;
    type SerializeStructVariant = Masking<'a, S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    open! {
        serialize_seq(length: Option<usize>) -> SerializeSeq;
        serialize_tuple(length: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeTupleVariant;
        serialize_map(length: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, length: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeStructVariant;
    }

    fn serialize_str(self, text: &str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(&self.mask.text(text))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = Masked { value, mask: self.mask };
        self.inner.serialize_some(&value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        if name == VERBATIM {
            return self.inner.serialize_newtype_struct(name, value);
        }
        let value = Masked { value, mask: self.mask };
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Masked { value, mask: self.mask };
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }
}

macro_rules! compound {
    ($($trait:ident::$method:ident($($key:ident: $type:ty)?);)*) => {
        $(impl<S: $trait> $trait for Masking<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), S::Error> {
                let value = Masked { value, mask: self.mask };
                self.inner.$method($($key,)? &value)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })*
    };
}

compound! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(key: &'static str);
    SerializeStructVariant::serialize_field(key: &'static str);
}

impl<S: SerializeMap> SerializeMap for Masking<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    // The keys of a map are names that were not chosen by the code, so they are masked too.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let key = Masked { value: key, mask: self.mask };
        self.inner.serialize_key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = Masked { value, mask: self.mask };
        self.inner.serialize_value(&value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Steady,
        Named { steady: String },
        One(String),
        Two(String, u8),
    }

    #[derive(serde::Serialize)]
    struct Line {
        steady: &'static str,
        kinds: Vec<Kind>,
        maybe: Option<String>,
        pair: (String, f64),
        map: BTreeMap<String, String>,
        #[serde(serialize_with = "as_verbatim")]
        kept: String,
    }

    #[test]
    fn every_string_is_masked_and_no_name_of_the_code_is() {
        let secret = || "is steady".to_owned();
        let line = Line {
            steady: "is steady",
            kinds: vec![Kind::Steady, Kind::Named { steady: secret() }, Kind::One(secret()), Kind::Two(secret(), 1)],
            maybe: Some(secret()),
            pair: (secret(), 0.5),
            map: [(secret(), secret())].into(),
            kept: secret(),
        };
        let json = String::from_utf8(to_masked_json(&line, &Mask::of(["steady"])).unwrap()).unwrap();
        assert_eq!(
            json,
            r#"{"steady":"is ***","kinds":["steady",{"named":{"steady":"is ***"}},{"one":"is ***"},{"two":["is ***",1]}],"maybe":"is ***","pair":["is ***",0.5],"map":{"is ***":"is ***"},"kept":"is steady"}"#
        );
    }
}
