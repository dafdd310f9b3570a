use jifen_domain::key::{ApiKey, Caps, RateLimit, Scopes, Spending};
use jifen_domain::tariff::RoutePattern;
use jifen_domain::{AccountId, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Error, KeyOfSecret, KeySpending, ServiceCredential, Tx};

use crate::samples::{add_users, api_key, at, credential, points};

on_both_engines! {
    a_key_reads_back_exactly_as_written,
    keys_are_listed_newest_first_without_the_deleted,
    ids_and_hashes_of_keys_are_unique,
    a_replaced_secret_works_until_its_grace_ends,
    a_key_has_two_secrets_at_most,
    spending_of_many_keys_reads_back,
    spending_is_of_a_key_and_never_negative,
    keys_go_with_their_owner_and_are_counted_there,
    an_account_knows_whether_its_keys_are_counted,
    what_does_not_read_back_is_named,
    a_service_credential_reads_back_and_is_revoked_once,
    ids_and_hashes_of_service_credentials_are_unique,
}

/// With everything a key may have.
fn limited_key(id: &str) -> ApiKey {
    ApiKey {
        name: "生产 🔑".to_owned(),
        is_test: true,
        caps: Caps {
            daily: Some(points(1)),
            monthly: Some(points(2)),
            total: Some(points(1_000_000_000_000)),
        },
        rate: RateLimit::new(100, 60),
        ip_ranges: ["10.0.0.0/8", "2001:db8::/32", "203.0.113.7"]
            .map(|range| range.parse().unwrap())
            .into(),
        scopes: ["POST /v1/ocr", "* /v1/files/*"]
            .map(|scope| RoutePattern::parse(scope).unwrap())
            .into(),
        ..api_key(id, 1)
    }
}

async fn by_hash(tx: &mut Tx, hash: &[u8]) -> Option<ApiKey> {
    let found = tx.api_key_by_hash(hash, at(0)).await.unwrap();
    found.map(|KeyOfSecret { key, valid_until }| {
        assert_eq!(valid_until, None);
        key
    })
}

async fn a_key_reads_back_exactly_as_written(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), None);
    assert_eq!(tx.api_key("k").await.unwrap(), None);
    assert_eq!(by_hash(&mut tx, b"\x00h").await, None);
    let mut key = limited_key("k");
    tx.insert_api_key(&key, b"\x00h").await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), Some(key.clone()));
    assert_eq!(tx.api_key("k").await.unwrap(), Some(key.clone()));
    assert_eq!(tx.api_keys(UserId(1)).await.unwrap(), [key.clone()]);

    let plain = ApiKey {
        hint: None,
        active: false,
        ..api_key("plain", 1)
    };
    tx.insert_api_key(&plain, b"plain").await.unwrap();
    assert_eq!(tx.api_key("plain").await.unwrap(), Some(plain.clone()));

    tx.touch_api_keys(&["k"], at(5)).await.unwrap();
    key = ApiKey {
        active: false,
        last_used_at: Some(at(5)),
        deleted_at: Some(at(6)),
        ..key
    };
    tx.update_api_key(&key).await.unwrap();
    assert_eq!(by_hash(&mut tx, b"\x00h").await, Some(key.clone()));
    key = ApiKey {
        is_test: true,
        last_used_at: Some(at(7)),
        name: "renamed".to_owned(),
        hint: Some("Zz09".to_owned()),
        ..api_key("k", 1)
    };
    tx.update_api_key(&key).await.unwrap();
    tx.touch_api_keys(&["unknown", "k"], at(7)).await.unwrap();
    tx.touch_api_keys(&[], at(8)).await.unwrap();
    assert_eq!(tx.lock_api_key("k").await.unwrap(), Some(key.clone()));
    assert_eq!(tx.api_key("plain").await.unwrap(), Some(plain));
    let limited = ApiKey {
        last_used_at: Some(at(7)),
        ..limited_key("k")
    };
    tx.update_api_key(&limited).await.unwrap();
    assert_eq!(tx.api_key("k").await.unwrap(), Some(limited));
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
    for (id, hash, constraint) in [
        ("k", b"i", "api_keys_pkey"),
        ("l", b"h", "api_key_secrets_pkey"),
    ] {
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

async fn a_replaced_secret_works_until_its_grace_ends(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    let key = api_key("k", 1);
    tx.insert_api_key(&key, b"old").await.unwrap();
    tx.insert_api_key(&api_key("other", 1), b"other")
        .await
        .unwrap();
    tx.replace_api_key_secret("k", b"new", at(10))
        .await
        .unwrap();
    let mut found = async |hash: &[u8], second: i64| {
        let found = tx.api_key_by_hash(hash, at(second)).await.unwrap();
        found.map(|KeyOfSecret { key, valid_until }| (key.id, valid_until))
    };
    let with = |until| Some(("k".to_owned(), until));
    assert_eq!(found(b"old", 9).await, with(Some(at(10))));
    assert_eq!(found(b"old", 10).await, None);
    assert_eq!(found(b"new", 9).await, with(None));
    assert_eq!(found(b"new", 1_000_000).await, with(None));
    assert_eq!(found(b"other", 10).await, Some(("other".to_owned(), None)));
}

async fn a_key_has_two_secrets_at_most(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&api_key("k", 1), b"a").await.unwrap();
    assert_eq!(tx.api_key_secret_hashes("k").await.unwrap(), [b"a"]);
    tx.replace_api_key_secret("k", b"b", at(10)).await.unwrap();
    tx.replace_api_key_secret("k", b"c", at(20)).await.unwrap();
    assert_eq!(tx.api_key_secret_hashes("k").await.unwrap(), [b"b", b"c"]);
    assert!(tx.api_key_by_hash(b"a", at(1)).await.unwrap().is_none());
    let replaced = tx.api_key_by_hash(b"b", at(1)).await.unwrap().unwrap();
    assert_eq!(replaced.valid_until, Some(at(20)));
    assert!(
        tx.api_key_secret_hashes("unknown")
            .await
            .unwrap()
            .is_empty()
    );
}

fn spending(key_id: &str, account: i64, number: i64) -> KeySpending {
    KeySpending {
        key_id: key_id.to_owned(),
        account: AccountId(account),
        spending: Spending {
            day: 20_000 + number,
            day_points: points(number),
            month: 24_312 + number,
            month_points: points(number + 1),
            total_points: points(number + 2),
        },
    }
}

async fn spending_of_many_keys_reads_back(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    for id in ["a", "b", "c"] {
        tx.insert_api_key(&api_key(id, 1), id.as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(tx.key_spending(&["a", "b"]).await.unwrap(), []);
    tx.put_key_spending(&[]).await.unwrap();
    tx.put_key_spending(&[spending("c", -1, 0), spending("a", 1, 5)])
        .await
        .unwrap();
    assert_eq!(
        tx.key_spending(&["c", "b", "a", "c", "unknown"])
            .await
            .unwrap(),
        [spending("a", 1, 5), spending("c", -1, 0)]
    );
    tx.put_key_spending(&[spending("a", 2, 9), spending("b", 1, 1)])
        .await
        .unwrap();
    let all = [
        spending("a", 2, 9),
        spending("b", 1, 1),
        spending("c", -1, 0),
    ];
    assert_eq!(tx.lock_key_spending(&["a", "b", "c"]).await.unwrap(), all);
    tx.stop_key_spending("b", AccountId(1)).await.unwrap();
    tx.stop_key_spending("b", AccountId(1)).await.unwrap();
    assert_eq!(
        tx.key_spending(&["b", "c"]).await.unwrap(),
        [spending("c", -1, 0)]
    );
    assert_eq!(tx.key_spending(&[]).await.unwrap(), []);
}

async fn an_account_knows_whether_its_keys_are_counted(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    // Changes nothing, but how many accounts it finds.
    let capped = async || {
        store
            .raw("UPDATE accounts SET has_capped_keys = 1 WHERE has_capped_keys = 1 AND id = 1")
            .await
    };
    let mut tx = store.begin().await.unwrap();
    for id in ["a", "b"] {
        tx.insert_api_key(&api_key(id, 1), id.as_bytes())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    for (start, stop, expected) in [
        (Some("a"), None, 1),
        (Some("b"), Some("a"), 1),
        (None, Some("unknown"), 1),
        (None, Some("b"), 0),
    ] {
        let mut tx = store.begin().await.unwrap();
        tx.lock_accounts(&[AccountId(1)]).await.unwrap();
        if let Some(id) = start {
            tx.start_key_spending(&spending(id, 1, 0)).await.unwrap();
        }
        if let Some(id) = stop {
            tx.stop_key_spending(id, AccountId(1)).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(capped().await, expected, "{start:?} {stop:?}");
    }
    assert_eq!(
        store
            .raw("UPDATE accounts SET has_capped_keys = 0 WHERE has_capped_keys = 1")
            .await,
        0,
        "of nobody else"
    );
}

async fn keys_go_with_their_owner_and_are_counted_there(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    let test = ApiKey {
        is_test: true,
        ..api_key("t", 2)
    };
    tx.insert_api_key(&test, b"t").await.unwrap();
    tx.insert_api_key(&api_key("a", 2), b"a").await.unwrap();
    tx.ensure_test_account(UserId(2)).await.unwrap();
    tx.start_key_spending(&spending("a", 2, 5)).await.unwrap();
    tx.start_key_spending(&spending("t", -2, 6)).await.unwrap();
    let merged = tx.merge_accounts(UserId(2), UserId(1), at(0)).await;
    merged.unwrap().unwrap();
    tx.redirect_user(UserId(2), UserId(1), "the same unionid", at(0))
        .await
        .unwrap();
    let owners: Vec<i64> = tx
        .api_keys(UserId(1))
        .await
        .unwrap()
        .iter()
        .map(|key| key.account().0)
        .collect();
    assert_eq!(owners, [-1, 1]);
    assert_eq!(
        tx.key_spending(&["a", "t"]).await.unwrap(),
        [spending("a", 1, 5), spending("t", -1, 6)]
    );
    tx.commit().await.unwrap();
    let capped = store
        .raw("UPDATE accounts SET has_capped_keys = 1 WHERE has_capped_keys = 1 AND id IN (-1, 1)")
        .await;
    assert_eq!(capped, 2);
}

async fn spending_is_of_a_key_and_never_negative(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    let of_nobody = tx.put_key_spending(&[spending("unknown", 1, 1)]).await;
    assert_eq!(of_nobody, Err(Error::ForeignKey));
    let mut reader = store.read().await.unwrap();
    let locked = reader.lock_key_spending(&["a"]).await;
    assert!(matches!(locked, Err(Error::Database(_))), "{locked:?}");
}

async fn what_does_not_read_back_is_named(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_api_key(&limited_key("k"), b"k").await.unwrap();
    tx.insert_service_credential(&credential("c"), b"c")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for (change, named) in [
        ("ip_ranges = '10.0.0.1/8'", "10.0.0.1/8"),
        ("ip_ranges = '', scopes = 'POST'", "scope POST"),
        ("scopes = '', rate_seconds = 1000000", "1000000 s"),
    ] {
        store.raw(&format!("UPDATE api_keys SET {change}")).await;
        let read = store.read().await.unwrap().api_key("k").await;
        assert!(
            matches!(&read, Err(Error::Corrupt(text)) if text.contains(named)),
            "{read:?}"
        );
    }
    store
        .raw("UPDATE service_credentials SET scopes = 'charge everything'")
        .await;
    let read = store.read().await.unwrap().service_credentials().await;
    assert!(
        matches!(&read, Err(Error::Corrupt(text)) if text.contains("everything")),
        "{read:?}"
    );
}

async fn a_service_credential_reads_back_and_is_revoked_once(store: &TestStore) {
    let older = ServiceCredential {
        created_at: at(-1),
        scopes: Scopes::parse("verify refund").unwrap(),
        rate: RateLimit::new(1, 86_400),
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
    let hash = tx.service_credential_hash("a").await.unwrap();
    assert_eq!(hash.as_deref(), Some(b"a".as_slice()));
    assert_eq!(tx.service_credential_hash("unknown").await.unwrap(), None);
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
