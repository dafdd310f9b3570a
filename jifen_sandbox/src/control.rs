//! The control API under `/sandbox/api`: everything a person can do on the pages, for programs.

use axum::{
    Json, Router,
    routing::{delete, get, post},
};
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

mod account;
mod machinery;
mod people;

pub(crate) fn router() -> Router<Sandbox> {
    people_and_account().merge(machinery_of_the_sandbox())
}

fn people_and_account() -> Router<Sandbox> {
    Router::new()
        .route(
            "/sandbox/api/people",
            get(people::list).post(people::create),
        )
        .route(
            "/sandbox/api/people/{id}",
            get(people::show).patch(people::change),
        )
        .route(
            "/sandbox/api/people/{id}/login-code",
            post(people::login_code),
        )
        .route(
            "/sandbox/api/people/{id}/phone-code",
            post(people::phone_code),
        )
        .route("/sandbox/api/people/{id}/scan", post(people::scan))
        .route("/sandbox/api/people/{id}/follow", post(people::follow))
        .route("/sandbox/api/people/{id}/unfollow", post(people::unfollow))
        .route(
            "/sandbox/api/people/{id}/messages",
            get(people::chat).post(people::say),
        )
        .route(
            "/sandbox/api/official-account",
            get(account::settings).put(account::set),
        )
        .route(
            "/sandbox/api/official-account/verify",
            post(account::verify),
        )
        .route(
            "/sandbox/api/official-account/qr-codes",
            get(account::qr_codes),
        )
        .route(
            "/sandbox/api/access-tokens",
            delete(account::revoke_access_tokens),
        )
}

fn machinery_of_the_sandbox() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox/api", get(describe))
        .route("/sandbox/api/kit", get(machinery::kit))
        .route(
            "/sandbox/api/faults",
            get(machinery::faults)
                .post(machinery::add_fault)
                .delete(machinery::clear_faults),
        )
        .route("/sandbox/api/faults/{id}", delete(machinery::remove_fault))
        .route(
            "/sandbox/api/exchanges",
            get(machinery::exchanges).delete(machinery::clear_exchanges),
        )
        .route("/sandbox/api/exchanges/{id}", get(machinery::exchange))
        .route("/sandbox/api/notifications", get(machinery::notifications))
        .route(
            "/sandbox/api/notifications/{id}",
            get(machinery::notification),
        )
        .route(
            "/sandbox/api/notifications/{id}/resend",
            post(machinery::resend),
        )
        .route("/sandbox/api/outbox/flush", post(machinery::flush))
        .route(
            "/sandbox/api/outbox/deliver-due",
            post(machinery::deliver_due),
        )
        .route(
            "/sandbox/api/mails",
            get(machinery::mails)
                .post(machinery::store_mail)
                .delete(machinery::clear_mails),
        )
}

/// `(method, path, what it does)`, as `GET /sandbox/api` prints it. A test calls every one of them.
const DESCRIPTION: &[(&str, &str, &str)] = &[
    (
        "GET",
        "/sandbox/api/kit",
        "everything an integrator configures: ids, secrets, keys, certificates",
    ),
    ("GET", "/sandbox/api/people", "everyone, with openids"),
    (
        "POST",
        "/sandbox/api/people",
        "{nickname, id?, phone?, unionid_shared?, follows?} creates a person",
    ),
    ("GET", "/sandbox/api/people/{id}", "one person"),
    (
        "PATCH",
        "/sandbox/api/people/{id}",
        "{unionid_shared?, login_blocked?, follows?, phone?}; follows changes without a push",
    ),
    (
        "POST",
        "/sandbox/api/people/{id}/login-code",
        "{appid?, keep_session_key?, real_profile?}: wx.login and wx.getUserProfile",
    ),
    (
        "POST",
        "/sandbox/api/people/{id}/phone-code",
        "{appid?}: the phone button",
    ),
    (
        "POST",
        "/sandbox/api/people/{id}/scan",
        "{ticket}: scans a login QR code (a ticket, or the url inside the code)",
    ),
    (
        "POST",
        "/sandbox/api/people/{id}/follow",
        "follows the official account",
    ),
    ("POST", "/sandbox/api/people/{id}/unfollow", "unfollows it"),
    (
        "GET",
        "/sandbox/api/people/{id}/messages",
        "the chat with the account: what was written, replies, template messages",
    ),
    (
        "POST",
        "/sandbox/api/people/{id}/messages",
        "{text}: writes to the account",
    ),
    (
        "GET",
        "/sandbox/api/official-account",
        "where and how messages are pushed",
    ),
    (
        "PUT",
        "/sandbox/api/official-account",
        "{push_url, mode}: mode is plain, compatible or secure",
    ),
    (
        "POST",
        "/sandbox/api/official-account/verify",
        "{badly_signed?}: asks the push URL for the echostr",
    ),
    (
        "GET",
        "/sandbox/api/official-account/qr-codes",
        "QR codes made, newest first",
    ),
    (
        "DELETE",
        "/sandbox/api/access-tokens",
        "makes every access token invalid (40001)",
    ),
    ("GET", "/sandbox/api/faults", "faults in force"),
    (
        "POST",
        "/sandbox/api/faults",
        "{kind, provider?, seconds?, count?}: kinds notification_lost, notification_late (seconds), notification_doubled, \
         notification_reordered, notification_badly_signed, provider_slow (seconds), provider_down, \
         provider_closes_connection, provider_nonsense; providers mini_program, official_account, wechat_pay, alipay",
    ),
    ("DELETE", "/sandbox/api/faults", "removes all faults"),
    ("DELETE", "/sandbox/api/faults/{id}", "removes one fault"),
    (
        "GET",
        "/sandbox/api/exchanges",
        "?provider=&count=: the newest exchanges, with the reason of every refusal",
    ),
    ("DELETE", "/sandbox/api/exchanges", "empties the log"),
    ("GET", "/sandbox/api/exchanges/{id}", "one exchange"),
    (
        "GET",
        "/sandbox/api/notifications",
        "notifications with all their attempts, newest first",
    ),
    ("GET", "/sandbox/api/notifications/{id}", "one notification"),
    (
        "POST",
        "/sandbox/api/notifications/{id}/resend",
        "one more attempt, now",
    ),
    (
        "POST",
        "/sandbox/api/outbox/flush",
        "one attempt for everything waiting, due or not; answers when done",
    ),
    (
        "POST",
        "/sandbox/api/outbox/deliver-due",
        "one attempt for everything that is due; answers when done",
    ),
    ("GET", "/sandbox/api/mails", "?to=: mails, newest first"),
    (
        "POST",
        "/sandbox/api/mails",
        "{to, from?, subject?, text?} stores a mail",
    ),
    ("DELETE", "/sandbox/api/mails", "empties the mail box"),
    (
        "GET",
        "/sandbox/api/wechat-pay/settings",
        "how WeChat Pay behaves, and the merchant's balance",
    ),
    (
        "PATCH",
        "/sandbox/api/wechat-pay/settings",
        "{rotating_certificates?, notification_key?, answer_probe_every?, notification_probe_every?, bill_at_once?, balance_fen?}: notification_key is public_key, certificate or next_certificate",
    ),
    (
        "GET",
        "/sandbox/api/wechat-pay/settings",
        "how WeChat Pay behaves",
    ),
    (
        "PATCH",
        "/sandbox/api/wechat-pay/settings",
        "{rotating_certificates?, notification_key?, answer_probe_every?, notification_probe_every?, bill_at_once?, balance_fen?}",
    ),
    (
        "GET",
        "/sandbox/api/wechat-pay/transactions",
        "WeChat Pay's transactions, newest first",
    ),
    (
        "GET",
        "/sandbox/api/wechat-pay/transactions/{id}",
        "one, by prepay_id, out_trade_no or transaction_id",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/transactions/{id}/pay",
        "{person_id?, coupon_fen?}: pays",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/transactions/{id}/fail",
        "tries to pay, and the bank refuses",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/transactions/{id}/abandon",
        "leaves without paying",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/transactions/{id}/state",
        "{state}: NOTPAY, PAYERROR or CLOSED",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/refunds/{id}/settle",
        "{status}: SUCCESS, ABNORMAL or CLOSED, by out_refund_no",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/request-payment",
        "{openid, timeStamp, nonceStr, package, signType, paySign}: wx.requestPayment, which verifies the signature and pays",
    ),
    (
        "POST",
        "/sandbox/api/wechat-pay/notify",
        "{out_trade_no, …}: a notification that differs from the truth where said",
    ),
    ("GET", "/sandbox/api/alipay/settings", "how Alipay behaves"),
    (
        "PATCH",
        "/sandbox/api/alipay/settings",
        "{push_wait_buyer_pay?, push_trade_closed?, push_trade_finished?, buyer_open_id?, bill_at_once?, balance_fen?}",
    ),
    (
        "GET",
        "/sandbox/api/alipay/transactions",
        "Alipay's transactions, newest first",
    ),
    (
        "GET",
        "/sandbox/api/alipay/transactions/{id}",
        "one of them",
    ),
    (
        "POST",
        "/sandbox/api/alipay/transactions/{id}/login",
        "the buyer logs in: only now the trade exists",
    ),
    (
        "POST",
        "/sandbox/api/alipay/transactions/{id}/pay",
        "{person_id?}: pays",
    ),
    (
        "POST",
        "/sandbox/api/alipay/transactions/{id}/fail",
        "tries to pay, and the bank refuses",
    ),
    (
        "POST",
        "/sandbox/api/alipay/transactions/{id}/abandon",
        "leaves without paying",
    ),
    (
        "POST",
        "/sandbox/api/alipay/transactions/{id}/state",
        "{state}: the trade's state, by hand",
    ),
    (
        "POST",
        "/sandbox/api/alipay/notify",
        "{out_trade_no, …}: a notification that differs from the truth where said",
    ),
];

async fn describe() -> Json<Value> {
    let routes = DESCRIPTION
        .iter()
        .map(|(method, path, what)| json!({"method": method, "path": path, "what": what}));
    Json(json!({
        "what": "Control API of the WeChat and Alipay sandbox. Bodies are JSON; errors are {\"error\": \"…\"} with 404, 409, 422 or 507.",
        "routes": routes.collect::<Vec<_>>(),
    }))
}
