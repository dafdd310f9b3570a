//! A person's page: the chat with the official account, and everything the person can do in the mini program.

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::header;
use serde::Deserialize;

use super::render;
use crate::{
    mini_program::{Login, LoginOptions, PhoneCode},
    official_account::{Author, ChatMessage},
    payments::ActionError,
    people::{NewPerson, Person},
    sandbox::Sandbox,
};

/// QR codes offered for scanning.
const QR_CODES_LISTED_MAX: usize = 5;

#[derive(Template)]
#[template(path = "person.html")]
struct PersonPage {
    person: Person,
    mini_program_openid: String,
    official_account_openid: String,
    unionid: Option<String>,
    alipay_user_id: String,
    chat: Vec<ChatMessage>,
    /// Ticket and scene of the codes that can be scanned now.
    qr_codes: Vec<(String, String)>,
    push_url: Option<String>,
    login: Option<Login>,
    phone_code: Option<PhoneCode>,
}

impl PersonPage {
    fn of(sandbox: &Sandbox, id: &str) -> Result<Self, ActionError> {
        let person = sandbox
            .people()
            .find(id)
            .ok_or(ActionError::NotFound("person"))?;
        let account = sandbox.official_account();
        let now = sandbox.environment().now();
        let live = account
            .qr_codes()
            .into_iter()
            .filter(|code| !code.is_over(now))
            .take(QR_CODES_LISTED_MAX);
        let kit = sandbox.kit();
        Ok(Self {
            mini_program_openid: person.openid(kit.mini_program_appid),
            official_account_openid: person.openid(kit.official_account_appid),
            unionid: person.unionid(),
            alipay_user_id: person.alipay_user_id(),
            chat: account.chat(id),
            qr_codes: live.map(|code| (code.ticket, code.scene)).collect(),
            push_url: account.settings().push_url,
            login: None,
            phone_code: None,
            person,
        })
    }
}

pub(super) async fn show(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Html<String>, ActionError> {
    render(&PersonPage::of(&sandbox, &id)?)
}

/// What the forms of the page send; each sends some of it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Submitted {
    action: String,
    text: String,
    ticket: String,
    real_profile: Option<String>,
    keep_session_key: Option<String>,
    unionid_shared: Option<String>,
    login_blocked: Option<String>,
}

pub(super) async fn act(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Form(form): Form<Submitted>,
) -> Result<Response, ActionError> {
    let account = sandbox.official_account();
    match form.action.as_str() {
        "login" | "phone" => {
            return show_code(&sandbox, &id, &form).map(IntoResponse::into_response);
        }
        "say" => {
            account.say(&sandbox, &id, &form.text)?;
        }
        "scan" => {
            account.scan(&sandbox, &id, form.ticket.trim())?;
        }
        "follow" => {
            account.follow(&sandbox, &id)?;
        }
        "unfollow" => {
            account.unfollow(&sandbox, &id)?;
        }
        "switches" => {
            sandbox.people().change(&id, |person| {
                person.unionid_shared = form.unionid_shared.is_some();
                person.login_blocked = form.login_blocked.is_some();
            })?;
        }
        _ => return Err(ActionError::Invalid("unknown action".into())),
    }
    Ok(Redirect::to(&format!("/sandbox/people/{id}")).into_response())
}

fn show_code(sandbox: &Sandbox, id: &str, form: &Submitted) -> Result<Html<String>, ActionError> {
    let mut page = PersonPage::of(sandbox, id)?;
    let appid = sandbox.kit().mini_program_appid;
    let mini_program = sandbox.mini_program();
    if form.action == "login" {
        let options = LoginOptions {
            keep_session_key: form.keep_session_key.is_some(),
            real_profile: form.real_profile.is_some(),
        };
        page.login = Some(mini_program.login(sandbox, &page.person, appid, options));
    } else {
        page.phone_code = Some(mini_program.phone_code(sandbox, &page.person, appid));
    }
    render(&page)
}

#[derive(Deserialize)]
pub(super) struct Created {
    nickname: String,
    #[serde(default)]
    phone: String,
    follows: Option<String>,
    unionid_shared: Option<String>,
}

pub(super) async fn create(
    State(sandbox): State<Sandbox>,
    Form(form): Form<Created>,
) -> Result<Redirect, ActionError> {
    let new = NewPerson {
        nickname: form.nickname,
        id: None,
        phone: Some(form.phone),
        unionid_shared: form.unionid_shared.is_some(),
        follows: form.follows.is_some(),
    };
    let person = sandbox.people().create(new, sandbox.environment().now())?;
    Ok(Redirect::to(&format!("/sandbox/people/{}", person.id)))
}

/// The first character of the nickname on a colour that follows from the id.
#[derive(Template)]
#[template(
    source = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><rect width="96" height="96" fill="hsl({{ hue }} 52% 46%)"/><text x="48" y="50" fill="#fff" font-family="sans-serif" font-size="44" text-anchor="middle" dominant-baseline="central">{{ initial }}</text></svg>"##,
    ext = "html"
)]
struct Avatar {
    hue: u32,
    initial: char,
}

pub(super) async fn avatar(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Response, ActionError> {
    let person = sandbox
        .people()
        .find(&id)
        .ok_or(ActionError::NotFound("person"))?;
    let hue = person
        .id
        .bytes()
        .fold(0_u32, |hue, byte| (hue * 31 + u32::from(byte)) % 360);
    let initial = person.nickname.chars().last().unwrap_or('?');
    let Html(svg) = render(&Avatar { hue, initial })?;
    Ok((
        [
            (header::CONTENT_TYPE, "image/svg+xml"),
            (header::CACHE_CONTROL, "max-age=3600"),
        ],
        svg,
    )
        .into_response())
}
