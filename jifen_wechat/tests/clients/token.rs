//! The access token: one refresh at a time, shared, renewed, refetched.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jifen_wechat::official::{OfficialAccount, OfficialAccountConfig};
use jifen_wechat::token::{AccessToken, MemoryTokenStore, TokenStore};
use jifen_wechat::{ApiError, Private, RefusalKind};
use secrecy::ExposeSecret as _;

use crate::advance;
use crate::environment::{FixedEnvironment, http_client};
use crate::server::{Received, Scripted, Server};

const APP_ID: &str = "wx5823bf96d3bd56c7";
const START: i64 = 1_705_291_200;
const TOKEN_PATH: &str = "/cgi-bin/stable_token";
const USER: &str = r#"{"subscribe":1,"openid":"oUSER"}"#;
const REFUSED: &str = r#"{"errcode":40001,"errmsg":"not latest"}"#;

struct Node {
    account: OfficialAccount,
    environment: Arc<FixedEnvironment>,
}

impl Node {
    fn new(server: &Server, store: &Arc<MemoryTokenStore>) -> Self {
        let environment = Arc::new(FixedEnvironment::at(START));
        let mut config = OfficialAccountConfig::new(APP_ID, "secret".into(), "token".into());
        config.api_base = server.base.clone();
        config.limits.retry_delay = Duration::ZERO;
        let account = OfficialAccount::new(
            config,
            http_client(),
            environment.clone(),
            Arc::clone(store) as Arc<dyn TokenStore>,
        )
        .unwrap();
        Self {
            account,
            environment,
        }
    }

    async fn call(&self) -> Result<(), ApiError> {
        let openid = Private::from("oUSER");
        self.account.user_info(&openid).await.map(drop)
    }
}

/// Gives out T1, T2, … and answers other calls as `answer` says for the token used.
async fn numbered_tokens(answer: impl Fn(&str) -> Scripted + Send + Sync + 'static) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |received, _| {
        if received.path() == TOKEN_PATH {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            return Scripted::json(&format!(
                r#"{{"access_token":"T{number}","expires_in":7200}}"#
            ));
        }
        answer(token_of(received))
    })
    .await
}

fn token_of(received: &Received) -> &str {
    let (_, rest) = received.target.split_once("access_token=").unwrap();
    rest.split('&').next().unwrap()
}

fn tokens_used(server: &Server) -> Vec<String> {
    server
        .received()
        .iter()
        .filter(|received| received.path() != TOKEN_PATH)
        .map(|received| token_of(received).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_fetch_one_token() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let node = Arc::new(Node::new(&server, &Arc::default()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.call().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(server.count(TOKEN_PATH), 1);
    assert_eq!(tokens_used(&server), ["T1"; 50]);
}

#[tokio::test]
async fn nodes_share_the_token_through_the_store() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let store = Arc::default();
    let (first, second) = (Node::new(&server, &store), Node::new(&server, &store));
    let (left, right) = tokio::join!(first.call(), second.call());
    left.and(right).unwrap();
    assert_eq!(server.count(TOKEN_PATH), 1);
    assert_eq!(tokens_used(&server), ["T1", "T1"]);
}

#[tokio::test]
async fn a_refused_token_is_dropped_and_the_call_repeated_once() {
    for code in [40001, 42001, 40014] {
        let refused = format!(r#"{{"errcode":{code},"errmsg":"x"}}"#);
        let server = numbered_tokens(move |token| match token {
            "T1" => Scripted::json(&refused),
            _ => Scripted::json(USER),
        })
        .await;
        let store = Arc::default();
        let node = Node::new(&server, &store);
        node.call().await.unwrap();
        assert_eq!(tokens_used(&server), ["T1", "T2"]);
        let record = store.load(APP_ID).await.unwrap();
        assert_eq!(record.token.unwrap().value.expose_secret(), "T2");
    }
}

#[tokio::test]
async fn a_second_refusal_is_final() {
    let server = numbered_tokens(|_| Scripted::json(REFUSED)).await;
    let node = Node::new(&server, &Arc::default());
    let error = node.call().await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(RefusalKind::AccessToken));
    assert_eq!(tokens_used(&server), ["T1", "T2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refused_callers_fetch_one_new_token() {
    let server = numbered_tokens(|token| match token {
        "T1" => Scripted::json(REFUSED),
        _ => Scripted::json(USER),
    })
    .await;
    let node = Arc::new(Node::new(&server, &Arc::default()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.call().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(server.count(TOKEN_PATH), 2);
}

#[tokio::test]
async fn a_node_that_is_late_with_a_refusal_does_not_drop_the_newer_token() {
    let is_revoked = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_revoked);
    let server = numbered_tokens(move |token| match token {
        "T1" if switch.load(Ordering::SeqCst) => Scripted::json(REFUSED),
        _ => Scripted::json(USER),
    })
    .await;
    let store = Arc::default();
    let (first, second) = (Node::new(&server, &store), Node::new(&server, &store));
    for node in [&first, &second] {
        node.call().await.unwrap();
    }
    is_revoked.store(true, Ordering::SeqCst);
    for node in [&first, &second] {
        node.call().await.unwrap();
    }
    assert_eq!(tokens_used(&server), ["T1", "T1", "T1", "T2", "T1", "T2"]);
    assert_eq!(server.count(TOKEN_PATH), 2);
}

#[tokio::test]
async fn callers_that_wait_for_a_token_share_the_failure_to_get_it() {
    let server = Server::start(|_, _| Scripted::status(502, "")).await;
    let node = Arc::new(Node::new(&server, &Arc::default()));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let node = Arc::clone(&node);
        calls.spawn(async move { node.call().await });
    }
    for result in calls.join_all().await {
        let error = result.unwrap_err();
        assert!(matches!(&error, ApiError::NoToken(_)) && error.is_temporary());
    }
    assert_eq!(server.received().len(), 3, "the attempts of one call");
    // Who comes later tries again.
    assert!(node.call().await.is_err());
    assert_eq!(server.received().len(), 6);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_renewal() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let node = Node::new(&server, &Arc::default());
    {
        let mut call = std::pin::pin!(node.call());
        let first_poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(call.as_mut().poll(context).is_pending())
        });
        assert!(first_poll.await, "the call waits for the token");
    }
    node.call().await.unwrap();
    assert_eq!(server.count(TOKEN_PATH), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let node = Node::new(&server, &Arc::default());
    node.call().await.unwrap();
    advance(&node.environment, 7200 - 301);
    node.call().await.unwrap();
    advance(&node.environment, 1);
    node.call().await.unwrap();
    assert_eq!(tokens_used(&server), ["T1", "T1", "T2"]);
}

#[tokio::test]
async fn a_token_that_still_holds_outlives_a_failing_renewal() {
    let server = Server::start(|received, before| match (received.path(), before) {
        (TOKEN_PATH, 0) => Scripted::json(r#"{"access_token":"T1","expires_in":7200}"#),
        (TOKEN_PATH, _) => Scripted::json(r#"{"errcode":45009,"errmsg":"quota"}"#),
        _ => Scripted::json(USER),
    })
    .await;
    let node = Node::new(&server, &Arc::default());
    node.call().await.unwrap();
    advance(&node.environment, 7200 - 200);
    node.call().await.unwrap();
    node.call().await.unwrap();
    assert_eq!(server.count(TOKEN_PATH), 2, "the second try has to wait");
    advance(&node.environment, 11);
    node.call().await.unwrap();
    assert_eq!(server.count(TOKEN_PATH), 3);
    advance(&node.environment, 200);
    assert_eq!(
        node.call().await.unwrap_err().refusal_kind(),
        Some(RefusalKind::QuotaUsedUp)
    );
}

#[tokio::test]
async fn another_token_is_forced_only_when_wechat_insists_on_a_refused_one() {
    let server = Server::start(|received, _| {
        if received.path() == TOKEN_PATH {
            let is_forced = received.json()["force_refresh"] == true;
            return Scripted::json(if is_forced {
                r#"{"access_token":"NEW","expires_in":7200}"#
            } else {
                r#"{"access_token":"OLD","expires_in":7200}"#
            });
        }
        match token_of(received) {
            "OLD" => Scripted::json(REFUSED),
            _ => Scripted::json(USER),
        }
    })
    .await;
    let node = Node::new(&server, &Arc::default());
    node.call().await.unwrap();
    assert_eq!(tokens_used(&server), ["OLD", "NEW"]);
    assert_eq!(server.count(TOKEN_PATH), 3);
}

#[tokio::test]
async fn a_wrong_secret_is_a_fault_of_configuration_and_frees_the_lease() {
    let server =
        Server::start(|_, _| Scripted::json(r#"{"errcode":40001,"errmsg":"invalid secret"}"#))
            .await;
    let store = Arc::default();
    let node = Node::new(&server, &store);
    for error in [node.call().await, node.account.probe().await] {
        assert_eq!(
            error.unwrap_err().refusal_kind(),
            Some(RefusalKind::Configuration)
        );
    }
    assert_eq!(server.received().len(), 2);
    assert!(store.try_lease(APP_ID, START, 10).await.unwrap());
}

#[tokio::test]
async fn a_token_saved_by_another_node_is_taken_over() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let store = Arc::default();
    let node = Node::new(&server, &store);
    node.call().await.unwrap();
    let shared = AccessToken {
        value: "SHARED".into(),
        expires_at_unix_seconds: START + 20_000,
    };
    assert!(store.save(APP_ID, 1, Some(&shared)).await.unwrap());
    advance(&node.environment, 7000);
    node.call().await.unwrap();
    assert_eq!(tokens_used(&server), ["T1", "SHARED"]);
    assert_eq!(server.count(TOKEN_PATH), 1);
}

#[tokio::test]
async fn a_token_in_use_does_not_wait_for_another_nodes_renewal() {
    let server = numbered_tokens(|_| Scripted::json(USER)).await;
    let store: Arc<MemoryTokenStore> = Arc::default();
    let node = Node::new(&server, &store);
    node.call().await.unwrap();
    advance(&node.environment, 7000);
    assert!(store.try_lease(APP_ID, START + 7000, 60).await.unwrap());
    node.call().await.unwrap();
    assert_eq!(tokens_used(&server), ["T1", "T1"]);
}

#[tokio::test]
async fn a_lease_is_exclusive_and_ends_by_itself() {
    let store = MemoryTokenStore::default();
    assert!(store.try_lease("app", 100, 10).await.unwrap());
    assert!(!store.try_lease("app", 109, 10).await.unwrap());
    assert!(store.try_lease("other", 109, 10).await.unwrap());
    assert!(store.try_lease("app", 110, 10).await.unwrap());
    assert!(store.save("app", 0, None).await.unwrap());
    assert!(store.try_lease("app", 111, 10).await.unwrap());
}

#[tokio::test]
async fn a_late_answer_does_not_overwrite_a_newer_token() {
    let store = MemoryTokenStore::default();
    let token = |value: &str| AccessToken {
        value: value.into(),
        expires_at_unix_seconds: START,
    };
    assert!(store.save("app", 0, Some(&token("newer"))).await.unwrap());
    assert!(store.save("app", 1, None).await.unwrap());
    assert!(!store.save("app", 0, Some(&token("late"))).await.unwrap());
    let record = store.load("app").await.unwrap();
    assert_eq!(record.version, 2);
    assert!(record.token.is_none());
}
