//! What Alipay reports by itself: asynchronous notifications, and the parameters on the return URL.

use std::fmt;

use crate::beijing::parse_beijing;
use crate::client::Alipay;
use crate::form::{Refusal, VerifiedForm};
use crate::money::parse_yuan;
use crate::private::Private;
use crate::trade::TradeStatus;

/// The body that tells Alipay a notification is dealt with: exactly these 7 bytes with HTTP 200. Anything else is
/// repeated after 4m, 10m, 10m, 1h, 2h, 6h and 15h.
pub const NOTIFICATION_SUCCESS: &str = "success";

/// An authentic notification about a trade. Nothing says yet that it concerns us: see [`Notification::check`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The same on every delivery of one notification.
    pub notify_id: String,
    /// When it was sent, unix seconds.
    pub notify_time: Option<i64>,
    /// The app it is for.
    pub app_id: String,
    /// The seller's account number (`2088…`).
    pub seller_id: Option<String>,
    /// Our order number.
    pub out_trade_no: String,
    /// Alipay's number of the trade.
    pub trade_no: String,
    /// The trade's state.
    pub status: TradeStatus,
    /// The price in fen.
    pub total_fen: i64,
    /// `refund_fee`: what has been refunded altogether, in fen; absent when nothing has.
    pub refunded_total_fen: Option<i64>,
    /// `out_biz_no`: our number of the refund that is reported.
    pub out_request_no: Option<String>,
    /// When the buyer paid, unix seconds.
    pub paid_at: Option<i64>,
    /// When the refund was made, unix seconds.
    pub refunded_at: Option<i64>,
    /// When the trade was closed, unix seconds.
    pub closed_at: Option<i64>,
    /// The buyer: `buyer_id`, or `buyer_open_id` for newer apps.
    pub buyer: Option<Private>,
    form: VerifiedForm,
}

/// What a notification reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationEvent {
    /// Money was received. Book it once.
    Paid,
    /// Money went back. The trade was paid before, even if that was never reported.
    Refunded {
        /// Altogether, in fen.
        refunded_total_fen: i64,
    },
    /// The trade was closed without payment.
    Closed,
    /// Nothing to do: the trade waits for its buyer, or has a state not known here.
    Nothing,
}

impl Notification {
    /// What it reports. A partial refund carries `TRADE_SUCCESS`, a full one `TRADE_CLOSED`: both are refunds here.
    pub fn event(&self) -> NotificationEvent {
        let refunded = self.refunded_total_fen.filter(|fen| *fen > 0);
        match (&self.status, refunded) {
            (TradeStatus::WaitBuyerPay | TradeStatus::Other(_), _) => NotificationEvent::Nothing,
            (_, Some(refunded_total_fen)) => NotificationEvent::Refunded { refunded_total_fen },
            (TradeStatus::Success | TradeStatus::Finished, None) => NotificationEvent::Paid,
            // Only a trade refunded in full is closed after its payment.
            (TradeStatus::Closed, None) if self.paid_at.is_some() => NotificationEvent::Refunded {
                refunded_total_fen: self.total_fen,
            },
            (TradeStatus::Closed, None) => NotificationEvent::Closed,
        }
    }

    /// Compares with what the order says. Apart from the signature: an authentic notification of a cheap order must
    /// not pay an expensive one, nor one of another app or seller.
    pub fn check(&self, expected: &Expectation<'_>) -> Result<(), Mismatch> {
        expected.check(
            &self.app_id,
            self.seller_id.as_deref(),
            &self.out_trade_no,
            self.total_fen,
        )
    }

    /// Any parameter by Alipay's name; empty ones count as absent. May be about a person.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.form.get(name)
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Notification")
            .field("notify_id", &self.notify_id)
            .field("out_trade_no", &self.out_trade_no)
            .field("trade_no", &self.trade_no)
            .field("status", &self.status)
            .field("total_fen", &self.total_fen)
            .field("refunded_total_fen", &self.refunded_total_fen)
            .finish_non_exhaustive()
    }
}

/// The parameters Alipay appends to the return URL, authentic. For display only: they carry no state, so the order's
/// comes from our own records or [`Alipay::query`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReturnParameters {
    /// The app it is for.
    pub app_id: String,
    /// The seller's account number (`2088…`).
    pub seller_id: Option<String>,
    /// Our order number.
    pub out_trade_no: String,
    /// Alipay's number of the trade.
    pub trade_no: String,
    /// The price in fen.
    pub total_fen: i64,
}

impl ReturnParameters {
    /// Compares with what the order says.
    pub fn check(&self, expected: &Expectation<'_>) -> Result<(), Mismatch> {
        expected.check(
            &self.app_id,
            self.seller_id.as_deref(),
            &self.out_trade_no,
            self.total_fen,
        )
    }
}

/// What a message must say to be about one order of ours.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// Our app.
    pub app_id: &'a str,
    /// Our seller account; `None` leaves it unchecked.
    pub seller_id: Option<&'a str>,
    /// The order's number.
    pub out_trade_no: &'a str,
    /// The order's price in fen.
    pub total_fen: i64,
}

/// An authentic message is not about the order it is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is for another app.
    #[error("the message is for another app")]
    AppId,
    /// It is for another seller.
    #[error("the message is for another seller")]
    Seller,
    /// It is about another order.
    #[error("the message is about another order")]
    OutTradeNo,
    /// The amount is not the order's.
    #[error("the amount is {found_fen} fen, the order's {expected_fen} fen")]
    Amount {
        /// The order's.
        expected_fen: i64,
        /// The message's.
        found_fen: i64,
    },
}

impl Expectation<'_> {
    fn check(
        &self,
        app_id: &str,
        seller_id: Option<&str>,
        out_trade_no: &str,
        total_fen: i64,
    ) -> Result<(), Mismatch> {
        if app_id != self.app_id {
            Err(Mismatch::AppId)
        } else if self.seller_id.is_some() && seller_id != self.seller_id {
            Err(Mismatch::Seller)
        } else if out_trade_no != self.out_trade_no {
            Err(Mismatch::OutTradeNo)
        } else if total_fen != self.total_fen {
            Err(Mismatch::Amount {
                expected_fen: self.total_fen,
                found_fen: total_fen,
            })
        } else {
            Ok(())
        }
    }
}

impl Alipay {
    /// Checks the signature of a notification's body, as received, and reads it.
    pub fn parse_notification(&self, raw_body: &[u8]) -> Result<Notification, Refusal> {
        let form = VerifiedForm::parse(raw_body, &self.verifying_key)?;
        if form.get("notify_type") != Some("trade_status_sync") {
            return Err(Refusal::OtherKind);
        }
        Ok(Notification {
            notify_id: form.required("notify_id")?,
            notify_time: time(&form, "notify_time")?,
            app_id: form.required("app_id")?,
            seller_id: form.get("seller_id").map(str::to_owned),
            out_trade_no: form.required("out_trade_no")?,
            trade_no: form.required("trade_no")?,
            status: TradeStatus::parse(&form.required("trade_status")?),
            total_fen: required_fen(&form, "total_amount")?,
            refunded_total_fen: fen(&form, "refund_fee")?,
            out_request_no: form.get("out_biz_no").map(str::to_owned),
            paid_at: time(&form, "gmt_payment")?,
            refunded_at: time(&form, "gmt_refund")?,
            closed_at: time(&form, "gmt_close")?,
            buyer: Private::from_text(form.get("buyer_id"))
                .or_else(|| Private::from_text(form.get("buyer_open_id"))),
            form,
        })
    }

    /// Checks the signature of the query (without `?`) Alipay appended to the return URL, and reads it.
    pub fn verify_return(&self, query: &str) -> Result<ReturnParameters, Refusal> {
        let form = VerifiedForm::parse(query.as_bytes(), &self.verifying_key)?;
        if form.get("method") != Some("alipay.trade.page.pay.return") {
            return Err(Refusal::OtherKind);
        }
        Ok(ReturnParameters {
            app_id: form.required("app_id")?,
            seller_id: form.get("seller_id").map(str::to_owned),
            out_trade_no: form.required("out_trade_no")?,
            trade_no: form.required("trade_no")?,
            total_fen: required_fen(&form, "total_amount")?,
        })
    }
}

fn fen(form: &VerifiedForm, name: &'static str) -> Result<Option<i64>, Refusal> {
    form.get(name)
        .map(parse_yuan)
        .transpose()
        .map_err(|_| Refusal::Field(name))
}

fn required_fen(form: &VerifiedForm, name: &'static str) -> Result<i64, Refusal> {
    fen(form, name)?.ok_or(Refusal::Field(name))
}

fn time(form: &VerifiedForm, name: &'static str) -> Result<Option<i64>, Refusal> {
    form.get(name)
        .map(|text| parse_beijing(text).ok_or(Refusal::Field(name)))
        .transpose()
}
