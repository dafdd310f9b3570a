//! Rows to write, and the transactions the application makes of several verbs.

use jifen_domain::catalogue::Package;
use jifen_domain::key::{ApiKey, Caps, Scopes};
use jifen_domain::ledger::{ChargeDetail, Grant, LotSource, Refused, Request};
use jifen_domain::order::{Channel, Order, OrderState, Payment, PaymentClaim, Settled};
use jifen_domain::user::User;
use jifen_domain::{AccountId, Fen, Points, Time, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{AuditScope, Finding, LockedAccount, ServiceCredential, Tx};

/// A moment so many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Time {
    Time::from_seconds(1_700_000_000)
        .unwrap()
        .plus_seconds(seconds)
}

pub(crate) fn points(number: i64) -> Points {
    Points::new(number).unwrap()
}

/// A person of whom nothing is known.
pub(crate) fn user(id: i64) -> User {
    User {
        id: UserId(id),
        nickname: format!("user {id}"),
        avatar_url: String::new(),
        unionid: None,
        phone: None,
        email: None,
        created_at: at(id),
    }
}

pub(crate) fn package(id: &str) -> Package {
    Package {
        id: id.to_owned(),
        name: format!("package {id}"),
        points: points(100),
        price: Fen::new(990).unwrap(),
        original_price: Fen::new(990).unwrap(),
        is_hot: false,
        description: String::new(),
        on_sale: true,
        position: 1,
        validity_days: None,
    }
}

/// An order of package `p` for 100 points, made at second 0 and not known to the provider.
pub(crate) fn order(id: &str, user: i64) -> Order {
    Order {
        id: id.to_owned(),
        user: UserId(user),
        package_id: "p".to_owned(),
        package_name: "package p".to_owned(),
        points: points(100),
        price: Fen::new(990).unwrap(),
        validity_days: Some(30),
        channel: Channel::WechatJsapi,
        payer_openid: None,
        state: OrderState::Created,
        created_at: at(0),
        payable_until: at(1_800),
        prepay_id: None,
        payment: None,
        closed_at: None,
        paid_after_close: false,
    }
}

pub(crate) fn api_key(id: &str, user: i64) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        user: UserId(user),
        name: format!("key {id}"),
        active: true,
        is_test: false,
        hint: Some("aB3d".to_owned()),
        created_at: at(0),
        expires_at: at(0).plus_days(30),
        last_used_at: None,
        deleted_at: None,
        caps: Caps::NONE,
        rate: None,
        ip_ranges: Vec::new(),
        scopes: Vec::new(),
    }
}

pub(crate) fn credential(id: &str) -> ServiceCredential {
    ServiceCredential {
        id: id.to_owned(),
        name: format!("gateway {id}"),
        scopes: Scopes::all(),
        rate: None,
        created_at: at(0),
        revoked_at: None,
    }
}

pub(crate) fn gift(key: &str, number: i64, expires_at: Option<Time>) -> Grant {
    Grant {
        source: LotSource::Gift {
            key: key.to_owned(),
        },
        points: points(number),
        expires_at,
        title: "welcome".to_owned(),
    }
}

/// A charge by a key.
pub(crate) fn call(api_key_id: &str) -> ChargeDetail {
    ChargeDetail {
        api_key_id: api_key_id.to_owned(),
        title: "OCR".to_owned(),
        description: None,
        tariff: None,
    }
}

/// The request so numbered, which asks for that many points.
pub(crate) fn request(number: i64, asked: i64) -> Request {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&number.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
    let input = asked.to_be_bytes();
    Request { key, input }
}

/// Commits these people.
pub(crate) async fn add_users(store: &TestStore, ids: &[i64]) {
    let mut tx = store.begin().await.unwrap();
    for id in ids {
        assert!(tx.insert_user(&user(*id)).await.unwrap());
    }
    tx.commit().await.unwrap();
}

/// The account with this number, locked.
pub(crate) async fn account(tx: &mut Tx, id: i64) -> LockedAccount {
    tx.lock_account(AccountId(id)).await.unwrap().unwrap()
}

/// The same with its state alone, as the charge pipeline locks it.
pub(crate) async fn state_of(tx: &mut Tx, id: i64) -> LockedAccount {
    let mut accounts = tx.lock_accounts(&[AccountId(id)]).await.unwrap();
    accounts.pop().unwrap()
}

/// Changes an account with its lots in a transaction of its own.
pub(crate) async fn change<T>(
    store: &TestStore,
    id: i64,
    change: impl FnOnce(&mut LockedAccount) -> T,
) -> T {
    let mut tx = store.begin().await.unwrap();
    let mut account = account(&mut tx, id).await;
    let outcome = change(&mut account);
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    outcome
}

/// Grants in a transaction of its own.
pub(crate) async fn give(store: &TestStore, id: i64, grant: Grant, now: Time) {
    change(store, id, |account| account.grant(grant, now).unwrap()).await;
}

/// Charges in a transaction of its own. What expired is swept on the way, also when there is too little left.
pub(crate) async fn charge(
    store: &TestStore,
    id: i64,
    number: i64,
    detail: ChargeDetail,
    now: Time,
) -> Result<(), Refused> {
    change(store, id, |account| {
        account.charge(points(number), detail, None, now).map(drop)
    })
    .await
}

/// Charges as the pipeline does: with the account's state alone where that is enough.
pub(crate) async fn charge_fast(
    store: &TestStore,
    id: i64,
    number: i64,
    detail: ChargeDetail,
    request: Option<Request>,
    now: Time,
) -> Result<(), Refused> {
    let mut tx = store.begin().await.unwrap();
    let mut account = state_of(&mut tx, id).await;
    let mut charged = account
        .charge(points(number), detail.clone(), request, now)
        .map(drop);
    if charged == Err(Refused::LotsNeeded) {
        tx.load_lots(std::slice::from_mut(&mut account))
            .await
            .unwrap();
        charged = account
            .charge(points(number), detail, request, now)
            .map(drop);
    }
    tx.append_journal(&account).await.unwrap();
    tx.commit().await.unwrap();
    charged
}

/// A claim that pays for [`order`].
pub(crate) fn payment(transaction_id: &str, now: Time) -> PaymentClaim {
    PaymentClaim {
        channel: Channel::WechatJsapi,
        amount: Fen::new(990).unwrap(),
        payment: Payment {
            transaction_id: transaction_id.to_owned(),
            paid_at: now,
        },
    }
}

/// Delivers an order, as settling does: whoever finds it delivered does nothing.
pub(crate) async fn settle(tx: &mut Tx, order_id: &str, claim: PaymentClaim, now: Time) -> Settled {
    let mut order = tx.lock_order(order_id).await.unwrap().unwrap();
    let settled = order.settle(claim).unwrap();
    if settled == Settled::Now {
        let user = tx.lock_user(order.user).await.unwrap().unwrap();
        let mut account = account(tx, user.id.0).await;
        let grant = Grant {
            source: LotSource::Purchase {
                order_id: order.id.clone(),
            },
            points: order.points,
            expires_at: order.points_expire_at(now),
            title: order.package_name.clone(),
        };
        account.grant(grant, now).unwrap();
        tx.append_journal(&account).await.unwrap();
        tx.update_order(&order).await.unwrap();
    }
    settled
}

/// Makes two records one, as a login does that finds out: locks orders, users by id, accounts by id. `false` when they
/// are one already.
pub(crate) async fn merge(tx: &mut Tx, one: i64, other: i64, now: Time) -> bool {
    let (low, high) = (UserId(one.min(other)), UserId(one.max(other)));
    tx.lock_orders_of(low, high).await.unwrap();
    let low = tx.lock_user(low).await.unwrap().unwrap();
    let high = tx.lock_user(high).await.unwrap().unwrap();
    if low.id == high.id {
        return false;
    }
    let (older, younger) = if low.is_older_than(&high) {
        (low, high)
    } else {
        (high, low)
    };
    let merged = tx.merge_accounts(younger.id, older.id, now).await;
    merged.unwrap().unwrap();
    tx.redirect_user(younger.id, older.id, "the same unionid", now)
        .await
        .unwrap();
    true
}

/// Everything the audit has to say: of the whole ledger in one pass, account by account in passes, and of each account by
/// itself.
pub(crate) async fn findings(store: &TestStore) -> Vec<Finding> {
    let mut found = audited(store).await;
    let mut tx = store.snapshot().await.unwrap();
    let now = at(10_000_000);
    tx.audit_in_passes(AuditScope::All, now, &mut found, 1)
        .await
        .unwrap();
    let users = tx.list_users(UserId(0), 1_000).await.unwrap();
    for user in users {
        for id in [user.user.id.into(), AccountId::of_tests(user.user.id)] {
            found.extend(tx.audit_account(id, now).await.unwrap());
        }
    }
    found
}

/// What an audit of the whole ledger finds.
pub(crate) async fn audited(store: &TestStore) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tx = store.snapshot().await.unwrap();
    let audited = tx.audit(AuditScope::All, at(10_000_000), &mut found).await;
    assert_eq!(
        audited.unwrap().findings,
        i64::try_from(found.len()).unwrap()
    );
    found
}
