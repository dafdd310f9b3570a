//! What the pages and the control API show of a payment, and what a person can do with it; the same for both cashiers.

use serde::Serialize;

use crate::provider::Provider;

/// A payment as a person sees it at a cashier.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Payment {
    pub(crate) provider: Provider,
    /// The cashier's id: WeChat Pay's `prepay_id`, or the id in `/sandbox/alipay/cashier/{id}`.
    pub(crate) id: String,
    pub(crate) out_trade_no: String,
    /// What is bought, as the merchant wrote it.
    pub(crate) description: String,
    pub(crate) amount_fen: i64,
    /// The provider's own word for the state, e.g. `NOTPAY` or `WAIT_BUYER_PAY`.
    pub(crate) state: String,
    /// Whether a person may still pay it.
    pub(crate) payable: bool,
    /// Id of the person who paid, or for whom the payment was prepared.
    pub(crate) person_id: Option<String>,
    /// RFC 3339.
    pub(crate) created_at: String,
    pub(crate) notify_url: Option<String>,
}

/// What a person does at a cashier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CashierAction {
    /// Pays, as the person with this id (`None`: the payer the payment was prepared for, or the first demo person).
    Pay { person_id: Option<String> },
    /// Tries to pay, and the bank refuses.
    Fail,
    /// Leaves without paying.
    Abandon,
}

/// Why an action of a person was not possible; becomes an answer of the control API or a line on a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ActionError {
    /// 404
    #[error("{0} not found")]
    NotFound(&'static str),
    /// 409: the state forbids it; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// 422: the input is wrong; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// 507: a bound of the sandbox is reached; the text names it.
    #[error("{0}")]
    Full(String),
}
