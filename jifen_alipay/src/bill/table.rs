//! The CSV inside a bill: comment lines begin with `#`, columns are found by name, values may end with a tab.

use crate::beijing::parse_beijing;
use crate::error::AnswerError;
use crate::money::parse_signed_yuan;
use crate::private::Private;

use super::{Bill, BillRow, BillRowKind};

const TRADE_NO: &str = "支付宝交易号";
const OUT_TRADE_NO: &str = "商户订单号";
const KIND: &str = "业务类型";
const ORDER_AMOUNT: &str = "订单金额";

/// Reads a file of details; `None` when the file has other columns.
pub(super) fn read_details(text: &str) -> Result<Option<Bill>, AnswerError> {
    let mut bill = Bill::default();
    let mut columns: Option<Columns> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(comment) = line.strip_prefix('#') {
            bill.comments.push(comment.to_owned());
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let fields = split(line).ok_or(AnswerError::Bill("a quote that does not end"))?;
        match &columns {
            None => match Columns::of(&fields) {
                Some(found) => columns = Some(found),
                None => return Ok(None),
            },
            Some(columns) => bill.rows.push(columns.row(&fields)?),
        }
    }
    Ok(columns.map(|_| bill))
}

/// The names of the columns, without units.
struct Columns(Vec<String>);

impl Columns {
    fn of(header: &[String]) -> Option<Self> {
        let names: Vec<String> = header
            .iter()
            .map(|name| {
                let name = name.split(['（', '(']).next().unwrap_or_default();
                name.trim().to_owned()
            })
            .collect();
        [TRADE_NO, OUT_TRADE_NO, KIND, ORDER_AMOUNT]
            .iter()
            .all(|required| names.iter().any(|name| name == required))
            .then_some(Self(names))
    }

    fn row(&self, fields: &[String]) -> Result<BillRow, AnswerError> {
        if fields.len() != self.0.len() {
            return Err(AnswerError::Bill(
                "a row with more or fewer values than columns",
            ));
        }
        let value = |column: &str| {
            self.0
                .iter()
                .position(|name| name == column)
                .and_then(|place| fields.get(place))
                .map_or("", String::as_str)
        };
        let text = |column| Some(value(column)).filter(|text| !text.is_empty());
        let fen = |column| {
            text(column)
                .map(parse_signed_yuan)
                .transpose()
                .map_err(|_| AnswerError::Bill("an amount that is none"))
        };
        let time = |column| {
            text(column)
                .map(|text| parse_beijing(text).ok_or(AnswerError::Bill("a time that is none")))
                .transpose()
        };
        Ok(BillRow {
            trade_no: value(TRADE_NO).to_owned(),
            out_trade_no: value(OUT_TRADE_NO).to_owned(),
            kind: match value(KIND) {
                "交易" => BillRowKind::Payment,
                "退款" => BillRowKind::Refund,
                other => BillRowKind::Other(other.to_owned()),
            },
            subject: value("商品名称").to_owned(),
            created_at: time("创建时间")?,
            completed_at: time("完成时间")?,
            buyer: Private::from(value("对方账户").to_owned()),
            order_fen: fen(ORDER_AMOUNT)?.ok_or(AnswerError::Bill("a row without amount"))?,
            received_fen: fen("商家实收")?,
            out_request_no: text("退款批次号/请求号").map(str::to_owned),
            service_fee_fen: fen("服务费")?,
            remark: value("备注").to_owned(),
        })
    }
}

/// The values of one line, trimmed. `None` when a quoted value does not end.
fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.trim_start_matches([' ', '\t']);
        let (field, after) = if let Some(quoted) = start.strip_prefix('"') {
            split_quoted(quoted)?
        } else {
            let end = start.find(',').unwrap_or(start.len());
            let (field, after) = start.split_at(end);
            (field.to_owned(), after)
        };
        fields.push(field.trim().to_owned());
        match after.find(',') {
            Some(comma) => rest = after.get(comma + 1..)?,
            None => return Some(fields),
        }
    }
}

/// What stands in quotes (`""` is one quote), and what follows.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETAILS: &str = "\
#支付宝业务明细查询\r
#账号：[20887210226710800156]\r
#-----------------------------------------业务明细列表----------------------------------------\r
支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,对方账户,订单金额（元）,商家实收（元）,退款批次号/请求号,服务费（元）,备注\r
2024011522001427840500123456\t,4816273950182736\t,交易,\"套餐 \"\"A\"\", 1000点\",2024-01-15 12:04:51,2024-01-15 12:05:09,,t**@x.cn,1.68,1.68,,-0.01,\r
2024011522001427840500123456\t,4816273950182736\t,退款,积分套餐,2024-01-15 12:04:51,2024-01-16 10:00:03,,t**@x.cn,-0.68,-0.68,RF1\t,0.00,部分\r
#-----------------------------------------业务明细列表结束------------------------------------\r
";

    #[test]
    fn details_are_mapped_by_the_names_of_their_columns() {
        let bill = read_details(DETAILS).unwrap().unwrap();
        assert_eq!(bill.comments.len(), 4);
        assert_eq!(bill.comments[0], "支付宝业务明细查询");
        let [payment, refund] = bill.rows.as_slice() else {
            panic!("{:?}", bill.rows)
        };
        assert_eq!(payment.trade_no, "2024011522001427840500123456");
        assert_eq!(payment.out_trade_no, "4816273950182736");
        assert_eq!(payment.kind, BillRowKind::Payment);
        assert_eq!(payment.subject, "套餐 \"A\", 1000点");
        assert_eq!(payment.order_fen, 168);
        assert_eq!(payment.service_fee_fen, Some(-1));
        assert_eq!(payment.out_request_no, None);
        assert_eq!(payment.completed_at, parse_beijing("2024-01-15 12:05:09"));
        assert_eq!(refund.kind, BillRowKind::Refund);
        assert_eq!(refund.order_fen, -68);
        assert_eq!(refund.out_request_no.as_deref(), Some("RF1"));
        assert_eq!(refund.remark, "部分");
        assert!(!format!("{bill:?}").contains("t**@x.cn"));
    }

    #[test]
    fn another_order_of_columns_changes_nothing() {
        let bill = read_details("订单金额(元),业务类型,商户订单号,支付宝交易号\n2,交易,a,b\n")
            .unwrap()
            .unwrap();
        assert_eq!(bill.rows[0].order_fen, 200);
        assert_eq!(bill.rows[0].out_trade_no, "a");
        assert_eq!(bill.rows[0].received_fen, None);
    }

    #[test]
    fn a_summary_is_not_taken_for_details_and_damage_is_named() {
        assert_eq!(
            read_details("#x\n门店编号,门店名称,交易订单总笔数\n合计,,1\n"),
            Ok(None)
        );
        assert_eq!(read_details(""), Ok(None));
        let header = "支付宝交易号,商户订单号,业务类型,订单金额（元）\n";
        for row in [
            "a,b,交易",
            "a,b,交易,1e2",
            "a,b,交易,",
            "a,\"b,交易,1",
            "a,b,交易,1,2",
        ] {
            let result = read_details(&format!("{header}{row}\n"));
            assert!(
                matches!(result, Err(AnswerError::Bill(_))),
                "{row}: {result:?}"
            );
        }
    }
}
