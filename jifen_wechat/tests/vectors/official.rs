//! `wechat_oa_callbacks.json`.

use std::sync::Arc;

use jifen_wechat::official::{
    MessageCrypto, OfficialAccount, OfficialAccountConfig, Push, PushContent, PushQuery,
    PushRefusal, XmlRefusal,
};
use jifen_wechat::token::MemoryTokenStore;
use serde_json::Value;

use crate::environment::{FixedEnvironment, http_client};
use crate::text;

fn client(file: &Value, environment: FixedEnvironment, is_encrypted: bool) -> OfficialAccount {
    let mut config = OfficialAccountConfig::new(
        text(file, "appid"),
        "unused".into(),
        text(file, "token").into(),
    );
    if is_encrypted {
        config = config.encrypted(text(file, "encoding_aes_key").into(), None);
    }
    OfficialAccount::new(
        config,
        http_client(),
        Arc::new(environment),
        Arc::new(MemoryTokenStore::default()),
    )
    .unwrap()
}

fn crypto(samples: &Value) -> MessageCrypto {
    MessageCrypto::new(
        text(samples, "appid"),
        text(samples, "token").into(),
        &[text(samples, "encoding_aes_key").into()],
    )
    .unwrap()
}

fn random16(value: &Value) -> [u8; 16] {
    text(value, "random16").as_bytes().try_into().unwrap()
}

pub(crate) fn server_verification(file: &Value, case: &Value) {
    let config = OfficialAccountConfig::new(
        text(file, "appid"),
        "unused".into(),
        text(case, "token").into(),
    );
    let account = OfficialAccount::new(
        config,
        http_client(),
        Arc::new(FixedEnvironment::at(0)),
        Arc::new(MemoryTokenStore::default()),
    )
    .unwrap();
    // The documentation's sample shows no echostr; any does.
    let echostr = case["echostr"].as_str().unwrap_or("echo");
    let query = PushQuery {
        signature: text(case, "signature").into(),
        timestamp: text(case, "timestamp").into(),
        nonce: text(case, "nonce").into(),
        echostr: Some(echostr.into()),
        ..PushQuery::default()
    };
    match text(case, "expect") {
        "accept" => assert_eq!(account.verify_server(&query), Ok(echostr)),
        "reject" => assert_eq!(account.verify_server(&query), Err(PushRefusal::Signature)),
        other => panic!("unknown expectation {other}"),
    }
}

fn receive(file: &Value, case: &Value) -> Result<Push, PushRefusal> {
    let query: PushQuery = serde_json::from_value(case["query"].clone()).unwrap();
    let signed_at = query.timestamp.parse().unwrap();
    client(file, FixedEnvironment::at(signed_at), true)
        .receive(&query, text(case, "body").as_bytes())
}

pub(crate) fn inbound(file: &Value, case: &Value) {
    let outcome = receive(file, case);
    let refusal = match text(case, "expect") {
        "accept" => return accepted(file, case, &outcome.unwrap()),
        "reject_signature" => PushRefusal::Signature,
        "reject_appid" => PushRefusal::OtherApp,
        other => panic!("unknown expectation {other}"),
    };
    assert_eq!(outcome, Err(refusal));
}

fn accepted(file: &Value, case: &Value, push: &Push) {
    assert_eq!(push.account, text(file, "original_id"));
    assert_eq!(push.openid.as_str(), text(&case["query"], "openid"));
    assert_eq!(push.created_at_unix_seconds, 1_705_291_200);
    // What the elements say, taken out of the plaintext without a parser.
    let plaintext = text(case, "plaintext");
    let element = |name: &str| {
        let (_, rest) = plaintext.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        let content = content
            .strip_prefix("<![CDATA[")
            .and_then(|content| content.strip_suffix("]]>"))
            .unwrap_or(content);
        Some(content.to_owned())
    };
    let expected = match text(case, "name") {
        "scan_event_already_following" => PushContent::Scan {
            scene: "login:3f6d".into(),
            ticket: element("Ticket").unwrap(),
        },
        "subscribe_event_through_login_qr" => PushContent::Subscribe {
            scene: Some("login:3f6d".into()),
            ticket: element("Ticket"),
        },
        "plain_subscribe_without_qr" => PushContent::Subscribe {
            scene: None,
            ticket: None,
        },
        "unsubscribe" => PushContent::Unsubscribe,
        "text_chinese_emoji_and_markup" => PushContent::Text {
            text: "你好 <b>&amp; 🎉".into(),
        },
        "template_send_job_finish" => PushContent::TemplateSent {
            message_id: 200_163_836,
            status: "success".into(),
        },
        other => panic!("unknown case {other}"),
    };
    assert!(push.content == expected, "{}", text(case, "name"));
}

pub(crate) fn reply(file: &Value, case: &Value) {
    // The answer to a push sealed with the same nonce.
    let scan = file["secure_mode_inbound_cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|inbound| inbound["name"] == "scan_event_already_following")
        .unwrap();
    let push = receive(file, scan).unwrap();
    let now = text(case, "timestamp").parse().unwrap();
    let mut environment = FixedEnvironment::at(now);
    environment.random = Some(b"7f0c1d2e3b4a5968");
    assert_eq!(text(case, "random16"), "7f0c1d2e3b4a5968");
    let reply = client(file, environment, true)
        .reply_text(&push, "登录成功")
        .unwrap();
    assert_eq!(String::from_utf8(reply).unwrap(), text(case, "reply_xml"));

    let crypto = crypto(file);
    let (timestamp, nonce) = (text(case, "timestamp"), text(case, "nonce"));
    let plaintext = text(case, "plaintext_reply");
    let sealed = crypto
        .seal(0, random16(case), (timestamp, nonce), plaintext.as_bytes())
        .unwrap();
    assert_eq!(sealed.encrypt, text(case, "encrypt"));
    assert_eq!(sealed.msg_signature, text(case, "msg_signature"));
    let opened = crypto
        .open(timestamp, nonce, &sealed.msg_signature, &sealed.encrypt)
        .unwrap();
    assert_eq!(opened.plaintext, plaintext.as_bytes());
}

pub(crate) fn hostile(file: &Value, case: &Value) {
    assert_eq!(
        text(case, "expect"),
        "reject_without_reading_files_or_expanding"
    );
    // A valid signature in plain mode, taken from another case: it does not cover the body.
    let signed = &file["server_verification_cases"][0];
    let query = PushQuery {
        signature: text(signed, "signature").into(),
        timestamp: text(signed, "timestamp").into(),
        nonce: text(signed, "nonce").into(),
        ..PushQuery::default()
    };
    let signed_at = query.timestamp.parse().unwrap();
    let account = client(file, FixedEnvironment::at(signed_at), false);
    assert_eq!(
        account.receive(&query, text(case, "body").as_bytes()),
        Err(PushRefusal::Xml(XmlRefusal::DocumentType))
    );
}

pub(crate) fn documented_inbound(file: &Value, case: &Value) {
    let opened = crypto(&file["official_documentation_samples"])
        .open(
            text(case, "timestamp"),
            text(case, "nonce"),
            text(case, "msg_signature"),
            text(case, "encrypt"),
        )
        .unwrap();
    assert_eq!(opened.plaintext, text(case, "plaintext").as_bytes());
    assert_eq!(
        Some(opened.plaintext.len() as u64),
        case["msg_len"].as_u64()
    );
}

pub(crate) fn documented_reply(file: &Value, case: &Value) {
    let sealed = crypto(&file["official_documentation_samples"])
        .seal(
            0,
            random16(case),
            (text(case, "timestamp"), text(case, "nonce")),
            text(case, "plaintext").as_bytes(),
        )
        .unwrap();
    assert_eq!(sealed.encrypt, text(case, "encrypt"));
    assert_eq!(sealed.msg_signature, text(case, "msg_signature"));
}

pub(crate) fn wxjava(file: &Value, case: &Value) {
    let samples = &file["wxjava_samples"];
    let crypto = crypto(samples);
    let plaintext = text(case, "plaintext");
    let sealed = crypto
        .seal(0, random16(samples), ("1", "2"), plaintext.as_bytes())
        .unwrap();
    assert_eq!(sealed.encrypt, text(case, "encrypt"));
    let opened = crypto
        .open("1", "2", &sealed.msg_signature, text(case, "encrypt"))
        .unwrap();
    assert_eq!(opened.plaintext, plaintext.as_bytes());
}
