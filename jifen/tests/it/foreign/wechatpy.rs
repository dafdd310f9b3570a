//! `wechatpy`, a Python library for official accounts and mini programs.

use jifen_store::Engine;
use serde_json::json;

use super::{kit, python};
use crate::world::World;

#[tokio::test]
async fn the_mall_accepts_pushes_encrypted_by_wechatpy_which_decrypts_its_replies() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let person = world.sandbox_get("/people/xiaoming").await;
    let openid = &person["official_account_openid"];
    let (ticket, _) = world.qr_ticket().await;

    let input = json!({ "kit": kit(), "mall": world.mall, "openid": openid, "ticket": ticket });
    let outcome = python("wechatpy_sdk.py", "pushes", input).await;
    assert_eq!(outcome["scan_reply"], "登录成功");
    let login = world.check_login(&ticket).await;
    assert_eq!(
        (&login.body["code"], &login.body["data"]),
        (&json!("0000"), openid),
        "{}",
        login.text
    );
}

#[tokio::test]
async fn wechatpy_is_served_and_pushed_to_by_the_sandbox_as_by_wechat() {
    let world = World::on_real_time(Engine::Sqlite).await;
    python(
        "wechatpy_sdk.py",
        "calls",
        json!({ "kit": kit(), "sandbox": world.sandbox }),
    )
    .await;
}
