//! The GET request with which WeChat checks that a server is the account's.

use bytes::Bytes;
use form_urlencoded::Serializer;
use serde::Serialize;

use super::secure;
use crate::{
    exchanges::Refusal,
    outbox::{self, Answer, Attempt, Delivery, Outgoing, Schedule},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

/// Whether the server proved itself.
#[derive(Debug, Serialize)]
pub(crate) struct Verification {
    pub(crate) accepted: bool,
    pub(crate) reason: Option<String>,
    pub(crate) exchange_id: Option<u64>,
}

/// Asks the push URL once; with `badly_signed` the right answer is not to echo, which then counts as not accepted here.
pub(crate) async fn verify_server(
    sandbox: &Sandbox,
    badly_signed: bool,
) -> Result<Verification, ActionError> {
    let Some(url) = sandbox.official_account().settings().push_url else {
        return Err(ActionError::Conflict("set the push URL first".into()));
    };
    let question = Question {
        url,
        echostr: sandbox.environment().digits(19),
    };
    let sent = outbox::send(
        sandbox,
        &question,
        Attempt { badly_signed },
        "server verification".into(),
    )
    .await;
    Ok(Verification {
        accepted: sent.reason.is_none(),
        reason: sent.reason,
        exchange_id: sent.exchange_id,
    })
}

struct Question {
    url: String,
    echostr: String,
}

impl Delivery for Question {
    fn provider(&self) -> Provider {
        Provider::OfficialAccount
    }

    fn label(&self) -> String {
        "server verification".into()
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            retry_seconds: &[],
            answer_seconds_max: 5,
        }
    }

    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String> {
        let environment = sandbox.environment();
        let timestamp = environment.unix_seconds().to_string();
        let nonce = environment.digits(10);
        let token = if attempt.badly_signed {
            "not the token"
        } else {
            sandbox.kit().official_account_token
        };
        let query = Serializer::new(String::new())
            .append_pair(
                "signature",
                &secure::signature(&[token, &timestamp, &nonce]),
            )
            .append_pair("echostr", &self.echostr)
            .append_pair("timestamp", &timestamp)
            .append_pair("nonce", &nonce)
            .finish();
        let headers = vec![("user-agent", "Mozilla/4.0".into())];
        Ok(Outgoing {
            url: format!("{}?{query}", self.url),
            method: http::Method::GET,
            headers,
            body: Bytes::new(),
        })
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        if answer.status == 200 && answer.body == self.echostr.as_bytes() {
            return Ok(());
        }
        let received = format!(
            "status {}, {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        let refusal = Refusal::new(
            "NOT_VERIFIED",
            "the answer must be the echostr and nothing else",
        );
        Err(refusal.compare("echostr", format!("status 200, {}", self.echostr), received))
    }
}
