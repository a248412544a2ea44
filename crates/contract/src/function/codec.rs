//! Arguments and results: JSON, text and WAVE on one side, the engine's values on the other.
//!
//! JSON of component values: records are objects, tuples and lists arrays, options `null` or the value, enums their
//! name, flags an array of names, variants their name or `{"name": payload}`, results `{"ok": ..}` or `{"err": ..}`, a
//! char a string of one character. Numbers that JSON cannot carry (`nan`, `inf`) are strings.

use samara_model::Encoding;
use serde_json::{Map, Value};
use wasmtime::component::{Type, Val};

use samara_inspect::ValueType;

/// How deep arguments may be nested.
const MAX_DEPTH: usize = 64;
/// Values in the arguments of one call. Each takes some sixty bytes here, however short its text is.
pub(super) const MAX_VALUES: usize = 1_000_000;

/// Arguments before they are matched with parameters.
#[derive(Debug)]
pub(super) enum Arguments {
    /// Values in order.
    Json(Vec<Value>),
    /// Values by parameter name.
    Named(Map<String, Value>),
    /// Text by name, or in order where the name is empty.
    Text(Vec<(String, String)>),
}

impl Arguments {
    /// Reads a call's payload.
    pub(super) fn read(payload: &[u8], encoding: Encoding) -> Result<Self, String> {
        let payload = if payload.iter().all(u8::is_ascii_whitespace) { b"[]" } else { payload };
        // Every value after the first stands behind one of these; those inside strings only make the count too high.
        if payload.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MAX_VALUES {
            return Err(format!("the arguments have over {MAX_VALUES} values"));
        }
        let json = || serde_json::from_slice::<Value>(payload).map_err(|error| format!("the body is not JSON: {error}"));
        match encoding {
            Encoding::Text | Encoding::Wave => {
                serde_json::from_slice(payload).map(Self::Text).map_err(|error| format!("the arguments are not pairs of names and texts: {error}"))
            }
            Encoding::Json | Encoding::Bytes => match json()? {
                Value::Array(values) => Ok(Self::Json(values)),
                Value::Object(values) => Ok(Self::Named(values)),
                _ => Err("the body must be a JSON array of arguments, such as `[1, 2]`, or an object of arguments by name".to_owned()),
            },
        }
    }

    /// One argument per parameter, in order.
    pub(super) fn arrange(self, names: &[&str]) -> Result<Vec<Argument>, String> {
        let count = |given: usize| {
            if given == names.len() {
                Ok(())
            } else {
                Err(format!("{given} arguments for {} parameters", names.len()))
            }
        };
        match self {
            Self::Json(values) => {
                count(values.len())?;
                Ok(values.into_iter().map(Argument::Json).collect())
            }
            Self::Named(mut values) => {
                let found = names.iter().map(|name| values.remove(*name).map(Argument::Json).ok_or_else(|| format!("no argument `{name}`")));
                let found = found.collect::<Result<Vec<_>, _>>()?;
                match values.keys().next() {
                    Some(extra) => Err(format!("there is no parameter `{extra}`")),
                    None => Ok(found),
                }
            }
            Self::Text(pairs) => {
                count(pairs.len())?;
                // Core functions have no names: then the order decides. With names, each must be known, once.
                let named = pairs.iter().all(|(name, _)| names.contains(&name.as_str()));
                if !named {
                    return Ok(pairs.into_iter().map(|(_, text)| Argument::Text(text)).collect());
                }
                let mut slots: Vec<Option<Argument>> = names.iter().map(|_| None).collect();
                for (name, text) in pairs {
                    let slot = names.iter().position(|known| *known == name).and_then(|index| slots.get_mut(index));
                    match slot {
                        Some(slot) if slot.is_none() => *slot = Some(Argument::Text(text)),
                        _ => return Err(format!("the argument `{name}` is given twice")),
                    }
                }
                slots.into_iter().zip(names).map(|(slot, name)| slot.ok_or_else(|| format!("no argument `{name}`"))).collect()
            }
        }
    }
}

/// One argument.
#[derive(Debug)]
pub(super) enum Argument {
    Json(Value),
    Text(String),
}

impl Argument {
    /// The argument as a core number.
    pub(super) fn to_core(&self, ty: ValueType) -> Result<wasmtime::Val, String> {
        let text = match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Json(Value::Number(number)) => number.to_string(),
            Self::Json(Value::String(text)) => text.clone(),
            Self::Json(other) => return Err(format!("`{other}` is not a number")),
        };
        let not = || format!("`{text}` is not a value of type {ty}");
        match ty {
            ValueType::I32 => integer(&text, 32).and_then(|n| i32::try_from(n).ok()).map(wasmtime::Val::I32).ok_or_else(not),
            ValueType::I64 => integer(&text, 64).map(wasmtime::Val::I64).ok_or_else(not),
            ValueType::F32 => text.parse::<f32>().map(|n| wasmtime::Val::F32(n.to_bits())).map_err(|_| not()),
            ValueType::F64 => text.parse::<f64>().map(|n| wasmtime::Val::F64(n.to_bits())).map_err(|_| not()),
            _ => Err(format!("a value of type {ty} cannot be given from outside")),
        }
    }

    /// The argument as a component value.
    pub(super) fn to_component(&self, ty: &Type) -> Result<Val, String> {
        match self {
            Self::Json(value) => from_json(value, ty, 0),
            Self::Text(text) => from_text(text, ty),
        }
    }
}

/// An integer of that many bits, signed or unsigned, decimal or hexadecimal; the answer has its bits, sign-extended.
fn integer(text: &str, bits: u32) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let magnitude = match digits.strip_prefix("0x") {
        Some(hexadecimal) => i128::from_str_radix(hexadecimal, 16).ok()?,
        None if digits.starts_with(['+', '-']) => return None,
        None => digits.parse::<i128>().ok()?,
    };
    let value = if negative { -magnitude } else { magnitude };
    let range = -(1i128 << (bits - 1))..(1i128 << bits);
    if !range.contains(&value) {
        return None;
    }
    let wrapped = if value >= 1i128 << (bits - 1) { value - (1i128 << bits) } else { value };
    i64::try_from(wrapped).ok()
}

/// Text read as a type: WAVE, except that a string or char need not be quoted.
fn from_text(text: &str, ty: &Type) -> Result<Val, String> {
    let quoted = text.trim_start().starts_with(['"', '\'']);
    match ty {
        Type::String if !quoted => Ok(Val::String(text.to_owned())),
        Type::Char if !quoted => {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(one), None) => Ok(Val::Char(one)),
                _ => Err(format!("`{text}` is not one character")),
            }
        }
        _ => Val::from_wave(ty, text).map_err(|error| format!("`{text}` is not a value of type {}: {error:#}", describe(ty))),
    }
}

fn from_json(value: &Value, ty: &Type, depth: usize) -> Result<Val, String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested more than {MAX_DEPTH} deep"));
    }
    let not = || format!("`{}` is not a value of type {}", shorten(&value.to_string()), describe(ty));
    let inner = |value: &Value, ty: &Type| from_json(value, ty, depth + 1);
    let whole = |bits: u32, signed: bool| {
        let number = match value {
            Value::Number(number) => number.to_string().parse::<i128>().ok(),
            Value::String(text) => text.parse::<i128>().ok(),
            _ => None,
        };
        let range = if signed { -(1i128 << (bits - 1))..(1i128 << (bits - 1)) } else { 0..(1i128 << bits) };
        number.filter(|number| range.contains(number)).ok_or_else(not)
    };
    let float = || match value {
        Value::Number(number) => number.as_f64().ok_or_else(not),
        Value::String(text) => text.parse::<f64>().map_err(|_| not()),
        _ => Err(not()),
    };
    let array = || value.as_array().ok_or_else(not);
    Ok(match ty {
        Type::Bool => Val::Bool(value.as_bool().ok_or_else(not)?),
        Type::S8 => Val::S8(whole(8, true)?.try_into().map_err(|_| not())?),
        Type::U8 => Val::U8(whole(8, false)?.try_into().map_err(|_| not())?),
        Type::S16 => Val::S16(whole(16, true)?.try_into().map_err(|_| not())?),
        Type::U16 => Val::U16(whole(16, false)?.try_into().map_err(|_| not())?),
        Type::S32 => Val::S32(whole(32, true)?.try_into().map_err(|_| not())?),
        Type::U32 => Val::U32(whole(32, false)?.try_into().map_err(|_| not())?),
        Type::S64 => Val::S64(whole(64, true)?.try_into().map_err(|_| not())?),
        Type::U64 => Val::U64(whole(64, false)?.try_into().map_err(|_| not())?),
        #[expect(clippy::cast_possible_truncation, reason = "a JSON number is read as the nearest 32-bit float")]
        Type::Float32 => Val::Float32(float()? as f32),
        Type::Float64 => Val::Float64(float()?),
        Type::String => Val::String(value.as_str().ok_or_else(not)?.to_owned()),
        Type::Char => {
            let mut chars = value.as_str().ok_or_else(not)?.chars();
            match (chars.next(), chars.next()) {
                (Some(one), None) => Val::Char(one),
                _ => return Err(not()),
            }
        }
        Type::List(list) => Val::List(array()?.iter().map(|value| inner(value, &list.ty())).collect::<Result<_, _>>()?),
        Type::Tuple(tuple) => {
            let values = array()?;
            if values.len() != tuple.types().len() {
                return Err(not());
            }
            Val::Tuple(values.iter().zip(tuple.types()).map(|(value, ty)| inner(value, &ty)).collect::<Result<_, _>>()?)
        }
        Type::Record(record) => {
            let object = value.as_object().ok_or_else(not)?;
            if let Some(extra) = object.keys().find(|key| !record.fields().any(|field| field.name == key.as_str())) {
                return Err(format!("there is no field `{extra}` in {}", describe(ty)));
            }
            let field = |field: wasmtime::component::types::Field<'_>| {
                // An absent field is an absent option.
                let value = object.get(field.name).unwrap_or(&Value::Null);
                if value.is_null() && !matches!(field.ty, Type::Option(_)) {
                    return Err(format!("the field `{}` is missing in {}", field.name, describe(ty)));
                }
                Ok((field.name.to_owned(), inner(value, &field.ty)?))
            };
            Val::Record(record.fields().map(field).collect::<Result<_, _>>()?)
        }
        Type::Option(option) => Val::Option(if value.is_null() { None } else { Some(Box::new(inner(value, &option.ty())?)) }),
        Type::Enum(names) => {
            let name = value.as_str().filter(|name| names.names().any(|known| known == *name)).ok_or_else(not)?;
            Val::Enum(name.to_owned())
        }
        Type::Flags(flags) => {
            let name = |value: &Value| value.as_str().filter(|name| flags.names().any(|known| known == *name)).map(str::to_owned).ok_or_else(not);
            Val::Flags(array()?.iter().map(name).collect::<Result<_, _>>()?)
        }
        Type::Variant(variant) => {
            let (name, payload) = case(value).ok_or_else(not)?;
            let case = variant.cases().find(|case| case.name == name).ok_or_else(not)?;
            Val::Variant(name.to_owned(), payload_of(payload, case.ty.as_ref(), &inner, &not)?)
        }
        Type::Result(result) => match case(value).ok_or_else(not)? {
            ("ok", payload) => Val::Result(Ok(payload_of(payload, result.ok().as_ref(), &inner, &not)?)),
            ("err", payload) => Val::Result(Err(payload_of(payload, result.err().as_ref(), &inner, &not)?)),
            _ => return Err(not()),
        },
        Type::Map(map) => {
            let entry = |entry: &Value| match entry.as_array().map(Vec::as_slice) {
                Some([key, value]) => Ok((inner(key, &map.key())?, inner(value, &map.value())?)),
                _ => Err(not()),
            };
            Val::Map(array()?.iter().map(entry).collect::<Result<_, _>>()?)
        }
        Type::FixedLengthList(list) => {
            let values = array()?;
            if values.len() != list.len() as usize {
                return Err(not());
            }
            Val::FixedLengthList(values.iter().map(|value| inner(value, &list.ty())).collect::<Result<_, _>>()?)
        }
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            return Err(format!("a value of type {} cannot be given from outside", describe(ty)));
        }
    })
}

/// A variant's case: a name alone, or an object of one name.
fn case(value: &Value) -> Option<(&str, Option<&Value>)> {
    match value {
        Value::String(name) => Some((name, None)),
        Value::Object(object) if object.len() == 1 => object.iter().next().map(|(name, payload)| (name.as_str(), Some(payload))),
        _ => None,
    }
}

type Inner<'a> = &'a dyn Fn(&Value, &Type) -> Result<Val, String>;

fn payload_of(payload: Option<&Value>, ty: Option<&Type>, inner: Inner<'_>, not: &dyn Fn() -> String) -> Result<Option<Box<Val>>, String> {
    match (payload, ty) {
        (None | Some(Value::Null), None) => Ok(None),
        (Some(payload), Some(ty)) => Ok(Some(Box::new(inner(payload, ty)?))),
        _ => Err(not()),
    }
}

/// A component value as JSON.
pub(super) fn to_json(value: &Val) -> Result<Value, String> {
    let boxed = |value: &Option<Box<Val>>| value.as_deref().map_or(Ok(Value::Null), to_json);
    let list = |values: &[Val]| values.iter().map(to_json).collect::<Result<Vec<_>, _>>().map(Value::Array);
    Ok(match value {
        Val::Bool(value) => (*value).into(),
        Val::S8(value) => (*value).into(),
        Val::U8(value) => (*value).into(),
        Val::S16(value) => (*value).into(),
        Val::U16(value) => (*value).into(),
        Val::S32(value) => (*value).into(),
        Val::U32(value) => (*value).into(),
        Val::S64(value) => (*value).into(),
        Val::U64(value) => (*value).into(),
        Val::Float32(value) => float32_json(*value),
        Val::Float64(value) => float64_json(*value),
        Val::Char(value) => value.to_string().into(),
        Val::String(value) => value.as_str().into(),
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => list(values)?,
        Val::Map(entries) => {
            let entry = |(key, value): &(Val, Val)| Ok(Value::Array(vec![to_json(key)?, to_json(value)?]));
            Value::Array(entries.iter().map(entry).collect::<Result<_, String>>()?)
        }
        Val::Record(fields) => {
            let field = |(name, value): &(String, Val)| Ok((name.clone(), to_json(value)?));
            Value::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
        }
        Val::Variant(name, None) => name.as_str().into(),
        Val::Variant(name, payload) => one(name, boxed(payload)?),
        Val::Enum(name) => name.as_str().into(),
        Val::Option(value) => boxed(value)?,
        Val::Result(Ok(value)) => one("ok", boxed(value)?),
        Val::Result(Err(value)) => one("err", boxed(value)?),
        Val::Flags(names) => names.iter().map(String::as_str).collect::<Vec<_>>().into(),
        Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
            return Err("its result is a handle, which has no meaning outside the guest".to_owned());
        }
    })
}

fn one(name: &str, value: Value) -> Value {
    Value::Object([(name.to_owned(), value)].into_iter().collect())
}

fn float64_json(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().to_lowercase().into(), Value::Number)
}

/// The shortest decimal that reads back as the same 32-bit float, not the digits of its 64-bit neighbour.
fn float32_json(value: f32) -> Value {
    let text = value.to_string();
    text.parse::<f64>().ok().filter(|wide| wide.is_finite()).map_or_else(|| text.to_lowercase().into(), float64_json)
}

/// A core number as JSON.
pub(super) fn core_to_json(value: &wasmtime::Val) -> Result<Value, String> {
    match value {
        wasmtime::Val::I32(value) => Ok((*value).into()),
        wasmtime::Val::I64(value) => Ok((*value).into()),
        wasmtime::Val::F32(bits) => Ok(float32_json(f32::from_bits(*bits))),
        wasmtime::Val::F64(bits) => Ok(float64_json(f64::from_bits(*bits))),
        _ => Err("its result is a reference, which has no meaning outside the guest".to_owned()),
    }
}

/// A type as WIT writes it; types that have a name in the guest's WIT are shown by their structure.
pub(super) fn describe(ty: &Type) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    let optional = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| describe(&ty));
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::U8 => "u8".into(),
        Type::S16 => "s16".into(),
        Type::U16 => "u16".into(),
        Type::S32 => "s32".into(),
        Type::U32 => "u32".into(),
        Type::S64 => "s64".into(),
        Type::U64 => "u64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(inner) => format!("list<{}>", describe(&inner.ty())),
        Type::Map(map) => format!("map<{}, {}>", describe(&map.key()), describe(&map.value())),
        Type::FixedLengthList(inner) => format!("list<{}, {}>", describe(&inner.ty()), inner.len()),
        Type::Tuple(tuple) => format!("tuple<{}>", list(tuple.types().map(|ty| describe(&ty)).collect())),
        Type::Record(record) => {
            format!("record {{ {} }}", list(record.fields().map(|field| format!("{}: {}", field.name, describe(&field.ty))).collect()))
        }
        Type::Variant(variant) => {
            let case = |case: wasmtime::component::types::Case<'_>| match &case.ty {
                Some(ty) => format!("{}({})", case.name, describe(ty)),
                None => case.name.to_owned(),
            };
            format!("variant {{ {} }}", list(variant.cases().map(case).collect()))
        }
        Type::Enum(names) => format!("enum {{ {} }}", list(names.names().map(str::to_owned).collect())),
        Type::Option(option) => format!("option<{}>", describe(&option.ty())),
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => "result".into(),
            (ok, None) => format!("result<{}>", optional(ok)),
            (ok, err) => format!("result<{}, {}>", optional(ok), optional(err)),
        },
        Type::Flags(flags) => format!("flags {{ {} }}", list(flags.names().map(str::to_owned).collect())),
        Type::Own(_) => "a resource".into(),
        Type::Borrow(_) => "a borrowed resource".into(),
        Type::Future(_) => "future".into(),
        Type::Stream(_) => "stream".into(),
        Type::ErrorContext => "error-context".into(),
    }
}

fn shorten(text: &str) -> String {
    /// Characters of a caller's value that an error shows.
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
