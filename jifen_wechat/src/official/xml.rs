//! The XML of pushed messages and replies: one level that matters, no DTD, bounded.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 256;

/// Why a message is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlRefusal {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    Encoding,
    /// Larger than the configured limit.
    #[error("the body is too large")]
    TooLarge,
    /// Not well-formed, or not a single root element.
    #[error("the body is not well-formed XML")]
    Malformed,
    /// It brings a DOCTYPE, or uses an entity that only a DOCTYPE could define.
    #[error("the body contains a DOCTYPE or an entity")]
    DocumentType,
    /// Too deep or too many elements.
    #[error("the body is nested too deeply or has too many elements")]
    TooComplex,
    /// The same element twice, which two readers could understand differently.
    #[error("the body contains an element twice")]
    Duplicate,
}

/// The elements directly below the root, in order, with the text directly inside each.
#[derive(Debug, Default)]
pub(crate) struct Elements(Vec<(String, String)>);

impl Elements {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(element, _)| element == name)
            .map(|(_, text)| text.as_str())
    }
}

pub(crate) fn parse(body: &[u8], body_bytes_max: usize) -> Result<Elements, XmlRefusal> {
    if body.len() > body_bytes_max {
        return Err(XmlRefusal::TooLarge);
    }
    let text = std::str::from_utf8(body).map_err(|_| XmlRefusal::Encoding)?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut walk = Walk::default();
    loop {
        match reader.read_event().map_err(|_| XmlRefusal::Malformed)? {
            Event::Start(start) => walk.open(start.name().as_ref())?,
            Event::End(_) => walk.close()?,
            Event::Text(text) => walk.text(&text.into_inner())?,
            Event::CData(text) => walk.cdata(&text.into_inner())?,
            Event::GeneralRef(reference) => walk.cdata(&resolve(&reference)?)?,
            Event::DocType(_) => return Err(XmlRefusal::DocumentType),
            Event::Eof => return walk.finish(),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Empty(_) => {}
        }
    }
}

#[derive(Default)]
struct Walk {
    depth: usize,
    roots: usize,
    elements_seen: usize,
    elements: Elements,
    name: String,
    text: String,
    /// White space that is layout unless more content follows it.
    pending: String,
}

impl Walk {
    fn open(&mut self, name: &str) -> Result<(), XmlRefusal> {
        self.depth += 1;
        self.elements_seen += 1;
        if self.depth > DEPTH_MAX || self.elements_seen > ELEMENTS_MAX {
            return Err(XmlRefusal::TooComplex);
        }
        if self.depth == 1 {
            self.roots += 1;
        }
        if self.depth == 2 {
            name.clone_into(&mut self.name);
            self.text.clear();
            self.pending.clear();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), XmlRefusal> {
        if self.depth == 2 {
            if self.elements.get(&self.name).is_some() {
                return Err(XmlRefusal::Duplicate);
            }
            self.elements.0.push((
                std::mem::take(&mut self.name),
                std::mem::take(&mut self.text),
            ));
        }
        self.depth = self.depth.checked_sub(1).ok_or(XmlRefusal::Malformed)?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlRefusal> {
        if text.trim().is_empty() {
            if self.depth == 2 && !self.text.is_empty() {
                self.pending.push_str(text);
            }
            return Ok(());
        }
        self.cdata(text)
    }

    fn cdata(&mut self, text: &str) -> Result<(), XmlRefusal> {
        match self.depth {
            0 => return Err(XmlRefusal::Malformed),
            2 => {
                self.text.push_str(&self.pending);
                self.pending.clear();
                self.text.push_str(text);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Elements, XmlRefusal> {
        if self.depth == 0 && self.roots == 1 {
            Ok(self.elements)
        } else {
            Err(XmlRefusal::Malformed)
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, XmlRefusal> {
    if let Some(character) = reference
        .resolve_char_ref()
        .map_err(|_| XmlRefusal::Malformed)?
    {
        return Ok(character.to_string());
    }
    let text = match &**reference {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return Err(XmlRefusal::DocumentType),
    };
    Ok(text.to_owned())
}

/// `text` as CDATA: `]]>` is split over two sections, what XML 1.0 cannot hold is left out.
pub(crate) fn cdata(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(
            |character| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..),
        )
        .collect();
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Elements, XmlRefusal> {
        parse(body.as_bytes(), 1000)
    }

    #[test]
    fn text_cdata_and_references_are_joined_and_layout_is_dropped() {
        let elements = read(
            "<?xml version=\"1.0\"?>\n<xml>\n <A>\n<![CDATA[ x&amp; ]]>\n</A><B>1 &lt; 2&#33;</B><C/><D><E>deep</E></D>\n</xml>\n",
        )
        .unwrap();
        assert_eq!(elements.get("A"), Some(" x&amp; "));
        assert_eq!(elements.get("B"), Some("1 < 2!"));
        assert_eq!(elements.get("C"), Some(""));
        assert_eq!(elements.get("D"), Some(""));
        assert_eq!(elements.get("E"), None);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for (body, refusal) in [
            ("<!DOCTYPE xml><xml/>", XmlRefusal::DocumentType),
            ("<xml><A>&x;</A></xml>", XmlRefusal::DocumentType),
            ("<xml><A>1</A><A>2</A></xml>", XmlRefusal::Duplicate),
            ("<xml/><xml/>", XmlRefusal::Malformed),
            ("<xml><A></B></xml>", XmlRefusal::Malformed),
            ("<xml><A>", XmlRefusal::Malformed),
            ("</xml>", XmlRefusal::Malformed),
            ("text", XmlRefusal::Malformed),
            ("", XmlRefusal::Malformed),
        ] {
            assert_eq!(read(body).err(), Some(refusal), "{body}");
        }
        assert_eq!(
            parse(b"<xml>\xff</xml>", 1000).err(),
            Some(XmlRefusal::Encoding)
        );
    }

    #[test]
    fn size_depth_and_number_of_elements_are_bounded() {
        assert_eq!(parse(b"<xml></xml>", 10).err(), Some(XmlRefusal::TooLarge));
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        assert_eq!(read(&deep).err(), Some(XmlRefusal::TooComplex));
        let many = format!("<xml>{}</xml>", "<a><b/></a>".repeat(200));
        assert_eq!(
            parse(many.as_bytes(), 10_000).err(),
            Some(XmlRefusal::Duplicate)
        );
        let many = format!("<xml><a>{}</a></xml>", "<b/>".repeat(300));
        assert_eq!(
            parse(many.as_bytes(), 10_000).err(),
            Some(XmlRefusal::TooComplex)
        );
    }

    #[test]
    fn cdata_cannot_be_ended_from_inside() {
        let text = "a]]><Evil/>\u{0}🎉]]>";
        let body = format!("<xml><A>{}</A></xml>", cdata(text));
        assert_eq!(read(&body).unwrap().get("A"), Some("a]]><Evil/>🎉]]>"));
    }
}
