#![doc = include_str!("../README.md")]

mod answer;
mod beijing;
mod bill;
mod certificate;
mod client;
mod config;
mod der;
mod environment;
mod error;
mod failure;
mod form;
mod keys;
mod money;
mod notification;
mod page_pay;
mod private;
mod probe;
mod refund;
mod scan;
mod signing;
mod trade;
mod transport;

pub use answer::{Answer, root_of, verify_answer};
pub use beijing::{format_beijing, parse_beijing};
pub use bill::{Bill, BillRow, BillRowKind, read_bill};
pub use certificate::{Certificate, root_bundle_sn};
pub use client::Alipay;
pub use config::{Config, GATEWAY_PRODUCTION, GATEWAY_SANDBOX, KeyMode, Limits};
pub use environment::{Environment, SystemEnvironment};
pub use error::{AnswerError, Error, RequestError, TransportError};
pub use failure::{ConfigurationFault, Failure, FailureKind};
pub use form::Refusal;
pub use keys::{AlipayKey, AppKey, SettingError, SigningError};
pub use money::{AmountError, format_yuan, parse_yuan};
pub use notification::{
    Expectation, Mismatch, NOTIFICATION_SUCCESS, Notification, NotificationEvent, ReturnParameters,
};
pub use page_pay::{PagePay, clean_subject};
pub use private::Private;
pub use probe::ProbeError;
pub use refund::{Refund, RefundAnswer, RefundState};
pub use signing::sign_content;
pub use trade::{ClosedTrade, Trade, TradeStatus};
