//! The trade bill: link, download, hash, limits.

use std::fmt::Write as _;
use std::io::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use jifen_wechat::pay::{BillError, BillKind, PayConfig, PayError, PayRefusalKind, TradeBill};

use crate::pay::{assert_signed, client, signed};
use crate::server::{Scripted, Server};

const CSV: &str = "\u{feff}交易时间,商户号,微信订单号,商户订单号,交易状态,订单金额\r\n`2024-01-15 12:05:09,`1900000109,`4200002100202401150000000001,`PM202401150000000000000000000001,`SUCCESS,`1.68\r\n总交易单数,订单总金额\r\n`1,`1.68\r\n";
const BILL_PATH: &str = "/v3/bill/tradebill";

fn sha1(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn server(hash: String, file: Vec<u8>, failures: usize) -> Server {
    Server::start(move |received, before| {
        if received.path() == BILL_PATH {
            let host = &received.headers["host"];
            return signed(
                200,
                &format!(
                    r#"{{"download_url":"http://{host}/v3/billdownload/file?token=abc%2Bdef%3D%3D&tartype=gzip","hash_type":"SHA1","hash_value":"{hash}"}}"#
                ),
            );
        }
        if before <= failures {
            return Scripted::status(502, "");
        }
        // Not signed, as in reality.
        Scripted::Answer {
            status: 200,
            headers: Vec::new(),
            body: file.clone(),
        }
    })
    .await
}

async fn fetch(
    server: &Server,
    change: impl FnOnce(&mut PayConfig),
) -> Result<TradeBill, PayError> {
    let date = jiff::civil::date(2024, 1, 15);
    client(server, change).trade_bill(date, BillKind::All).await
}

#[tokio::test]
async fn a_bill_is_downloaded_with_the_query_signed_as_given() {
    let server = server(sha1(CSV.as_bytes()).to_uppercase(), gzip(CSV.as_bytes()), 1).await;
    let bill = fetch(&server, |_| {}).await.unwrap();
    assert_eq!(bill.rows.len(), 1);
    assert_eq!(bill.rows[0].order_total_fen, Some(168));
    assert_eq!(bill.rows[0].settlement_total_fen, None);
    let received = server.received();
    assert_eq!(received.len(), 3, "the download was repeated once");
    assert_eq!(
        received[0].target,
        "/v3/bill/tradebill?bill_date=2024-01-15&bill_type=ALL&tar_type=GZIP"
    );
    assert_eq!(
        received[1].target,
        "/v3/billdownload/file?token=abc%2Bdef%3D%3D&tartype=gzip"
    );
    for received in &received {
        assert_signed(received);
    }
}

#[tokio::test]
async fn a_bill_with_another_hash_is_refused() {
    let server = server(sha1(b"something else"), gzip(CSV.as_bytes()), 0).await;
    assert!(matches!(
        fetch(&server, |_| {}).await.unwrap_err(),
        PayError::Bill(BillError::Hash)
    ));
}

#[tokio::test]
async fn a_bill_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![b'0'; 1 << 20];
    let server = server(sha1(&zeros), gzip(&zeros), 0).await;
    let error = fetch(&server, |config| config.bill_bytes_max = 100_000).await;
    assert!(matches!(
        error.unwrap_err(),
        PayError::Bill(BillError::TooLarge {
            bill_bytes_max: 100_000
        })
    ));
}

#[tokio::test]
async fn a_bill_that_is_not_packed_is_refused() {
    let server = server(sha1(CSV.as_bytes()), CSV.as_bytes().to_vec(), 0).await;
    assert!(matches!(
        fetch(&server, |_| {}).await.unwrap_err(),
        PayError::Bill(BillError::Packing)
    ));
}

#[tokio::test]
async fn a_bill_that_does_not_exist_yet_is_named_as_such() {
    let server =
        Server::start(|_, _| signed(400, r#"{"code":"NO_STATEMENT_EXIST","message":"x"}"#)).await;
    let error = fetch(&server, |_| {}).await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(PayRefusalKind::BillNotReady));
}

#[tokio::test]
async fn a_signature_is_not_sent_over_a_downgraded_connection() {
    let server = Server::start(|_, _| {
        signed(
            200,
            r#"{"download_url":"ftp://bills.example/file","hash_type":"SHA1","hash_value":""}"#,
        )
    })
    .await;
    assert!(matches!(
        fetch(&server, |_| {}).await.unwrap_err(),
        PayError::Bill(BillError::DownloadUrl)
    ));
    assert_eq!(server.received().len(), 1);
}
