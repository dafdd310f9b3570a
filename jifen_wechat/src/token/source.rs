//! Gets the access token of one app, from memory, from the shared store or from WeChat.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{Api, ApiError, Call, RefusalKind, Repeat};
use crate::environment::Environment;
use crate::token::{AccessToken, TokenStore};

/// A token with less life left than this is not used any more: the call has to arrive, too.
const USABLE_SECONDS_MIN: i64 = 15;
/// Near its end a token is asked for again at most this often: WeChat may go on giving the same one.
const REFRESH_INTERVAL_SECONDS: i64 = 10;
/// WeChat allows 20 forced refreshes a day.
const FORCED_REFRESH_INTERVAL_SECONDS: i64 = 2 * 3600;
const LEASE_POLL: Duration = Duration::from_millis(100);
const ROUNDS_MAX: u32 = 4;

pub(crate) struct TokenSettings {
    pub(crate) app_id: String,
    pub(crate) app_secret: SecretString,
    /// How long before its end a token is renewed.
    pub(crate) margin_seconds: u32,
}

/// A token together with the version of the store it belongs to.
#[derive(Clone)]
pub(crate) struct HeldToken {
    version: i64,
    token: AccessToken,
}

#[derive(Default)]
struct State {
    held: Option<HeldToken>,
    refresh_not_before_unix_seconds: i64,
    /// The token WeChat refused last.
    rejected: Option<SecretString>,
    forced_not_before_unix_seconds: i64,
    /// How many renewals have failed, and why the last one did.
    failures: u64,
    last_failure: Option<Arc<ApiError>>,
}

pub(crate) struct TokenSource {
    settings: TokenSettings,
    api: Api,
    environment: Arc<dyn Environment>,
    store: Arc<dyn TokenStore>,
    state: Mutex<State>,
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

impl TokenSource {
    pub(crate) fn new(
        settings: TokenSettings,
        api: Api,
        environment: Arc<dyn Environment>,
        store: Arc<dyn TokenStore>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            api,
            environment,
            store,
            state: Mutex::default(),
            refreshing: Arc::default(),
        })
    }

    /// Makes a call that carries the token. If WeChat refuses the token, that token (and only that one) is dropped, another is
    /// got, and the call is made once more.
    pub(crate) async fn call<T: DeserializeOwned>(
        self: &Arc<Self>,
        call: Call<'_>,
    ) -> Result<T, ApiError> {
        let token = self.get().await?;
        let result = self.call_with(&call, &token).await;
        match result {
            Err(error) if error.refusal_kind() == Some(RefusalKind::AccessToken) => {
                tracing::info!(app_id = self.settings.app_id, %error, "access token refused, getting another");
                self.reject(&token).await?;
                let token = self.get().await?;
                self.call_with(&call, &token).await
            }
            other => other,
        }
    }

    async fn call_with<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        held: &HeldToken,
    ) -> Result<T, ApiError> {
        let mut query = vec![("access_token", held.token.value.expose_secret())];
        query.extend_from_slice(&call.query);
        self.api
            .call(&Call {
                name: call.name,
                path: call.path,
                query,
                body: call.body.clone(),
                repeat: call.repeat,
            })
            .await
    }

    /// Asks WeChat for the token, past memory and store: whether `AppID`, secret and IP list are right.
    pub(crate) async fn probe(&self) -> Result<(), ApiError> {
        self.fetch_once(false).await.map(drop)
    }

    pub(crate) async fn get(self: &Arc<Self>) -> Result<HeldToken, ApiError> {
        let failures_before = self.state().failures;
        let refreshing = Arc::clone(&self.refreshing);
        let (held, is_due) = self.held();
        let guard = match held {
            Some(held) if !is_due => return Ok(held),
            // Still valid: whoever does not renew it himself need not wait for who does.
            Some(held) => match refreshing.try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => return Ok(held),
            },
            None => refreshing.lock_owned().await,
        };
        // Somebody else may have renewed it, or failed to, while this one waited.
        let (held, is_due) = self.held();
        if let Some(held) = held
            && !is_due
        {
            return Ok(held);
        }
        if let Some(failure) = self.failure_since(failures_before) {
            return Err(ApiError::NoToken(failure));
        }
        // A task of its own: a caller that goes away must not leave the lease behind and everybody waiting for its end.
        let source = Arc::clone(self);
        let renewal = tokio::spawn(async move {
            let renewed = source.renew().await;
            drop(guard);
            renewed
        });
        match renewal.await {
            Ok(renewed) => renewed,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ApiError::ShuttingDown),
            },
        }
    }

    async fn renew(&self) -> Result<HeldToken, ApiError> {
        let error = match self.refresh().await {
            Ok(renewed) => return Ok(renewed),
            Err(error) => error,
        };
        let now = self.now();
        let error = Arc::new(error);
        let mut state = self.state();
        state.failures += 1;
        state.last_failure = Some(Arc::clone(&error));
        match state
            .held
            .clone()
            .filter(|held| is_usable(&held.token, now))
        {
            Some(held) => {
                state.refresh_not_before_unix_seconds = now + REFRESH_INTERVAL_SECONDS;
                drop(state);
                tracing::warn!(app_id = self.settings.app_id, %error, "access token not renewed, the old one still holds");
                Ok(held)
            }
            None => Err(ApiError::NoToken(error)),
        }
    }

    fn failure_since(&self, failures_before: u64) -> Option<Arc<ApiError>> {
        let state = self.state();
        state
            .last_failure
            .clone()
            .filter(|_| state.failures != failures_before)
    }

    /// Drops exactly this token, here and in the store, unless it has been replaced already.
    async fn reject(&self, refused: &HeldToken) -> Result<(), ApiError> {
        {
            let mut state = self.state();
            if state
                .held
                .as_ref()
                .is_some_and(|held| held.version == refused.version)
            {
                state.held = None;
                state.rejected = Some(refused.token.value.clone());
            }
        }
        self.store
            .save(&self.settings.app_id, refused.version, None)
            .await
            .map_err(ApiError::TokenStore)?;
        Ok(())
    }

    /// The token in memory if it can be used, and whether it is time to renew it.
    fn held(&self) -> (Option<HeldToken>, bool) {
        let now = self.now();
        let state = self.state();
        let held = state
            .held
            .clone()
            .filter(|held| is_usable(&held.token, now));
        let is_due = held
            .as_ref()
            .is_none_or(|held| !self.is_fresh(&held.token, now))
            && now >= state.refresh_not_before_unix_seconds;
        (held, is_due)
    }

    /// From the store if another node was faster, else from WeChat.
    async fn refresh(&self) -> Result<HeldToken, ApiError> {
        let app_id = &self.settings.app_id;
        let lease_seconds = self.lease_seconds();
        let mut polls_left = u64::from(lease_seconds) * 10;
        let mut rounds = 0;
        loop {
            let now = self.now();
            let record = self
                .store
                .load(app_id)
                .await
                .map_err(ApiError::TokenStore)?;
            if let Some(token) = record
                .token
                .as_ref()
                .filter(|token| self.is_fresh(token, now))
            {
                return Ok(self.hold(record.version, token.clone()));
            }
            let is_leased = self
                .store
                .try_lease(app_id, now, lease_seconds)
                .await
                .map_err(ApiError::TokenStore)?;
            // Two nodes asking for a stable token do no harm, so waiting has an end.
            if !is_leased && polls_left > 0 {
                if let Some(token) = record.token.filter(|token| is_usable(token, now)) {
                    return Ok(self.hold(record.version, token));
                }
                polls_left -= 1;
                tokio::time::sleep(LEASE_POLL).await;
                continue;
            }
            let fetched = match self.fetch().await {
                Ok(fetched) => fetched,
                Err(error) => {
                    // Saving what was there ends the lease, so that others need not wait for it.
                    if is_leased {
                        self.store
                            .save(app_id, record.version, record.token.as_ref())
                            .await
                            .map_err(ApiError::TokenStore)?;
                    }
                    return Err(error);
                }
            };
            let is_saved = self
                .store
                .save(app_id, record.version, Some(&fetched))
                .await
                .map_err(ApiError::TokenStore)?;
            if is_saved {
                return Ok(self.hold(record.version + 1, fetched));
            }
            rounds += 1;
            if rounds >= ROUNDS_MAX {
                return Err(ApiError::TokenContended { rounds });
            }
        }
    }

    fn hold(&self, version: i64, token: AccessToken) -> HeldToken {
        let held = HeldToken { version, token };
        let mut state = self.state();
        state.refresh_not_before_unix_seconds = self.now() + REFRESH_INTERVAL_SECONDS;
        state.held = Some(held.clone());
        held
    }

    /// Normal mode; forced only when normal mode insists on the token WeChat itself has just refused.
    async fn fetch(&self) -> Result<AccessToken, ApiError> {
        let fetched = self.fetch_once(false).await?;
        let now = self.now();
        let must_force = {
            let mut state = self.state();
            let is_rejected = state
                .rejected
                .as_ref()
                .is_some_and(|value| value.expose_secret() == fetched.value.expose_secret());
            let must_force = is_rejected && now >= state.forced_not_before_unix_seconds;
            if must_force {
                state.forced_not_before_unix_seconds = now + FORCED_REFRESH_INTERVAL_SECONDS;
            }
            must_force
        };
        if must_force {
            tracing::warn!(
                app_id = self.settings.app_id,
                "WeChat goes on giving a token it refuses: forcing another"
            );
            return self.fetch_once(true).await;
        }
        Ok(fetched)
    }

    async fn fetch_once(&self, force: bool) -> Result<AccessToken, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: u32,
        }
        let body = json!({
            "grant_type": "client_credential",
            "appid": self.settings.app_id,
            "secret": self.settings.app_secret.expose_secret(),
            "force_refresh": force,
        });
        let asked_at = self.now();
        let answer: Answer = self
            .api
            .call(&Call {
                name: "stable_token",
                path: "/cgi-bin/stable_token",
                query: Vec::new(),
                body: Some(body.to_string().into_bytes()),
                repeat: Repeat::Always,
            })
            .await
            .map_err(|error| match error {
                // Here 40001 is about the AppSecret: there is no token to be wrong.
                ApiError::Refused(mut refusal) if refusal.kind == RefusalKind::AccessToken => {
                    refusal.kind = RefusalKind::Configuration;
                    ApiError::Refused(refusal)
                }
                other => other,
            })?;
        if answer.access_token.is_empty() {
            return Err(ApiError::Incomplete("access_token"));
        }
        Ok(AccessToken {
            value: answer.access_token.into(),
            expires_at_unix_seconds: asked_at.saturating_add(i64::from(answer.expires_in)),
        })
    }

    fn is_fresh(&self, token: &AccessToken, now: i64) -> bool {
        token.expires_at_unix_seconds > now.saturating_add(i64::from(self.settings.margin_seconds))
    }

    /// Longer than a fetch with all its attempts.
    fn lease_seconds(&self) -> u32 {
        u32::try_from(self.api.limits.duration_max().as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(2)
    }

    fn now(&self) -> i64 {
        self.environment.unix_seconds()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Fields are assigned whole, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenSource")
            .field("app_id", &self.settings.app_id)
            .finish_non_exhaustive()
    }
}

fn is_usable(token: &AccessToken, now: i64) -> bool {
    token.expires_at_unix_seconds > now.saturating_add(USABLE_SECONDS_MIN)
}
