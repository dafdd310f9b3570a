//! What the mall knows of a user, and what the user binds to it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jifen_domain::user::{self, User};
use jifen_domain::{Points, Time, UserId};
use jifen_store::EmailConfirmation;
use jifen_wechat::Private;

use crate::App;
use crate::error::{Error, Result, Text};
use crate::jobs;
use crate::mail::Mail;
use crate::rate_limits::Limited;
use crate::secret::Purpose;
use crate::sign_in::login_refused;

/// A user as shown to themselves.
pub struct Profile {
    /// The person.
    pub user: User,
    /// What they can spend.
    pub points: Points,
    /// The earliest expiry among those points.
    pub next_expiry: Option<Time>,
}

/// Seconds a mailed code is good for.
const EMAIL_CODE_SECONDS: i64 = 15 * 60;
/// Seconds between two mails to one user.
const EMAIL_INTERVAL_SECONDS: i64 = 60;
/// Wrong codes that may be tried for one mail.
const EMAIL_ATTEMPTS_MAX: i64 = 5;
/// Digits of a mailed code.
const EMAIL_CODE_DIGITS: usize = 6;

impl App {
    /// The user behind a session.
    pub async fn profile(&self, id: UserId) -> Result<Profile> {
        let now = self.now();
        let found = self.store.read().await?.user_with_holdings(id, now).await?;
        let (user, holdings) =
            found.ok_or_else(|| Error::internal(format!("user {id} is gone")))?;
        Ok(Profile {
            user,
            points: holdings.available,
            next_expiry: holdings.next_expiry,
        })
    }

    /// Binds the phone number behind the code of WeChat's phone button.
    pub async fn bind_phone(&self, id: UserId, code: &str) -> Result<()> {
        let mini_program = self.mini_program()?;
        let app_id = self
            .settings
            .mini_program_app_id
            .as_deref()
            .unwrap_or_default();
        let openid = self
            .store
            .read()
            .await?
            .openid_of(app_id, id)
            .await?
            .map(Private::from);
        let phone = mini_program
            .phone_number(code, openid.as_ref())
            .await
            .map_err(login_refused)?;

        let mut tx = self.store.begin().await?;
        let mut user = tx
            .lock_user(id)
            .await?
            .ok_or_else(|| Error::internal(format!("user {id} is gone")))?;
        user.phone = Some(phone.phone_number.into_string());
        tx.update_user(&user).await?;
        Ok(tx.commit().await?)
    }

    /// Mails a code to an address that the user wants to bind.
    pub async fn bind_email(&self, id: UserId, email: &str) -> Result<()> {
        if !self.mailer.is_configured() {
            return Err(Error::not_configured(
                "邮件发送未开通",
                "mail is not configured",
            ));
        }
        let email = user::email(email).ok_or(Error::invalid(
            "email",
            Text::new("不是有效的邮箱地址", "is not an e-mail address"),
        ))?;
        let now = self.now();
        let code = self.random_digits(EMAIL_CODE_DIGITS);
        let mail = Mail::confirmation(&email, &code, EMAIL_CODE_SECONDS / 60);

        let mut tx = self.store.begin().await?;
        let user = tx
            .lock_user(id)
            .await?
            .ok_or_else(|| Error::internal(format!("user {id} is gone")))?
            .id;
        if let Some(earlier) = tx.lock_email_confirmation(user).await? {
            let wait_until = earlier.sent_at.plus_seconds(EMAIL_INTERVAL_SECONDS);
            if now < wait_until {
                let retry_after_seconds = wait_until.seconds() - now.seconds();
                return Err(Limited::for_seconds(retry_after_seconds.max(1)).into());
            }
        }
        let confirmation = EmailConfirmation {
            email,
            code_hash: self.hash_email_code(user, &code),
            expires_at: now.plus_seconds(EMAIL_CODE_SECONDS),
            sent_at: now,
            attempts_left: EMAIL_ATTEMPTS_MAX,
        };
        tx.put_email_confirmation(user, &confirmation).await?;
        tx.enqueue(jobs::SEND_MAIL, &user.to_string(), &mail.to_json()?, now)
            .await?;
        tx.commit().await?;
        self.job_added.notify_one();
        Ok(())
    }

    /// Binds the address whose code this is. A wrong code uses up one of a few attempts.
    pub async fn confirm_email(&self, id: UserId, code: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let mut user = tx
            .lock_user(id)
            .await?
            .ok_or_else(|| Error::internal(format!("user {id} is gone")))?;
        let pending = tx.lock_email_confirmation(user.id).await?;
        let alive =
            pending.filter(|pending| self.now() < pending.expires_at && pending.attempts_left > 0);
        let mut pending = alive.ok_or(Error::invalid(
            "code",
            Text::new(
                "验证码已失效，请重新发送",
                "the code has expired: ask for a new one",
            ),
        ))?;
        if verify_slices_are_equal(
            &pending.code_hash,
            &self.hash_email_code(user.id, code.trim()),
        )
        .is_err()
        {
            pending.attempts_left -= 1;
            tx.put_email_confirmation(user.id, &pending).await?;
            tx.commit().await?;
            return Err(Error::invalid(
                "code",
                Text::new("验证码不正确", "the code is wrong"),
            ));
        }
        user.email = Some(pending.email);
        tx.update_user(&user).await?;
        tx.delete_email_confirmation(user.id).await?;
        Ok(tx.commit().await?)
    }

    fn hash_email_code(&self, user: UserId, code: &str) -> Vec<u8> {
        self.hasher
            .hash(Purpose::EmailCode, &format!("{user} {code}"))
    }

    fn random_digits(&self, count: usize) -> String {
        let mut digits = String::with_capacity(count);
        while digits.len() < count {
            let mut bytes = [0; 16];
            self.environment.fill_random(&mut bytes);
            // 250 is a multiple of 10: what lies above would favour some digits.
            let fair = bytes
                .iter()
                .filter(|byte| **byte < 250)
                .map(|byte| char::from(b'0' + byte % 10));
            digits.extend(fair.take(count - digits.len()));
        }
        digits
    }
}
