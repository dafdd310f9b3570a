//! The official account's XML: one level of elements under `<xml>`.

use quick_xml::{Reader, events::Event};

/// Elements nested deeper than this are refused.
const DEPTH_MAX: usize = 4;
const ELEMENTS_MAX: usize = 100;

/// The elements of a message, in order; nested ones (as in news replies) flattened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<(String, String)>);

impl Message {
    /// The text of the first element of that name, empty where it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

/// Reads a message. No document type, no entities but the predefined ones and characters by number. `Err` is a sentence.
pub(crate) fn parse(text: &str) -> Result<Message, String> {
    let mut reader = Reader::from_str(text);
    let mut message = Message::default();
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    loop {
        match reader
            .read_event()
            .map_err(|error| format!("not XML: {error}"))?
        {
            Event::Start(start) => {
                path.push(start.name().as_ref().to_owned());
                content.clear();
                if path.len() > DEPTH_MAX || message.0.len() >= ELEMENTS_MAX {
                    return Err("more elements than any message has".into());
                }
            }
            Event::Empty(start) if !path.is_empty() => {
                message
                    .0
                    .push((start.name().as_ref().to_owned(), String::new()));
            }
            Event::End(_) => {
                let name = path.pop().ok_or("an element ends that did not begin")?;
                if !path.is_empty() {
                    message.0.push((name, std::mem::take(&mut content)));
                } else if name == "xml" {
                    return Ok(message);
                } else {
                    return Err(format!("the outermost element is <{name}>, not <xml>"));
                }
            }
            Event::Text(text) => content.push_str(&text),
            Event::CData(data) => content.push_str(&data),
            Event::GeneralRef(reference) => content.push(resolve(&reference)?),
            Event::DocType(_) => return Err("a document type is not allowed".into()),
            Event::Eof => return Err("the XML ends too early".into()),
            _ => {}
        }
    }
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = reference
        .resolve_char_ref()
        .map_err(|error| error.to_string())?
    {
        return Ok(character);
    }
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err("an entity that XML does not define".into()),
    }
}

/// A value as `<name><![CDATA[value]]></name>` and a line break, as WeChat writes it.
pub(crate) fn cdata(name: &str, value: &str) -> String {
    format!(
        "<{name}><![CDATA[{}]]></{name}>\n",
        value.replace("]]>", "]]]]><![CDATA[>")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_message_with_cdata_text_and_references_is_read() {
        let message =
            parse("<xml>\n<A><![CDATA[1 < 2]]></A> <B>x &amp; &#21495;</B><C/></xml>").unwrap();
        assert_eq!(
            (
                message.get("A"),
                message.get("B"),
                message.get("C"),
                message.get("D")
            ),
            ("1 < 2", "x & 号", "", "")
        );
    }

    #[test]
    fn a_hostile_document_type_is_refused() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/wechat_oa_callbacks.json"))
                .unwrap();
        assert!(
            parse(
                vectors["plaintext_mode_hostile_case"]["body"]
                    .as_str()
                    .unwrap()
            )
            .is_err()
        );
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        for text in [
            "",
            "success",
            "{}",
            "<a>1</a>",
            "<xml><a>",
            "<xml>&unknown;</xml>",
            "<xml></a></xml>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_end_of_cdata_inside_a_value_survives() {
        let written = format!("<xml>{}</xml>", cdata("A", "x]]>y"));
        assert_eq!(parse(&written).unwrap().get("A"), "x]]>y");
    }
}
