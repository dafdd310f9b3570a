//! A reader of DER that never goes out of bounds.

pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OBJECT_ID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Self { rest: der }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element: its tag, its content, and both with the length between.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, after_tag) = self.rest.split_first()?;
        let (&first, after_first) = after_tag.split_first()?;
        let (length, content) = if first < 0x80 {
            (usize::from(first), after_first)
        } else {
            let (octets, content) = after_first.split_at_checked(usize::from(first & 0x7f))?;
            if octets.is_empty() || octets.len() > 4 {
                return None;
            }
            let length = octets
                .iter()
                .fold(0_usize, |length, octet| (length << 8) | usize::from(*octet));
            (length, content)
        };
        let (content, rest) = content.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some((tag, content, whole))
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .and_then(|(found, content, _)| (found == tag).then_some(content))
    }

    /// The next element with its tag and length.
    pub(crate) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .and_then(|(found, _, whole)| (found == tag).then_some(whole))
    }

    /// A reader of the content of the next element.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.value(tag).map(Reader::new)
    }

    /// Skips the next element when it has this tag.
    pub(crate) fn skip_if(&mut self, tag: u8) -> Option<()> {
        if self.rest.first() == Some(&tag) {
            self.any()?;
        }
        Some(())
    }
}
