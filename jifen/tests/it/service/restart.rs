//! Starting again on a database that is there already.

use jifen_store::Engine;
use jifen_store::testing::fresh;
use serde_json::json;

use super::process::Process;

/// The sandbox keeps its orders in memory; the mall does not go on handing out what a new one knows nothing of.
#[tokio::test]
async fn an_order_the_sandbox_has_forgotten_can_be_made_again() {
    let store = fresh(Engine::Sqlite).await;
    let process = Process::start(&store, &[]);
    let first = create_order(&process).await;
    process.signal("TERM");
    assert!(process.wait().status.success());

    let process = Process::start(&store, &[]);
    // The new process asks its sandbox about open orders while it already answers.
    let mut second = create_order(&process).await;
    while second == first {
        second = create_order(&process).await;
    }
    let pay = format!("/wechat-pay/transactions/{second}/pay");
    process.sandbox_post(&pay, &json!({})).await;
    process.signal("TERM");
    assert!(process.wait().status.success());
}

async fn log_in(process: &Process) -> crate::world::Token {
    let code = process
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    let login = process
        .post(
            "/api/v1/auth/wechat-login",
            &json!({ "code": code["code"] }),
        )
        .send()
        .await;
    crate::world::Token(login.body["data"]["token"].as_str().unwrap().to_owned())
}

async fn create_order(process: &Process) -> String {
    let token = log_in(process).await;
    let order = process
        .post(
            "/api/v1/points/create-order",
            &json!({ "packageId": "100001" }),
        )
        .token(&token)
        .send()
        .await;
    order.body["data"]["orderId"].as_str().unwrap().to_owned()
}
