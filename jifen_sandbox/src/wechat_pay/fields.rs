//! Reads the fields of a request body by WeChat Pay's general rules: no `null`, no character outside the Basic
//! Multilingual Plane, exact types, lengths in characters. Every failure names the field by its JSON pointer.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// How deep a body may nest; the deepest documented one (`detail.goods_detail[]`) needs four.
const DEPTH_LEVELS_MAX: usize = 16;

/// An object of the body together with the pointer that leads to it.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pointer: &'a str,
}

/// Parses a request body: a JSON object without `null` and without supplementary-plane characters.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::parameter("", Value::Null, "请求体不是合法的JSON"))?;
    check_value(&value, "", 0)?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Refusal::parameter("", Value::Null, "请求体必须是JSON对象")),
    }
}

fn check_value(value: &Value, pointer: &str, depth: usize) -> Result<(), Refusal> {
    if depth > DEPTH_LEVELS_MAX {
        return Err(Refusal::parameter(pointer, Value::Null, "嵌套过深"));
    }
    match value {
        Value::Null => Err(Refusal::parameter(pointer, Value::Null, "不能为null")),
        Value::String(text) if has_supplementary(text) => Err(Refusal::parameter(
            pointer,
            value.clone(),
            "含有不支持的字符（仅支持1至3字节的UTF-8字符）",
        )),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            check_value(item, &format!("{pointer}/{index}"), depth + 1)
        }),
        Value::Object(object) => object.iter().try_for_each(|(name, item)| {
            check_value(item, &format!("{pointer}/{name}"), depth + 1)
        }),
        Value::String(_) | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn has_supplementary(text: &str) -> bool {
    text.chars().any(|character| u32::from(character) > 0xFFFF)
}

impl<'a> Fields<'a> {
    pub(crate) fn of(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            pointer: "",
        }
    }

    /// A required object inside this one. `pointer` is its full JSON pointer.
    pub(crate) fn object(&self, name: &str, pointer: &'a str) -> Result<Fields<'a>, Refusal> {
        self.optional_object(name, pointer)?
            .ok_or_else(|| Refusal::parameter(pointer, Value::Null, "缺少必填参数"))
    }

    pub(crate) fn optional_object(
        &self,
        name: &str,
        pointer: &'a str,
    ) -> Result<Option<Fields<'a>>, Refusal> {
        match self.object.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields { object, pointer })),
            Some(other) => Err(Refusal::parameter(pointer, other.clone(), "not an object")),
        }
    }

    /// A required string of `min..=max` characters.
    pub(crate) fn text(&self, name: &str, min: usize, max: usize) -> Result<&'a str, Refusal> {
        let text = self
            .optional_text(name, max)?
            .ok_or_else(|| Refusal::parameter(&self.at(name), Value::Null, "缺少必填参数"))?;
        if text.chars().count() < min {
            let issue = format!("长度不得小于{min}个字符");
            return Err(Refusal::parameter(&self.at(name), Value::from(text), issue));
        }
        Ok(text)
    }

    /// An optional string of at most `max` characters.
    pub(crate) fn optional_text(&self, name: &str, max: usize) -> Result<Option<&'a str>, Refusal> {
        let text = match self.object.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.as_str(),
            Some(other) => {
                return Err(Refusal::parameter(
                    &self.at(name),
                    other.clone(),
                    "not a string",
                ));
            }
        };
        if text.chars().count() > max {
            let issue = format!("长度不得超过{max}个字符");
            return Err(Refusal::parameter(&self.at(name), Value::from(text), issue));
        }
        Ok(Some(text))
    }

    /// A required amount in fen, at least 1.
    pub(crate) fn fen(&self, name: &str) -> Result<i64, Refusal> {
        let Some(value) = self.object.get(name) else {
            return Err(Refusal::parameter(
                &self.at(name),
                Value::Null,
                "缺少必填参数",
            ));
        };
        let Some(fen) = value.as_i64() else {
            return Err(Refusal::parameter(
                &self.at(name),
                value.clone(),
                "not an integer",
            ));
        };
        if !(1..=super::TOTAL_FEN_MAX).contains(&fen) {
            let issue = format!("必须在1至{}之间", super::TOTAL_FEN_MAX);
            return Err(Refusal::parameter(&self.at(name), value.clone(), issue));
        }
        Ok(fen)
    }

    pub(crate) fn optional_bool(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.object.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(Refusal::parameter(
                &self.at(name),
                other.clone(),
                "not a boolean",
            )),
        }
    }

    /// An optional array, of which only the type and the number of items are checked.
    pub(crate) fn optional_array(
        &self,
        name: &str,
        items_max: usize,
    ) -> Result<Option<&'a [Value]>, Refusal> {
        match self.object.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() <= items_max => Ok(Some(items)),
            Some(Value::Array(_)) => {
                Err(Refusal::parameter(&self.at(name), Value::Null, "元素过多"))
            }
            Some(other) => Err(Refusal::parameter(
                &self.at(name),
                other.clone(),
                "not an array",
            )),
        }
    }

    /// `CNY`, or absent where the interface lets it be absent.
    pub(crate) fn currency(&self, required: bool) -> Result<(), Refusal> {
        match self.optional_text("currency", 16)? {
            None if required => Err(Refusal::parameter(
                &self.at("currency"),
                Value::Null,
                "缺少必填参数",
            )),
            None | Some("CNY") => Ok(()),
            Some(other) => Err(Refusal::parameter(
                &self.at("currency"),
                Value::from(other),
                "仅支持CNY",
            )),
        }
    }

    /// The JSON pointer of a field of this object.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }
}

/// Whether every character is a letter, a digit or one of `others`.
pub(crate) fn is_number_text(text: &str, others: &str) -> bool {
    text.chars()
        .all(|character| character.is_ascii_alphanumeric() || others.contains(character))
}

/// A notification address: http or https, a host, at most `max` characters, nothing after a `?`. Unlike the real one this
/// also accepts plain http and loopback, so that it can reach a merchant on the same machine.
pub(crate) fn notify_url(fields: &Fields<'_>, text: &str) -> Result<(), Refusal> {
    let pointer = fields.at("notify_url");
    let refuse = |issue: &str| Err(Refusal::parameter(&pointer, Value::from(text), issue));
    match url::Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            refuse("必须是完整的http(s)地址")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => refuse("不能携带参数"),
        Ok(_) => Ok(()),
        Err(_) => refuse("不是合法的URL"),
    }
}
