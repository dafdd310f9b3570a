use jifen_domain::UserId;
use jifen_store::testing::TestStore;
use jifen_store::{Error, QrLogin, StoredToken};

use crate::samples::{add_users, at};

on_both_engines! {
    a_ticket_is_remembered_once,
    the_first_scan_of_a_living_ticket_stays,
    a_scanned_ticket_gives_one_session,
    only_tickets_expired_before_the_limit_are_purged,
    a_repeated_message_gets_its_first_answer,
    only_messages_handled_before_the_limit_are_purged,
    one_node_at_a_time_fetches_the_next_token,
    a_token_is_replaced_only_by_who_knows_its_version,
}

async fn a_ticket_is_remembered_once(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.qr_login("t").await.unwrap(), None);
    assert_eq!(tx.lock_qr_login("t").await.unwrap(), None);
    assert!(tx.insert_qr_login("t", b"\x00b", at(600)).await.unwrap());
    assert!(!tx.insert_qr_login("t", b"other", at(900)).await.unwrap());
    let unlocked = tx.qr_login("t").await.unwrap();
    assert_eq!(tx.lock_qr_login("t").await.unwrap(), unlocked);
    assert_eq!(
        tx.qr_login("t").await.unwrap(),
        Some(QrLogin {
            browser_hash: b"\x00b".to_vec(),
            expires_at: at(600),
            scanned_by: None,
            session_given: false,
        })
    );
}

async fn the_first_scan_of_a_living_ticket_stays(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_qr_login("t", b"b", at(600)).await.unwrap());
    for (ticket, second) in [("unknown", 1), ("t", 600), ("t", 601)] {
        let scanned = tx.scan_qr_login(ticket, "o1", UserId(1), at(second)).await;
        assert!(!scanned.unwrap(), "{ticket} at {second}");
    }
    assert!(
        tx.scan_qr_login("t", "o1", UserId(1), at(599))
            .await
            .unwrap()
    );
    assert!(
        !tx.scan_qr_login("t", "o2", UserId(2), at(599))
            .await
            .unwrap()
    );
    let login = tx.qr_login("t").await.unwrap().unwrap();
    assert_eq!(login.scanned_by, Some(("o1".to_owned(), UserId(1))));

    assert!(tx.insert_qr_login("u", b"b", at(600)).await.unwrap());
    assert_eq!(
        tx.scan_qr_login("u", "o", UserId(9), at(0)).await,
        Err(Error::ForeignKey)
    );
}

async fn a_scanned_ticket_gives_one_session(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_qr_login("t", b"b", at(600)).await.unwrap());
    assert!(!tx.claim_qr_session("unknown").await.unwrap());
    assert!(!tx.claim_qr_session("t").await.unwrap());
    assert!(tx.scan_qr_login("t", "o", UserId(1), at(1)).await.unwrap());
    assert!(tx.claim_qr_session("t").await.unwrap());
    assert!(!tx.claim_qr_session("t").await.unwrap());
    let login = tx.qr_login("t").await.unwrap().unwrap();
    assert!(login.session_given);
}

async fn only_tickets_expired_before_the_limit_are_purged(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for (ticket, second) in [("old", 1), ("edge", 2), ("new", 3)] {
        assert!(tx.insert_qr_login(ticket, b"b", at(second)).await.unwrap());
    }
    assert_eq!(tx.purge_qr_logins(at(2)).await.unwrap(), 1);
    assert_eq!(tx.qr_login("old").await.unwrap(), None);
    assert!(tx.qr_login("edge").await.unwrap().is_some());
    assert!(tx.qr_login("new").await.unwrap().is_some());
}

async fn a_repeated_message_gets_its_first_answer(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.claim_message("m", "<xml/>", at(0)).await.unwrap(), None);
    for _ in 0..2 {
        let again = tx.claim_message("m", "another", at(1)).await.unwrap();
        assert_eq!(again.as_deref(), Some("<xml/>"));
    }
    assert_eq!(tx.claim_message("n", "", at(1)).await.unwrap(), None);
    let again = tx.claim_message("n", "x", at(1)).await.unwrap();
    assert_eq!(again.as_deref(), Some(""));
}

async fn only_messages_handled_before_the_limit_are_purged(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for (key, second) in [("old", 1), ("edge", 2)] {
        assert_eq!(
            tx.claim_message(key, "first", at(second)).await.unwrap(),
            None
        );
    }
    assert_eq!(tx.purge_handled_messages(at(2)).await.unwrap(), 1);
    assert_eq!(tx.claim_message("old", "x", at(3)).await.unwrap(), None);
    let kept = tx.claim_message("edge", "x", at(3)).await.unwrap();
    assert_eq!(kept.as_deref(), Some("first"));
}

async fn one_node_at_a_time_fetches_the_next_token(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.access_token("app").await.unwrap(), (0, None));
    assert!(tx.lease_access_token("app", at(0), at(10)).await.unwrap());
    assert!(!tx.lease_access_token("app", at(9), at(19)).await.unwrap());
    assert!(tx.lease_access_token("other", at(9), at(19)).await.unwrap());
    // A node that died with its lease is succeeded when the lease ends.
    assert!(tx.lease_access_token("app", at(10), at(20)).await.unwrap());
    assert!(!tx.lease_access_token("app", at(19), at(29)).await.unwrap());
    assert_eq!(tx.access_token("app").await.unwrap(), (0, None));
    // A stored token ends the lease.
    let token = StoredToken {
        token: "first".to_owned(),
        expires_at: at(7_200),
    };
    assert!(
        tx.replace_access_token("app", 0, Some(&token))
            .await
            .unwrap()
    );
    assert!(tx.lease_access_token("app", at(19), at(29)).await.unwrap());
    assert_eq!(tx.access_token("app").await.unwrap(), (1, Some(token)));
}

async fn a_token_is_replaced_only_by_who_knows_its_version(store: &TestStore) {
    let token = |text: &str| StoredToken {
        token: text.to_owned(),
        expires_at: at(7_200),
    };
    let (first, second) = (token("first"), token("second"));
    let mut tx = store.begin().await.unwrap();
    assert!(
        !tx.replace_access_token("app", 1, Some(&first))
            .await
            .unwrap()
    );
    assert!(
        tx.replace_access_token("app", 0, Some(&first))
            .await
            .unwrap()
    );
    assert!(
        !tx.replace_access_token("app", 0, Some(&second))
            .await
            .unwrap()
    );
    assert_eq!(
        tx.access_token("app").await.unwrap(),
        (1, Some(first.clone()))
    );
    assert!(tx.replace_access_token("app", 1, None).await.unwrap());
    assert_eq!(tx.access_token("app").await.unwrap(), (2, None));
    assert!(
        tx.replace_access_token("app", 2, Some(&second))
            .await
            .unwrap()
    );
    assert_eq!(tx.access_token("app").await.unwrap(), (3, Some(second)));
    // A version that lost keeps the lease of the one that fetches.
    assert!(tx.lease_access_token("app", at(0), at(10)).await.unwrap());
    assert!(!tx.replace_access_token("app", 2, None).await.unwrap());
    assert!(!tx.lease_access_token("app", at(1), at(11)).await.unwrap());
}
