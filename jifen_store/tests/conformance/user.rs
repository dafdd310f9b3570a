use jifen_domain::UserId;
use jifen_domain::user::User;
use jifen_store::testing::TestStore;
use jifen_store::{EmailConfirmation, Error, UserSummary};

use crate::samples::{add_users, at, gift, give, user};

on_both_engines! {
    a_person_reads_back_exactly_as_written,
    a_person_is_added_once_and_with_an_account,
    a_unionid_is_one_person_s,
    nobody_is_found_where_nobody_is,
    an_openid_belongs_to_whom_it_was_first_given,
    an_openid_of_several_apps_names_a_person_only_when_they_agree,
    the_openid_learnt_first_is_told,
    people_are_listed_by_id_with_their_balances,
    an_email_confirmation_is_replaced_and_forgotten,
}

/// Every optional field present.
fn complete(id: i64) -> User {
    User {
        nickname: "张三 🀄 'quoted'".to_owned(),
        avatar_url: "https://a.example/1.png".to_owned(),
        unionid: Some(format!("union-{id}")),
        phone: Some("+8613800138000".to_owned()),
        email: Some("a@b.example".to_owned()),
        ..user(id)
    }
}

async fn a_person_reads_back_exactly_as_written(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for written in [complete(7), user(8)] {
        assert!(tx.insert_user(&written).await.unwrap());
        assert_eq!(tx.user(written.id).await.unwrap(), Some(written.clone()));
        assert_eq!(tx.lock_user(written.id).await.unwrap(), Some(written));
    }
    let emptied = User {
        created_at: complete(7).created_at,
        ..user(7)
    };
    let filled = complete(8);
    for written in [&emptied, &filled] {
        tx.update_user(written).await.unwrap();
    }
    tx.commit().await.unwrap();

    let mut reader = store.read().await.unwrap();
    assert_eq!(reader.user(UserId(7)).await.unwrap(), Some(emptied));
    assert_eq!(reader.user(UserId(8)).await.unwrap(), Some(filled.clone()));
    assert_eq!(
        reader.user_by_unionid("union-8").await.unwrap(),
        Some(filled)
    );
    assert_eq!(reader.user_by_unionid("union-7").await.unwrap(), None);
}

async fn a_person_is_added_once_and_with_an_account(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_user(&user(1)).await.unwrap());
    assert!(!tx.insert_user(&complete(1)).await.unwrap());
    assert_eq!(tx.user(UserId(1)).await.unwrap(), Some(user(1)));
    let account = crate::samples::account(&mut tx, 1).await;
    assert_eq!(*account, jifen_domain::ledger::Account::new(account.id()));
}

async fn a_unionid_is_one_person_s(store: &TestStore) {
    let taken = Error::Unique {
        constraint: "users_unionid".to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_user(&complete(1)).await.unwrap());
    assert!(tx.insert_user(&user(2)).await.unwrap());
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    let same = User {
        unionid: complete(1).unionid,
        ..user(3)
    };
    assert_eq!(tx.insert_user(&same).await, Err(taken.clone()));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let same = User {
        unionid: complete(1).unionid,
        ..user(2)
    };
    assert_eq!(tx.update_user(&same).await, Err(taken));
}

async fn nobody_is_found_where_nobody_is(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.user(UserId(1)).await.unwrap(), None);
    assert_eq!(tx.lock_user(UserId(1)).await.unwrap(), None);
    assert_eq!(tx.user_by_openid("app", "o").await.unwrap(), None);
    assert_eq!(tx.user_by_any_openid("o").await.unwrap(), None);
    assert_eq!(tx.user_by_unionid("u").await.unwrap(), None);
    assert_eq!(tx.openid_of("app", UserId(1)).await.unwrap(), None);
    assert_eq!(tx.merged_into(UserId(1)).await.unwrap(), []);
    assert_eq!(tx.list_users(UserId(0), 10).await.unwrap(), []);
    assert_eq!(tx.lock_email_confirmation(UserId(1)).await.unwrap(), None);
    assert_eq!(
        tx.insert_identity("app", "o", UserId(1), at(0)).await,
        Err(Error::ForeignKey)
    );
}

async fn an_openid_belongs_to_whom_it_was_first_given(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(
        tx.insert_identity("app", "o", UserId(1), at(0))
            .await
            .unwrap()
    );
    assert!(
        !tx.insert_identity("app", "o", UserId(2), at(1))
            .await
            .unwrap()
    );
    assert_eq!(tx.user_by_openid("app", "o").await.unwrap(), Some(user(1)));
    assert_eq!(tx.user_by_openid("app", "O").await.unwrap(), None);
    assert_eq!(tx.user_by_openid("other", "o").await.unwrap(), None);
}

async fn an_openid_of_several_apps_names_a_person_only_when_they_agree(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    for (app, openid, id) in [
        ("a", "same", 1),
        ("b", "same", 1),
        ("a", "clash", 1),
        ("b", "clash", 2),
    ] {
        assert!(
            tx.insert_identity(app, openid, UserId(id), at(0))
                .await
                .unwrap()
        );
    }
    assert_eq!(tx.user_by_any_openid("same").await.unwrap(), Some(user(1)));
    assert_eq!(tx.user_by_any_openid("clash").await.unwrap(), None);
}

async fn the_openid_learnt_first_is_told(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    for (app, openid, second) in [
        ("app", "late", 9),
        ("app", "early", 5),
        ("app", "also early", 6),
        ("other", "x", 1),
    ] {
        assert!(
            tx.insert_identity(app, openid, UserId(1), at(second))
                .await
                .unwrap()
        );
    }
    let openid = tx.openid_of("app", UserId(1)).await.unwrap();
    assert_eq!(openid.as_deref(), Some("early"));
}

async fn people_are_listed_by_id_with_their_balances(store: &TestStore) {
    add_users(store, &[30, 10, 20]).await;
    give(store, 20, gift("g", 5, Some(at(1))), at(0)).await;
    let summary = |id, balance| UserSummary {
        user: user(id),
        balance,
    };
    let mut tx = store.read().await.unwrap();
    assert_eq!(
        tx.list_users(UserId(0), 2).await.unwrap(),
        [summary(10, 0), summary(20, 5)]
    );
    assert_eq!(
        tx.list_users(UserId(20), 2).await.unwrap(),
        [summary(30, 0)]
    );
    assert_eq!(tx.list_users(UserId(30), 2).await.unwrap(), []);
}

async fn an_email_confirmation_is_replaced_and_forgotten(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let first = EmailConfirmation {
        email: "a@b.example".to_owned(),
        code_hash: vec![0, 255, 7],
        expires_at: at(600),
        sent_at: at(0),
        attempts_left: 5,
    };
    let second = EmailConfirmation {
        email: "c@d.example".to_owned(),
        code_hash: vec![9],
        expires_at: at(700),
        sent_at: at(100),
        attempts_left: 0,
    };
    let mut tx = store.begin().await.unwrap();
    for confirmation in [&first, &second] {
        tx.put_email_confirmation(UserId(1), confirmation)
            .await
            .unwrap();
        assert_eq!(
            tx.lock_email_confirmation(UserId(1))
                .await
                .unwrap()
                .as_ref(),
            Some(confirmation)
        );
    }
    tx.put_email_confirmation(UserId(2), &first).await.unwrap();
    tx.delete_email_confirmation(UserId(1)).await.unwrap();
    assert_eq!(tx.lock_email_confirmation(UserId(1)).await.unwrap(), None);
    assert_eq!(
        tx.lock_email_confirmation(UserId(2)).await.unwrap(),
        Some(first.clone())
    );
    let exhausted = EmailConfirmation {
        attempts_left: -1,
        ..first
    };
    assert_eq!(
        tx.put_email_confirmation(UserId(2), &exhausted).await,
        Err(Error::Check {
            constraint: "email_confirmations_attempts_left_not_negative".to_owned()
        })
    );
}
