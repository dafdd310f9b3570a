//! `/api/v1/weixin/portal/receive`.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use jifen::config::Config;
use jifen_sandbox::Kit;
use jifen_store::Engine;
use jifen_wechat::official::MessageCrypto;
use serde_json::{Value, json};

use crate::world::{Answer, World, encode, on_both_engines};

const PORTAL: &str = "/api/v1/weixin/portal/receive";
const OPENID: &str = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";
const TIMESTAMP: &str = "1768449600";
const NONCE: &str = "486452656";

on_both_engines!(
    a_scan_is_answered_and_logs_in_however_messages_are_sent,
    following_through_a_code_logs_in_as_scanning_does,
    a_message_delivered_three_times_is_handled_once_and_answered_the_same,
    a_code_that_expired_is_told_to_whoever_scans_it,
    a_text_is_answered_with_a_greeting,
    other_events_are_acknowledged,
    a_login_is_followed_by_one_template_message,
    a_login_does_not_wait_for_a_wechat_that_is_down,
);

/// `lowercase_hex(SHA1(concat(sort(parts))))`.
fn signature(parts: &[&str]) -> String {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, sorted.concat().as_bytes());
    let pairs: Vec<String> = sha1
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pairs.concat()
}

/// The query of a request that WeChat has signed.
fn signed_query(timestamp: &str) -> String {
    let signature = signature(&[Kit::builtin().official_account_token, timestamp, NONCE]);
    format!("signature={signature}&timestamp={timestamp}&nonce={NONCE}&openid={OPENID}")
}

/// Pushes a body in plain mode.
async fn push(world: &World, body: impl Into<reqwest::Body>) -> Answer {
    push_signed_at(world, world.clock.now().seconds(), body).await
}

async fn push_signed_at(world: &World, seconds: i64, body: impl Into<reqwest::Body>) -> Answer {
    let query = signed_query(&seconds.to_string());
    let request = world.post_text(&format!("{PORTAL}?{query}"), body);
    request.header("content-type", "text/xml").send().await
}

/// The XML of a message whose elements after `CreateTime` are given.
fn message(elements: &str) -> String {
    let account = Kit::builtin().official_account_original_id;
    format!(
        "<xml>\n  <ToUserName><![CDATA[{account}]]></ToUserName>\n  <FromUserName><![CDATA[{OPENID}]]></FromUserName>\n  \
         <CreateTime>1768449600</CreateTime>\n  {elements}\n</xml>"
    )
}

fn scan(ticket: &str) -> String {
    let event = "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[SCAN]]></Event><EventKey><![CDATA[login_1]]></EventKey>";
    message(&format!("{event}<Ticket><![CDATA[{ticket}]]></Ticket>"))
}

fn text(content: &str, message_id: u64) -> String {
    message(&format!(
        "<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content}]]></Content><MsgId>{message_id}</MsgId>"
    ))
}

fn assert_forbidden(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 403, "{why}: {}", answer.text);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; charset=utf-8",
        "{why}"
    );
    assert!(!answer.text.contains('<'), "{why}: {}", answer.text);
}

/// The text of a passive reply to [`OPENID`], which is held against the document's form.
fn replied(answer: &Answer) -> String {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/xml; charset=UTF-8"),
        "{}",
        answer.text
    );
    let element = |name: &str| {
        let (_, rest) = answer.text.split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0
    };
    assert!(
        answer.text.starts_with("<xml>") && answer.text.trim_end().ends_with("</xml>"),
        "{}",
        answer.text
    );
    assert_eq!(
        element("ToUserName"),
        format!("<![CDATA[{OPENID}]]>"),
        "the names change places"
    );
    assert_eq!(
        element("FromUserName"),
        format!(
            "<![CDATA[{}]]>",
            Kit::builtin().official_account_original_id
        )
    );
    assert!(
        element("CreateTime")
            .parse::<i64>()
            .is_ok_and(|at| at >= 1_768_449_600),
        "{}",
        answer.text
    );
    assert_eq!(element("MsgType"), "<![CDATA[text]]>");
    let content = element("Content")
        .strip_prefix("<![CDATA[")
        .and_then(|content| content.strip_suffix("]]>"));
    content.unwrap().replace("]]]]><![CDATA[>", "]]>")
}

#[tokio::test]
async fn the_server_check_echoes_only_to_wechat() {
    let world = World::start(Engine::Sqlite).await;
    let good = signed_query(TIMESTAMP);
    for echo in ["5927782489442352469", "<script>alert(1)</script>", "你好"] {
        let answer = world
            .get(&format!("{PORTAL}?{good}&echostr={}", encode(echo)))
            .send()
            .await;
        assert_eq!((answer.status, answer.text.as_str()), (200, echo));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let wrong = signature(&["another token", TIMESTAMP, NONCE]);
    let right = signature(&[Kit::builtin().official_account_token, TIMESTAMP, NONCE]);
    for query in [
        format!("signature={wrong}&timestamp={TIMESTAMP}&nonce={NONCE}&echostr=echo"),
        format!(
            "signature={}&timestamp={TIMESTAMP}&nonce={NONCE}&echostr=echo",
            right.to_uppercase()
        ),
        format!("signature={right}&timestamp={TIMESTAMP}0&nonce={NONCE}&echostr=echo"),
        format!("signature={right}&nonce={NONCE}&echostr=echo"),
        format!("signature={right}&timestamp={TIMESTAMP}&echostr=echo"),
        format!("timestamp={TIMESTAMP}&nonce={NONCE}&echostr=echo"),
        good.clone(),
        "echostr=echo".to_owned(),
        String::new(),
    ] {
        let answer = world.get(&format!("{PORTAL}?{query}")).send().await;
        assert_forbidden(&answer, &query);
        assert!(!answer.text.contains("echo"), "{query}: {}", answer.text);
    }
    let own = world
        .sandbox_post("/official-account/verify", &json!({}))
        .await;
    assert_eq!(own["accepted"], true, "{own}");
    let forged = world
        .sandbox_post("/official-account/verify", &json!({ "badly_signed": true }))
        .await;
    assert_eq!(forged["accepted"], false, "{forged}");
}

async fn chat(world: &World, person: &str) -> Vec<(String, String)> {
    let lines = world
        .sandbox_get(&format!("/people/{person}/messages"))
        .await;
    let text = |line: &Value, member: &str| line[member].as_str().unwrap().to_owned();
    lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(line, "from"), text(line, "text")))
        .collect()
}

async fn a_scan_is_answered_and_logs_in_however_messages_are_sent(world: World) {
    let push_url = format!("{}{PORTAL}", world.mall);
    for mode in ["plain", "compatible", "secure"] {
        world
            .sandbox_put(
                "/official-account",
                &json!({ "push_url": push_url, "mode": mode }),
            )
            .await;
        let (ticket, _) = world.qr_ticket().await;
        world.scan("xiaoming", &ticket).await;
        let login = world.check_login(&ticket).await;
        assert_eq!(login.body["code"], "0000", "{mode}: {}", login.text);
        world
            .sandbox_post(
                "/people/xiaoming/messages",
                &json!({ "text": format!("我是 {mode} <&>") }),
            )
            .await;
        world.deliver_notifications().await;
        let last = chat(&world, "xiaoming").await;
        assert!(
            last.contains(&("account".to_owned(), "登录成功".to_owned())),
            "{mode}: {last:?}"
        );
        assert_eq!(
            last.last().unwrap(),
            &("account".to_owned(), format!("你好，我是 {mode} <&>"))
        );
        // Another second, for events are told apart by it.
        world.clock.advance_seconds(1);
    }
}

async fn following_through_a_code_logs_in_as_scanning_does(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    let subscribe = |rest: &str| {
        message(&format!(
            "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[subscribe]]></Event>{rest}"
        ))
    };
    let plain = push(&world, subscribe("<EventKey><![CDATA[]]></EventKey>")).await;
    assert_eq!(
        (plain.status, plain.text.as_str()),
        (200, "success"),
        "following alone is no login"
    );
    let body = subscribe(&format!(
        "<EventKey><![CDATA[qrscene_login_1]]></EventKey><Ticket><![CDATA[{ticket}]]></Ticket>"
    ));
    assert_eq!(replied(&push(&world, body).await), "登录成功");
    assert_eq!(world.check_login(&ticket).await.body["data"], OPENID);
}

async fn a_message_delivered_three_times_is_handled_once_and_answered_the_same(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    let first = push(&world, scan(&ticket)).await;
    assert_eq!(replied(&first), "登录成功");
    world.clock.advance_seconds(601);
    for _ in 0..2 {
        assert_eq!(
            replied(&push(&world, scan(&ticket)).await),
            "登录成功",
            "although the code has expired since"
        );
    }
    let (tickets, _) = world.qr_ticket().await;
    let at_once = tokio::join!(
        push(&world, scan(&tickets)),
        push(&world, scan(&tickets)),
        push(&world, scan(&tickets))
    );
    for answer in [at_once.0, at_once.1, at_once.2] {
        assert_eq!(replied(&answer), "登录成功");
    }
    let users = world
        .app
        .list_users(jifen_domain::UserId(10002), 10)
        .await
        .unwrap();
    assert_eq!(users.len(), 1, "one person came");
    world.assert_audit_is_clean().await;
}

async fn a_code_that_expired_is_told_to_whoever_scans_it(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    world.clock.advance_seconds(600);
    assert_eq!(
        replied(&push(&world, scan(&ticket)).await),
        "二维码已失效，请刷新页面后重新扫码"
    );
    assert_eq!(
        replied(&push(&world, scan("never-made")).await),
        "二维码已失效，请刷新页面后重新扫码"
    );
    assert_eq!(world.check_login(&ticket).await.body["code"], "0003");
    assert!(
        world
            .app
            .list_users(jifen_domain::UserId(10002), 10)
            .await
            .unwrap()
            .is_empty(),
        "nobody logged in"
    );
}

async fn a_text_is_answered_with_a_greeting(world: World) {
    for (id, said) in (1..).zip([
        "你好",
        "a < b && c > d \"e\" 'f'",
        "一\n二",
        "🙂",
        "{消息内容}",
    ]) {
        assert_eq!(
            replied(&push(&world, text(said, id)).await),
            format!("你好，{said}")
        );
        assert_eq!(
            replied(&push(&world, text(said, id)).await),
            format!("你好，{said}")
        );
    }
    assert_eq!(
        replied(&push(&world, text("a]]]]><![CDATA[>b", 77)).await),
        "你好，a]]>b",
        "it cannot leave its CDATA"
    );
    let entities = message(
        "<MsgType>text</MsgType><Content>&lt;b&gt; &#20320;&amp;</Content><MsgId>78</MsgId>",
    );
    assert_eq!(replied(&push(&world, entities).await), "你好，<b> 你&");
}

async fn other_events_are_acknowledged(world: World) {
    let event = |name: &str| {
        format!("<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{name}]]></Event>")
    };
    let others = [
        event("unsubscribe"),
        event("CLICK"),
        event("VIEW"),
        event("LOCATION"),
        event("scan"),
        event("an event of next year"),
        format!("{}<MsgID>200163836</MsgID><Status><![CDATA[failed:user block]]></Status>", event("TEMPLATESENDJOBFINISH")),
        "<MsgType><![CDATA[image]]></MsgType><PicUrl><![CDATA[http://x/]]></PicUrl><MsgId>1234567890123456</MsgId>".to_owned(),
        "<MsgType><![CDATA[voice]]></MsgType><MsgId>18446744073709551615</MsgId>".to_owned(),
    ];
    for elements in others {
        let answer = push(&world, message(&elements)).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, "success"),
            "{elements}"
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    world
        .sandbox_post("/people/xiaoming/unfollow", &json!({}))
        .await;
    world.deliver_notifications().await;
    let notifications = world.sandbox_get("/notifications").await;
    assert!(
        notifications
            .as_array()
            .unwrap()
            .iter()
            .all(|sent| sent["state"] == "delivered"),
        "{notifications}"
    );
}

async fn a_login_is_followed_by_one_template_message(world: World) {
    let messages = async || {
        chat(&world, "xiaoming")
            .await
            .iter()
            .filter(|(from, _)| from == "template")
            .count()
    };
    let (ticket, _) = world.qr_ticket().await;
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "notification_doubled", "count": 1 }),
        )
        .await;
    world.scan("xiaoming", &ticket).await;
    assert_eq!(messages().await, 0, "it does not delay the answer");
    world.do_jobs().await;
    world.deliver_notifications().await;
    world.do_jobs().await;
    assert_eq!(messages().await, 1);
    let openid = world.sandbox_get("/people/xiaoming").await["official_account_openid"]
        .as_str()
        .unwrap()
        .to_owned();
    let chat = chat(&world, "xiaoming").await;
    assert!(
        chat.iter()
            .any(|(from, text)| from == "template" && text.contains(&openid)),
        "{chat:?}"
    );

    // One that cannot be sent now is sent later, and the login has long succeeded.
    world.clock.advance_seconds(1);
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "provider_down", "provider": "official_account" }),
        )
        .await;
    let (ticket, _) = {
        world.sandbox_delete("/faults").await;
        let made = world.qr_ticket().await;
        world
            .sandbox_post(
                "/faults",
                &json!({ "kind": "provider_down", "provider": "official_account" }),
            )
            .await;
        made
    };
    world.scan("xiaoming", &ticket).await;
    world.do_jobs().await;
    assert_eq!(world.check_login(&ticket).await.body["code"], "0000");
    assert_eq!(messages().await, 1);
    world.sandbox_delete("/faults").await;
    world.clock.advance_seconds(3_600);
    world.do_jobs().await;
    assert_eq!(messages().await, 2);
    assert!(world.app.failed_jobs(10).await.unwrap().is_empty());
}

async fn a_login_does_not_wait_for_a_wechat_that_is_down(world: World) {
    for fault in [
        json!({ "kind": "provider_down", "provider": "official_account" }),
        json!({ "kind": "provider_nonsense", "provider": "official_account" }),
        json!({ "kind": "provider_closes_connection", "provider": "official_account" }),
        json!({ "kind": "provider_slow", "provider": "official_account", "seconds": 60 }),
    ] {
        let (ticket, _) = world.qr_ticket().await;
        world.sandbox_post("/faults", &fault).await;
        world.scan("xiaoming", &ticket).await;
        assert_eq!(
            world.check_login(&ticket).await.body["code"],
            "0000",
            "{fault}"
        );
        world.sandbox_delete("/faults").await;
        world.clock.advance_seconds(1);
    }
}

#[tokio::test]
async fn what_is_not_signed_by_wechat_is_forbidden() {
    let world = World::start(Engine::Sqlite).await;
    let (ticket, _) = world.qr_ticket().await;
    let signature = signature(&[Kit::builtin().official_account_token, TIMESTAMP, NONCE]);
    for query in [
        String::new(),
        format!("timestamp={TIMESTAMP}&nonce={NONCE}&openid={OPENID}"),
        format!("signature=&timestamp={TIMESTAMP}&nonce={NONCE}"),
        format!("signature={signature}&timestamp={TIMESTAMP}&nonce={NONCE}1"),
        format!("signature={signature}&timestamp=&nonce={NONCE}"),
        format!(
            "signature={}&timestamp={TIMESTAMP}&nonce={NONCE}",
            "0".repeat(40)
        ),
        format!(
            "signature={}&timestamp={TIMESTAMP}&nonce={NONCE}",
            "é".repeat(20)
        ),
    ] {
        let answer = world
            .post_text(&format!("{PORTAL}?{query}"), scan(&ticket))
            .send()
            .await;
        assert_forbidden(&answer, &query);
    }
    world
        .sandbox_post("/faults", &json!({ "kind": "notification_badly_signed" }))
        .await;
    world.scan("xiaoming", &ticket).await;
    assert_eq!(world.check_login(&ticket).await.body["code"], "0003");
}

#[tokio::test]
async fn hostile_bodies_are_forbidden() {
    let world = World::start(Engine::Sqlite).await;
    let good = text("x", 1);
    let entity = "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>";
    let laughs = "<!DOCTYPE l [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    for (body, why) in [
        (String::new(), "nothing"),
        ("success".to_owned(), "no XML"),
        ("{\"xml\":{}}".to_owned(), "JSON"),
        (good.replace("</xml>", ""), "broken off"),
        (
            good.replace("</Content>", ""),
            "an element that is not closed",
        ),
        (format!("{good}{good}"), "two roots"),
        (format!("{entity}{good}"), "a DOCTYPE"),
        (
            format!("{entity}{}", text("]]>&e;<![CDATA[", 1)),
            "an entity of its own",
        ),
        (
            format!("{laughs}{}", text("]]>&b;<![CDATA[", 1)),
            "an entity bomb",
        ),
        (text("]]>&unknown;<![CDATA[", 1), "an unknown entity"),
        (
            format!(
                "<xml>{}{}</xml>",
                "<a>".repeat(10_000),
                "</a>".repeat(10_000)
            ),
            "deep nesting",
        ),
        (
            format!(
                "<xml>{}</xml>",
                (0..5_000)
                    .map(|n| format!("<a{n}/>"))
                    .collect::<Vec<_>>()
                    .concat()
            ),
            "many elements",
        ),
        (
            message("<MsgType>text</MsgType><MsgType>event</MsgType>"),
            "an element twice",
        ),
        (message(""), "no MsgType"),
        (
            message("<MsgType>event</MsgType><Event>SCAN</Event><EventKey>1</EventKey>"),
            "a scan without a ticket",
        ),
        (
            text("x", 1).replace("<MsgId>1<", "<MsgId>one<"),
            "a message id that is no number",
        ),
        (
            good.replace("<CreateTime>1768449600<", "<CreateTime>yesterday<"),
            "a time that is none",
        ),
        (text(&"x".repeat(70_000), 1), "longer than a message"),
    ] {
        assert_forbidden(&push(&world, body).await, why);
    }
    assert_forbidden(
        &push(&world, b"<xml><a>\xff\xfe</a></xml>".to_vec()).await,
        "not UTF-8",
    );
    let huge = push(&world, text(&"x".repeat(600_000), 1)).await;
    assert_eq!(
        (huge.status, huge.header("content-type")),
        (413, "text/plain; charset=utf-8"),
        "{}",
        huge.text
    );
    assert_eq!(push(&world, good).await.status, 200);
}

/// Pushes a message encrypted by `crypto`, under the query `encrypt_type=aes`.
async fn push_encrypted(world: &World, crypto: &MessageCrypto, message: &str) -> Answer {
    let sealed = crypto
        .seal(0, [7; 16], (TIMESTAMP, NONCE), message.as_bytes())
        .unwrap();
    let query = format!(
        "{}&encrypt_type=aes&msg_signature={}",
        signed_query(TIMESTAMP),
        sealed.msg_signature
    );
    let account = Kit::builtin().official_account_original_id;
    let body = format!(
        "<xml><ToUserName><![CDATA[{account}]]></ToUserName><Encrypt><![CDATA[{}]]></Encrypt></xml>",
        sealed.encrypt
    );
    world
        .post_text(&format!("{PORTAL}?{query}"), body)
        .send()
        .await
}

fn crypto(app_id: &str, token: &str, key: &str) -> MessageCrypto {
    MessageCrypto::new(
        app_id.to_owned(),
        token.to_owned().into(),
        &[key.to_owned().into()],
    )
    .unwrap()
}

#[tokio::test]
async fn encrypted_messages_are_opened_with_our_key_for_our_app_only() {
    let kit = Kit::builtin();
    let (app_id, token, key) = (
        kit.official_account_appid,
        kit.official_account_token,
        kit.official_account_encoding_aes_key,
    );
    let world = World::start(Engine::Sqlite).await;
    let own = crypto(app_id, token, key);
    let answer = push_encrypted(&world, &own, &text("x", 1)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/xml; charset=UTF-8"),
        "{}",
        answer.text
    );
    assert!(
        answer.text.starts_with("<xml>\n<Encrypt>") && !answer.text.contains("你好"),
        "{}",
        answer.text
    );

    let other_key = "A".repeat(43);
    assert_forbidden(
        &push_encrypted(
            &world,
            &crypto("wx0000000000000000", token, key),
            &text("x", 2),
        )
        .await,
        "another app",
    );
    assert_forbidden(
        &push_encrypted(&world, &crypto(app_id, token, &other_key), &text("x", 2)).await,
        "another key",
    );
    assert_forbidden(
        &push_encrypted(&world, &crypto(app_id, "another token", key), &text("x", 2)).await,
        "another token",
    );
    assert_forbidden(
        &push_encrypted(&world, &own, "<!DOCTYPE x []><xml/>").await,
        "a DOCTYPE inside",
    );
    let query = format!(
        "{}&encrypt_type=aes&msg_signature={}",
        signed_query(TIMESTAMP),
        signature(&[token, TIMESTAMP, NONCE, "bm8="])
    );
    let body = "<xml><Encrypt>bm8=</Encrypt></xml>";
    assert_forbidden(
        &world
            .post_text(&format!("{PORTAL}?{query}"), body)
            .send()
            .await,
        "what no key made",
    );
}

#[tokio::test]
async fn an_account_in_secure_mode_takes_no_plain_messages() {
    let kit = Kit::builtin();
    let secure = |config: &mut Config| {
        let account = &mut config.official_account;
        account.app_id = kit.official_account_appid.to_owned();
        account.app_secret = kit.official_account_secret.to_owned();
        account.token = kit.official_account_token.to_owned();
        account.encoding_aes_key = "A".repeat(43);
        account.previous_encoding_aes_key = kit.official_account_encoding_aes_key.to_owned();
        account.api_base = format!("http://{}", config.sandbox.listen);
    };
    let world = World::start_with(Engine::Sqlite, secure).await;
    let (ticket, _) = world.qr_ticket().await;
    assert_forbidden(&push(&world, scan(&ticket)).await, "a plain message");
    assert_eq!(world.check_login(&ticket).await.body["code"], "0003");
    let previous = crypto(
        kit.official_account_appid,
        kit.official_account_token,
        kit.official_account_encoding_aes_key,
    );
    assert_eq!(
        push_encrypted(&world, &previous, &scan(&ticket))
            .await
            .status,
        200,
        "the key before the change still holds"
    );
    assert_eq!(world.check_login(&ticket).await.body["data"], OPENID);
}

#[tokio::test]
async fn a_push_that_was_signed_long_ago_is_forbidden_whatever_it_says() {
    let world = World::start(jifen_store::Engine::Sqlite).await;
    let (ticket, _) = world.qr_ticket().await;
    let now = world.clock.now().seconds();
    for (seconds, accepted) in [
        (now - 301, false),
        (now + 301, false),
        (now - 300, true),
        (now + 300, true),
    ] {
        let answer = push_signed_at(&world, seconds, scan(&ticket)).await;
        assert_eq!(answer.status == 200, accepted, "{}", seconds - now);
        let logged_in = world.check_login(&ticket).await.body["code"] == "0000";
        assert_eq!(logged_in, accepted, "{}", seconds - now);
    }
}
