//! Access tokens of both apps: `/cgi-bin/stable_token` and `/cgi-bin/token`, which issue tokens independently of each other.

use std::collections::{HashMap, VecDeque};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::{
    environment::Environment,
    kit::Kit,
    locked::Locked,
    sandbox::Sandbox,
    wechat_errcode::{Errcode, answer, shortened},
};

const LIFETIME: SignedDuration = SignedDuration::from_hours(2);
/// `stable_token` renews a token this long before it ends; `token`'s previous token works this much longer.
const OVERLAP: SignedDuration = SignedDuration::from_mins(5);
const FORCED_GAP: SignedDuration = SignedDuration::from_secs(30);
const FORCED_PER_DAY_MAX: u32 = 20;
const PLAIN_PER_DAY_MAX: u32 = 2_000;
/// Tokens remembered per app, so that an ended one is told from one that never was.
const TOKENS_REMEMBERED_MAX: usize = 200;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/cgi-bin/stable_token", post(stable_token))
        .route("/cgi-bin/token", get(plain_token))
}

async fn stable_token(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    let environment = sandbox.environment();
    let issued = serde_json::from_slice::<Value>(&body)
        .map_err(|error| {
            Errcode::new(
                47001,
                "data format error",
                format!("the body is not JSON: {error}"),
            )
        })
        .and_then(|body| {
            let text = |name: &str| {
                body.get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let appid = check_app(&text("grant_type"), &text("appid"), &text("secret"))?;
            let forced = body
                .get("force_refresh")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            sandbox.access_tokens().stable(appid, forced, environment)
        });
    respond(issued, environment)
}

async fn plain_token(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    let environment = sandbox.environment();
    let issued = check_app(
        query.get("grant_type"),
        query.get("appid"),
        query.get("secret"),
    )
    .and_then(|appid| sandbox.access_tokens().plain(appid, environment));
    respond(issued, environment)
}

fn respond(issued: Result<Issued, Errcode>, environment: &dyn Environment) -> Response {
    match issued {
        Ok(issued) => {
            answer(&json!({"access_token": issued.token, "expires_in": issued.expires_in_seconds}))
        }
        Err(error) => error.respond(environment),
    }
}

/// Which of the two apps asks, if its secret is right.
fn check_app(grant_type: &str, appid: &str, secret: &str) -> Result<&'static str, Errcode> {
    if grant_type != "client_credential" {
        let error = Errcode::new(
            40002,
            "invalid grant_type",
            "grant_type must be client_credential",
        );
        return Err(error.compare("grant_type", "client_credential", grant_type));
    }
    check_credentials(appid, secret)
}

/// `appid` and `secret` as every URL with both checks them.
pub(crate) fn check_credentials(appid: &str, secret: &str) -> Result<&'static str, Errcode> {
    let kit = Kit::builtin();
    let apps = [
        (kit.mini_program_appid, kit.mini_program_secret),
        (kit.official_account_appid, kit.official_account_secret),
    ];
    if appid.is_empty() {
        return Err(Errcode::new(41002, "appid missing", "appid is missing"));
    }
    if secret.is_empty() {
        return Err(Errcode::new(
            41004,
            "appsecret missing",
            "secret is missing",
        ));
    }
    let known = apps.map(|(appid, _)| appid).join(" or ");
    let Some((appid, right)) = apps.into_iter().find(|(known, _)| *known == appid) else {
        let reason = "the sandbox knows only the two apps of its kit";
        return Err(Errcode::new(40013, "invalid appid", reason).compare("appid", known, appid));
    };
    if !bool::from(right.as_bytes().ct_eq(secret.as_bytes())) {
        let error = Errcode::new(
            40125,
            "invalid appsecret",
            "the secret is not this app's; see the sandbox's kit",
        );
        return Err(error.compare("secret", shortened(right), shortened(secret)));
    }
    Ok(appid)
}

/// A query string, decoded once.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self(
            form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of a parameter, empty where it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

/// The tokens of every app.
#[derive(Default)]
pub(crate) struct AccessTokens(Locked<HashMap<&'static str, AppTokens>>);

#[derive(Default)]
struct AppTokens {
    stable: Option<Token>,
    plain: Option<Token>,
    /// Every token issued lately, the current ones included.
    issued: VecDeque<Token>,
    forced: Quota,
    last_forced: Option<Timestamp>,
    plain_calls: Quota,
}

#[derive(Clone)]
struct Token {
    text: String,
    ends_at: Timestamp,
    /// Ended before its time, by a forced refresh or by hand.
    revoked: bool,
}

/// Calls counted per day since the epoch.
#[derive(Default)]
struct Quota {
    day: i64,
    used: u32,
}

impl Quota {
    fn use_one(&mut self, now: Timestamp, per_day_max: u32) -> bool {
        let day = now.as_second() / 86_400;
        if day != self.day {
            *self = Self { day, used: 0 };
        }
        self.used = self.used.saturating_add(1);
        self.used <= per_day_max
    }
}

struct Issued {
    token: String,
    expires_in_seconds: i64,
}

impl AccessTokens {
    fn stable(
        &self,
        appid: &'static str,
        forced: bool,
        environment: &dyn Environment,
    ) -> Result<Issued, Errcode> {
        let now = environment.now();
        let mut apps = self.0.lock();
        let app = apps.entry(appid).or_default();
        if forced {
            if app
                .last_forced
                .is_some_and(|last| now.duration_since(last) < FORCED_GAP)
            {
                let reason = "force_refresh=true is allowed once in 30 seconds";
                return Err(Errcode::new(
                    45011,
                    "api minute-quota reach limit, must slower, retry next minute",
                    reason,
                ));
            }
            if !app.forced.use_one(now, FORCED_PER_DAY_MAX) {
                let reason = "force_refresh=true is allowed 20 times a day";
                return Err(Errcode::new(
                    45009,
                    "reach max api daily quota limit",
                    reason,
                ));
            }
            app.last_forced = Some(now);
            if let Some(old) = app.stable.take() {
                app.revoke(&old.text);
            }
        }
        let kept = app
            .stable
            .clone()
            .filter(|token| !token.revoked && token.ends_at.duration_since(now) > OVERLAP);
        let token = kept.unwrap_or_else(|| app.issue(environment));
        app.stable = Some(token.clone());
        Ok(Issued::new(token, now))
    }

    fn plain(&self, appid: &'static str, environment: &dyn Environment) -> Result<Issued, Errcode> {
        let now = environment.now();
        let mut apps = self.0.lock();
        let app = apps.entry(appid).or_default();
        if !app.plain_calls.use_one(now, PLAIN_PER_DAY_MAX) {
            return Err(Errcode::new(
                45009,
                "reach max api daily quota limit",
                "/cgi-bin/token is allowed 2000 times a day",
            ));
        }
        if let Some(old) = app.plain.take() {
            let ends_at = now.checked_add(OVERLAP).unwrap_or(now).min(old.ends_at);
            app.issued
                .iter_mut()
                .filter(|token| token.text == old.text)
                .for_each(|token| token.ends_at = ends_at);
        }
        let token = app.issue(environment);
        app.plain = Some(token.clone());
        Ok(Issued::new(token, now))
    }

    /// Checks the token of a call and returns the app it was issued to.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Result<&'static str, Errcode> {
        if token.is_empty() {
            return Err(Errcode::new(
                41001,
                "access_token missing",
                "access_token is missing",
            ));
        }
        let apps = self.0.lock();
        let known = apps.iter().find_map(|(appid, app)| {
            let same = |issued: &&Token| bool::from(issued.text.as_bytes().ct_eq(token.as_bytes()));
            app.issued.iter().find(same).map(|issued| (*appid, issued))
        });
        let Some((appid, issued)) = known else {
            let plausible = token.len() > 100 && token.contains('_');
            return Err(if plausible {
                let reason = "the sandbox did not issue this token (it was restarted, or it is another one's)";
                Errcode::new(40001, "invalid credential, access_token is invalid or not latest", reason)
            } else {
                Errcode::new(40014, "invalid access_token", "this does not look like a token of the sandbox")
            }
            .compare("access_token", "one issued by the sandbox", shortened(token)));
        };
        if issued.revoked {
            let reason = "the token was replaced by a forced refresh, or revoked by hand";
            return Err(Errcode::new(
                40001,
                "invalid credential, access_token is invalid or not latest",
                reason,
            ));
        }
        if issued.ends_at <= now {
            let error = Errcode::new(42001, "access_token expired", "the token's time is over");
            return Err(error.compare(
                "now",
                format!("before {}", issued.ends_at),
                now.to_string(),
            ));
        }
        Ok(appid)
    }

    /// Makes every token issued so far invalid, as a forced refresh by somebody else does.
    pub(crate) fn revoke_all(&self) {
        for app in self.0.lock().values_mut() {
            app.issued.iter_mut().for_each(|token| token.revoked = true);
            (app.stable, app.plain) = (None, None);
        }
    }
}

impl AppTokens {
    fn issue(&mut self, environment: &dyn Environment) -> Token {
        let text = format!(
            "{}_{}",
            environment.digits(2),
            environment.alphanumeric(134)
        );
        let now = environment.now();
        let token = Token {
            text,
            ends_at: now.checked_add(LIFETIME).unwrap_or(now),
            revoked: false,
        };
        if self.issued.len() >= TOKENS_REMEMBERED_MAX {
            self.issued.pop_front();
        }
        self.issued.push_back(token.clone());
        token
    }

    fn revoke(&mut self, text: &str) {
        self.issued
            .iter_mut()
            .filter(|token| token.text == text)
            .for_each(|token| token.revoked = true);
    }
}

impl Issued {
    fn new(token: Token, now: Timestamp) -> Self {
        Self {
            expires_in_seconds: token.ends_at.duration_since(now).as_secs(),
            token: token.text,
        }
    }
}
