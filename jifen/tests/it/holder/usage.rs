//! `/api/v2/usage`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ask;
use crate::metering::{CHARGES, Shop, assert_invalid, id};
use crate::world::{Token, World, on_both_engines, on_sqlite};

on_both_engines!(
    every_grouping_adds_up_exactly,
    days_begin_at_midnight_in_china,
    a_refund_counts_on_its_own_day,
    a_capture_counts_and_an_open_hold_does_not,
    nobody_elses_spending_is_told,
);

on_sqlite!(dates_are_days_in_order, only_known_words_group);

async fn usage(shop: &Shop, query: &str) -> Value {
    let answer = ask(shop, &format!("/api/v2/usage?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let lines = answer.body["lines"].as_array().unwrap();
    for member in ["charges", "points"] {
        let sum: i64 = lines
            .iter()
            .map(|line| line[member].as_i64().unwrap())
            .sum();
        assert_eq!(answer.body[member], sum, "{member} of {}", answer.text);
    }
    answer.body
}

/// `(day, key, title)`, each empty when it is not asked for, to `(charges, points)`.
type Lines = BTreeMap<(String, String, String), (i64, i64)>;

/// What is told, in the order it is told; no line twice.
fn told(usage: &Value) -> Lines {
    let mut lines = Lines::new();
    let mut last = None;
    for line in usage["lines"].as_array().unwrap() {
        let text = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
        let name = (text("day"), text("keyId"), text("title"));
        let known = ["charges", "points"].map(|member| line[member].as_i64().unwrap());
        assert!(last < Some(name.clone()), "{last:?} before {name:?}");
        last = Some(name.clone());
        lines.insert(name, (known[0], known[1]));
    }
    lines
}

async fn every_grouping_adds_up_exactly(world: World) {
    let shop = Shop::new(world, 10_000).await;
    let other = shop.another_key(json!({})).await;
    let keys = [(shop.key_id.clone(), shop.key.clone()), other];
    let titles = ["OCR", "TTS", "翻译"];
    let days = ["2026-01-15", "2026-01-16", "2026-01-17", "2026-01-18"];
    let mut expected = Lines::new();
    let mut count = |day: &str, key: &str, title: &str, charges: i64, points: i64| {
        let name = (day.to_owned(), key.to_owned(), title.to_owned());
        let sum = expected.entry(name).or_default();
        sum.0 += charges;
        sum.1 += points;
    };
    for number in 0..100_i64 {
        let place = usize::try_from(number).unwrap();
        let (day, title) = (days[place / 25], titles[place % 3]);
        let (key_id, key) = &keys[place % 2];
        let points = number * 7 % 31 + 1;
        let body = json!({ "apiKey": key, "points": points, "title": title });
        let answer = shop.post(CHARGES, &number.to_string(), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        count(day, key_id, title, 1, points);
        if number % 5 == 0 {
            let back = if number % 2 == 0 { points } else { 1 };
            let refund = shop
                .refund(&format!("r{number}"), &id(&answer), json!(back))
                .await;
            assert_eq!(refund.status, 200, "{}", refund.text);
            count(day, key_id, title, 0, -back);
        }
        if number % 25 == 24 {
            shop.world.clock.advance_seconds(86_400);
        }
    }
    for by in [
        "day,key,title",
        "day,key",
        "day,title",
        "key,title",
        "day",
        "key",
        "title",
    ] {
        let asked = |word: &str| by.split(',').any(|asked| asked == word);
        let mut sums = Lines::new();
        for ((day, key, title), (charges, points)) in &expected {
            let keep = |word: &str, text: &String| {
                if asked(word) {
                    text.clone()
                } else {
                    String::new()
                }
            };
            let name = (keep("day", day), keep("key", key), keep("title", title));
            let sum = sums.entry(name).or_default();
            sum.0 += charges;
            sum.1 += points;
        }
        let usage = usage(&shop, &format!("from=2026-01-15&to=2026-01-18&by={by}")).await;
        assert_eq!(told(&usage), sums, "by {by}");
        assert_eq!(usage["charges"], 100);
        let line = usage["lines"][0].as_object().unwrap();
        for (word, member) in [("day", "day"), ("key", "keyId"), ("title", "title")] {
            assert_eq!(line.contains_key(member), asked(word), "by {by}");
        }
    }
    let all = usage(&shop, "from=2026-01-15&to=2026-01-18").await;
    assert_eq!(told(&all), expected, "by all three when nothing is said");
    let some = usage(&shop, "from=2026-01-16&to=2026-01-17").await;
    expected.retain(|(day, ..), _| day == "2026-01-16" || day == "2026-01-17");
    assert_eq!(told(&some), expected);
    // Whichever key of the account asks, all of its keys are told.
    let path = "/api/v2/usage?from=2026-01-15&to=2026-01-18";
    let by_other = shop.world.get(path).token(&Token(keys[1].1.clone()));
    assert_eq!(by_other.send().await.body, all);
    shop.end().await;
}

async fn days_begin_at_midnight_in_china(world: World) {
    let shop = Shop::new(world, 100).await;
    // Noon in China.
    shop.world.clock.advance_seconds(12 * 3_600 - 1);
    shop.charged("1", 1).await;
    shop.world.clock.advance_seconds(1);
    shop.charged("2", 10).await;
    let days = usage(&shop, "from=2026-01-14&to=2026-01-17&by=day").await;
    let expected = json!([
        { "day": "2026-01-15", "charges": 1, "points": 1 },
        { "day": "2026-01-16", "charges": 1, "points": 10 },
    ]);
    assert_eq!(days["lines"], expected);
    for (day, points) in [("2026-01-15", 1), ("2026-01-16", 10), ("2026-01-17", 0)] {
        let one = usage(&shop, &format!("from={day}&to={day}&by=day")).await;
        assert_eq!(one["points"], points, "{day}");
    }
}

async fn a_refund_counts_on_its_own_day(world: World) {
    let shop = Shop::new(world, 100).await;
    let charge = shop.charged("1", 30).await;
    shop.world.clock.advance_seconds(86_400);
    assert_eq!(shop.refund("r", &charge, json!(10)).await.status, 200);
    let days = usage(&shop, "from=2026-01-15&to=2026-01-16&by=day").await;
    let expected = json!([
        { "day": "2026-01-15", "charges": 1, "points": 30 },
        { "day": "2026-01-16", "charges": 0, "points": -10 },
    ]);
    assert_eq!(days["lines"], expected);
    assert_eq!((&days["charges"], &days["points"]), (&json!(1), &json!(20)));
    let titles = usage(&shop, "from=2026-01-15&to=2026-01-16&by=title").await;
    let expected = json!([{ "title": "OCR", "charges": 1, "points": 20 }]);
    assert_eq!(titles["lines"], expected);
}

async fn a_capture_counts_and_an_open_hold_does_not(world: World) {
    let shop = Shop::new(world, 100).await;
    let hold = shop.held("1", 30).await;
    let of_today = "from=2026-01-15&to=2026-01-15&by=key";
    assert_eq!(usage(&shop, of_today).await["lines"], json!([]));
    assert_eq!(shop.capture(&hold, 12).await.status, 200);
    let expected = json!([{ "keyId": shop.key_id, "charges": 1, "points": 12 }]);
    assert_eq!(usage(&shop, of_today).await["lines"], expected);
    let hold = shop.held("2", 30).await;
    assert_eq!(shop.release(&hold).await.status, 200);
    assert_eq!(usage(&shop, of_today).await["lines"], expected);
}

async fn nobody_elses_spending_is_told(world: World) {
    let shop = Shop::new(world, 100).await;
    shop.charged("1", 30).await;
    let somebody = shop.world.log_in("laowang").await;
    let (_, key) = shop.key_of(&somebody, json!({})).await;
    let path = "/api/v2/usage?from=2026-01-15&to=2026-01-15";
    let theirs = shop.world.get(path).token(&Token(key)).send().await;
    let nothing = json!({ "charges": 0, "points": 0, "lines": [] });
    assert_eq!(theirs.body, nothing);
}

async fn dates_are_days_in_order(world: World) {
    let shop = Shop::new(world, 100).await;
    let asked = async |query: &str| ask(&shop, &format!("/api/v2/usage?{query}")).await;
    for bad in [
        "",
        "%20",
        "2026-1-15",
        "2026-01-32",
        "2026-02-29",
        "2026-13-01",
        "2026-00-10",
        "20260115",
        "15.01.2026",
        "2026-01-15T00:00:00Z",
        "2026-01-15%00",
        "-2026-01-15",
        "%2B02026-01-15",
        "today",
        "2026-01-1%EF%BC%95",
        "9999999999",
        "0",
    ] {
        let from = asked(&format!("from={bad}&to=2026-01-15")).await;
        assert_invalid(&from, "from");
        let to = asked(&format!("from=2026-01-15&to={bad}")).await;
        assert_invalid(&to, "to");
    }
    assert_invalid(&asked("").await, "from");
    assert_invalid(&asked("to=2026-01-15").await, "from");
    assert_invalid(&asked("from=2026-01-15").await, "to");
    let twice = "from=2026-01-15&from=2026-01-15&to=2026-01-15";
    assert_invalid(&asked(twice).await, "from");
    assert_invalid(&asked("from=2026-01-16&to=2026-01-15").await, "to");
    // 92 days, the last of them included.
    assert_eq!(asked("from=2026-01-01&to=2026-04-02").await.status, 200);
    assert_invalid(&asked("from=2026-01-01&to=2026-04-03").await, "to");
    assert_invalid(&asked("from=0001-01-01&to=9999-12-30").await, "to");
    for far in ["0001-01-01", "1970-01-01", "2024-02-29", "9999-12-30"] {
        let answer = asked(&format!("from={far}&to={far}")).await;
        assert_eq!(answer.status, 200, "{far}: {}", answer.text);
    }
}

async fn only_known_words_group(world: World) {
    let shop = Shop::new(world, 100).await;
    let asked = async |by: &str| {
        let query = format!("/api/v2/usage?from=2026-01-15&to=2026-01-15&by={by}");
        ask(&shop, &query).await
    };
    for bad in [
        "",
        "%20",
        "hour",
        "Day",
        "day,",
        ",day",
        "day;key",
        "day%20key",
        "keyId",
        "*",
    ] {
        assert_invalid(&asked(bad).await, "by");
    }
    assert_invalid(&asked("day&by=key").await, "by");
    for good in ["day", "title,day", "key%2Cday", "day,day"] {
        assert_eq!(asked(good).await.status, 200, "{good}");
    }
}
