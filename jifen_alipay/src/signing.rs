//! The text that is signed, and the form encoding that carries it.

use form_urlencoded::byte_serialize;

/// The text a request's signature covers: every parameter that is not empty, except `sign` itself, sorted by name,
/// `name=value` joined with `&`, the values not URL-encoded. `sign_type` is covered.
pub fn sign_content(parameters: &[(&str, &str)]) -> String {
    let mut sorted: Vec<_> = parameters
        .iter()
        .filter(|(name, value)| *name != "sign" && !value.is_empty())
        .collect();
    sorted.sort_unstable();
    let length = sorted
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    let mut content = String::with_capacity(length);
    for (name, value) in sorted {
        if !content.is_empty() {
            content.push('&');
        }
        content.push_str(name);
        content.push('=');
        content.push_str(value);
    }
    content
}

/// Appends `name=value`, form-encoded, with a `&` before it unless `text` ends with a separator.
pub(crate) fn append_pair(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(['?', '&']) {
        text.push('&');
    }
    text.extend(byte_serialize(name.as_bytes()));
    text.push('=');
    text.extend(byte_serialize(value.as_bytes()));
}
