//! Mail to users.

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A mail in plain text.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Mail {
    /// The receiver's address.
    pub(crate) to: String,
    /// One line.
    pub(crate) subject: String,
    /// Plain text.
    pub(crate) text: String,
}

impl Mail {
    /// The code that proves an address.
    pub(crate) fn confirmation(to: &str, code: &str, minutes: i64) -> Self {
        Self {
            to: to.to_owned(),
            subject: format!("验证码 {code} / Your code {code}"),
            text: format!(
                "您的邮箱验证码是 {code}，{minutes} 分钟内有效。如非本人操作，请忽略本邮件。\n\n\
                 Your code is {code}, good for {minutes} minutes. If you did not ask for it, ignore this mail.\n"
            ),
        }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(Error::internal)
    }
}

/// How mail leaves.
pub enum Mailer {
    /// It does not: binding an address is refused.
    Disabled,
    /// Through the operator's server.
    Smtp {
        /// The connection pool.
        transport: AsyncSmtpTransport<Tokio1Executor>,
        /// The sender.
        from: Mailbox,
    },
    /// Into the log, and to the sandbox's mail box: for development only, since codes appear there.
    Development {
        /// Where the sandbox takes mails.
        sandbox_mails_url: Option<reqwest::Url>,
        /// For that call.
        http: reqwest::Client,
    },
}

impl Mailer {
    /// Whether mail can be sent at all.
    pub fn is_configured(&self) -> bool {
        !matches!(self, Self::Disabled)
    }

    /// Sends one mail.
    pub(crate) async fn send(
        &self,
        mail: &Mail,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Disabled => Err("mail is not configured".into()),
            Self::Smtp { transport, from } => {
                let message = Message::builder()
                    .from(from.clone())
                    .to(mail.to.parse()?)
                    .subject(&mail.subject)
                    .body(mail.text.clone())?;
                // The server's words usually quote the address.
                transport.send(message).await.map(drop).map_err(|error| {
                    let status = error.status();
                    let told = status.map_or("no answer".to_owned(), |code| code.to_string());
                    format!("the mail server did not take a mail: {told}").into()
                })
            }
            Self::Development {
                sandbox_mails_url,
                http,
            } => {
                tracing::info!(
                    subject = mail.subject,
                    "mail (development profile, not sent)\n{}",
                    mail.text
                );
                if let Some(url) = sandbox_mails_url {
                    let request = http
                        .post(url.clone())
                        .header("content-type", "application/json");
                    request
                        .body(serde_json::to_vec(mail)?)
                        .send()
                        .await?
                        .error_for_status()?;
                }
                Ok(())
            }
        }
    }
}
