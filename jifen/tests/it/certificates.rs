//! Merchants with certificates instead of bare public keys: both providers, the mall's own whole way.

use std::path::Path;

use jifen_sandbox::Kit;
use jifen_store::Engine;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn alipay_is_paid_in_certificate_mode() {
    let kit = Kit::builtin();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str, pem: &str| {
        let path = folder.join(format!("alipay-certificate-mode-{name}.pem"));
        std::fs::write(&path, pem).unwrap();
        path.to_string_lossy().into_owned()
    };
    let world = World::start_with(Engine::Sqlite, |config| {
        let gateway = format!("{}/gateway.do", config.sandbox_base_url());
        let alipay = &mut config.alipay;
        alipay.app_id = kit.alipay_app_id.to_owned();
        alipay.private_key = kit.alipay_app_private_key.to_owned();
        alipay.app_certificate_file = file("app", kit.alipay_app_certificate);
        alipay.alipay_certificate_file = file("alipay", kit.alipay_certificate);
        alipay.root_certificate_file = file("root", kit.alipay_root_certificates);
        alipay.seller_id = kit.alipay_seller_id.to_owned();
        alipay.gateway = gateway;
    })
    .await;

    let form = world.alipay_form("10001", "100001").await;
    assert!(
        form.action.contains("alipay_root_cert_sn="),
        "{}",
        form.action
    );
    world.pay_with_alipay(&form).await;
    // Once by asking, which holds the answer's signature against the certificate, once by the notification.
    let (words, order) = world.app.query_order(&form.order_id()).await.unwrap();
    assert_eq!((words.as_str(), order.state.name()), ("paid", "delivered"));
    world.deliver_notifications().await;
    world.assert_audit_is_clean().await;
}

#[tokio::test]
async fn wechat_pay_is_paid_with_platform_certificates_alone_and_across_their_rotation() {
    let kit = Kit::builtin();
    let world = World::start_with(Engine::Sqlite, |config| {
        let base = config.sandbox_base_url();
        let pay = &mut config.wechat_pay;
        pay.mch_id = kit.mchid.to_owned();
        pay.merchant_serial = kit.merchant_certificate_serial.to_owned();
        pay.private_key = kit.merchant_private_key.to_owned();
        pay.api_v3_key = kit.api_v3_key.to_owned();
        pay.api_base = base;
    })
    .await;
    let token = world.log_in("xiaoming").await;
    for (package, settings) in [
        ("100001", json!({ "notification_key": "certificate" })),
        (
            "100010090091",
            json!({ "notification_key": "next_certificate", "rotating_certificates": true }),
        ),
    ] {
        world.sandbox_patch("/wechat-pay/settings", &settings).await;
        // Certificates are downloaded when one is unknown, at most every five minutes.
        world.clock.advance_seconds(301);
        let order = world.create_order(&token, package).await;
        world.pay_with_wechat("xiaoming", &order).await;
        world.deliver_notifications().await;
    }
    assert_eq!(world.points(&token).await, 200);
}
