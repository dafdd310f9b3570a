//! `/sandbox/api/people`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};

use crate::{
    mini_program::{Login, LoginOptions, PhoneCode},
    official_account::{ChatMessage, Pushed},
    payments::ActionError,
    people::{NewPerson, Person},
    sandbox::Sandbox,
};

/// A person with the ids the providers know them by.
#[derive(Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    person: Person,
    mini_program_openid: String,
    official_account_openid: String,
    unionid: Option<String>,
    alipay_user_id: String,
    alipay_logon_id: String,
}

impl View {
    fn of(sandbox: &Sandbox, person: Person) -> Self {
        let kit = sandbox.kit();
        Self {
            mini_program_openid: person.openid(kit.mini_program_appid),
            official_account_openid: person.openid(kit.official_account_appid),
            unionid: person.unionid(),
            alipay_user_id: person.alipay_user_id(),
            alipay_logon_id: person.alipay_logon_id(),
            person,
        }
    }
}

type Answer<T> = Result<Json<T>, ActionError>;

pub(super) async fn list(State(sandbox): State<Sandbox>) -> Json<Vec<View>> {
    Json(
        sandbox
            .people()
            .all()
            .into_iter()
            .map(|person| View::of(&sandbox, person))
            .collect(),
    )
}

pub(super) async fn create(
    State(sandbox): State<Sandbox>,
    Json(new): Json<NewPerson>,
) -> Answer<View> {
    let person = sandbox.people().create(new, sandbox.environment().now())?;
    Ok(Json(View::of(&sandbox, person)))
}

pub(super) async fn show(State(sandbox): State<Sandbox>, Path(id): Path<String>) -> Answer<View> {
    Ok(Json(View::of(&sandbox, find(&sandbox, &id)?)))
}

/// What can be changed; absent members stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    unionid_shared: Option<bool>,
    login_blocked: Option<bool>,
    /// Without telling the integrator, as if it had missed the push.
    follows: Option<bool>,
    phone: Option<String>,
}

pub(super) async fn change(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Json(change): Json<Change>,
) -> Answer<View> {
    let phone_is_wrong =
        |phone: &String| phone.len() != 11 || !phone.bytes().all(|byte| byte.is_ascii_digit());
    if change.phone.as_ref().is_some_and(phone_is_wrong) {
        return Err(ActionError::Invalid("phone must be 11 digits".into()));
    }
    let now = sandbox.environment().now();
    let person = sandbox.people().change(&id, |person| {
        person.unionid_shared = change.unionid_shared.unwrap_or(person.unionid_shared);
        person.login_blocked = change.login_blocked.unwrap_or(person.login_blocked);
        person.follows_since = match change.follows {
            Some(true) => person.follows_since.or(Some(now)),
            Some(false) => None,
            None => person.follows_since,
        };
        if let Some(phone) = change.phone {
            person.phone = phone;
        }
    })?;
    Ok(Json(View::of(&sandbox, person)))
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LoginWish {
    /// Another app's id makes a code that the kit's mini program cannot use.
    appid: Option<String>,
    keep_session_key: bool,
    real_profile: bool,
}

pub(super) async fn login_code(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    wish: Option<Json<LoginWish>>,
) -> Answer<Login> {
    let Json(wish) = wish.unwrap_or_default();
    let person = find(&sandbox, &id)?;
    let appid = app(&sandbox, wish.appid)?;
    let options = LoginOptions {
        keep_session_key: wish.keep_session_key,
        real_profile: wish.real_profile,
    };
    Ok(Json(
        sandbox
            .mini_program()
            .login(&sandbox, &person, &appid, options),
    ))
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PhoneWish {
    appid: Option<String>,
}

pub(super) async fn phone_code(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    wish: Option<Json<PhoneWish>>,
) -> Answer<PhoneCode> {
    let Json(wish) = wish.unwrap_or_default();
    let person = find(&sandbox, &id)?;
    let appid = app(&sandbox, wish.appid)?;
    Ok(Json(
        sandbox.mini_program().phone_code(&sandbox, &person, &appid),
    ))
}

fn app(sandbox: &Sandbox, wished: Option<String>) -> Result<String, ActionError> {
    match wished {
        None => Ok(sandbox.kit().mini_program_appid.to_owned()),
        Some(appid) if (1..=32).contains(&appid.len()) => Ok(appid),
        Some(_) => Err(ActionError::Invalid(
            "appid must have 1..=32 characters".into(),
        )),
    }
}

#[derive(Deserialize)]
pub(super) struct Scan {
    ticket: String,
}

pub(super) async fn scan(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Json(scan): Json<Scan>,
) -> Answer<Pushed> {
    sandbox
        .official_account()
        .scan(&sandbox, &id, &scan.ticket)
        .map(Json)
}

pub(super) async fn follow(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Answer<Pushed> {
    sandbox.official_account().follow(&sandbox, &id).map(Json)
}

pub(super) async fn unfollow(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Answer<Pushed> {
    sandbox.official_account().unfollow(&sandbox, &id).map(Json)
}

pub(super) async fn chat(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Answer<Vec<ChatMessage>> {
    find(&sandbox, &id)?;
    Ok(Json(sandbox.official_account().chat(&id)))
}

#[derive(Deserialize)]
pub(super) struct Said {
    text: String,
}

pub(super) async fn say(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Json(said): Json<Said>,
) -> Answer<Pushed> {
    sandbox
        .official_account()
        .say(&sandbox, &id, &said.text)
        .map(Json)
}

fn find(sandbox: &Sandbox, id: &str) -> Result<Person, ActionError> {
    sandbox
        .people()
        .find(id)
        .ok_or(ActionError::NotFound("person"))
}
