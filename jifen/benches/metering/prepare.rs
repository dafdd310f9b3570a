//! What must be there before the mall is measured: accounts with points, keys, a gateway, somebody who has logged in.

use std::sync::Arc;

use futures_util::StreamExt as _;
use jifen::config::SandboxMode;
use jifen::{development, instance};
use jifen_app::{App, SystemEnvironment};
use jifen_domain::UserId;
use jifen_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::database::Database;
use crate::ledger::Ledger;

/// The one who charges.
pub(crate) struct Gateway {
    pub(crate) secret: String,
}

/// A database of few entries in which so many accounts can be charged.
pub(crate) async fn small_ledger(database: &Database, accounts: u32) {
    database.migrate().await;
    Ledger::few(accounts).write(database);
}

/// A gateway that no database knows, for what is not looked up.
pub(crate) fn unknown_gateway() -> Gateway {
    Gateway {
        secret: format!("sk_{}", "x".repeat(34)),
    }
}

/// The same for keys.
pub(crate) fn unknown_keys(count: u32) -> Vec<String> {
    (0..count)
        .map(|number| format!("jf_live_{number:x>34}"))
        .collect()
}

/// A gateway, and a key for each of the users.
pub(crate) async fn gateway_and_keys(
    database: &Database,
    users: impl Iterator<Item = u32>,
) -> (Gateway, Vec<String>) {
    /// As many as the database takes into one commit.
    const AT_ONCE: usize = 64;
    let app = open(database).await;
    let (_, secret) = app.create_service_credential("bench").await.unwrap();
    let keys = futures_util::stream::iter(users)
        .map(|user| {
            let app = &app;
            async move {
                let user = UserId(i64::from(user));
                app.create_api_key(user, "bench", 12).await.unwrap().secret
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    (Gateway { secret }, keys)
}

/// A session of user 1: somebody logs in, and the session is given to that user.
pub(crate) async fn session(database: &Database) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = instance::outgoing_client().unwrap();
    let sandbox = jifen_sandbox::Config::new(format!("http://{address}"), http.clone());
    let sandbox = tokio::spawn(Sandbox::new(sandbox).serve(listener, std::future::pending()));
    let url = format!("http://{address}/sandbox/api/people/xiaoming/login-code");
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .body(json!({}).to_string());
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();

    let mut config = database.config();
    config.sandbox.mode = SandboxMode::Outside;
    config.sandbox.listen = address;
    let config = development::complete(config);
    let app = instance::open(&config, Arc::new(SystemEnvironment))
        .await
        .unwrap();
    let code = answer["code"].as_str().unwrap();
    let signed_in = app.wechat_login(code, None).await.unwrap();
    sandbox.abort();
    database.run("give the session to user 1");
    signed_in.token.token
}

/// The mall in this process.
pub(crate) async fn open(database: &Database) -> App {
    let environment = Arc::new(SystemEnvironment);
    instance::open(&database.config(), environment)
        .await
        .unwrap()
}
