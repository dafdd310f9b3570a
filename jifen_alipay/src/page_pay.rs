//! Page pay: the form (or URL) that takes the buyer's browser to Alipay's cashier. Nothing is called: the form is
//! signed here and carried by the browser.

use serde::Serialize;

use crate::beijing::format_beijing;
use crate::client::{Alipay, TIMESTAMP, to_json};
use crate::error::RequestError;
use crate::money::format_yuan;
use crate::signing::{append_pair, sign_content};
use crate::trade::check_number;

/// An order to be paid on Alipay's page. The same values give the same form, byte for byte.
#[derive(Debug, Clone, Copy)]
pub struct PagePay<'a> {
    /// Our order number: 1 to 64 of `0-9A-Za-z_-`, unique per merchant.
    pub out_trade_no: &'a str,
    /// The price in fen, 1 to 10,000,000,000.
    pub total_fen: i64,
    /// What the buyer sees. Made acceptable by [`clean_subject`].
    pub subject: &'a str,
    /// When the order stops being payable, unix seconds, 1 minute to 15 days after `timestamp`. Without it Alipay
    /// takes 15 days.
    pub time_expire: Option<i64>,
    /// The request's time, unix seconds. Alipay may refuse an old one, so a form that is shown again days later
    /// should get a new time.
    pub timestamp: i64,
    /// Where Alipay reports the payment: at most 256 characters, without query, not redirecting.
    pub notify_url: Option<&'a str>,
    /// Where the browser returns to: at most 256 characters.
    pub return_url: Option<&'a str>,
}

/// In the order official SDKs write it.
#[derive(Serialize)]
struct BizContent<'a> {
    out_trade_no: &'a str,
    product_code: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_expire: Option<String>,
    total_amount: String,
}

impl Alipay {
    /// The HTML form named `punchout_form` that sends itself, as the `pageExecute` of Alipay's SDKs builds it.
    ///
    /// The browser reads out of the attributes exactly what was signed: the values in the action's query are
    /// percent-encoded (its `&` stay bare as in the SDKs, each followed by a name and `=`, which HTML never takes for
    /// a character reference), and `biz_content` is escaped.
    pub fn page_pay_form(&self, order: &PagePay<'_>) -> Result<String, RequestError> {
        let (action, biz_content) = self.signed_page_pay(order)?;
        let mut form = String::with_capacity(action.len() + 2 * biz_content.len() + 256);
        form.push_str("<form name=\"punchout_form\" method=\"post\" action=\"");
        form.push_str(&action);
        form.push_str("\">\n<input type=\"hidden\" name=\"biz_content\" value=\"");
        append_attribute(&mut form, &biz_content);
        form.push_str(
            "\">\n<input type=\"submit\" value=\"立即支付\" style=\"display:none\" >\n</form>\n\
             <script>document.forms[0].submit();</script>",
        );
        Ok(form)
    }

    /// The same as a URL to open with GET.
    pub fn page_pay_url(&self, order: &PagePay<'_>) -> Result<String, RequestError> {
        let (mut url, biz_content) = self.signed_page_pay(order)?;
        append_pair(&mut url, "biz_content", &biz_content);
        Ok(url)
    }

    /// The gateway's URL with every parameter but `biz_content`, and that.
    fn signed_page_pay(&self, order: &PagePay<'_>) -> Result<(String, String), RequestError> {
        let timestamp = format_beijing(order.timestamp).ok_or(TIMESTAMP)?;
        let biz_content = biz_content(order)?;
        let mut parameters = vec![
            ("timestamp", timestamp.as_str()),
            ("app_id", self.app_id.as_str()),
            ("method", "alipay.trade.page.pay"),
            ("charset", "utf-8"),
            ("format", "json"),
            ("version", "1.0"),
            ("sign_type", "RSA2"),
        ];
        parameters.extend(checked_url("notify_url", order.notify_url)?);
        parameters.extend(checked_url("return_url", order.return_url)?);
        parameters.extend(self.certificate_parameters());
        parameters.push(("biz_content", &biz_content));
        let sign = self.app_key.sign(sign_content(&parameters).as_bytes())?;
        parameters.pop();
        parameters.push(("sign", &sign));
        let mut url = String::with_capacity(1024);
        url.push_str(&self.gateway);
        url.push('?');
        for (name, value) in parameters {
            append_pair(&mut url, name, value);
        }
        Ok((url, biz_content))
    }
}

/// A subject Alipay accepts: the characters it forbids (`/`, `=`, `&`, and `<`, `>` with them) become their full-width
/// forms, control characters and runs of white space one space, and at most 256 characters remain.
pub fn clean_subject(subject: &str) -> String {
    const CHARACTERS_MAX: usize = 256;
    let spaced = subject.replace(char::is_control, " ");
    let mut clean = String::with_capacity(subject.len());
    for word in spaced.split_whitespace() {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.extend(word.chars().map(|character| match character {
            '/' => '／',
            '=' => '＝',
            '&' => '＆',
            '<' => '＜',
            '>' => '＞',
            other => other,
        }));
    }
    match clean.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => {
            clean.truncate(end);
            clean.truncate(clean.trim_end().len());
            clean
        }
        None => clean,
    }
}

fn biz_content(order: &PagePay<'_>) -> Result<String, RequestError> {
    const MINUTE: i64 = 60;
    const DAYS_15: i64 = 15 * 24 * 60 * MINUTE;
    check_number("out_trade_no", order.out_trade_no)?;
    if !(1..=10_000_000_000).contains(&order.total_fen) {
        return Err(RequestError::Field {
            field: "total_amount",
            rule: "0.01 to 100000000.00 yuan",
        });
    }
    let subject = clean_subject(order.subject);
    if subject.is_empty() {
        return Err(RequestError::Field {
            field: "subject",
            rule: "not empty",
        });
    }
    let time_expire = match order.time_expire {
        None => None,
        Some(moment) => {
            let span = moment.saturating_sub(order.timestamp);
            let text = format_beijing(moment).filter(|_| (MINUTE..=DAYS_15).contains(&span));
            Some(text.ok_or(RequestError::Field {
                field: "time_expire",
                rule: "1 minute to 15 days after the timestamp",
            })?)
        }
    };
    to_json(&BizContent {
        out_trade_no: order.out_trade_no,
        product_code: "FAST_INSTANT_TRADE_PAY",
        subject: &subject,
        time_expire,
        total_amount: format_yuan(order.total_fen),
    })
}

fn checked_url<'a>(
    field: &'static str,
    url: Option<&'a str>,
) -> Result<Option<(&'static str, &'a str)>, RequestError> {
    let Some(url) = url else { return Ok(None) };
    let is_http = url.starts_with("https://") || url.starts_with("http://");
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if url.len() > 256 || !is_http || !is_plain {
        return Err(RequestError::Field {
            field,
            rule: "an absolute http or https URL of at most 256 ASCII characters",
        });
    }
    Ok(Some((field, url)))
}

/// Appends `text` so that a browser reads it back unchanged from a double-quoted attribute.
fn append_attribute(html: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_made_acceptable() {
        assert_eq!(clean_subject("套餐 \"A\" + 100%"), "套餐 \"A\" + 100%");
        assert_eq!(clean_subject("a/b=c&d<e>"), "a／b＝c＆d＜e＞");
        assert_eq!(clean_subject(" \u{0}a\r\n\tb \u{85}"), "a b");
        assert_eq!(clean_subject("\n"), "");
        assert_eq!(clean_subject(&"积".repeat(300)).chars().count(), 256);
        assert_eq!(
            clean_subject(&format!("{} b", "a".repeat(255))),
            "a".repeat(255)
        );
    }

    #[test]
    fn attributes_are_escaped() {
        let mut html = String::new();
        append_attribute(&mut html, r#"&quot;"<'>积"#);
        assert_eq!(html, "&amp;quot;&quot;&lt;&#39;&gt;积");
    }
}
