//! RPC v2 CBOR: the same values, packed. Times are tag 1, bytes become base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value as Cbor;
use serde_json::Value;

use super::Datum;
use crate::fields::epoch_seconds;
use crate::request::ApiError;

const EPOCH_TIME_TAG: u64 = 1;

pub(super) fn read(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Cbor = ciborium::from_reader(body)
        .map_err(|error| ApiError::new(400, "SerializationException", error.to_string()))?;
    Ok(to_json(value))
}

fn to_json(value: Cbor) -> Value {
    match value {
        Cbor::Integer(integer) => i64::try_from(integer).map_or(Value::Null, Value::from),
        Cbor::Float(float) => Value::from(float),
        Cbor::Text(text) => Value::String(text),
        Cbor::Bool(flag) => Value::Bool(flag),
        Cbor::Bytes(bytes) => Value::String(STANDARD.encode(bytes)),
        Cbor::Tag(_, inner) => to_json(*inner),
        Cbor::Array(items) => items.into_iter().map(to_json).collect(),
        Cbor::Map(entries) => {
            let entry = |(key, value): (Cbor, Cbor)| Some((key.into_text().ok()?, to_json(value)));
            Value::Object(entries.into_iter().filter_map(entry).collect())
        }
        _ => Value::Null,
    }
}

pub(super) fn write(datum: &Datum) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory fails only for values CBOR cannot hold, and Datum has none.
    if let Err(error) = ciborium::into_writer(&to_cbor(datum), &mut bytes) {
        tracing::error!(%error, "an answer could not be written as CBOR");
    }
    bytes
}

fn to_cbor(datum: &Datum) -> Cbor {
    match datum {
        Datum::Text(text) => Cbor::Text(text.clone()),
        Datum::Integer(integer) => Cbor::Integer((*integer).into()),
        Datum::Number(number) => Cbor::Float(*number),
        Datum::Flag(flag) => Cbor::Bool(*flag),
        Datum::Time(time) => Cbor::Tag(EPOCH_TIME_TAG, Box::new(Cbor::Float(epoch_seconds(*time)))),
        Datum::List(items) => Cbor::Array(items.iter().map(to_cbor).collect()),
        Datum::Map(entries) => Cbor::Map(
            entries
                .iter()
                .map(|(key, value)| (Cbor::Text(key.clone()), to_cbor(value)))
                .collect(),
        ),
        Datum::Record(members) => Cbor::Map(
            members
                .iter()
                .map(|(key, value)| (Cbor::Text((*key).to_owned()), to_cbor(value)))
                .collect(),
        ),
        Datum::Absent => Cbor::Null,
    }
}
