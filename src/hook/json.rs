//! JSON in hooks, without losing digits on the way.

use rhai::{Dynamic, Engine, INT, Map};
use serde::de::IgnoredAny;

use super::cell;
use super::decimal::Decimal;
use super::error::{Outcome, Problem};
use crate::model::value::{Date, DateTime, Time, Timestamp};

/// How deep objects and arrays may lie in each other.
const DEPTH_MAX: usize = 64;

/// Adds `parse_json` and `to_json`. Numbers with a point become DECIMAL, as does an integer beyond INT; only one
/// with an exponent becomes FLOAT.
pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("parse_json", parse)
        .register_fn("to_json", |map: &mut Map| -> Outcome<String> {
            Ok(to_text(&Dynamic::from_map(map.clone()))?)
        })
        .register_fn("to_json", |array: &mut rhai::Array| -> Outcome<String> {
            Ok(to_text(&Dynamic::from_array(array.clone()))?)
        });
}

/// Whether a text is one JSON document.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// An object map or array as JSON.
pub(super) fn to_text(value: &Dynamic) -> Result<String, Problem> {
    Ok(to_value(value)?.to_string())
}

/// An object map, an array or a plain value as JSON.
pub(super) fn to_value(value: &Dynamic) -> Result<serde_json::Value, Problem> {
    to_json(value, 0)
}

/// The value at a place of a JSON text, by RFC 6901; `()` where there is none.
pub(super) fn at(text: &str, pointer: &str) -> Outcome<Dynamic> {
    let mut value: serde_json::Value = serde_json::from_str(text).map_err(|error| no_document(&error))?;
    Ok(value.pointer_mut(pointer).map_or(Dynamic::UNIT, |found| from_json(found.take())))
}

fn no_document(error: &serde_json::Error) -> Problem {
    Problem::new(format!("the text is no JSON document, at column {}", error.column()))
}

fn parse(text: &str) -> Outcome<Dynamic> {
    Ok(from_json(serde_json::from_str(text).map_err(|error| no_document(&error))?))
}

/// JSON as a value of Rhai.
pub(super) fn from_json(value: serde_json::Value) -> Dynamic {
    match value {
        serde_json::Value::Null => Dynamic::UNIT,
        serde_json::Value::Bool(v) => v.into(),
        serde_json::Value::Number(v) => {
            let text = v.as_str();
            if let Ok(v) = text.parse::<INT>() {
                v.into()
            } else if let Some(v) = Decimal::parse(text) {
                Dynamic::from(v)
            } else {
                v.as_f64().map_or_else(|| text.to_owned().into(), Dynamic::from)
            }
        }
        serde_json::Value::String(v) => v.into(),
        serde_json::Value::Array(items) => Dynamic::from_array(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(items) => {
            let map: Map = items.into_iter().map(|(key, value)| (key.into(), from_json(value))).collect();
            Dynamic::from_map(map)
        }
    }
}

pub(super) fn to_json(value: &Dynamic, depth: usize) -> Result<serde_json::Value, Problem> {
    use serde_json::Value;
    if depth > DEPTH_MAX {
        return Err(Problem::new(format!("an object map or array is nested more than {DEPTH_MAX} deep")));
    }
    if let Some(map) = value.read_lock::<Map>() {
        let items = map.iter().map(|(key, item)| Ok((key.to_string(), to_json(item, depth + 1)?)));
        return Ok(Value::Object(items.collect::<Result<_, Problem>>()?));
    }
    if let Some(array) = value.read_lock::<rhai::Array>() {
        let items = array.iter().map(|item| to_json(item, depth + 1));
        return Ok(Value::Array(items.collect::<Result<_, Problem>>()?));
    }
    if let Some(number) = value.read_lock::<Decimal>() {
        let text = number.to_string();
        return serde_json::from_str(&text).map_err(|_| Problem::new("a DECIMAL is too long for JSON"));
    }
    Ok(if value.is_unit() {
        Value::Null
    } else if let Ok(v) = value.as_bool() {
        v.into()
    } else if let Ok(v) = value.as_int() {
        v.into()
    } else if let Ok(v) = value.as_float() {
        serde_json::Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| Problem::new("JSON has no number for infinity or not-a-number"))?
    } else if value.is_string() || value.is_char() {
        Value::String(value.to_string())
    } else if value.is::<Date>() || value.is::<DateTime>() || value.is::<Timestamp>() || value.is::<Time>() {
        Value::String(date_text(value))
    } else {
        return Err(Problem::new(format!("JSON has no place for a {}", cell::type_name(value))));
    })
}

fn date_text(value: &Dynamic) -> String {
    let date = value.read_lock::<Date>().map(|at| at.to_string());
    let datetime = || value.read_lock::<DateTime>().map(|at| at.to_string());
    let timestamp = || value.read_lock::<Timestamp>().map(|at| at.to_string());
    let time = || value.read_lock::<Time>().map(|at| at.to_string());
    date.or_else(datetime).or_else(timestamp).or_else(time).unwrap_or_default()
}
