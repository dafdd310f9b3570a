//! Bills, over real HTTP.

use std::io::{Cursor, Write as _};

use encoding_rs::GBK;
use jifen_alipay::{AnswerError, BillRowKind, Error, FailureKind, TransportError, read_bill};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::scripted::{Gateway, Reply, client_of, config, scripted, signed};

const BILL_URL: &str = "alipay_data_dataservice_bill_downloadurl_query_response";
const DETAILS: &str = "\
#支付宝业务明细查询\r
支付宝交易号,商户订单号,业务类型,商品名称,订单金额（元）,退款批次号/请求号\r
2024011522001427840500123456\t,4816273950182736\t,交易,积分套餐,1.68,\r
2024011522001427840500123456\t,4816273950182736\t,退款,积分套餐,-0.68,RF1\t\r
#业务明细列表结束\r
";
const SUMMARY: &str = "#支付宝业务汇总查询\r\n门店编号,门店名称,交易订单总笔数\r\n合计,,1\r\n";

fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(&GBK.encode(text).0).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test]
async fn a_bill_is_asked_for_downloaded_and_read() {
    let zip = zip_of(&[("汇总.csv", SUMMARY), ("明细.csv", DETAILS)]);
    let files = Gateway::start(vec![Reply::Body(zip)]).await;
    let escaped = files.url.as_str().replace('/', "\\/");
    let node =
        format!(r#"{{"code":"10000","msg":"Success","bill_download_url":"{escaped}?token=abc"}}"#);
    let (alipay, _gateway) = scripted(vec![signed(BILL_URL, node.as_bytes())]).await;
    let bill = alipay.bill("2024-01-15").await.unwrap();
    assert_eq!(bill.comments, ["支付宝业务明细查询", "业务明细列表结束"]);
    let [payment, refund] = bill.rows.as_slice() else {
        panic!("{:?}", bill.rows)
    };
    assert_eq!(payment.kind, BillRowKind::Payment);
    assert_eq!(
        (payment.order_fen, payment.subject.as_str()),
        (168, "积分套餐")
    );
    assert_eq!(refund.kind, BillRowKind::Refund);
    assert_eq!(
        (refund.order_fen, refund.out_request_no.as_deref()),
        (-68, Some("RF1"))
    );
    assert_eq!(files.requests()[0].target, "/gateway.do?token=abc");
}

#[tokio::test]
async fn a_day_without_a_bill_is_told_apart() {
    let node = br#"{"code":"40004","msg":"Business Failed","sub_code":"isp.bill_not_exist"}"#;
    let (alipay, _gateway) = scripted(vec![signed(BILL_URL, node)]).await;
    let error = alipay.bill("2024-01-15").await.unwrap_err();
    assert_eq!(error.failure_kind(), Some(FailureKind::BillNotReady));
}

#[tokio::test]
async fn a_bill_larger_than_allowed_is_not_read() {
    let files = Gateway::start(vec![Reply::Body(vec![0; 2000])]).await;
    let mut config = config(&files.url);
    config.limits.bill_zip_bytes_max = 1999;
    let alipay = client_of(config).unwrap();
    let error = alipay.download_bill(&files.url).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport(TransportError::AnswerTooLarge { bytes_max: 1999 })
        ),
        "{error}"
    );
}

#[test]
fn a_bomb_and_what_is_no_bill_are_refused() {
    let padding = format!("{DETAILS}{}", "\n".repeat(1 << 20));
    let bomb = zip_of(&[("a.csv", &padding)]);
    assert!(bomb.len() < 1 << 14);
    let reason = |zip: &[u8]| match read_bill(zip, 1 << 16) {
        Err(AnswerError::Bill(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&bomb), "larger than allowed when unpacked");
    assert_eq!(reason(b"bill not found"), "it is no ZIP file");
    assert_eq!(reason(&zip_of(&[("a.csv", SUMMARY)])), "no file of details");
    let two = zip_of(&[("a.csv", DETAILS), ("b.csv", DETAILS)]);
    assert_eq!(reason(&two), "more than one file of details");
    let many: Vec<String> = (0..17).map(|number| format!("{number}.csv")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), SUMMARY)).collect();
    assert_eq!(reason(&zip_of(&many)), "too many files in the ZIP");
}
