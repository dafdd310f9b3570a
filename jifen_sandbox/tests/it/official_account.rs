//! QR codes, pushes in three modes, replies, template messages.

use form_urlencoded::byte_serialize;
use jifen_sandbox::Kit;
use serde_json::{Value, json};

use crate::harness::{Integrator, Received, START, TestSandbox, sha1_sorted};

async fn qr_code(sandbox: &TestSandbox, scene: &str) -> Value {
    let token = sandbox.account_token().await;
    let body = json!({"expire_seconds": 600, "action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": scene}}});
    sandbox
        .post(
            &format!("/cgi-bin/qrcode/create?access_token={token}"),
            body,
        )
        .await
        .json()
}

async fn openid_of(sandbox: &TestSandbox, person: &str) -> String {
    let person = sandbox
        .get(&format!("/sandbox/api/people/{person}"))
        .await
        .json();
    person["official_account_openid"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn assert_signed(received: &Received) {
    let (timestamp, nonce) = (received.parameter("timestamp"), received.parameter("nonce"));
    let right = sha1_sorted(&[Kit::builtin().official_account_token, timestamp, nonce]);
    assert_eq!(received.parameter("signature"), right);
    assert_eq!(timestamp, START.to_string());
}

#[tokio::test]
async fn a_follower_who_scans_causes_scan_and_another_person_subscribe() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    let code = qr_code(&sandbox, "login:3f6d").await;
    assert_eq!(code["expire_seconds"], 600);

    let scan = json!({"ticket": code["ticket"]});
    let pushed = sandbox
        .post("/sandbox/api/people/xiaoming/scan", scan)
        .await
        .json();
    assert_eq!(pushed["event"], "SCAN");
    let by_url = json!({"ticket": code["url"]});
    assert_eq!(
        sandbox
            .post("/sandbox/api/people/xiaohong/scan", by_url)
            .await
            .json()["event"],
        "subscribe"
    );
    let flushed = sandbox
        .post("/sandbox/api/outbox/flush", json!({}))
        .await
        .json();
    assert_eq!(flushed["accepted"], 2);

    let scanned = integrator.got();
    assert_signed(&scanned);
    assert_eq!(
        scanned.element("ToUserName"),
        Kit::builtin().official_account_original_id
    );
    assert_eq!(
        scanned.element("FromUserName"),
        openid_of(&sandbox, "xiaoming").await
    );
    assert_eq!(scanned.parameter("openid"), scanned.element("FromUserName"));
    assert_eq!(
        (scanned.element("Event"), scanned.element("EventKey")),
        ("SCAN", "login:3f6d")
    );
    assert_eq!(scanned.element("Ticket"), code["ticket"]);
    let subscribed = integrator.got();
    assert_eq!(
        (subscribed.element("Event"), subscribed.element("EventKey")),
        ("subscribe", "qrscene_login:3f6d")
    );
    assert_eq!(subscribed.element("Ticket"), code["ticket"]);
}

#[tokio::test]
async fn the_code_is_an_image_for_whoever_encodes_its_ticket() {
    let sandbox = TestSandbox::start().await;
    let code = qr_code(&sandbox, "s").await;
    let ticket = code["ticket"].as_str().unwrap();
    let encoded: String = byte_serialize(ticket.as_bytes()).collect();
    let image = sandbox
        .get(&format!("/cgi-bin/showqrcode?ticket={encoded}"))
        .await;
    assert_eq!(
        (image.status, &image.headers["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    assert!(image.body.starts_with(b"\x89PNG\r\n\x1a\n"));
    assert_eq!(
        sandbox
            .get(&format!("/cgi-bin/showqrcode?ticket={ticket}"))
            .await
            .status,
        404
    );
    let reason = sandbox.newest_refusal().await["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("not URL-encoded"), "{reason}");
    let page = sandbox
        .send(sandbox.http.get(code["url"].as_str().unwrap()))
        .await;
    assert!(page.status == 200 && page.text().contains("小红"));
}

#[tokio::test]
async fn an_expired_code_cannot_be_scanned() {
    let sandbox = TestSandbox::start().await;
    let code = qr_code(&sandbox, "s").await;
    sandbox.clock.advance(600);
    let answer = sandbox
        .post(
            "/sandbox/api/people/xiaoming/scan",
            json!({"ticket": code["ticket"]}),
        )
        .await;
    assert_eq!(answer.status, 409);
}

#[tokio::test]
async fn a_flat_scene_id_is_taken_and_carries_zero() {
    let sandbox = TestSandbox::start().await;
    let token = sandbox.account_token().await;
    let path = format!("/cgi-bin/qrcode/create?access_token={token}");
    let flat = json!({"action_name": "QR_SCENE", "action_info": {"scene_id": 100_601}});
    let code = sandbox.post(&path, flat).await.json();
    assert_eq!(code["expire_seconds"], 60);
    let codes = sandbox
        .get("/sandbox/api/official-account/qr-codes")
        .await
        .json();
    assert_eq!(codes[0]["scene"], "0");
    for wrong in [
        json!({"action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": ""}}}),
        json!({"action_name": "QR_SCENE", "action_info": {"scene": {"scene_id": 0}}}),
        json!({"action_name": "QR_SCENE", "expire_seconds": 2_592_001, "action_info": {"scene": {"scene_id": 1}}}),
        json!({"action_name": "QR", "action_info": {}}),
    ] {
        assert!(
            sandbox.post(&path, wrong.clone()).await.json()["errcode"].is_i64(),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn secure_mode_hides_the_message_and_compatible_mode_shows_it_too() {
    let sandbox = TestSandbox::start().await;
    for (mode, in_clear) in [("secure", false), ("compatible", true)] {
        let mut integrator = sandbox.integrator(mode).await;
        sandbox
            .post(
                "/sandbox/api/people/xiaoming/messages",
                json!({"text": "你好 ]]> <b>"}),
            )
            .await;
        sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
        let received = integrator.got();
        assert_signed(&received);
        assert_eq!(received.parameter("encrypt_type"), "aes");
        assert_eq!(
            received.element("ToUserName"),
            Kit::builtin().official_account_original_id
        );
        assert_eq!(!received.element("FromUserName").is_empty(), in_clear);
        let encrypted = received.element("Encrypt");
        let (timestamp, nonce) = (received.parameter("timestamp"), received.parameter("nonce"));
        let right = sha1_sorted(&[
            Kit::builtin().official_account_token,
            timestamp,
            nonce,
            encrypted,
        ]);
        assert_eq!(received.parameter("msg_signature"), right);
    }
}

fn reply(openid: &str, from: &str, text: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{openid}]]></ToUserName><FromUserName><![CDATA[{from}]]></FromUserName>\
         <CreateTime>1705291201</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content></xml>"
    )
}

async fn say_and_hear(sandbox: &TestSandbox, integrator: &mut Integrator, answer: &str) -> Value {
    integrator.will_answer(200, answer);
    sandbox
        .post(
            "/sandbox/api/people/xiaoming/messages",
            json!({"text": "hello"}),
        )
        .await;
    sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
    assert!(integrator.got().element("MsgId").parse::<u64>().unwrap() > u64::from(u32::MAX));
    let chat = sandbox
        .get("/sandbox/api/people/xiaoming/messages")
        .await
        .json();
    chat.as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn a_passive_reply_appears_in_the_chat_and_a_malformed_one_as_out_of_service() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    let openid = openid_of(&sandbox, "xiaoming").await;
    let account = Kit::builtin().official_account_original_id;

    let heard = say_and_hear(
        &sandbox,
        &mut integrator,
        &reply(&openid, account, "登录成功"),
    )
    .await;
    assert_eq!(
        (&heard["from"], &heard["text"]),
        (&json!("account"), &json!("登录成功"))
    );
    let heard = say_and_hear(&sandbox, &mut integrator, "success").await;
    assert_eq!(heard["from"], "person");
    let heard = say_and_hear(&sandbox, &mut integrator, "{\"code\":0}").await;
    assert_eq!(heard["from"], "wechat");
    let heard = say_and_hear(
        &sandbox,
        &mut integrator,
        &reply(account, &openid, "names not swapped"),
    )
    .await;
    assert_eq!(heard["from"], "wechat");
    let refusal = sandbox.newest_refusal().await;
    assert_eq!(
        TestSandbox::compared(&refusal, "ToUserName"),
        (openid.as_str(), account)
    );
    assert!(integrator.got_nothing_more());
}

#[tokio::test]
async fn in_secure_mode_a_reply_in_clear_or_badly_signed_is_refused() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("secure").await;
    let openid = openid_of(&sandbox, "xiaoming").await;
    let clear = reply(&openid, Kit::builtin().official_account_original_id, "x");
    let answer = |body: &str| format!("<xml>{body}</xml>");
    let bad = answer(
        "<Encrypt>AAAA</Encrypt><MsgSignature>00ff</MsgSignature><TimeStamp>1705291201</TimeStamp><Nonce>1</Nonce>",
    );
    for body in [clear, bad] {
        integrator.will_answer(200, body);
        sandbox
            .post(
                "/sandbox/api/people/xiaoming/messages",
                json!({"text": "hello"}),
            )
            .await;
        sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
        integrator.got();
        let chat = sandbox
            .get("/sandbox/api/people/xiaoming/messages")
            .await
            .json();
        assert_eq!(chat.as_array().unwrap().last().unwrap()["from"], "wechat");
    }
    let refusal = sandbox.newest_refusal().await;
    let right = sha1_sorted(&[
        Kit::builtin().official_account_token,
        "1705291201",
        "1",
        "AAAA",
    ]);
    assert_eq!(
        TestSandbox::compared(&refusal, "MsgSignature"),
        (right.as_str(), "00ff")
    );
}

#[tokio::test]
async fn an_unanswered_message_is_delivered_three_times_and_then_the_user_is_told() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    (0..3).for_each(|_| integrator.will_answer(500, "down"));
    sandbox
        .post(
            "/sandbox/api/people/xiaoming/messages",
            json!({"text": "hello"}),
        )
        .await;
    let mut ids = Vec::new();
    for (after, attempts) in [(0, 1), (4, 0), (1, 1), (5, 1), (3_600, 0)] {
        sandbox.clock.advance(after);
        let done = sandbox
            .post("/sandbox/api/outbox/deliver-due", json!({}))
            .await
            .json();
        assert_eq!(done["failed"], attempts, "after {after} s");
        (0..attempts).for_each(|_| ids.push(integrator.got().element("MsgId").to_owned()));
    }
    assert_eq!((ids.len(), &ids[0], &ids[1]), (3, &ids[1], &ids[2]));
    let notification = sandbox.get("/sandbox/api/notifications").await.json()[0].clone();
    assert_eq!(notification["state"], "given_up");
    let chat = sandbox
        .get("/sandbox/api/people/xiaoming/messages")
        .await
        .json();
    assert_eq!(chat.as_array().unwrap().last().unwrap()["from"], "wechat");
}

#[tokio::test]
async fn a_template_message_reaches_a_follower_and_its_result_is_pushed() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    let token = sandbox.account_token().await;
    let path = format!("/cgi-bin/message/template/send?access_token={token}");
    let template_id = Kit::builtin().official_account_template_id;
    let openid = openid_of(&sandbox, "xiaoming").await;
    let message = |touser: &str, template_id: &str| {
        json!({
            "touser": touser, "template_id": template_id, "url": "https://shop.example", "client_msg_id": "m1",
            "data": {"user": {"value": "someone"}},
        })
    };
    let sent = sandbox
        .post(&path, message(&openid, template_id))
        .await
        .json();
    assert_eq!(sent["errcode"], 0);
    let again = sandbox
        .post(&path, message(&openid, template_id))
        .await
        .json();
    assert_eq!(again["msgid"], sent["msgid"]);
    sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
    let finished = integrator.got();
    assert_eq!(
        (finished.element("Event"), finished.element("Status")),
        ("TEMPLATESENDJOBFINISH", "success")
    );
    assert_eq!(finished.element("MsgID"), sent["msgid"].to_string());
    assert!(integrator.got_nothing_more());
    let chat = sandbox
        .get("/sandbox/api/people/xiaoming/messages")
        .await
        .json();
    assert_eq!(
        (&chat[0]["from"], &chat[0]["text"]),
        (&json!("template"), &json!("user: someone"))
    );

    let stranger = openid_of(&sandbox, "xiaohong").await;
    assert_eq!(
        sandbox
            .post(&path, message(&stranger, template_id))
            .await
            .json()["errcode"],
        43004
    );
    assert_eq!(
        sandbox.post(&path, message(&openid, "other")).await.json()["errcode"],
        40037
    );
    assert_eq!(
        sandbox
            .post(&path, message("nobody", template_id))
            .await
            .json()["errcode"],
        40003
    );
    let mut empty = message(&openid, template_id);
    empty["data"] = json!({"user": "someone"});
    assert_eq!(sandbox.post(&path, empty).await.json()["errcode"], 47003);
}

#[tokio::test]
async fn the_server_is_verified_by_its_echo() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    let verified = sandbox
        .post("/sandbox/api/official-account/verify", json!({}))
        .await
        .json();
    assert_eq!(verified["accepted"], true);
    let asked = integrator.got();
    assert_eq!(asked.method, "GET");
    assert_signed(&asked);
    integrator.will_answer(200, "something else");
    let refused = sandbox
        .post("/sandbox/api/official-account/verify", json!({}))
        .await
        .json();
    assert_eq!(refused["accepted"], false);
    let echostr = integrator.got().parameter("echostr").to_owned();
    let refusal = sandbox.newest_refusal().await;
    let compared = TestSandbox::compared(&refusal, "echostr");
    assert_eq!(
        compared,
        (
            format!("status 200, {echostr}").as_str(),
            "status 200, something else"
        )
    );
}

#[tokio::test]
async fn follower_information_is_told_of_followers_only() {
    let sandbox = TestSandbox::start().await;
    let token = sandbox.account_token().await;
    for (person, subscribe) in [("xiaoming", 1), ("xiaohong", 0)] {
        let openid = openid_of(&sandbox, person).await;
        let info = sandbox
            .get(&format!(
                "/cgi-bin/user/info?access_token={token}&openid={openid}"
            ))
            .await
            .json();
        assert_eq!(
            (&info["subscribe"], info["unionid"].is_string()),
            (&json!(subscribe), subscribe == 1)
        );
    }
}
