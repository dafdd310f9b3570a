//! `alipay.trade.page.pay`: the rules of its `biz_content`.

use jiff::{SignedDuration, Timestamp};

use super::{
    answer::Failure,
    biz_content::BizContent,
    parameters::Parameters,
    trade::{Deadline, Ordered, PAYABLE_DEFAULT},
};
use crate::beijing;

const PRODUCT_CODE: &str = "FAST_INSTANT_TRADE_PAY";
const MINUTES_MAX: i64 = 15 * 24 * 60;

/// Reads a page-pay request whose signature was verified.
pub(crate) fn parse(parameters: &Parameters, now: Timestamp) -> Result<Ordered, Failure> {
    let biz = BizContent::parse(parameters.get("biz_content"))?;
    let out_trade_no = biz.required("out_trade_no", 64)?;
    if !out_trade_no
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(Failure::invalid_parameter(
            "out_trade_no仅支持字母、数字、下划线",
        ));
    }
    let subject = biz.required("subject", 256)?;
    if subject.contains(['/', '=', '&']) {
        return Err(Failure::invalid_parameter(
            "subject不可使用特殊字符，如 /，=，&",
        ));
    }
    if biz.required("product_code", 64)? != PRODUCT_CODE {
        return Err(Failure::invalid_parameter(format!(
            "product_code必须为{PRODUCT_CODE}"
        )));
    }
    if !matches!(biz.text("goods_type", 2)?, None | Some("0" | "1")) {
        return Err(Failure::invalid_parameter("goods_type只能是0或1"));
    }
    if !matches!(
        biz.text("qr_pay_mode", 2)?,
        None | Some("0" | "1" | "2" | "3" | "4")
    ) {
        return Err(Failure::invalid_parameter("qr_pay_mode只能是0到4"));
    }
    Ok(Ordered {
        out_trade_no: out_trade_no.to_owned(),
        total_fen: biz.amount_fen("total_amount")?,
        subject: subject.to_owned(),
        body: biz.text("body", 128)?.map(str::to_owned),
        passback_params: biz.text("passback_params", 512)?.map(str::to_owned),
        deadline: deadline(
            biz.text("time_expire", 19)?,
            biz.text("timeout_express", 6)?,
            now,
        )?,
        notify_url: parameters.get("notify_url").map(str::to_owned),
        return_url: parameters.get("return_url").map(str::to_owned),
        charset: parameters.wire,
    })
}

/// `time_expire` wins over `timeout_express`; without either it is 15 days.
fn deadline(
    time_expire: Option<&str>,
    timeout_express: Option<&str>,
    now: Timestamp,
) -> Result<Deadline, Failure> {
    if let Some(text) = time_expire {
        let wrong = |issue: &str| Failure::invalid_parameter(format!("time_expire{issue}"));
        let moment =
            beijing::parse_plain(text).ok_or_else(|| wrong("必须是yyyy-MM-dd HH:mm:ss格式"))?;
        if moment <= now {
            return Err(wrong("已过期"));
        }
        if moment.duration_since(now) > SignedDuration::from_mins(MINUTES_MAX) {
            return Err(wrong("不能晚于15天"));
        }
        return Ok(Deadline::At(moment));
    }
    let Some(text) = timeout_express else {
        return Ok(Deadline::After(PAYABLE_DEFAULT));
    };
    if text == "1c" {
        return Ok(Deadline::EndOfDay);
    }
    relative(text).ok_or_else(|| {
        Failure::invalid_parameter("timeout_express取值范围1m～15d，单位m、h、d或1c，不接受小数")
    })
}

fn relative(text: &str) -> Option<Deadline> {
    let minutes_each = match text.bytes().last()? {
        b'm' => 1,
        b'h' => 60,
        b'd' => 24 * 60,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let minutes = number.parse::<i64>().ok()? * minutes_each;
    (1..=MINUTES_MAX)
        .contains(&minutes)
        .then(|| Deadline::After(SignedDuration::from_mins(minutes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_by_the_documented_rules() {
        let now = Timestamp::from_second(1_705_291_200).unwrap();
        let after = |minutes| Ok(Deadline::After(SignedDuration::from_mins(minutes)));
        assert_eq!(deadline(None, None, now), after(MINUTES_MAX));
        assert_eq!(deadline(None, Some("30m"), now), after(30));
        assert_eq!(deadline(None, Some("15d"), now), after(MINUTES_MAX));
        assert_eq!(deadline(None, Some("1c"), now), Ok(Deadline::EndOfDay));
        for wrong in ["16d", "0m", "1.5h", "m", "30", "2c", "-1h", "99999m"] {
            assert!(deadline(None, Some(wrong), now).is_err(), "{wrong}");
        }
        let at = deadline(Some("2024-01-15 12:30:00"), Some("1m"), now);
        assert_eq!(
            at,
            Ok(Deadline::At(Timestamp::from_second(1_705_293_000).unwrap()))
        );
        for wrong in [
            "2024-01-15 12:00:00",
            "2024-02-15 12:00:00",
            "2024-01-15T12:30:00",
        ] {
            assert!(deadline(Some(wrong), None, now).is_err(), "{wrong}");
        }
    }
}
