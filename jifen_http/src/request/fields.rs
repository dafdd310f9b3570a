//! A strict reader of JSON bodies: what is missing, null, of another type or too long is refused by its name. Fields nobody
//! asks for are ignored; of two of one name the last counts.

use jifen_app::{Error, Text};
use serde_json::{Map, Value};

/// What a handler takes from a body.
pub(crate) trait FromFields: Sized {
    /// Reads the fields; the first that does not fit is the error.
    fn from_fields(fields: &Fields) -> Result<Self, Error>;
}

/// The members of a JSON object.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Error::invalid(
                "body",
                Text::new("须为 JSON 对象", "must be a JSON object"),
            )),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let text = Text::owned(
                    format!("不是有效的 JSON（第 {line} 行第 {column} 列）"),
                    format!("is not valid JSON (line {line}, column {column})"),
                );
                Err(Error::Invalid {
                    field: "body",
                    text,
                })
            }
        }
    }

    /// A text of 1 to `bytes_max` bytes that is not only white space.
    pub(crate) fn text(&self, field: &'static str, bytes_max: usize) -> Result<String, Error> {
        let text = match self.0.get(field) {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) => return Err(missing(field)),
            Some(_) => {
                return Err(Error::invalid(
                    field,
                    Text::new("须为字符串", "must be a string"),
                ));
            }
        };
        check_text(field, text, bytes_max)?;
        Ok(text.clone())
    }

    /// The same, when it is there and not null.
    pub(crate) fn optional_text(
        &self,
        field: &'static str,
        bytes_max: usize,
    ) -> Result<Option<String>, Error> {
        self.is_given(field)
            .then(|| self.text(field, bytes_max))
            .transpose()
    }

    /// A whole number that fits 64 bits.
    pub(crate) fn integer(&self, field: &'static str) -> Result<i64, Error> {
        let value = match self.0.get(field) {
            None | Some(Value::Null) => return Err(missing(field)),
            Some(value) => value.as_i64(),
        };
        value.ok_or(Error::invalid(
            field,
            Text::new("须为整数", "must be a whole number"),
        ))
    }

    /// The same, when it is there and not null.
    pub(crate) fn optional_integer(&self, field: &'static str) -> Result<Option<i64>, Error> {
        self.is_given(field)
            .then(|| self.integer(field))
            .transpose()
    }

    /// An object in the object, when it is there and not null.
    pub(crate) fn optional_object(&self, field: &'static str) -> Result<Option<Self>, Error> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self(members.clone()))),
            Some(_) => Err(Error::invalid(
                field,
                Text::new("须为对象", "must be an object"),
            )),
        }
    }

    /// The objects of a list of at most `items_max`.
    pub(crate) fn objects(
        &self,
        field: &'static str,
        items_max: usize,
    ) -> Result<Vec<Self>, Error> {
        let items = match self.0.get(field) {
            None | Some(Value::Null) => return Err(missing(field)),
            Some(Value::Array(items)) => items,
            Some(_) => {
                return Err(Error::invalid(
                    field,
                    Text::new("须为数组", "must be a list"),
                ));
            }
        };
        if items.is_empty() || items.len() > items_max {
            let text = Text::owned(
                format!("须为 1 至 {items_max} 项"),
                format!("must have 1 to {items_max} items"),
            );
            return Err(Error::Invalid { field, text });
        }
        let object = |item: &Value| match item {
            Value::Object(members) => Ok(Self(members.clone())),
            _ => Err(Error::invalid(
                field,
                Text::new("每项须为对象", "must have objects as its items"),
            )),
        };
        items.iter().map(object).collect()
    }

    /// `true` or `false`, when it is there and not null.
    pub(crate) fn optional_boolean(&self, field: &'static str) -> Result<Option<bool>, Error> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Error::invalid(
                field,
                Text::new("须为 true 或 false", "must be true or false"),
            )),
        }
    }

    /// The texts of a list, when it is there and not null; each of 1 to `bytes_max` bytes.
    pub(crate) fn optional_texts(
        &self,
        field: &'static str,
        bytes_max: usize,
    ) -> Result<Option<Vec<String>>, Error> {
        let text = |item: &Value| match item {
            Value::String(text) => check_text(field, text, bytes_max).map(|()| text.clone()),
            _ => Err(Error::invalid(
                field,
                Text::new("每项须为字符串", "must have strings as its items"),
            )),
        };
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => items.iter().map(text).collect::<Result<_, _>>().map(Some),
            Some(_) => Err(Error::invalid(
                field,
                Text::new("须为数组", "must be a list"),
            )),
        }
    }

    /// Whether it is there, be it null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    fn is_given(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }
}

/// What is asked for and not there.
pub(crate) const fn missing(field: &'static str) -> Error {
    Error::invalid(field, Text::new("缺少该字段", "is missing"))
}

/// Refuses what no field of ours holds: nothing, too much, and the NUL that databases cannot store.
pub(crate) fn check_text(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::invalid(
            field,
            Text::new("不能为空", "must not be blank"),
        ));
    }
    if text.len() > bytes_max {
        let text = Text::owned(
            format!("不能超过 {bytes_max} 字节"),
            format!("must not be longer than {bytes_max} bytes"),
        );
        return Err(Error::Invalid { field, text });
    }
    if text.contains('\0') {
        return Err(Error::invalid(
            field,
            Text::new("不能包含控制字符", "must not contain control characters"),
        ));
    }
    Ok(())
}

/// Whether a text can be an id of ours at all; others are not looked up.
pub(crate) fn is_plausible_id(text: &str) -> bool {
    const ID_BYTES_MAX: usize = 64;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jifen_app::Language;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    fn english(error: &Error) -> String {
        error.text(Language::English)
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        for (body, message) in [
            ("", "body: is not valid JSON (line 1, column 0)"),
            ("{\"a\":1", "body: is not valid JSON (line 1, column 6)"),
            ("{} {}", "body: is not valid JSON (line 1, column 4)"),
            ("[]", "body: must be a JSON object"),
            ("null", "body: must be a JSON object"),
        ] {
            assert_eq!(
                english(&Fields::parse(body.as_bytes()).err().unwrap()),
                message,
                "{body}"
            );
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err(), "not UTF-8");
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(
            Fields::parse(deep.as_bytes()).is_err(),
            "deeper than anything sensible"
        );
    }

    #[test]
    fn a_text_is_refused_by_its_name_when_it_does_not_fit() {
        let body = r#"{"null":null,"number":1,"list":["a"],"blank":" \t","long":"12345","nul":"a\u0000","ok":"一","two":"a","two":"b"}"#;
        let fields = fields(body);
        for (field, message) in [
            ("absent", "absent: is missing"),
            ("null", "null: is missing"),
            ("number", "number: must be a string"),
            ("list", "list: must be a string"),
            ("blank", "blank: must not be blank"),
            ("long", "long: must not be longer than 4 bytes"),
            ("nul", "nul: must not contain control characters"),
        ] {
            assert_eq!(english(&fields.text(field, 4).unwrap_err()), message);
        }
        assert_eq!(fields.text("ok", 4).unwrap(), "一");
        assert_eq!(
            fields.text("two", 4).unwrap(),
            "b",
            "the last of one name counts"
        );
        assert_eq!(
            fields
                .text("absent", 4)
                .unwrap_err()
                .text(Language::Chinese),
            "absent: 缺少该字段"
        );
    }

    #[test]
    fn an_optional_field_may_be_absent_or_null_but_not_of_another_type() {
        let fields = fields(r#"{"null":null,"text":"a","number":7}"#);
        assert_eq!(fields.optional_text("absent", 4).unwrap(), None);
        assert_eq!(fields.optional_text("null", 4).unwrap(), None);
        assert_eq!(
            fields.optional_text("text", 4).unwrap().as_deref(),
            Some("a")
        );
        assert!(fields.optional_text("number", 4).is_err());
        assert_eq!(fields.optional_integer("null").unwrap(), None);
        assert_eq!(fields.optional_integer("number").unwrap(), Some(7));
        assert!(fields.optional_integer("text").is_err());
    }

    #[test]
    fn an_integer_is_whole_and_fits_64_bits() {
        let fields = fields(
            r#"{"max":9223372036854775807,"over":9223372036854775808,"half":1.5,"one":1.0,"text":"1","e":1e3,"minus":-2}"#,
        );
        assert_eq!(fields.integer("max").unwrap(), i64::MAX);
        assert_eq!(fields.integer("minus").unwrap(), -2);
        for bad in ["over", "half", "one", "text", "e"] {
            assert_eq!(
                english(&fields.integer(bad).unwrap_err()),
                format!("{bad}: must be a whole number")
            );
        }
        assert_eq!(
            english(&fields.integer("absent").unwrap_err()),
            "absent: is missing"
        );
    }

    #[test]
    fn an_id_is_looked_up_only_when_it_can_be_one() {
        for good in ["a", "0190f1-_Z", &"x".repeat(64)] {
            assert!(is_plausible_id(good), "{good}");
        }
        for bad in ["", "a b", "一", "a\0", "../x", &"x".repeat(65)] {
            assert!(!is_plausible_id(bad), "{bad}");
        }
    }
}
