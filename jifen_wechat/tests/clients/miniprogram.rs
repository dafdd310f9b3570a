//! Login and phone number.

use std::sync::Arc;
use std::time::Duration;

use jifen_wechat::miniprogram::{MiniProgram, MiniProgramConfig};
use jifen_wechat::token::MemoryTokenStore;
use jifen_wechat::{ApiError, Private, RefusalKind, TransportError};
use secrecy::ExposeSecret as _;

use crate::environment::{FixedEnvironment, http_client};
use crate::server::{Received, Scripted, Server};

const APP_ID: &str = "wxd678efh567hg6787";
const SECRET: &str = "THE-APP-SECRET";

fn client(server: &Server) -> MiniProgram {
    client_with(server, |_| {})
}

fn client_with(server: &Server, change: impl FnOnce(&mut MiniProgramConfig)) -> MiniProgram {
    let mut config = MiniProgramConfig::new(APP_ID, SECRET.into());
    config.api_base = server.base.clone();
    config.limits.retry_delay = Duration::ZERO;
    change(&mut config);
    MiniProgram::new(
        config,
        http_client(),
        Arc::new(FixedEnvironment::at(1_705_291_200)),
        Arc::new(MemoryTokenStore::default()),
    )
}

async fn login(
    script: impl Fn(&Received, usize) -> Scripted + Send + Sync + 'static,
) -> (Result<jifen_wechat::miniprogram::Session, ApiError>, Server) {
    let server = Server::start(script).await;
    let result = client(&server).login("a code+").await;
    (result, server)
}

#[tokio::test]
async fn a_code_becomes_a_session() {
    let (session, server) = login(|_, _| {
        Scripted::json(r#"{"openid":"oUSER","session_key":"a2V5","unionid":"","errcode":0}"#)
    })
    .await;
    let session = session.unwrap();
    assert_eq!(session.openid.as_str(), "oUSER");
    assert_eq!(session.unionid, None);
    assert_eq!(session.session_key.expose_secret(), "a2V5");
    let debug = format!("{session:?}");
    assert!(
        !debug.contains("oUSER") && !debug.contains("a2V5"),
        "{debug}"
    );
    assert_eq!(
        server.received()[0].target,
        "/sns/jscode2session?appid=wxd678efh567hg6787&secret=THE-APP-SECRET&js_code=a+code%2B&grant_type=authorization_code"
    );
}

#[tokio::test]
async fn a_busy_or_broken_wechat_is_asked_again() {
    let (session, server) = login(|_, before| match before {
        0 => Scripted::json(r#"{"errcode":-1,"errmsg":"system error"}"#),
        1 => Scripted::HangUp,
        _ => Scripted::json(r#"{"openid":"oUSER","session_key":"a2V5"}"#),
    })
    .await;
    assert!(session.is_ok());
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (error, server) = login(|_, _| Scripted::status(502, "<html>")).await;
    assert!(matches!(
        error.unwrap_err(),
        ApiError::Transport(TransportError::Status { status: 502 })
    ));
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_refused_code_is_not_sent_again() {
    for (code, kind) in [
        (40029, RefusalKind::CodeInvalid),
        (40163, RefusalKind::CodeUsed),
        (40226, RefusalKind::UserBlocked),
        (45011, RefusalKind::RateLimited),
        (40125, RefusalKind::Configuration),
    ] {
        let body = format!(r#"{{"errcode":{code},"errmsg":"no, rid: 1"}}"#);
        let (error, server) = login(move |_, _| Scripted::json(&body)).await;
        assert_eq!(error.unwrap_err().refusal_kind(), Some(kind));
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn success_without_an_openid_is_an_error() {
    for body in [
        r#"{"session_key":"a2V5"}"#,
        r#"{"openid":"o","errcode":0}"#,
        "{}",
    ] {
        let (error, _) = login(move |_, _| Scripted::json(body)).await;
        assert!(matches!(error.unwrap_err(), ApiError::Incomplete(_)));
    }
    let (error, _) = login(|_, _| Scripted::json("not json")).await;
    assert!(matches!(
        error.unwrap_err(),
        ApiError::Transport(TransportError::NotJson { .. })
    ));
}

#[tokio::test]
async fn an_empty_code_is_refused_without_a_call() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let error = client(&server).login("").await.unwrap_err();
    assert!(matches!(error, ApiError::Argument { .. }));
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_silent_wechat_is_given_up() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let impatient = client_with(&server, |config| {
        config.limits.timeout = Duration::from_millis(300);
    });
    assert!(matches!(
        impatient.login("code").await.unwrap_err(),
        ApiError::Transport(TransportError::TimedOut {
            timeout_milliseconds: 300
        })
    ));
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn no_error_tells_the_secret() {
    let (hung_up, _) = login(|_, _| Scripted::HangUp).await;
    // Nobody listens on port 1 of loopback.
    let mut config = MiniProgramConfig::new(APP_ID, SECRET.into());
    config.api_base = "http://127.0.0.1:1".parse().unwrap();
    config.limits.attempts_max = 1;
    let config_debug = format!("{config:?}");
    let unreachable = MiniProgram::new(
        config,
        http_client(),
        Arc::new(FixedEnvironment::at(0)),
        Arc::new(MemoryTokenStore::default()),
    );
    let refused = unreachable.login("code").await.unwrap_err();
    assert!(matches!(
        &refused,
        ApiError::Transport(error @ TransportError::NotConnected(_)) if !error.may_have_been_processed()
    ));
    let mut told = vec![format!("{config_debug} {unreachable:?}")];
    for error in [hung_up.unwrap_err(), refused] {
        told.push(format!("{error:?}"));
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            told.push(error.to_string());
            cause = error.source();
        }
    }
    let told = told.join("\n");
    assert!(!told.contains(SECRET), "{told}");
}

#[tokio::test]
async fn a_phone_number_is_fetched_with_the_token_and_the_code_in_the_body() {
    let server = Server::start(|received, _| match received.path() {
        "/cgi-bin/stable_token" => Scripted::json(r#"{"access_token":"T/1+","expires_in":7200}"#),
        _ => Scripted::json(
            r#"{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"+44700","purePhoneNumber":"700","countryCode":44,"watermark":{"timestamp":1,"appid":"wxd678efh567hg6787"}}}"#,
        ),
    })
    .await;
    let number = client(&server)
        .phone_number("code", Some(&Private::from("oUSER")))
        .await
        .unwrap();
    assert_eq!(number.phone_number.as_str(), "+44700");
    assert_eq!(number.country_code, "44");
    let received = server.received();
    assert_eq!(
        received[0].json(),
        serde_json::json!({"grant_type":"client_credential","appid":APP_ID,"secret":SECRET,"force_refresh":false})
    );
    assert_eq!(
        received[1].target,
        "/wxa/business/getuserphonenumber?access_token=T%2F1%2B"
    );
    assert_eq!(
        received[1].json(),
        serde_json::json!({"code":"code","openid":"oUSER"})
    );
}

#[tokio::test]
async fn a_phone_number_of_another_mini_program_is_refused() {
    let server = Server::start(|received, _| match received.path() {
        "/cgi-bin/stable_token" => Scripted::json(r#"{"access_token":"T","expires_in":7200}"#),
        _ => Scripted::json(
            r#"{"phone_info":{"phoneNumber":"1","purePhoneNumber":"1","countryCode":"86","watermark":{"timestamp":1,"appid":"wxother"}}}"#,
        ),
    })
    .await;
    let error = client(&server).phone_number("code", None).await;
    assert!(matches!(error.unwrap_err(), ApiError::Incomplete(_)));
}
