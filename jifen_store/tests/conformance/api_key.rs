use jifen_domain::UserId;
use jifen_domain::key::ApiKey;
use jifen_store::testing::TestStore;
use jifen_store::{Error, ServiceCredential};

use crate::samples::{add_users, api_key, at, credential};

on_both_engines! {
    a_key_reads_back_exactly_as_written,
    keys_are_listed_newest_first_without_the_deleted,
    ids_and_hashes_of_keys_are_unique,
    a_service_credential_reads_back_and_is_revoked_once,
    ids_and_hashes_of_service_credentials_are_unique,
}

async fn a_key_reads_back_exactly_as_written(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), None);
    assert_eq!(tx.api_key_by_hash(b"\x00h").await.unwrap(), None);
    let mut key = ApiKey {
        name: "生产 🔑".to_owned(),
        ..api_key("k", 1)
    };
    tx.insert_api_key(&key, b"\x00h").await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), Some(key.clone()));

    key.active = false;
    tx.update_api_key(&key).await.unwrap();
    key.last_used_at = Some(at(5));
    tx.touch_api_key("k", at(5)).await.unwrap();
    assert_eq!(
        tx.api_key_by_hash(b"\x00h").await.unwrap(),
        Some(key.clone())
    );

    key.active = true;
    key.deleted_at = Some(at(6));
    tx.update_api_key(&key).await.unwrap();
    assert_eq!(
        tx.api_key_by_hash(b"\x00h").await.unwrap(),
        Some(key.clone())
    );
    assert_eq!(tx.lock_api_key("k").await.unwrap(), Some(key.clone()));

    key.deleted_at = None;
    tx.update_api_key(&key).await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), Some(key));

    let off = ApiKey {
        active: false,
        ..api_key("off", 1)
    };
    tx.insert_api_key(&off, b"off").await.unwrap();
    assert_eq!(tx.lock_api_key("off").await.unwrap(), Some(off));
}

async fn keys_are_listed_newest_first_without_the_deleted(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    for (id, user, second) in [
        ("a", 1, 1),
        ("c", 1, 2),
        ("b", 1, 2),
        ("gone", 1, 3),
        ("other", 2, 4),
    ] {
        let key = ApiKey {
            created_at: at(second),
            ..api_key(id, user)
        };
        tx.insert_api_key(&key, id.as_bytes()).await.unwrap();
    }
    let gone = ApiKey {
        deleted_at: Some(at(9)),
        ..api_key("gone", 1)
    };
    tx.update_api_key(&gone).await.unwrap();
    let keys = tx.api_keys(UserId(1)).await.unwrap();
    let ids: Vec<_> = keys.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["c", "b", "a"]);
    assert_eq!(tx.api_keys(UserId(3)).await.unwrap(), []);
}

async fn ids_and_hashes_of_keys_are_unique(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&api_key("k", 1), b"h").await.unwrap();
    tx.commit().await.unwrap();
    for (id, hash, constraint) in [("k", b"i", "api_keys_pkey"), ("l", b"h", "api_keys_hash")] {
        let mut tx = store.begin().await.unwrap();
        let taken = Error::Unique {
            constraint: constraint.to_owned(),
        };
        assert_eq!(tx.insert_api_key(&api_key(id, 1), hash).await, Err(taken));
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(
        tx.insert_api_key(&api_key("m", 9), b"m").await,
        Err(Error::ForeignKey)
    );
}

async fn a_service_credential_reads_back_and_is_revoked_once(store: &TestStore) {
    let older = ServiceCredential {
        created_at: at(-1),
        ..credential("z")
    };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.service_credentials().await.unwrap(), []);
    assert_eq!(tx.service_credential_by_hash(b"a").await.unwrap(), None);
    for (credential, hash) in [
        (credential("b"), b"b"),
        (credential("a"), b"a"),
        (older.clone(), b"z"),
    ] {
        tx.insert_service_credential(&credential, hash)
            .await
            .unwrap();
        assert_eq!(
            tx.service_credential_by_hash(hash).await.unwrap(),
            Some(credential)
        );
    }
    assert!(tx.revoke_service_credential("a", at(5)).await.unwrap());
    assert!(!tx.revoke_service_credential("a", at(6)).await.unwrap());
    assert!(
        !tx.revoke_service_credential("unknown", at(6))
            .await
            .unwrap()
    );
    let revoked = ServiceCredential {
        revoked_at: Some(at(5)),
        ..credential("a")
    };
    assert_eq!(
        tx.service_credential_by_hash(b"a").await.unwrap(),
        Some(revoked.clone())
    );
    assert_eq!(
        tx.service_credentials().await.unwrap(),
        [older, revoked, credential("b")]
    );
}

async fn ids_and_hashes_of_service_credentials_are_unique(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_service_credential(&credential("c"), b"h")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for (id, hash, constraint) in [
        ("c", b"i", "service_credentials_pkey"),
        ("d", b"h", "service_credentials_hash"),
    ] {
        let mut tx = store.begin().await.unwrap();
        let taken = Error::Unique {
            constraint: constraint.to_owned(),
        };
        assert_eq!(
            tx.insert_service_credential(&credential(id), hash).await,
            Err(taken)
        );
    }
}
