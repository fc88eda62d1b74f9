//! The words of `types` to and from the generated messages.
//!
//! Invariants: a number or a time that has no meaning is refused with the field's name, never
//! replaced by a default; converting there and back changes nothing.
//!
//! Not here: whole requests (the gRPC door knows what it asks the node for).

use prost_types::{ListValue, Struct, Timestamp, value::Kind as Json};
use serde_json::{Map, Number, Value};
use types::{Durability, Hlc, Invalid, Kind, Metadata, Relation, Scope, Tier, VersionVector};

use crate::v1;

/// Integers up to here are exact in a double (2^53).
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Converts one closed vocabulary. The numbers are the same on both sides; 0 means "not said".
pub trait Vocabulary: Sized {
    /// The number on the wire.
    fn to_wire(self) -> i32;

    /// The value, or `None` when it was not said.
    ///
    /// # Errors
    /// [`Invalid`] for a number that no value has.
    fn from_wire(number: i32) -> Result<Option<Self>, Invalid>;

    /// The value, or `default` when it was not said.
    ///
    /// # Errors
    /// [`Invalid`] for a number that no value has.
    fn from_wire_or(number: i32, default: Self) -> Result<Self, Invalid> {
        Ok(Self::from_wire(number)?.unwrap_or(default))
    }
}

macro_rules! vocabulary {
    ($($name:ident $field:literal),+) => {$(
        impl Vocabulary for $name {
            fn to_wire(self) -> i32 {
                i32::from(self.number())
            }

            fn from_wire(number: i32) -> Result<Option<Self>, Invalid> {
                match u32::try_from(number) {
                    Ok(0) => Ok(None),
                    Ok(number) => $name::from_number(number).map(Some),
                    Err(_) => Err(Invalid::new($field, format!("unknown value {number}"))),
                }
            }
        }
    )+};
}

vocabulary!(Tier "tier", Kind "kind", Scope "scope", Relation "relation");

/// Unix milliseconds as a timestamp.
pub fn timestamp(unix_ms: u64) -> Timestamp {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(unix_ms % 1000).unwrap_or(0) * 1_000_000;
    Timestamp { seconds, nanos }
}

/// A timestamp as Unix milliseconds, rounded down.
///
/// # Errors
/// [`Invalid`] naming `field` for a time before 1970 or nanoseconds out of range.
pub fn unix_ms(field: &'static str, time: &Timestamp) -> Result<u64, Invalid> {
    let seconds = u64::try_from(time.seconds).ok();
    let nanos = u64::try_from(time.nanos).ok().filter(|n| *n < 1_000_000_000);
    let ms = seconds.zip(nanos).and_then(|(s, n)| s.checked_mul(1000)?.checked_add(n / 1_000_000));
    ms.ok_or_else(|| Invalid::new(field, "needs a time since 1970 with 0 to 999999999 nanos"))
}

/// [`unix_ms`] of a time that may be unset.
///
/// # Errors
/// As [`unix_ms`].
pub fn optional_unix_ms(
    field: &'static str,
    time: Option<&Timestamp>,
) -> Result<Option<u64>, Invalid> {
    time.map(|time| unix_ms(field, time)).transpose()
}

/// A confidence between 0 and 1 as permille, rounded to the nearest.
///
/// # Errors
/// [`Invalid`] naming `field` outside 0 to 1.
pub fn permille(field: &'static str, fraction: f64) -> Result<u16, Invalid> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Invalid::new(field, format!("needs 0 to 1, got {fraction}")));
    }
    // In range by the check above.
    Ok((fraction * 1000.0).round() as u16)
}

/// Permille as a fraction.
pub fn fraction(permille: u16) -> f64 {
    f64::from(permille) / 1000.0
}

/// A stamp.
pub fn hlc(stamp: Hlc) -> v1::Hlc {
    v1::Hlc { wall_ms: stamp.wall_ms(), counter: u32::from(stamp.counter()) }
}

/// A version vector, in order of origin.
pub fn version_vector(vector: &VersionVector) -> Vec<v1::VersionVectorEntry> {
    vector
        .iter()
        .map(|(origin, seq)| v1::VersionVectorEntry { origin: origin.to_string(), seq })
        .collect()
}

/// How a write was kept.
pub fn durability(kept: Durability) -> v1::Durability {
    let Durability { fsynced, acks, needed, position, last } = kept;
    let token = last.map(|last| last.to_string()).unwrap_or_default();
    v1::Durability { fsynced, acks, needed, position, token }
}

/// Metadata as a protobuf object.
pub fn metadata_to_struct(metadata: &Metadata) -> Struct {
    match metadata.to_value() {
        Value::Object(fields) => object_to_struct(fields),
        _ => Struct::default(),
    }
}

/// A protobuf object as metadata; an unset one is empty.
///
/// # Errors
/// [`Invalid`] naming `metadata` for a number that is not finite, or what [`Metadata`] refuses.
pub fn metadata_from_struct(object: Option<&Struct>) -> Result<Metadata, Invalid> {
    match object {
        None => Ok(Metadata::empty()),
        Some(object) => Metadata::try_from(&struct_to_value(object)?),
    }
}

/// A JSON object as a protobuf one. Numbers become doubles.
pub fn object_to_struct(fields: Map<String, Value>) -> Struct {
    let fields = fields.into_iter().map(|(key, value)| (key, value_to_json(value)));
    Struct { fields: fields.collect() }
}

fn value_to_json(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Json::NullValue(0),
        Value::Bool(flag) => Json::BoolValue(flag),
        // RFC 8785 numbers are doubles, so nothing is lost that the canonical form kept.
        Value::Number(number) => Json::NumberValue(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => Json::StringValue(text),
        Value::Array(items) => {
            Json::ListValue(ListValue { values: items.into_iter().map(value_to_json).collect() })
        }
        Value::Object(fields) => Json::StructValue(object_to_struct(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A protobuf object as a JSON one; whole numbers come out as integers.
///
/// # Errors
/// [`Invalid`] naming `metadata` for a number that is not finite.
pub fn struct_to_value(object: &Struct) -> Result<Value, Invalid> {
    let mut fields = Map::new();
    for (key, value) in &object.fields {
        fields.insert(key.clone(), json_to_value(value)?);
    }
    Ok(Value::Object(fields))
}

fn json_to_value(value: &prost_types::Value) -> Result<Value, Invalid> {
    Ok(match &value.kind {
        None | Some(Json::NullValue(_)) => Value::Null,
        Some(Json::BoolValue(flag)) => Value::Bool(*flag),
        Some(Json::NumberValue(number)) => Value::Number(json_number(*number)?),
        Some(Json::StringValue(text)) => Value::String(text.clone()),
        Some(Json::ListValue(list)) => {
            Value::Array(list.values.iter().map(json_to_value).collect::<Result<_, _>>()?)
        }
        Some(Json::StructValue(object)) => struct_to_value(object)?,
    })
}

/// Whole numbers come out as integers, as they were written in JSON.
fn json_number(number: f64) -> Result<Number, Invalid> {
    if number.fract() == 0.0 && number.abs() <= EXACT_INTEGER_MAX {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number)
        .ok_or_else(|| Invalid::new("metadata", "contains a number that is not finite"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vocabularies_have_the_same_numbers_on_both_sides() {
        for tier in Tier::ALL {
            let wire = v1::Tier::try_from(tier.to_wire()).expect("a number of the proto");
            assert_eq!(wire.as_str_name(), format!("TIER_{}", tier.as_str().to_uppercase()));
            assert_eq!(Tier::from_wire(wire.into()), Ok(Some(*tier)));
        }
        for kind in Kind::ALL {
            let wire = v1::Kind::try_from(kind.to_wire()).expect("a number of the proto");
            assert_eq!(wire.as_str_name(), format!("KIND_{}", kind.as_str().to_uppercase()));
        }
        for scope in Scope::ALL {
            let wire = v1::Scope::try_from(scope.to_wire()).expect("a number of the proto");
            assert_eq!(wire.as_str_name(), format!("SCOPE_{}", scope.as_str().to_uppercase()));
        }
        for relation in Relation::ALL {
            let wire = v1::Relation::try_from(relation.to_wire()).expect("a number of the proto");
            let name = format!("RELATION_{}", relation.as_str().to_uppercase());
            assert_eq!(wire.as_str_name(), name);
        }
        assert_eq!(Kind::from_wire(0), Ok(None));
        assert_eq!(Kind::from_wire(99).expect_err("unknown").field, "kind");
        assert_eq!(Kind::from_wire(-1).expect_err("unknown").field, "kind");
    }

    #[test]
    fn times_round_trip_and_bad_ones_are_named() {
        for ms in [0, 1, 999, 1000, 1_700_000_000_123] {
            assert_eq!(unix_ms("expires_at", &timestamp(ms)), Ok(ms));
        }
        for bad in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            let time = Timestamp { seconds: bad.0, nanos: bad.1 };
            assert_eq!(unix_ms("expires_at", &time).expect_err("bad").field, "expires_at");
        }
    }

    #[test]
    fn confidence_keeps_its_permille() {
        for permille_in in [0, 1, 333, 800, 999, 1000] {
            assert_eq!(permille("confidence", fraction(permille_in)), Ok(permille_in));
        }
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(permille("confidence", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_round_trips_with_its_integers() {
        let value = json!({"n": 3, "f": 0.5, "deep": {"list": [null, true, "x", -7]}});
        let metadata = Metadata::try_from(&value).expect("valid");
        let back = metadata_from_struct(Some(&metadata_to_struct(&metadata))).expect("valid");
        assert_eq!(back, metadata);
        assert_eq!(back.to_value(), value);
        let mut broken = Struct::default();
        let nan = prost_types::Value { kind: Some(Json::NumberValue(f64::NAN)) };
        broken.fields.insert("x".into(), nan);
        assert_eq!(metadata_from_struct(Some(&broken)).expect_err("NaN").field, "metadata");
    }
}
