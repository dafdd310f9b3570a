//! Telling: every request is printed with its answer.

use anyhow::Context as _;
use serde_json::Value;

/// Makes requests and tells of them.
pub(super) struct Teller<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) steps: usize,
}

impl Teller<'_> {
    pub(super) async fn get(
        &mut self,
        what: &str,
        url: &str,
        token: Option<&str>,
    ) -> anyhow::Result<Value> {
        self.announce(what);
        println!("   GET {url}");
        let mut request = self.http.get(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        show(request).await
    }

    pub(super) async fn post(
        &mut self,
        what: &str,
        url: &str,
        body: &Value,
        token: Option<&str>,
    ) -> anyhow::Result<Value> {
        self.announce(what);
        println!("   POST {url} {}", shortened(body));
        let mut request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        show(request).await
    }

    pub(super) async fn charge(
        &mut self,
        what: &str,
        url: &str,
        body: &Value,
        secret: &str,
    ) -> anyhow::Result<Value> {
        self.announce(what);
        println!("   POST {url} {}", shortened(body));
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let request = request
            .header("authorization", format!("Bearer {secret}"))
            .header("idempotency-key", "demo-1");
        show(request).await
    }

    pub(super) async fn until(
        &mut self,
        what: &str,
        url: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.until_as(what, url, None, holds).await
    }

    /// Asks again, as pages do, until it holds; notifications take a moment.
    pub(super) async fn until_as(
        &mut self,
        what: &str,
        url: &str,
        token: Option<&str>,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        const POLLS_MAX: usize = 100;
        const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
        let mut request = self.http.get(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.build()?;
        for _ in 1..POLLS_MAX {
            let copy = request.try_clone().context("a request without a body")?;
            if holds(&serde_json::from_str(
                &self.http.execute(copy).await?.text().await?,
            )?) {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let answer = self.get(what, url, token).await?;
        hold(holds(&answer), "it came to hold within 10 seconds")?;
        Ok(answer)
    }

    fn announce(&mut self, what: &str) {
        self.steps += 1;
        println!("\n{:2}. {what}", self.steps);
    }
}

async fn show(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("{status}: not JSON: {text}"))?;
    println!("   {} {}", status.as_u16(), shortened(&answer));
    hold(status.is_success(), "the request is accepted")?;
    Ok(answer)
}

/// The form of Alipay's page pay, as a browser reads it.
pub(super) struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    pub(super) fn read(html: &str) -> anyhow::Result<Self> {
        let action = attribute(html, "action").context("the form has no action")?;
        let fields = html
            .split("<input ")
            .skip(1)
            .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
            .collect();
        Ok(Self { action, fields })
    }

    /// Does what `document.forms[0].submit()` does, and returns the order number it was about.
    pub(super) async fn submit(&self, teller: &mut Teller<'_>) -> anyhow::Result<String> {
        teller.announce("The browser submits the form to Alipay");
        let host = self.action.split('?').next().unwrap_or_default();
        println!("   POST {host} (signed)");
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.fields)
            .finish();
        let request = teller
            .http
            .post(&self.action)
            .header("content-type", "application/x-www-form-urlencoded");
        let response = request.body(body).send().await?;
        let cashier = response
            .headers()
            .get("location")
            .and_then(|to| to.to_str().ok())
            .map(str::to_owned);
        println!(
            "   {} {}",
            response.status().as_u16(),
            cashier.as_deref().unwrap_or_default()
        );
        hold(
            cashier.is_some(),
            "Alipay accepts the signature and shows its cashier",
        )?;
        let biz_content = self
            .fields
            .iter()
            .find(|(name, _)| name == "biz_content")
            .map(|(_, value)| value);
        let biz_content: Value =
            serde_json::from_str(biz_content.context("the form has no biz_content")?)?;
        text(&biz_content["out_trade_no"])
    }
}

fn attribute(html: &str, name: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&#39;", "'")
            .replace("&amp;", "&"),
    )
}

pub(super) fn hold(holds: bool, what: &str) -> anyhow::Result<()> {
    anyhow::ensure!(holds, "this did not hold: {what}");
    println!("   ✓ {what}");
    Ok(())
}

pub(super) fn text(value: &Value) -> anyhow::Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{value} is not a text"))
}

pub(super) fn number(value: &Value) -> anyhow::Result<i64> {
    value
        .as_i64()
        .with_context(|| format!("{value} is not a whole number"))
}

pub(super) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// One line; long texts such as signatures and forms are cut.
fn shortened(value: &Value) -> String {
    const TEXT_CHARS_MAX: usize = 60;
    let cut = |text: &str| {
        let head: String = text.chars().take(TEXT_CHARS_MAX).collect();
        if head.len() < text.len() {
            format!("{head}…")
        } else {
            head
        }
    };
    match value {
        Value::String(text) => Value::from(cut(text)).to_string(),
        Value::Array(list) => format!(
            "[{}]",
            list.iter().map(shortened).collect::<Vec<_>>().join(",")
        ),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("\"{name}\":{}", shortened(value));
            format!(
                "{{{}}}",
                fields.iter().map(field).collect::<Vec<_>>().join(",")
            )
        }
        other => other.to_string(),
    }
}
