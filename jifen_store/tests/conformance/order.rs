use jifen_domain::order::{Channel, Order, OrderState, Payment};
use jifen_domain::{Fen, Points, UserId};
use jifen_store::testing::TestStore;
use jifen_store::{Error, PaymentIncident};

use crate::samples::{add_users, at, order, points};

on_both_engines! {
    an_order_reads_back_exactly_as_written,
    a_user_has_one_open_order_of_a_package_and_channel,
    a_transaction_pays_for_one_order,
    an_order_that_cannot_be_is_refused_by_name,
    pages_of_orders_are_newest_first_with_an_exact_total,
    all_orders_are_listed_newest_first_and_by_state,
    a_provider_is_asked_about_an_order_at_most_so_often,
    incidents_are_counted_and_listed_newest_first,
}

fn delivered(mut order: Order, transaction_id: &str) -> Order {
    order.state = OrderState::Delivered;
    order.payment = Some(Payment {
        transaction_id: transaction_id.to_owned(),
        paid_at: at(77),
    });
    order
}

async fn an_order_reads_back_exactly_as_written(store: &TestStore) {
    add_users(store, &[1]).await;
    let sparse = Order {
        validity_days: None,
        ..order("sparse", 1)
    };
    let complete = Order {
        package_name: "尝鲜 🎁".to_owned(),
        points: points(1_000_000_000_000),
        price: Fen::ORDER_MAX,
        channel: Channel::AlipayPage,
        payer_openid: Some("o".to_owned()),
        state: OrderState::Waiting,
        prepay_id: Some("wx1".to_owned()),
        ..order("complete", 1)
    };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.order("sparse").await.unwrap(), None);
    assert_eq!(tx.lock_order("sparse").await.unwrap(), None);
    for written in [&sparse, &complete] {
        assert!(tx.insert_order(written).await.unwrap());
        assert_eq!(tx.order(&written.id).await.unwrap().as_ref(), Some(written));
        assert_eq!(
            tx.lock_order(&written.id).await.unwrap().as_ref(),
            Some(written)
        );
    }
    let paid_late = Order {
        closed_at: Some(at(60)),
        paid_after_close: true,
        prepay_id: Some("wx2".to_owned()),
        ..delivered(sparse.clone(), "4200001")
    };
    let closed = Order {
        state: OrderState::Closed,
        closed_at: Some(at(61)),
        prepay_id: None,
        ..complete.clone()
    };
    for written in [&paid_late, &closed, &sparse, &complete] {
        tx.update_order(written).await.unwrap();
        assert_eq!(tx.order(&written.id).await.unwrap().as_ref(), Some(written));
    }
}

async fn a_user_has_one_open_order_of_a_package_and_channel(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    let open = tx.open_order(UserId(1), "p", Channel::WechatJsapi);
    assert_eq!(open.await.unwrap(), None);
    assert!(tx.insert_order(&order("first", 1)).await.unwrap());
    assert!(!tx.insert_order(&order("second", 1)).await.unwrap());
    let elsewhere = [
        order("other-user", 2),
        Order {
            package_id: "q".to_owned(),
            ..order("other-package", 1)
        },
        Order {
            channel: Channel::AlipayPage,
            ..order("other-channel", 1)
        },
    ];
    for other in elsewhere {
        assert!(tx.insert_order(&other).await.unwrap(), "{}", other.id);
    }
    let mut first = order("first", 1);
    first.wait_for_payment(Some("wx".to_owned())).unwrap();
    tx.update_order(&first).await.unwrap();
    assert!(!tx.insert_order(&order("second", 1)).await.unwrap());
    let open = tx.open_order(UserId(1), "p", Channel::WechatJsapi);
    assert_eq!(open.await.unwrap(), Some(first.clone()));

    first.close(at(9)).unwrap();
    tx.update_order(&first).await.unwrap();
    let open = tx.open_order(UserId(1), "p", Channel::WechatJsapi);
    assert_eq!(open.await.unwrap(), None);
    assert!(tx.insert_order(&order("second", 1)).await.unwrap());
    tx.update_order(&delivered(order("second", 1), "t"))
        .await
        .unwrap();
    assert!(tx.insert_order(&order("third", 1)).await.unwrap());
    // A number is used once, whoever uses it.
    assert!(!tx.insert_order(&order("first", 2)).await.unwrap());
    assert_eq!(tx.order("first").await.unwrap(), Some(first));
}

async fn a_transaction_pays_for_one_order(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    let mut tx = store.begin().await.unwrap();
    let by_transaction = tx.order_by_transaction(Channel::WechatJsapi, "t");
    assert_eq!(by_transaction.await.unwrap(), None);
    let alipay = Order {
        channel: Channel::AlipayPage,
        ..order("c", 1)
    };
    for order in [&order("a", 1), &order("b", 2), &alipay] {
        assert!(tx.insert_order(order).await.unwrap());
    }
    let paid = delivered(order("a", 1), "t");
    tx.update_order(&paid).await.unwrap();
    // The other provider numbers its transactions by itself.
    let paid_at_alipay = delivered(alipay, "t");
    tx.update_order(&paid_at_alipay).await.unwrap();
    for (channel, order) in [
        (Channel::WechatJsapi, paid),
        (Channel::AlipayPage, paid_at_alipay),
    ] {
        let by_transaction = tx.order_by_transaction(channel, "t").await.unwrap();
        assert_eq!(by_transaction, Some(order));
    }
    let taken = Error::Unique {
        constraint: "orders_one_per_transaction".to_owned(),
    };
    assert_eq!(
        tx.update_order(&delivered(order("b", 2), "t")).await,
        Err(taken)
    );
}

async fn an_order_that_cannot_be_is_refused_by_name(store: &TestStore) {
    add_users(store, &[1]).await;
    let unpaid = Order {
        state: OrderState::Delivered,
        ..order("a", 1)
    };
    let worthless = Order {
        points: Points::ZERO,
        ..order("a", 1)
    };
    let free = Order {
        price: Fen::new(0).unwrap(),
        ..order("a", 1)
    };
    let dead = Order {
        validity_days: Some(0),
        ..order("a", 1)
    };
    for (broken, name) in [
        (unpaid, "orders_delivered_is_paid"),
        (worthless, "orders_points_positive"),
        (free, "orders_price_fen_positive"),
        (dead, "orders_validity_days_positive"),
    ] {
        let mut tx = store.begin().await.unwrap();
        let refused = Error::Check {
            constraint: name.to_owned(),
        };
        assert_eq!(tx.insert_order(&broken).await, Err(refused));
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(
        tx.insert_order(&order("a", 9)).await,
        Err(Error::ForeignKey)
    );
    drop(tx);
    // An order that has its payment stays delivered.
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("a", 1)).await.unwrap());
    let reopened = Order {
        state: OrderState::Waiting,
        ..delivered(order("a", 1), "t")
    };
    let refused = Error::Check {
        constraint: "orders_delivered_is_paid".to_owned(),
    };
    assert_eq!(tx.update_order(&reopened).await, Err(refused));
}

/// Closed orders of user 1, made at these seconds.
async fn add_closed(store: &TestStore, orders: &[(&str, i64)]) {
    let mut tx = store.begin().await.unwrap();
    for (id, second) in orders {
        let order = Order {
            state: OrderState::Closed,
            created_at: at(*second),
            ..order(id, 1)
        };
        assert!(tx.insert_order(&order).await.unwrap());
    }
    tx.commit().await.unwrap();
}

fn ids(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.id.as_str()).collect()
}

async fn pages_of_orders_are_newest_first_with_an_exact_total(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    add_closed(store, &[("c", 2), ("a", 1), ("b", 2), ("e", 3), ("d", 2)]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("foreign", 2)).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = store.read().await.unwrap();
    for (skip, rows_max, page) in [
        (0, 2, vec!["e", "d"]),
        (2, 2, vec!["c", "b"]),
        (4, 2, vec!["a"]),
        (5, 2, vec![]),
        (1_000_000, 2, vec![]),
        (0, 100, vec!["e", "d", "c", "b", "a"]),
    ] {
        let (total, orders) = tx.orders_of(UserId(1), skip, rows_max).await.unwrap();
        assert_eq!((total, ids(&orders)), (5, page), "{rows_max} after {skip}");
    }
    assert_eq!(
        tx.orders_of(UserId(3), 0, 10).await.unwrap(),
        (0, Vec::new())
    );
}

async fn all_orders_are_listed_newest_first_and_by_state(store: &TestStore) {
    add_users(store, &[1, 2]).await;
    add_closed(store, &[("a", 2), ("b", 2), ("c", 1)]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.insert_order(&order("d", 2)).await.unwrap());
    assert_eq!(
        ids(&tx.list_orders(None, 10).await.unwrap()),
        ["b", "a", "c", "d"]
    );
    assert_eq!(ids(&tx.list_orders(None, 1).await.unwrap()), ["b"]);
    for (state, listed) in [
        (OrderState::Closed, vec!["b", "a"]),
        (OrderState::Created, vec!["d"]),
        (OrderState::Waiting, vec![]),
        (OrderState::Delivered, vec![]),
    ] {
        let orders = tx.list_orders(Some(state), 2).await.unwrap();
        assert_eq!(ids(&orders), listed);
    }
}

async fn a_provider_is_asked_about_an_order_at_most_so_often(store: &TestStore) {
    add_users(store, &[1]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.claim_order_query("a", at(0), at(-3)).await.unwrap());
    assert!(tx.insert_order(&order("a", 1)).await.unwrap());
    for (second, claimed) in [
        (10, true),
        (10, false),
        (12, false),
        (13, true),
        (15, false),
    ] {
        let outcome = tx.claim_order_query("a", at(second), at(second - 3)).await;
        assert_eq!(outcome.unwrap(), claimed, "{second}");
    }
    // A closed order may have been paid all the same; a delivered one is settled.
    let closed = Order {
        state: OrderState::Closed,
        closed_at: Some(at(20)),
        ..order("a", 1)
    };
    tx.update_order(&closed).await.unwrap();
    assert!(tx.claim_order_query("a", at(20), at(17)).await.unwrap());
    tx.update_order(&delivered(closed, "t")).await.unwrap();
    assert!(!tx.claim_order_query("a", at(30), at(27)).await.unwrap());
}

async fn incidents_are_counted_and_listed_newest_first(store: &TestStore) {
    let incident = |transaction_id: &str, second| PaymentIncident {
        channel: Channel::AlipayPage,
        transaction_id: transaction_id.to_owned(),
        order_id: "unknown order".to_owned(),
        reason: "there is no such order".to_owned(),
        first_at: at(second),
        last_at: at(second),
        times: 1,
    };
    let later = PaymentIncident {
        reason: "the amount differs".to_owned(),
        ..incident("t", 30)
    };
    let elsewhere = PaymentIncident {
        channel: Channel::WechatJsapi,
        ..incident("t", 20)
    };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.incidents(10).await.unwrap(), []);
    assert!(tx.record_incident(&incident("t", 10)).await.unwrap());
    assert!(tx.record_incident(&elsewhere).await.unwrap());
    assert!(tx.record_incident(&incident("u", 20)).await.unwrap());
    assert!(!tx.record_incident(&incident("t", 25)).await.unwrap());
    assert!(!tx.record_incident(&later).await.unwrap());
    let counted = PaymentIncident {
        first_at: at(10),
        times: 3,
        ..later
    };
    assert_eq!(
        tx.incidents(10).await.unwrap(),
        [counted.clone(), incident("u", 20), elsewhere]
    );
    assert_eq!(tx.incidents(1).await.unwrap(), [counted]);
}
