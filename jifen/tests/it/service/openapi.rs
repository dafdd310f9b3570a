//! `/openapi.json`: a valid description of exactly what is there.

use std::collections::{BTreeMap, BTreeSet};

use jifen_store::Engine;
use serde_json::Value;

use crate::world::World;

/// Every URL of both documents, of version 2, and for who looks after the server, with its methods.
const URLS: &[(&str, &str)] = &[
    ("/api/v1/auth/wechat-login", "post"),
    ("/api/v1/auth/refresh-token", "post"),
    ("/api/v1/auth/logout", "post"),
    ("/api/v1/user/info", "get"),
    ("/api/v1/user/bind-phone", "post"),
    ("/api/v1/user/bind-email", "post"),
    ("/api/v1/user/confirm-email", "post"),
    ("/api/v1/points/packages", "get"),
    ("/api/v1/points/create-order", "post"),
    ("/api/v1/points/check-payment", "get"),
    ("/api/v1/points/purchase-history", "get"),
    ("/api/v1/points/consumption-history", "get"),
    ("/api/v1/api-keys", "get"),
    ("/api/v1/api-keys/create", "post"),
    ("/api/v1/api-keys/delete", "post"),
    ("/api/v1/api-keys/update-status", "post"),
    ("/api/v1/system/status", "get"),
    ("/api/v1/system/notice", "get"),
    ("/api/v1/login/weixin_qrcode_ticket", "get"),
    ("/api/v1/login/check_login", "get"),
    ("/api/v1/alipay/create_pay_order", "post"),
    ("/api/v1/alipay/alipay_notify_url", "post"),
    ("/api/v1/weixin/portal/receive", "get post"),
    ("/api/v1/wechat-pay/notify", "post"),
    ("/api/v2/api-keys", "get post"),
    ("/api/v2/api-keys/{id}", "delete get patch"),
    ("/api/v2/api-keys/{id}/rotate", "post"),
    ("/api/v2/metering/verify", "post"),
    ("/api/v2/metering/charges", "post"),
    ("/api/v2/metering/charges/batch", "post"),
    ("/api/v2/metering/holds", "post"),
    ("/api/v2/metering/holds/{id}/capture", "post"),
    ("/api/v2/metering/holds/{id}/extend", "post"),
    ("/api/v2/metering/holds/{id}/release", "post"),
    ("/api/v2/metering/refunds", "post"),
    ("/api/v2/balance", "get"),
    ("/api/v2/usage", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
];

async fn description(world: &World) -> Value {
    let answer = world.get("/openapi.json").send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    answer.body
}

/// `(url, method, operation)` of every operation.
fn operations(api: &Value) -> Vec<(&str, &str, &Value)> {
    let urls = api["paths"].as_object().unwrap();
    urls.iter()
        .flat_map(|(url, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(|(method, op)| (url.as_str(), method.as_str(), op))
        })
        .collect()
}

#[tokio::test]
async fn every_url_is_described_with_its_methods() {
    let world = World::start(Engine::Sqlite).await;
    let api = description(&world).await;
    let mut described: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (url, method, _) in operations(&api) {
        described.entry(url).or_default().insert(method);
    }
    let documented: BTreeMap<&str, BTreeSet<&str>> = URLS
        .iter()
        .map(|(url, methods)| (*url, methods.split(' ').collect()))
        .collect();
    assert_eq!(described, documented);
}

#[tokio::test]
async fn every_method_described_is_served_and_no_other() {
    let world = World::start(Engine::Sqlite).await;
    for (url, methods) in URLS {
        for method in ["get", "post", "put", "patch", "delete"] {
            let answer = world.request(&method.to_uppercase(), url).send().await;
            let is_described = methods.split(' ').any(|described| described == method);
            assert_eq!(
                answer.status != 405,
                is_described,
                "{method} {url}: {} {}",
                answer.status,
                answer.text
            );
            assert_ne!(answer.status, 404, "{method} {url}: {}", answer.text);
            if !is_described {
                let mut allowed: Vec<_> = answer
                    .header("allow")
                    .split(',')
                    .filter(|method| *method != "HEAD")
                    .collect();
                allowed.sort_unstable();
                assert_eq!(
                    allowed.join(" ").to_lowercase(),
                    *methods,
                    "the Allow header of {url}"
                );
            }
        }
        let slash = world.get(&format!("{url}/")).send().await;
        assert_eq!(slash.status, 404, "{url}/");
    }
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_whole() {
    let world = World::start(Engine::Sqlite).await;
    let api = description(&world).await;
    assert!(
        api["openapi"].as_str().unwrap().starts_with("3.1."),
        "{}",
        api["openapi"]
    );
    assert!(api["info"]["title"].is_string());
    assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
    let tags: BTreeSet<_> = api["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    let mut used_tags = BTreeSet::new();
    for (url, method, operation) in operations(&api) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(
            !id.is_empty() && ids.insert(id),
            "{method} {url}: {id:?} is not its own"
        );
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|summary| !summary.is_empty()),
            "{method} {url}: no summary"
        );
        for tag in operation["tags"].as_array().unwrap() {
            used_tags.insert(tag.as_str().unwrap());
        }
        for requirement in operation["security"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|r| r.as_object().unwrap().keys())
        {
            assert!(
                api["components"]["securitySchemes"]
                    .get(requirement)
                    .is_some(),
                "{method} {url}: {requirement}"
            );
        }
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{method} {url}: no success"
        );
        for (status, response) in responses {
            assert!(
                status.len() == 3 && status.parse::<u16>().is_ok(),
                "{method} {url}: {status}"
            );
            assert!(
                response["description"].is_string(),
                "{method} {url} {status}: no description"
            );
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let place = parameter["in"].as_str().unwrap();
            let is_in_url = url.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
            assert!(
                (["query", "header", "cookie"].contains(&place) || place == "path" && is_in_url)
                    && parameter["schema"].is_object(),
                "{method} {url}: {parameter}"
            );
        }
    }
    assert_eq!(used_tags, tags, "every tag is described, and used");
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let world = World::start(Engine::Sqlite).await;
    let api = description(&world).await;
    let mut found = BTreeSet::new();
    references(&api, &mut found);
    assert!(!found.is_empty());
    for reference in &found {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(api.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
