//! Logging in on the web by scanning a QR code of the official account.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jifen_wechat::official::OfficialAccount;

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{Purpose, random_id, random_token};
use crate::session::IssuedToken;

/// A login QR code for one browser.
pub struct QrTicket {
    /// Names the code at WeChat.
    pub ticket: String,
    /// What the browser keeps (as a cookie) to be recognised as the one that asked: only it gets the web session.
    pub browser: String,
    /// Seconds the code lives.
    pub expires_in_seconds: i64,
}

/// A ticket that was scanned.
pub struct CheckedLogin {
    /// Who scanned it: the openid in the official account.
    pub openid: String,
    /// The web session, once, for the browser that asked for the ticket.
    pub session: Option<IssuedToken>,
}

const EXPIRED: Text = Text::new("未登录", "not logged in");
/// Bytes of a ticket; WeChat's have about 100.
const TICKET_BYTES_MAX: usize = 512;

impl App {
    /// Makes a QR code. The browser that asks is told a secret, and a browser that has one may keep it.
    pub async fn create_qr_ticket(&self, browser: Option<&str>) -> Result<QrTicket> {
        let seconds = self.settings.login_qr_seconds;
        let scene = format!("login_{}", random_id(&*self.environment));
        let qr = self
            .official_account()?
            .create_login_qr(&scene, seconds)
            .await
            .map_err(Error::wechat)?;
        let browser = browser.map_or_else(|| random_token(&*self.environment), str::to_owned);
        let expires_in_seconds = i64::from(qr.expires_in_seconds.min(seconds));
        let mut tx = self.store.begin().await?;
        let expires_at = self.now().plus_seconds(expires_in_seconds);
        if !tx
            .insert_qr_login(
                &qr.ticket,
                &self.hasher.hash(Purpose::Browser, &browser),
                expires_at,
            )
            .await?
        {
            return Err(Error::wechat("WeChat gave the same ticket twice"));
        }
        tx.commit().await?;
        Ok(QrTicket {
            ticket: qr.ticket,
            browser,
            expires_in_seconds,
        })
    }

    /// Who scanned a ticket. The openid is told as often as it is asked for; the session once, and only to the browser
    /// that asked for the ticket, so that somebody who merely saw the code gets none.
    pub async fn check_qr_login(
        &self,
        ticket: &str,
        browser: Option<&str>,
    ) -> Result<CheckedLogin> {
        if ticket.is_empty() {
            return Err(Error::invalid(
                "ticket",
                Text::new("不能为空", "must not be blank"),
            ));
        }
        if ticket.len() > TICKET_BYTES_MAX {
            return Err(Error::Unauthenticated(EXPIRED));
        }
        let now = self.now();
        let login = self.store.read().await?.qr_login(ticket).await?;
        let alive = login
            .filter(|login| now < login.expires_at)
            .ok_or(Error::Unauthenticated(EXPIRED))?;
        let (openid, user) = alive.scanned_by.ok_or(Error::Unauthenticated(EXPIRED))?;
        let is_asker = browser.is_some_and(|browser| {
            verify_slices_are_equal(
                &alive.browser_hash,
                &self.hasher.hash(Purpose::Browser, browser),
            )
            .is_ok()
        });
        if alive.session_given || !is_asker {
            return Ok(CheckedLogin {
                openid,
                session: None,
            });
        }
        let mut tx = self.store.begin().await?;
        let session = if tx.claim_qr_session(ticket).await? {
            Some(self.start_session(&mut tx, user, now).await?)
        } else {
            None
        };
        tx.commit().await?;
        Ok(CheckedLogin { openid, session })
    }

    /// Where a browser gets the image of a ticket's code.
    pub fn qr_image_url(&self, ticket: &str) -> Result<String> {
        Ok(self.official_account()?.qr_image_url(ticket).into())
    }

    pub(crate) fn official_account(&self) -> Result<&OfficialAccount> {
        self.providers
            .official_account
            .as_ref()
            .ok_or(Error::not_configured(
                "微信扫码登录未开通",
                "login by WeChat QR code is not configured",
            ))
    }
}
