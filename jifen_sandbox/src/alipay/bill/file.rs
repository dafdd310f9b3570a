//! A trade bill: two CSV texts in GBK, detail and summary, in a ZIP.

use std::io::{Cursor, Write as _};

use jiff::Timestamp;
use zip::{ZipWriter, result::ZipResult, write::SimpleFileOptions};

use super::Period;
use crate::{
    alipay::{
        book::Book,
        charset::Charset,
        trade::{Refund, Trade},
        yuan,
    },
    beijing,
};

/// Hundredths of a percent.
const FEE_RATE: i64 = 60;

const COLUMNS: &str = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,\
                       商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,\
                       商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注";
const SUMMARY_COLUMNS: &str = "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,\
                               商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）";

/// The two texts of a bill.
pub(super) struct Csv {
    detail: String,
    summary: String,
}

#[derive(Default)]
struct Totals {
    trades: i64,
    refunds: i64,
    received: i64,
    returned: i64,
    fees: i64,
}

/// The texts; `None` when nothing happened in the period.
pub(super) fn write(book: &Book, period: Period, seller_id: &str, now: Timestamp) -> Option<Csv> {
    let mut totals = Totals::default();
    let mut rows = String::new();
    for (at, trade, refund) in book.movements(period.first, period.last) {
        rows.push_str(&row(at, trade, refund, &mut totals));
        rows.push_str("\r\n");
    }
    if totals.trades + totals.refunds == 0 {
        return None;
    }
    let head = |title: &str| {
        format!(
            "#支付宝{title}查询\r\n#账号：[{seller_id}0156]\r\n#起始日期：[{}]   终止日期：[{}]\r\n",
            period.first.strftime("%Y年%m月%d日 00:00:00"),
            period
                .last
                .tomorrow()
                .unwrap_or(period.last)
                .strftime("%Y年%m月%d日 00:00:00"),
        )
    };
    let line = "-----------------------------------------";
    let exported = beijing::plain(now);
    let detail = format!(
        "{}#{line}业务明细列表{line}\r\n{COLUMNS}\r\n{rows}#{line}业务明细列表结束{line}\r\n\
         #交易合计：{}笔，商家实收共{}元，商家优惠共0.00元\r\n#退款合计：{}笔，商家实收退款共{}元，商家优惠退款共0.00元\r\n#导出时间：[{exported}]\r\n",
        head("业务明细"),
        totals.trades,
        yuan::format(totals.received),
        totals.refunds,
        yuan::format(-totals.returned),
    );
    let net = totals.received - totals.returned;
    let summary = format!(
        "{}#{line}业务汇总列表{line}\r\n{SUMMARY_COLUMNS}\r\n合计,,{},{},{},{},0.00,0.00,0.00,{},0.00,{}\r\n#{line}业务汇总列表结束{line}\r\n#导出时间：[{exported}]\r\n",
        head("业务汇总"),
        totals.trades,
        totals.refunds,
        yuan::format(net),
        yuan::format(net),
        yuan::format(-totals.fees),
        yuan::format(net - totals.fees),
    );
    Some(Csv { detail, summary })
}

/// Packs both texts, in GBK.
pub(super) fn zip(csv: &Csv, name: &str) -> ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (kind, text) in [("业务明细", &csv.detail), ("业务明细(汇总)", &csv.summary)] {
        archive.start_file(format!("{name}_{kind}.csv"), SimpleFileOptions::default())?;
        archive.write_all(&Charset::Gbk.encode(text))?;
    }
    Ok(archive.finish()?.into_inner())
}

/// One line. Numbers end in a tab, as in the real file, where it keeps spreadsheets from rounding them.
fn row(at: Timestamp, trade: &Trade, refund: Option<&Refund>, totals: &mut Totals) -> String {
    let ordered = &trade.ordered;
    let (kind, amount, fee) = match refund {
        None => {
            let fee = fee(ordered.total_fen);
            totals.trades += 1;
            totals.received += ordered.total_fen;
            totals.fees += fee;
            ("交易", ordered.total_fen, fee)
        }
        Some(refund) => {
            totals.refunds += 1;
            totals.returned += refund.amount_fen;
            ("退款", -refund.amount_fen, 0)
        }
    };
    let amount = yuan::format(amount);
    let cells = [
        format!("{}\t", trade.trade_no),
        format!("{}\t", ordered.out_trade_no),
        kind.to_owned(),
        ordered.subject.replace([',', '\r', '\n'], " "),
        beijing::plain(trade.created_at),
        beijing::plain(at),
        String::new(),
        String::new(),
        String::new(),
        "\t".to_owned(),
        format!("*({})\t", trade.buyer.masked_login),
        amount.clone(),
        amount,
        "0.00".to_owned(),
        "0.00".to_owned(),
        "0.00".to_owned(),
        "0.00".to_owned(),
        "0.00".to_owned(),
        String::new(),
        "0.00".to_owned(),
        "0.00".to_owned(),
        refund
            .map(|refund| format!("{}\t", refund.out_request_no))
            .unwrap_or_default(),
        yuan::format(-fee),
        "0.00".to_owned(),
        ordered
            .body
            .as_deref()
            .unwrap_or_default()
            .replace([',', '\r', '\n'], " "),
    ];
    cells.join(",")
}

fn fee(fen: i64) -> i64 {
    (fen * FEE_RATE + 5_000) / 10_000
}
