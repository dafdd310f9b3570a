//! What WeChat pushes to the official account.

use jifen_store::QrLogin;
use jifen_wechat::Private;
use jifen_wechat::official::{ACKNOWLEDGEMENT, Push, PushContent};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::error::{Error, Result, Text};
use crate::identity::{Known, LOGIN_ROUNDS_MAX, recognise};
use crate::jobs;
use crate::sign_in::is_met_by_other_login;

pub use jifen_wechat::official::PushQuery;

/// What to answer WeChat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushAnswer {
    /// Nothing for the user: the text `success`.
    Acknowledged(&'static str),
    /// A message for the user, as XML.
    Reply(Vec<u8>),
}

/// The template message that follows a login, as a job keeps it.
#[derive(Serialize, Deserialize)]
pub(crate) struct LoginMessage {
    pub(crate) openid: String,
}

/// WeChat waits five seconds for our answer in all.
const USER_INFO_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
const LOGGED_IN: &str = "登录成功";
const CODE_EXPIRED: &str = "二维码已失效，请刷新页面后重新扫码";
const CODE_TAKEN: &str = "二维码已被他人扫描，请刷新页面后重新扫码";

impl App {
    /// WeChat's check of the server's address: returns what to echo.
    pub fn verify_portal<'q>(&self, query: &'q PushQuery) -> Result<&'q str> {
        self.official_account()?
            .verify_server(query)
            .map_err(refused)
    }

    /// Handles a pushed message once, and answers a repetition as the first time.
    pub async fn receive_push(&self, query: &PushQuery, body: &[u8]) -> Result<PushAnswer> {
        let account = self.official_account()?;
        let push = account.receive(query, body).map_err(refused)?;
        let unionid = match push.scanned_code() {
            Some(_) => self.unionid_of(&push.openid).await,
            None => None,
        };
        for _ in 0..LOGIN_ROUNDS_MAX {
            match self.handle_once(&push, unionid.as_deref()).await {
                Ok(Some(reply)) if reply.is_empty() => {
                    return Ok(PushAnswer::Acknowledged(ACKNOWLEDGEMENT));
                }
                Ok(Some(reply)) => {
                    return account
                        .reply_text(&push, &reply)
                        .map(PushAnswer::Reply)
                        .map_err(refused);
                }
                Ok(None) => {}
                Err(error) if is_met_by_other_login(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy(
            "a push kept meeting other logins of the same person".into(),
        ))
    }

    /// The unionid of a follower. A login does not wait for it, nor fail without it: it may be learnt next time.
    async fn unionid_of(&self, openid: &Private) -> Option<String> {
        let asking = self.official_account().ok()?.user_info(openid);
        match tokio::time::timeout(USER_INFO_WAIT, asking).await {
            Ok(Ok(info)) => info.unionid.map(Private::into_string),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the unionid of a scan could not be asked for; the login goes on without");
                None
            }
            Err(_) => {
                tracing::warn!(
                    "WeChat was slow to tell the unionid of a scan; the login goes on without"
                );
                None
            }
        }
    }

    /// The text to answer, empty for none; `None` when another login of the same person came in between.
    async fn handle_once(&self, push: &Push, unionid: Option<&str>) -> Result<Option<String>> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let reply = match (&push.content, push.scanned_code()) {
            (_, Some((_, ticket))) => {
                let login = tx.lock_qr_login(ticket).await?;
                scan_reply(login.filter(|login| now < login.expires_at), push).to_owned()
            }
            (PushContent::Text { text }, None) => format!("你好，{text}"),
            _ => String::new(),
        };
        if let Some(first_reply) = tx.claim_message(&push.dedupe_key(), &reply, now).await? {
            tx.commit().await?;
            return Ok(Some(first_reply));
        }
        if let Some((_, ticket)) = push.scanned_code()
            && reply == LOGGED_IN
        {
            let app_id = self
                .settings
                .official_account_app_id
                .as_deref()
                .unwrap_or_default();
            let known = Known {
                app_id,
                openid: push.openid.as_str(),
                unionid,
            };
            let Some(recognised) = recognise(&mut tx, &*self.environment, &known, now).await?
            else {
                return Ok(None);
            };
            tx.scan_qr_login(ticket, push.openid.as_str(), recognised.user.id, now)
                .await?;
            if self.settings.login_template_id.is_some() {
                let message = LoginMessage {
                    openid: push.openid.as_str().to_owned(),
                };
                let payload = serde_json::to_string(&message).map_err(Error::internal)?;
                tx.enqueue(jobs::SEND_LOGIN_MESSAGE, &push.dedupe_key(), &payload, now)
                    .await?;
            }
        }
        tx.commit().await?;
        self.job_added.notify_one();
        Ok(Some(reply))
    }
}

/// What somebody who scanned is told. Who comes second must not believe that it was them the page let in.
fn scan_reply(alive: Option<QrLogin>, push: &Push) -> &'static str {
    match alive {
        None => CODE_EXPIRED,
        Some(login) => match login.scanned_by {
            Some((openid, _)) if openid != push.openid.as_str() => CODE_TAKEN,
            _ => LOGGED_IN,
        },
    }
}

fn refused(refusal: jifen_wechat::official::PushRefusal) -> Error {
    tracing::warn!(reason = %refusal, "a push to the official account was refused");
    Error::Forbidden(Text::new("签名错误", "the push is not authentic"))
}
