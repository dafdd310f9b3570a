//! What a merchant asks for with `POST /v3/pay/transactions/{jsapi,native}`, and the rules its fields obey.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{
    fields::{self, Fields},
    refusal::Refusal,
};

/// `time_expire` earlier than this after ordering is moved up to it.
const PAYABLE_MIN: SignedDuration = SignedDuration::from_mins(1);
/// The stricter of the two documented upper limits.
const PAYABLE_MAX: SignedDuration = SignedDuration::from_hours(15 * 24);
const PAYABLE_DEFAULT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How the payer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TradeType {
    Jsapi,
    Native,
}

impl TradeType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Jsapi => "JSAPI",
            Self::Native => "NATIVE",
        }
    }
}

/// A prepay request whose fields are all in order.
#[derive(Debug, Clone)]
pub(crate) struct Prepay {
    pub(crate) trade_type: TradeType,
    pub(crate) appid: String,
    pub(crate) description: String,
    pub(crate) out_trade_no: String,
    pub(crate) notify_url: String,
    pub(crate) total_fen: i64,
    /// The payer, known in advance for JSAPI only.
    pub(crate) openid: Option<String>,
    pub(crate) attach: String,
    /// The last moment at which the payer may pay.
    pub(crate) expires_at: Timestamp,
    /// SHA-256 over all fields of the body: a repeated call must be the same in every one.
    fields_digest: [u8; 32],
}

impl Prepay {
    /// Reads and checks the body. Whether `appid` and `mchid` belong together and `openid` to `appid` is the caller's
    /// knowledge.
    pub(crate) fn parse(
        trade_type: TradeType,
        body: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let top = Fields::of(body);
        let appid = top.text("appid", 1, 32)?.to_owned();
        top.text("mchid", 1, 32)?;
        let description = top.text("description", 1, 127)?.to_owned();
        let out_trade_no = out_trade_no(&top)?.to_owned();
        let notify_url = top.text("notify_url", 1, 255)?.to_owned();
        fields::notify_url(&top, &notify_url)?;
        let amount = top.object("amount", "/amount")?;
        let total_fen = amount.fen("total")?;
        amount.currency(false)?;
        let openid = match trade_type {
            TradeType::Jsapi => Some(
                top.object("payer", "/payer")?
                    .text("openid", 1, 128)?
                    .to_owned(),
            ),
            TradeType::Native => None,
        };
        let attach = top
            .optional_text("attach", 128)?
            .unwrap_or_default()
            .to_owned();
        let expires_at = expires_at(&top, now)?;
        optional_parts(&top)?;
        let fields_digest = digest(body);
        Ok(Self {
            trade_type,
            appid,
            description,
            out_trade_no,
            notify_url,
            total_fen,
            openid,
            attach,
            expires_at,
            fields_digest,
        })
    }

    /// Whether another call asks for the same thing, in every field.
    pub(crate) fn is_repeated_by(&self, other: &Self) -> bool {
        self.trade_type == other.trade_type && self.fields_digest == other.fields_digest
    }

    /// Whether another call with the same number asks for a different payment altogether, not just for other details.
    pub(crate) fn differs_in_substance(&self, other: &Self) -> bool {
        self.trade_type != other.trade_type
            || self.appid != other.appid
            || self.total_fen != other.total_fen
            || self.openid != other.openid
    }
}

/// The order of the members does not matter, nor does white space.
fn digest(body: &Map<String, Value>) -> [u8; 32] {
    let mut canonical = String::new();
    write_canonical(&Value::Object(body.clone()), &mut canonical);
    let mut digest = [0; 32];
    digest.copy_from_slice(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()).as_ref(),
    );
    digest
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (name, member) in members {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(member, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn out_trade_no<'a>(top: &Fields<'a>) -> Result<&'a str, Refusal> {
    let number = top.text("out_trade_no", 6, 32)?;
    if !fields::is_number_text(number, "_-|*") {
        let issue = "只能是数字、大小写字母_-|*";
        return Err(Refusal::parameter(
            &top.at("out_trade_no"),
            Value::from(number),
            issue,
        ));
    }
    Ok(number)
}

fn expires_at(top: &Fields<'_>, now: Timestamp) -> Result<Timestamp, Refusal> {
    let Some(text) = top.optional_text("time_expire", 64)? else {
        return Ok(now
            .saturating_add(PAYABLE_DEFAULT)
            .unwrap_or(Timestamp::MAX));
    };
    let refuse = |issue: &str| Refusal::parameter(&top.at("time_expire"), Value::from(text), issue);
    let has_offset = text.contains('T') && !text.contains('[');
    let asked: Timestamp = match text.parse() {
        Ok(moment) if has_offset => moment,
        _ => return Err(refuse("必须是带时区的rfc3339格式")),
    };
    if asked.duration_since(now) > PAYABLE_MAX {
        return Err(refuse("不能晚于下单后15天"));
    }
    let earliest = now.saturating_add(PAYABLE_MIN).unwrap_or(Timestamp::MAX);
    Ok(asked.max(earliest))
}

fn optional_parts(top: &Fields<'_>) -> Result<(), Refusal> {
    top.optional_text("goods_tag", 32)?;
    top.optional_array("limit_pay", 10)?;
    top.optional_bool("support_fapiao")?;
    if let Some(detail) = top.optional_object("detail", "/detail")? {
        detail.optional_text("invoice_id", 32)?;
        detail.optional_array("goods_detail", 6000)?;
    }
    if let Some(scene) = top.optional_object("scene_info", "/scene_info")? {
        scene.text("payer_client_ip", 1, 45)?;
        scene.optional_text("device_id", 32)?;
        scene.optional_object("store_info", "/scene_info/store_info")?;
    }
    if let Some(settle) = top.optional_object("settle_info", "/settle_info")? {
        settle.optional_bool("profit_sharing")?;
    }
    Ok(())
}
