//! The mini program: `wx.login` and the phone button on the person's side, `jscode2session` and `getuserphonenumber` on the
//! server's side.

use std::collections::{HashMap, VecDeque};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::header;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    access_token::{Query, check_credentials},
    locked::Locked,
    people::Person,
    sandbox::Sandbox,
    wechat_errcode::{Errcode, answer},
};

mod open_data;

const CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
const KEYS_FIT: &str = "session keys and ivs are made here, 16 bytes each";
/// `jscode2session` calls per person and minute.
const LOGINS_PER_MINUTE_MAX: u32 = 100;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/sns/jscode2session", get(jscode2session))
        .route(
            "/wxa/business/getuserphonenumber",
            post(get_user_phone_number),
        )
}

/// Codes and session keys.
pub(crate) struct MiniProgram {
    codes_max: usize,
    state: Locked<Codes>,
}

#[derive(Default)]
struct Codes {
    logins: VecDeque<Code>,
    phones: VecDeque<Code>,
    /// By person and app; as many as codes.
    session_keys: HashMap<(String, String), String>,
    /// `jscode2session` calls: the minute, and each person's count in it.
    calls: (i64, HashMap<String, u32>),
}

#[derive(Clone)]
struct Code {
    text: String,
    person_id: String,
    appid: String,
    session_key: String,
    ends_at: Timestamp,
    used: bool,
}

/// What the mini program gets from `wx.login` and `wx.getUserProfile`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Login {
    pub(crate) code: String,
    pub(crate) raw_data: String,
    pub(crate) signature: String,
    pub(crate) encrypted_data: String,
    pub(crate) iv: String,
}

/// What the phone button gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PhoneCode {
    pub(crate) code: String,
    /// The older way: the number encrypted with the session key of the last login.
    pub(crate) encrypted_data: String,
    pub(crate) iv: String,
}

impl MiniProgram {
    pub(crate) fn new(codes_max: usize) -> Self {
        Self {
            codes_max,
            state: Locked::default(),
        }
    }

    /// `wx.login` and `wx.getUserProfile` of a person in the app `appid`. `keep_session_key` leaves the session key as it is, as
    /// WeChat does when logins follow each other quickly; `real_profile` gives the nickname as WeChat did until November 2022.
    pub(crate) fn login(
        &self,
        sandbox: &Sandbox,
        person: &Person,
        appid: &str,
        options: LoginOptions,
    ) -> Login {
        let environment = sandbox.environment();
        let now = environment.now();
        let mut state = self.state.lock();
        let key_of = (person.id.clone(), appid.to_owned());
        let kept = state
            .session_keys
            .get(&key_of)
            .filter(|_| options.keep_session_key)
            .cloned();
        let session_key = kept.unwrap_or_else(|| environment.base64::<16>());
        // At the bound all are forgotten: the next login of anybody then starts a new session, as WeChat may at any time.
        if state.session_keys.len() >= self.codes_max {
            state.session_keys.clear();
        }
        state.session_keys.insert(key_of, session_key.clone());
        let code = Code::new(
            format!("0{}", environment.alphanumeric(31)),
            person,
            appid,
            &session_key,
            now,
        );
        let text = code.text.clone();
        remember(&mut state.logins, code, self.codes_max);
        drop(state);
        let profile = open_data::Profile::of(sandbox, person, options.real_profile);
        let raw_data = profile.raw_data();
        let iv = environment.base64::<16>();
        Login {
            code: text,
            signature: open_data::signature(&raw_data, &session_key),
            encrypted_data: open_data::encrypt(&profile.plaintext(appid, now), &session_key, &iv)
                .expect(KEYS_FIT),
            raw_data,
            iv,
        }
    }

    /// The phone button of a person.
    pub(crate) fn phone_code(&self, sandbox: &Sandbox, person: &Person, appid: &str) -> PhoneCode {
        let environment = sandbox.environment();
        let now = environment.now();
        let mut state = self.state.lock();
        let session_key = state
            .session_keys
            .get(&(person.id.clone(), appid.to_owned()))
            .cloned();
        let session_key = session_key.unwrap_or_else(|| environment.base64::<16>());
        let code = Code::new(environment.hex(64), person, appid, &session_key, now);
        let text = code.text.clone();
        remember(&mut state.phones, code, self.codes_max);
        drop(state);
        let plaintext = phone_info(person, appid, now).to_string();
        let iv = environment.base64::<16>();
        PhoneCode {
            code: text,
            encrypted_data: open_data::encrypt(&plaintext, &session_key, &iv).expect(KEYS_FIT),
            iv,
        }
    }

    /// Takes a login code, once.
    fn exchange(
        &self,
        sandbox: &Sandbox,
        appid: &str,
        text: &str,
    ) -> Result<(Person, String), Errcode> {
        let now = sandbox.environment().now();
        let mut state = self.state.lock();
        let code = take(&mut state.logins, text, appid, now, "js_code", 40163)?;
        let person = find_person(sandbox, &code)?;
        let minute = now.as_second() / 60;
        if state.calls.0 != minute {
            state.calls = (minute, HashMap::new());
        }
        let calls = state.calls.1.entry(person.id.clone()).or_default();
        *calls += 1;
        if *calls > LOGINS_PER_MINUTE_MAX {
            let reason = "more than 100 logins of this person within a minute";
            return Err(Errcode::new(
                45011,
                "api minute-quota reach limit, must slower, retry next minute",
                reason,
            ));
        }
        if person.login_blocked {
            return Err(Errcode::new(
                40226,
                "code blocked",
                "this person is marked as high-risk on the sandbox's page",
            ));
        }
        Ok((person, code.session_key))
    }
}

/// How a login is to turn out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoginOptions {
    pub(crate) keep_session_key: bool,
    pub(crate) real_profile: bool,
}

impl Code {
    fn new(text: String, person: &Person, appid: &str, session_key: &str, now: Timestamp) -> Self {
        Self {
            text,
            person_id: person.id.clone(),
            appid: appid.to_owned(),
            session_key: session_key.to_owned(),
            ends_at: now.checked_add(CODE_LIFETIME).unwrap_or(now),
            used: false,
        }
    }
}

fn remember(codes: &mut VecDeque<Code>, code: Code, codes_max: usize) {
    while codes.len() >= codes_max.max(1) {
        codes.pop_front();
    }
    codes.push_back(code);
}

/// Marks a code as used, if it exists, belongs to `appid`, is in time and was not used before.
fn take(
    codes: &mut VecDeque<Code>,
    text: &str,
    appid: &str,
    now: Timestamp,
    field: &str,
    used_errcode: i32,
) -> Result<Code, Errcode> {
    let invalid = |reason: &str| Errcode::new(40029, "invalid code", reason);
    let Some(code) = codes.iter_mut().find(|code| code.text == text) else {
        return Err(invalid("the sandbox did not make this code").compare(
            field,
            "a code made by the sandbox",
            text,
        ));
    };
    if code.appid != appid {
        return Err(invalid("the code was made by another app").compare(
            "appid",
            &code.appid,
            appid,
        ));
    }
    if code.used {
        let message = if used_errcode == 40029 {
            "invalid code"
        } else {
            "code been used"
        };
        return Err(
            Errcode::new(used_errcode, message, "a code can be used once").compare(
                field,
                "an unused code",
                text,
            ),
        );
    }
    if code.ends_at <= now {
        let reason = "a code lives five minutes";
        return Err(invalid(reason).compare(
            "now",
            format!("before {}", code.ends_at),
            now.to_string(),
        ));
    }
    code.used = true;
    Ok(code.clone())
}

fn find_person(sandbox: &Sandbox, code: &Code) -> Result<Person, Errcode> {
    let found = sandbox.people().find(&code.person_id);
    found.ok_or_else(|| Errcode::new(40029, "invalid code", "the code's person is gone"))
}

async fn jscode2session(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    match open_session(&sandbox, &query) {
        Ok((person, session_key)) => {
            let mut body = json!({"session_key": session_key, "openid": person.openid(sandbox.kit().mini_program_appid)});
            if let (Some(unionid), Some(object)) = (person.unionid(), body.as_object_mut()) {
                object.insert("unionid".into(), unionid.into());
            }
            // The real URL labels its JSON as text, too.
            ([(header::CONTENT_TYPE, "text/plain")], body.to_string()).into_response()
        }
        Err(error) => error.respond(sandbox.environment()),
    }
}

fn open_session(sandbox: &Sandbox, query: &Query) -> Result<(Person, String), Errcode> {
    let appid = check_credentials(query.get("appid"), query.get("secret"))?;
    if query.get("js_code").is_empty() {
        return Err(Errcode::new(41008, "missing code", "js_code is missing"));
    }
    if query.get("grant_type") != "authorization_code" {
        let error = Errcode::new(
            40002,
            "invalid grant_type",
            "grant_type must be authorization_code",
        );
        return Err(error.compare("grant_type", "authorization_code", query.get("grant_type")));
    }
    if appid != sandbox.kit().mini_program_appid {
        let error = Errcode::new(
            40013,
            "invalid appid",
            "this is the official account's appid",
        );
        return Err(error.compare("appid", sandbox.kit().mini_program_appid, appid));
    }
    sandbox
        .mini_program()
        .exchange(sandbox, appid, query.get("js_code"))
}

async fn get_user_phone_number(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    match read_phone_number(&sandbox, &Query::parse(query.as_deref()), &body) {
        Ok(info) => answer(&json!({"errcode": 0, "errmsg": "ok", "phone_info": info})),
        Err(error) => error.respond(sandbox.environment()),
    }
}

fn read_phone_number(sandbox: &Sandbox, query: &Query, body: &[u8]) -> Result<Value, Errcode> {
    let now = sandbox.environment().now();
    let appid = sandbox
        .access_tokens()
        .check(query.get("access_token"), now)?;
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        Errcode::new(
            47001,
            "data format error",
            format!("the body is not JSON: {error}"),
        )
    })?;
    let text = body.get("code").and_then(Value::as_str).unwrap_or_default();
    if text.is_empty() {
        let reason = "code is missing in the JSON body (as a query parameter it does not count)";
        return Err(Errcode::new(40029, "invalid code", reason));
    }
    let mini_program = sandbox.kit().mini_program_appid;
    if appid != mini_program {
        let error = Errcode::new(
            40013,
            "invalid appid",
            "the token is the official account's",
        );
        return Err(error.compare("appid", mini_program, appid));
    }
    let mut state = sandbox.mini_program().state.lock();
    let known = state
        .phones
        .iter()
        .find(|code| code.text == text)
        .map(|code| code.person_id.clone());
    let openid = body.get("openid").and_then(Value::as_str);
    if let (Some(owner), Some(openid)) = (known.and_then(|id| sandbox.people().find(&id)), openid) {
        let right = owner.openid(mini_program);
        if right != openid {
            let error = Errcode::new(
                40003,
                "invalid openid",
                "the code belongs to another person",
            );
            return Err(error.compare("openid", right, openid));
        }
    }
    let code = take(&mut state.phones, text, appid, now, "code", 40029)?;
    drop(state);
    Ok(phone_info(&find_person(sandbox, &code)?, appid, now))
}

fn phone_info(person: &Person, appid: &str, now: Timestamp) -> Value {
    json!({
        "phoneNumber": person.phone,
        "purePhoneNumber": person.phone,
        "countryCode": "86",
        "watermark": {"timestamp": now.as_second(), "appid": appid},
    })
}
