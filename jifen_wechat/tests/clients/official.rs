//! QR codes, template messages, followers, and the modes of pushes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jifen_wechat::official::{
    MessageCrypto, OfficialAccount, OfficialAccountConfig, PushContent, PushQuery, PushRefusal,
    TemplateMessage, XmlRefusal,
};
use jifen_wechat::token::MemoryTokenStore;
use jifen_wechat::{ApiError, Private, RefusalKind, TransportError};
use serde_json::json;

use crate::environment::{FixedEnvironment, http_client};
use crate::server::{Received, Scripted, Server};

const APP_ID: &str = "wx5823bf96d3bd56c7";
const CURRENT_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const PREVIOUS_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

fn account(change: impl FnOnce(OfficialAccountConfig) -> OfficialAccountConfig) -> OfficialAccount {
    let mut config =
        OfficialAccountConfig::new(APP_ID, "secret".into(), "TestOnlyToken2024".into());
    config.limits.retry_delay = Duration::ZERO;
    OfficialAccount::new(
        change(config),
        http_client(),
        Arc::new(FixedEnvironment::at(1_705_291_201)),
        Arc::new(MemoryTokenStore::default()),
    )
    .unwrap()
}

async fn with_server(
    answer: impl Fn(&Received) -> Scripted + Send + Sync + 'static,
) -> (OfficialAccount, Server) {
    let server = Server::start(move |received, _| match received.path() {
        "/cgi-bin/stable_token" => Scripted::json(r#"{"access_token":"T","expires_in":7200}"#),
        _ => answer(received),
    })
    .await;
    (account_at(&server, |_| {}), server)
}

fn account_at(server: &Server, change: impl FnOnce(&mut OfficialAccountConfig)) -> OfficialAccount {
    account(|mut config| {
        config.api_base = server.base.clone();
        change(&mut config);
        config
    })
}

#[tokio::test]
async fn a_login_code_carries_its_scene_nested() {
    let (account, server) = with_server(|_| {
        Scripted::json(
            r#"{"ticket":"gQH4+/==","expire_seconds":600,"url":"http://weixin.qq.com/q/x"}"#,
        )
    })
    .await;
    let code = account.create_login_qr("login:3f6d", 600).await.unwrap();
    assert_eq!(code.ticket, "gQH4+/==");
    assert_eq!(code.expires_in_seconds, 600);
    assert!(!format!("{code:?}").contains("gQH4"));
    let received = &server.received()[1];
    assert_eq!(received.target, "/cgi-bin/qrcode/create?access_token=T");
    assert_eq!(
        received.json(),
        json!({"expire_seconds":600,"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_str":"login:3f6d"}}})
    );
    assert_eq!(
        account.qr_image_url(&code.ticket).as_str(),
        "https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket=gQH4%2B%2F%3D%3D"
    );
}

#[tokio::test]
async fn scenes_and_life_times_wechat_would_refuse_are_not_sent() {
    let (account, server) = with_server(|_| Scripted::Silence).await;
    for (scene, seconds) in [("", 60), (&*"s".repeat(65), 60), ("s", 0), ("s", 2_592_001)] {
        let error = account.create_login_qr(scene, seconds).await.unwrap_err();
        assert!(
            matches!(error, ApiError::Argument { .. }),
            "{scene} {seconds}"
        );
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_stranger_is_told_from_a_follower() {
    let (account, server) = with_server(|received| {
        if received.target.contains("oFOLLOWER") {
            Scripted::json(
                r#"{"subscribe":1,"openid":"oFOLLOWER","unionid":"uU","subscribe_time":1705291200,"nickname":""}"#,
            )
        } else {
            Scripted::json(r#"{"subscribe":0,"openid":"oSTRANGER"}"#)
        }
    })
    .await;
    let follower = account.user_info(&"oFOLLOWER".into()).await.unwrap();
    assert!(follower.is_following);
    assert_eq!(follower.unionid, Some("uU".into()));
    assert_eq!(follower.followed_at_unix_seconds, Some(1_705_291_200));
    let stranger = account.user_info(&"oSTRANGER".into()).await.unwrap();
    assert!(!stranger.is_following);
    assert_eq!(stranger.unionid, None);
    assert_eq!(
        server.received()[1].target,
        "/cgi-bin/user/info?access_token=T&openid=oFOLLOWER&lang=zh_CN"
    );
}

fn message(client_msg_id: Option<&str>) -> TemplateMessage {
    TemplateMessage {
        template_id: "TM1".into(),
        url: Some("https://shop.example/".into()),
        data: BTreeMap::from([("user".into(), "小明".into())]),
        client_msg_id: client_msg_id.map(Into::into),
        ..TemplateMessage::default()
    }
}

#[tokio::test]
async fn a_template_message_is_sent_as_documented() {
    let (account, server) =
        with_server(|_| Scripted::json(r#"{"errcode":0,"errmsg":"ok","msgid":200228332}"#)).await;
    let openid = Private::from("oUSER");
    let sent = account
        .send_template(&openid, &message(Some("login-1")))
        .await;
    assert_eq!(sent.unwrap(), 200_228_332);
    assert_eq!(
        server.received()[1].json(),
        json!({"touser":"oUSER","template_id":"TM1","url":"https://shop.example/","client_msg_id":"login-1","data":{"user":{"value":"小明"}}})
    );
}

#[tokio::test]
async fn a_template_message_is_repeated_only_with_an_id_by_which_wechat_knows_it() {
    for (client_msg_id, attempts) in [(None, 1), (Some("id"), 3)] {
        let (_, server) = with_server(|_| Scripted::Silence).await;
        let impatient = account_at(&server, |config| {
            config.limits.timeout = Duration::from_millis(300);
        });
        let error = impatient
            .send_template(&"oUSER".into(), &message(client_msg_id))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            ApiError::Transport(TransportError::TimedOut { .. })
        ));
        assert_eq!(server.count("/cgi-bin/message/template/send"), attempts);
    }
}

#[tokio::test]
async fn a_receiver_who_does_not_follow_is_named_as_such() {
    for (code, kind) in [
        (43004, RefusalKind::NotFollowing),
        (40003, RefusalKind::OpenidUnknown),
        (40037, RefusalKind::Template),
        (43101, RefusalKind::ReceiverRefuses),
    ] {
        let body = format!(r#"{{"errcode":{code},"errmsg":"x"}}"#);
        let (account, _server) = with_server(move |_| Scripted::json(&body)).await;
        let error = account
            .send_template(&"oUSER".into(), &message(None))
            .await
            .unwrap_err();
        assert_eq!(error.refusal_kind(), Some(kind));
    }
}

/// The query of `wechat_oa_callbacks.json`: signed with the token above, for any body.
fn plain_query() -> PushQuery {
    PushQuery {
        signature: "f0cfb2cf84db1239a9108f8fd3a58d98e10dfaf9".into(),
        timestamp: "1705291200".into(),
        nonce: "1320562132".into(),
        ..PushQuery::default()
    }
}

const SCAN: &str = "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oUSER]]></FromUserName><CreateTime>1705291200</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event><EventKey><![CDATA[s]]></EventKey><Ticket><![CDATA[t]]></Ticket></xml>";

fn sealed_with(key: &str, plaintext: &str) -> (PushQuery, String) {
    let crypto = MessageCrypto::new(APP_ID, "TestOnlyToken2024".into(), &[key.into()]).unwrap();
    let mut query = plain_query();
    let sealed = crypto
        .seal(
            0,
            *b"0123456789abcdef",
            (&query.timestamp, &query.nonce),
            plaintext.as_bytes(),
        )
        .unwrap();
    query.encrypt_type = Some("aes".into());
    query.msg_signature = Some(sealed.msg_signature);
    (query, sealed.encrypt)
}

#[test]
fn plain_mode_is_answered_in_plain() {
    let account = account(|config| config);
    let push = account.receive(&plain_query(), SCAN.as_bytes()).unwrap();
    assert_eq!(push.scanned_code(), Some(("s", "t")));
    let reply = account.reply_text(&push, "ok ]]> <b>").unwrap();
    assert_eq!(
        String::from_utf8(reply).unwrap(),
        "<xml>\n<ToUserName><![CDATA[oUSER]]></ToUserName>\n<FromUserName><![CDATA[gh_1]]></FromUserName>\n<CreateTime>1705291201</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[ok ]]]]><![CDATA[> <b>]]></Content>\n</xml>"
    );
    assert!(!format!("{push:?}").contains("oUSER"));
}

#[test]
fn an_account_with_a_key_refuses_plain_messages_because_their_body_is_not_signed() {
    let account = account(|config| config.encrypted(CURRENT_KEY.into(), None));
    assert_eq!(
        account.receive(&plain_query(), SCAN.as_bytes()),
        Err(PushRefusal::NotEncrypted)
    );
}

#[test]
fn a_message_sealed_with_the_previous_key_is_answered_with_the_previous_key() {
    let account = account(|config| config.encrypted(CURRENT_KEY.into(), Some(PREVIOUS_KEY.into())));
    for key in [CURRENT_KEY, PREVIOUS_KEY] {
        let (query, encrypt) = sealed_with(key, SCAN);
        let body = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>");
        let push = account.receive(&query, body.as_bytes()).unwrap();
        let reply = String::from_utf8(account.reply_text(&push, "hello").unwrap()).unwrap();
        let element = |name: &str| {
            let (_, rest) = reply.split_once(&format!("<{name}>")).unwrap();
            let (content, _) = rest.split_once(&format!("</{name}>")).unwrap();
            content
                .trim_start_matches("<![CDATA[")
                .trim_end_matches("]]>")
                .to_owned()
        };
        let crypto = MessageCrypto::new(APP_ID, "TestOnlyToken2024".into(), &[key.into()]).unwrap();
        let opened = crypto
            .open(
                &element("TimeStamp"),
                &element("Nonce"),
                &element("MsgSignature"),
                &element("Encrypt"),
            )
            .unwrap();
        let plaintext = String::from_utf8(opened.plaintext).unwrap();
        assert!(plaintext.contains("<![CDATA[hello]]>"), "{plaintext}");
        assert_eq!(element("Nonce"), query.nonce);
    }
}

#[test]
fn a_key_that_is_no_longer_configured_does_not_open_anything() {
    let account = account(|config| config.encrypted(CURRENT_KEY.into(), None));
    let (query, encrypt) = sealed_with(PREVIOUS_KEY, SCAN);
    let body = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>");
    assert_eq!(
        account.receive(&query, body.as_bytes()),
        Err(PushRefusal::Decrypt)
    );
}

#[test]
fn in_compatible_mode_the_encrypted_part_counts() {
    let (query, encrypt) = sealed_with(CURRENT_KEY, SCAN);
    let forged = SCAN.replace("oUSER", "oFORGED");
    let body = forged.replace("</xml>", &format!("<Encrypt>{encrypt}</Encrypt></xml>"));
    let with_key = account(|config| config.encrypted(CURRENT_KEY.into(), None));
    let push = with_key.receive(&query, body.as_bytes()).unwrap();
    assert_eq!(push.openid.as_str(), "oUSER");
    // Without a key only the plain part can be read, as in plain mode.
    let without_key = account(|config| config);
    let push = without_key.receive(&query, body.as_bytes()).unwrap();
    assert_eq!(push.openid.as_str(), "oFORGED");
    let sealed_only = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>");
    assert_eq!(
        without_key.receive(&query, sealed_only.as_bytes()),
        Err(PushRefusal::NoKey)
    );
}

#[test]
fn a_repeated_delivery_has_the_same_key_and_another_message_another() {
    let account = account(|config| config);
    let key = |body: &str| {
        let push = account.receive(&plain_query(), body.as_bytes()).unwrap();
        push.dedupe_key()
    };
    let text = |id: u64| {
        format!(
            "<xml><ToUserName>gh_1</ToUserName><FromUserName>oUSER</FromUserName><CreateTime>1</CreateTime><MsgType>text</MsgType><Content>x</Content><MsgId>{id}</MsgId></xml>"
        )
    };
    assert_eq!(key(SCAN), key(SCAN));
    assert_eq!(key(SCAN).len(), 64);
    assert_ne!(key(SCAN), key(&SCAN.replace("1705291200", "1705291201")));
    assert_ne!(key(SCAN), key(&SCAN.replace("[t]", "[u]")));
    assert_ne!(key(SCAN), key(&SCAN.replace("oUSER", "oOTHER")));
    assert_eq!(key(&text(7)), key(&text(7)));
    assert_ne!(key(&text(7)), key(&text(8)));
}

#[test]
fn other_messages_are_named_and_incomplete_ones_refused() {
    let account = account(|config| config);
    let receive = |body: &str| account.receive(&plain_query(), body.as_bytes());
    let view = SCAN.replace("[SCAN]", "[VIEW]");
    let other = PushContent::Other {
        message_type: "event".into(),
        event: Some("VIEW".into()),
    };
    assert!(receive(&view).unwrap().content == other);
    let without_ticket = SCAN.replace("<Ticket><![CDATA[t]]></Ticket>", "");
    assert_eq!(
        receive(&without_ticket),
        Err(PushRefusal::Element("Ticket"))
    );
    let without_sender = SCAN.replace("oUSER", "");
    assert_eq!(
        receive(&without_sender),
        Err(PushRefusal::Element("FromUserName"))
    );
    let late = SCAN.replace("1705291200", "soon");
    assert_eq!(receive(&late), Err(PushRefusal::Element("CreateTime")));
    let large = format!("{SCAN}{}", " ".repeat(70_000));
    assert_eq!(receive(&large), Err(PushRefusal::Xml(XmlRefusal::TooLarge)));
    let mut query = plain_query();
    query.nonce.push('0');
    assert_eq!(
        account.receive(&query, SCAN.as_bytes()),
        Err(PushRefusal::Signature)
    );
}

#[test]
fn an_unusable_key_is_named_without_being_shown() {
    let short = "abcdefghijklmnopqrstuvwxyz";
    let config = OfficialAccountConfig::new(APP_ID, "secret".into(), "token".into())
        .encrypted(short.into(), None);
    let error = OfficialAccount::new(
        config,
        http_client(),
        Arc::new(FixedEnvironment::at(0)),
        Arc::new(MemoryTokenStore::default()),
    )
    .unwrap_err();
    assert_eq!(error.setting, "EncodingAESKey");
    assert!(!format!("{error} {error:?}").contains(short));
}
