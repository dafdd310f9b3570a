use jifen_domain::UserId;
use jifen_domain::session::Session;
use jifen_store::Error;
use jifen_store::testing::TestStore;

use crate::samples::{add_users, at};

on_both_engines! {
    a_token_reads_back_exactly_as_written,
    a_token_is_one_session_s,
    a_token_is_replaced_once,
    revoking_a_chain_leaves_the_other_chains,
    only_tokens_expired_before_the_limit_are_purged,
}

fn session(chain: &str, user: i64) -> Session {
    Session {
        chain: chain.to_owned(),
        user: UserId(user),
        expires_at: at(7_200),
        replaced_at: None,
    }
}

async fn a_token_reads_back_exactly_as_written(store: &TestStore) {
    add_users(store, &[1]).await;
    let replaced = Session {
        replaced_at: Some(at(60)),
        ..session("c", 1)
    };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.session(b"\x00\xff").await.unwrap(), None);
    assert_eq!(tx.lock_session(b"\x00\xff").await.unwrap(), None);
    tx.insert_session(b"\x00\xff", &session("c", 1))
        .await
        .unwrap();
    tx.insert_session(b"", &replaced).await.unwrap();
    assert_eq!(
        tx.session(b"\x00\xff").await.unwrap(),
        Some(session("c", 1))
    );
    assert_eq!(
        tx.lock_session(b"\x00\xff").await.unwrap(),
        Some(session("c", 1))
    );
    assert_eq!(tx.session(b"").await.unwrap(), Some(replaced.clone()));
    assert_eq!(tx.lock_session(b"").await.unwrap(), Some(replaced));
    assert_eq!(tx.session(b"\x00").await.unwrap(), None);
}

async fn a_token_is_one_session_s(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_session(b"t", &session("c", 1)).await.unwrap();
    assert_eq!(
        tx.insert_session(b"t", &session("d", 1)).await,
        Err(Error::Unique {
            constraint: "sessions_pkey".to_owned()
        })
    );
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(
        tx.insert_session(b"t", &session("c", 9)).await,
        Err(Error::ForeignKey)
    );
}

async fn a_token_is_replaced_once(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_session(b"t", &session("c", 1)).await.unwrap();
    tx.insert_session(b"u", &session("c", 1)).await.unwrap();
    tx.replace_session(b"t", at(10)).await.unwrap();
    tx.replace_session(b"t", at(20)).await.unwrap();
    let replaced = tx.session(b"t").await.unwrap().unwrap();
    assert_eq!(replaced.replaced_at, Some(at(10)));
    assert_eq!(tx.session(b"u").await.unwrap(), Some(session("c", 1)));
}

async fn revoking_a_chain_leaves_the_other_chains(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    for (token, chain) in [("t1", "c"), ("t2", "c"), ("t3", "d")] {
        tx.insert_session(token.as_bytes(), &session(chain, 1))
            .await
            .unwrap();
    }
    tx.revoke_sessions("c").await.unwrap();
    tx.revoke_sessions("unknown").await.unwrap();
    assert_eq!(tx.session(b"t1").await.unwrap(), None);
    assert_eq!(tx.session(b"t2").await.unwrap(), None);
    assert_eq!(tx.session(b"t3").await.unwrap(), Some(session("d", 1)));
}

async fn only_tokens_expired_before_the_limit_are_purged(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    for (token, second) in [("old", 1), ("older", 0), ("edge", 2), ("new", 3)] {
        let session = Session {
            expires_at: at(second),
            ..session(token, 1)
        };
        tx.insert_session(token.as_bytes(), &session).await.unwrap();
    }
    assert_eq!(tx.purge_sessions(at(2)).await.unwrap(), 2);
    assert_eq!(tx.purge_sessions(at(2)).await.unwrap(), 0);
    assert_eq!(tx.session(b"old").await.unwrap(), None);
    assert!(tx.session(b"edge").await.unwrap().is_some());
    assert!(tx.session(b"new").await.unwrap().is_some());
}
