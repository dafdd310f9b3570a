//! Reads the members of `biz_content`. Every failure names the member.

use serde_json::{Map, Value};

use super::{answer::Failure, yuan};

/// The JSON object of the parameter `biz_content`.
#[derive(Debug)]
pub(crate) struct BizContent(Map<String, Value>);

impl BizContent {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let text = text.ok_or_else(|| Failure::invalid_parameter("biz_content为空"))?;
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            _ => Err(Failure::invalid_parameter("biz_content不是JSON对象")),
        }
    }

    /// A text of at most `max` characters; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str, max: usize) -> Result<Option<&str>, Failure> {
        let text = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.as_str(),
            Some(_) => return Err(Failure::invalid_parameter(format!("{name}必须是字符串"))),
        };
        if text.chars().count() > max {
            return Err(Failure::invalid_parameter(format!("{name}超过{max}个字符")));
        }
        Ok((!text.is_empty()).then_some(text))
    }

    pub(crate) fn required(&self, name: &str, max: usize) -> Result<&str, Failure> {
        self.text(name, max)?
            .ok_or_else(|| Failure::invalid_parameter(format!("{name}为空")))
    }

    /// Yuan, as text or as a JSON number, in fen.
    pub(crate) fn amount_fen(&self, name: &str) -> Result<i64, Failure> {
        let text = match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(Failure::invalid_parameter(format!("{name}为空"))),
        };
        let wrong =
            || Failure::invalid_parameter(format!("{name}必须在0.01到100000000之间且最多两位小数"));
        yuan::parse(&text).ok_or_else(wrong)
    }

    /// Whether the array `query_options` holds `option`.
    pub(crate) fn has_option(&self, option: &str) -> bool {
        let options = self.0.get("query_options").and_then(Value::as_array);
        options.is_some_and(|options| options.iter().any(|item| item == option))
    }

    /// The `trade_no` and the `out_trade_no`, at least one of them.
    pub(crate) fn trade_numbers(&self) -> Result<(Option<&str>, Option<&str>), Failure> {
        let numbers = (self.text("trade_no", 64)?, self.text("out_trade_no", 64)?);
        if numbers == (None, None) {
            return Err(Failure::invalid_parameter(
                "out_trade_no和trade_no不能同时为空",
            ));
        }
        Ok(numbers)
    }
}
