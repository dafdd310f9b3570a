//! Logging in from the mini program.

use jifen_domain::Points;
use jifen_domain::user::User;
use jifen_wechat::miniprogram::{MiniProgram, OpenDataRefusal, Session, UserProfile};
use jifen_wechat::{ApiError, RefusalKind};

use crate::App;
use crate::error::{Error, Result, Text};
use crate::identity::{Known, LOGIN_ROUNDS_MAX, Recognised, recognise};
use crate::rate_limits::Limited;
use crate::session::IssuedToken;

/// Somebody who has just logged in.
pub struct SignedIn {
    /// The session.
    pub token: IssuedToken,
    /// The person.
    pub user: User,
    /// What they can spend.
    pub points: Points,
    /// Whether this was the first login.
    pub is_new_user: bool,
}

/// The profile a client sends along: `encryptedData` and `iv` of `wx.getUserProfile`.
#[derive(Clone, Copy, Debug)]
pub struct EncryptedProfile<'a> {
    /// Base64.
    pub encrypted_data: &'a str,
    /// Base64.
    pub iv: &'a str,
}

impl App {
    /// Logs in with the code of `wx.login()`. The session key serves this one call and is forgotten.
    pub async fn wechat_login(
        &self,
        code: &str,
        profile: Option<EncryptedProfile<'_>>,
    ) -> Result<SignedIn> {
        let mini_program = self.mini_program()?;
        let session = mini_program.login(code).await.map_err(login_refused)?;
        let profile = profile
            .map(|encrypted| decrypt(mini_program, &session, encrypted))
            .transpose()?;
        let known = Known {
            app_id: self
                .settings
                .mini_program_app_id
                .as_deref()
                .unwrap_or_default(),
            openid: session.openid.as_str(),
            // Never the one in the profile: that is encrypted, but not authenticated, and comes from the client.
            unionid: session.unionid.as_ref().map(jifen_wechat::Private::as_str),
        };
        for _ in 0..LOGIN_ROUNDS_MAX {
            if let Some(signed_in) = self.try_wechat_login(&known, profile.as_ref()).await? {
                return Ok(signed_in);
            }
        }
        Err(Error::Busy(
            "a login kept meeting other logins of the same person".into(),
        ))
    }

    async fn try_wechat_login(
        &self,
        known: &Known<'_>,
        profile: Option<&UserProfile>,
    ) -> Result<Option<SignedIn>> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let recognised = match recognise(&mut tx, &*self.environment, known, now).await {
            Ok(Some(recognised)) => recognised,
            Ok(None) => return Ok(None),
            Err(error) if is_met_by_other_login(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Recognised { mut user, is_new } = recognised;
        if let Some(profile) = profile {
            // Locked and read again: the whole row is written, and something else of it may have changed.
            let Some(mut locked) = tx.lock_user(user.id).await? else {
                return Ok(None);
            };
            locked.update_profile(profile.nickname.as_str(), profile.avatar_url.as_str());
            tx.update_user(&locked).await?;
            user = locked;
        }
        let token = self.start_session(&mut tx, user.id, now).await?;
        let points = tx.holdings(user.id.into(), now).await?.available;
        tx.commit().await?;
        Ok(Some(SignedIn {
            token,
            user,
            points,
            is_new_user: is_new,
        }))
    }

    pub(crate) fn mini_program(&self) -> Result<&MiniProgram> {
        self.providers
            .mini_program
            .as_ref()
            .ok_or(Error::not_configured(
                "小程序登录未开通",
                "mini program login is not configured",
            ))
    }
}

/// Two logins of one new person at once: one of them finds the other's row in its way.
pub(crate) fn is_met_by_other_login(error: &Error) -> bool {
    match error {
        Error::Internal(cause) => {
            matches!(
                cause.downcast_ref::<jifen_store::Error>(),
                Some(jifen_store::Error::Unique { .. })
            )
        }
        Error::Busy(_) => true,
        _ => false,
    }
}

/// What the refusal of a code given by a client means to that client.
pub(crate) fn login_refused(error: ApiError) -> Error {
    const NEW_CODE: Text = Text::new(
        "code 无效或已使用，请重新获取",
        "the code is invalid or used: get a new one",
    );
    match (&error, error.refusal_kind()) {
        (_, Some(RefusalKind::CodeInvalid | RefusalKind::CodeUsed)) => {
            Error::invalid("code", NEW_CODE)
        }
        // The openid sent along with a phone button's code is ours to know; it is the code that does not fit it.
        (_, Some(RefusalKind::OpenidUnknown)) => Error::invalid(
            "code",
            Text::new("属于另一个用户", "belongs to another user"),
        ),
        (ApiError::Argument { .. }, _) => Error::invalid("code", NEW_CODE),
        (_, Some(RefusalKind::UserBlocked)) => Error::Forbidden(Text::new(
            "微信已限制该用户登录",
            "WeChat has blocked this user from logging in",
        )),
        (_, Some(RefusalKind::RateLimited)) => Limited::for_seconds(60).into(),
        _ => Error::wechat(error),
    }
}

fn decrypt(
    mini_program: &MiniProgram,
    session: &Session,
    encrypted: EncryptedProfile<'_>,
) -> Result<UserProfile> {
    let EncryptedProfile { encrypted_data, iv } = encrypted;
    mini_program
        .decrypt_user_profile(&session.session_key, encrypted_data, iv, &session.openid)
        .map_err(profile_refused)
}

fn profile_refused(refusal: OpenDataRefusal) -> Error {
    let (field, text) = match refusal {
        // WeChat's own answer is broken: the client cannot do anything about it.
        OpenDataRefusal::SessionKey => return Error::wechat(refusal),
        OpenDataRefusal::Iv => (
            "iv",
            Text::new("须为 16 字节的 base64", "must be the base64 of 16 bytes"),
        ),
        OpenDataRefusal::Ciphertext => (
            "encryptedData",
            Text::new(
                "须为 wx.getUserProfile 的加密数据（base64）",
                "must be the encrypted data of wx.getUserProfile, as base64",
            ),
        ),
        OpenDataRefusal::OtherApp => (
            "encryptedData",
            Text::new("属于另一个小程序", "was made for another mini program"),
        ),
        OpenDataRefusal::OtherUser => (
            "encryptedData",
            Text::new("属于另一个用户", "belongs to another user"),
        ),
        OpenDataRefusal::Decrypt | OpenDataRefusal::Content | OpenDataRefusal::Age => (
            "encryptedData",
            Text::new(
                "无法解密，请先调用 wx.login，再调用 wx.getUserProfile",
                "cannot be decrypted: call wx.login first, then wx.getUserProfile",
            ),
        ),
    };
    Error::Invalid { field, text }
}
