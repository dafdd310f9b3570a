//! The members of a JSON object as the bytes they were received in.

use crate::error::AnswerError;

/// The most members on the top level of an answer; the protocol uses three.
const MEMBERS_MAX: usize = 16;

pub(crate) struct Members<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0
            .iter()
            .find(|(found, _)| *found == name.as_bytes())
            .map(|(_, value)| *value)
    }
}

/// Cuts the object into its members without interpreting them. In a double-byte charset (GBK) the second byte of a
/// character can look like a backslash or a brace and must be stepped over.
pub(crate) fn top_level_members(
    body: &[u8],
    is_double_byte: bool,
) -> Result<Members<'_>, AnswerError> {
    let mut scan = Scan {
        body,
        at: 0,
        is_double_byte,
    };
    let broken = AnswerError::Malformed("no JSON object");
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    scan.expect(b'{').ok_or_else(|| broken.clone())?;
    loop {
        let name = scan.string().ok_or_else(|| broken.clone())?;
        // Cut the quotes off; an escaped name could equal another one without looking like it.
        let name = name
            .get(1..name.len().saturating_sub(1))
            .filter(|name| !name.contains(&b'\\'))
            .ok_or_else(|| broken.clone())?;
        scan.expect(b':').ok_or_else(|| broken.clone())?;
        let value = scan.value().ok_or_else(|| broken.clone())?;
        if members.iter().any(|(other, _)| *other == name) {
            return Err(AnswerError::Repeated);
        }
        if members.len() == MEMBERS_MAX {
            return Err(AnswerError::Malformed("too many members"));
        }
        members.push((name, value));
        match scan.next_visible() {
            Some(b',') => {}
            Some(b'}') => break,
            _ => return Err(broken),
        }
    }
    match scan.next_visible() {
        None => Ok(Members(members)),
        Some(_) => Err(AnswerError::Malformed("more than one JSON object")),
    }
}

struct Scan<'a> {
    body: &'a [u8],
    at: usize,
    is_double_byte: bool,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next_visible(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_visible()? == byte).then_some(())
    }

    /// The next string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let start = self.at;
        self.expect(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return self.body.get(start..self.at),
                b'\\' => self.at += 1,
                // Lead bytes of GBK and GB 18030.
                0x81..=0xfe if self.is_double_byte => self.at += 1,
                _ => {}
            }
        }
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' => self.brackets(),
            _ => {
                let start = self.at;
                while !matches!(self.peek()?, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                    self.at += 1;
                }
                self.body.get(start..self.at)
            }
        }
    }

    /// From an opening bracket to the one that closes it.
    fn brackets(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return self.body.get(start..self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_cut_out_as_received() {
        let body = br#" {"a" : {"x":"}\"{","y":[1,{"z":2}]} , "sign":"ab\/c","n":12}
"#;
        let members = top_level_members(body, false).unwrap();
        assert_eq!(
            members.get("a"),
            Some(br#"{"x":"}\"{","y":[1,{"z":2}]}"#.as_slice())
        );
        assert_eq!(members.get("sign"), Some(br#""ab\/c""#.as_slice()));
        assert_eq!(members.get("n"), Some(b"12".as_slice()));
        assert_eq!(members.get("x"), None);
    }

    #[test]
    fn a_gbk_character_whose_second_byte_is_a_backslash_does_not_escape_the_quote() {
        // 0x81 0x5c is one character of GBK.
        let body = b"{\"a\":{\"m\":\"\x81\x5c\"},\"sign\":\"s\"}";
        let members = top_level_members(body, true).unwrap();
        assert_eq!(members.get("a"), Some(b"{\"m\":\"\x81\x5c\"}".as_slice()));
        assert!(top_level_members(body, false).is_err());
    }

    #[test]
    fn broken_and_ambiguous_bodies_are_refused() {
        for body in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"a":1"#,
            r#"{"a":{"b":1}"#,
            r#"{"a":"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1}{"a":2}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":"\"#,
        ] {
            assert!(top_level_members(body.as_bytes(), false).is_err(), "{body}");
        }
        let repeated = top_level_members(br#"{"a":1,"a":2}"#, false);
        assert_eq!(repeated.err(), Some(AnswerError::Repeated));
    }
}
