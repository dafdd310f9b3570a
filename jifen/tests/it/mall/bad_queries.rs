//! Queries that are not what the document says, at every URL that takes one.

use super::{assert_refused, everything};
use crate::world::{World, encode, on_sqlite};

on_sqlite!(
    a_page_that_cannot_be_is_named,
    an_order_that_cannot_be_named_is_missing_or_unknown
);

/// Neither a page nor a size.
const GARBAGE: [&str; 23] = [
    "0",
    "-1",
    "-0",
    "+1",
    "1.0",
    "1e2",
    "0x1",
    "1_000",
    "",
    " ",
    " 1",
    "1 ",
    "abc",
    "null",
    "１",
    "一",
    "9223372036854775808",
    "99999999999999999999",
    "1;DROP",
    "\0",
    "🔑",
    "[1]",
    "NaN",
];

async fn a_page_that_cannot_be_is_named(world: World) {
    const PAGE: &str = "page: 须为不小于 1 的整数";
    const SIZE: &str = "size: 须为 1 至 100 的整数";
    let token = world.log_in("xiaoming").await;
    let before = everything(&world, &token).await;
    for path in [
        "/api/v1/points/purchase-history",
        "/api/v1/points/consumption-history",
    ] {
        let refused = async |query: &str, message: &str| {
            assert_refused(
                &world
                    .get(&format!("{path}?{query}"))
                    .token(&token)
                    .send()
                    .await,
                422,
                message,
            );
        };
        for bad in GARBAGE.map(encode) {
            refused(&format!("page={bad}"), PAGE).await;
            refused(&format!("page={bad}&size=10"), PAGE).await;
            refused(&format!("size={bad}"), SIZE).await;
            refused(&format!("page=1&size={bad}"), SIZE).await;
        }
        for bad in ["101", "1000", "9223372036854775807"] {
            refused(&format!("size={bad}"), SIZE).await;
        }
        refused("page", PAGE).await;
        refused("page=1&page=2", "page: 只能出现一次").await;
        refused("size=1&size=1", "size: 只能出现一次").await;
        refused(&format!("page={}", "1".repeat(5_000)), PAGE).await;
        for good in [
            "",
            "?",
            "?page=1",
            "?size=1",
            "?size=100",
            "?page=007",
            "?Page=0&SIZE=0",
            "?other=x&other=y",
            "?page=1&size=10&token=x",
            "?&&=&",
        ] {
            let answer = world
                .get(&format!("{path}{good}"))
                .token(&token)
                .send()
                .await;
            assert_eq!(answer.status, 200, "{good}: {}", answer.text);
        }
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn an_order_that_cannot_be_named_is_missing_or_unknown(world: World) {
    let token = world.log_in("xiaoming").await;
    let order = world.create_order(&token, "100001").await;
    let id = order["orderId"].as_str().unwrap();
    let before = everything(&world, &token).await;
    let check = async |query: &str| {
        world
            .get(&format!("/api/v1/points/check-payment{query}"))
            .token(&token)
            .send()
            .await
    };
    for missing in ["", "?", "?orderid=x", "?OrderId=x", "?order_id=x", "?id=x"] {
        assert_refused(&check(missing).await, 422, "orderId: 缺少该字段");
    }
    for blank in [
        "?orderId=",
        "?orderId",
        "?orderId=%20",
        "?orderId=+",
        "?orderId=%E3%80%80",
    ] {
        assert_refused(&check(blank).await, 422, "orderId: 不能为空");
    }
    assert_refused(
        &check(&format!("?orderId={id}&orderId={id}")).await,
        422,
        "orderId: 只能出现一次",
    );
    let (long, longer) = ("x".repeat(65), "x".repeat(5_000));
    let spaced = format!(" {id}");
    for unknown in [
        "x",
        "0",
        "-1",
        "\0",
        "🔑",
        "订单",
        "' OR '1'='1",
        "../..",
        &id[1..],
        &id.to_uppercase(),
        &spaced,
        &long,
        &longer,
    ] {
        let answer = check(&format!("?orderId={}", encode(unknown))).await;
        assert_refused(&answer, 404, "没有这个订单");
    }
    // Bytes that are not UTF-8.
    assert_refused(&check("?orderId=%ff%fe").await, 404, "没有这个订单");
    assert_eq!(everything(&world, &token).await, before);
}
