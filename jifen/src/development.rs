//! What the development profile fills in: credentials of the sandbox, demo packages and users.

use jifen_app::{App, Error, Result};
use jifen_domain::catalogue::Package;
use jifen_domain::order::{Channel, OrderState};
use jifen_domain::user::User;
use jifen_domain::{Fen, Points, UserId};
use jifen_sandbox::Kit;

use crate::config::{Config, SandboxMode};

/// Keys the hashes of an instance that has no secret of its own.
pub const SECRET: &str = "a well-known secret for development only";

/// In the development profile, connects every provider that has no credentials to the sandbox.
pub fn complete(mut config: Config) -> Config {
    if config.is_development() && config.sandbox.mode != SandboxMode::Off {
        connect_sandbox(&mut config);
    }
    config
}

fn connect_sandbox(config: &mut Config) {
    let kit = Kit::builtin();
    let base = config.sandbox_base_url();
    let fill = |place: &mut String, value: &str| value.clone_into(place);

    let mini_program = &mut config.mini_program;
    if mini_program.app_id.is_empty() {
        fill(&mut mini_program.app_id, kit.mini_program_appid);
        fill(&mut mini_program.app_secret, kit.mini_program_secret);
        fill(&mut mini_program.api_base, &base);
    }
    let account = &mut config.official_account;
    if account.app_id.is_empty() {
        fill(&mut account.app_id, kit.official_account_appid);
        fill(&mut account.app_secret, kit.official_account_secret);
        fill(&mut account.token, kit.official_account_token);
        fill(
            &mut account.encoding_aes_key,
            kit.official_account_encoding_aes_key,
        );
        fill(
            &mut account.login_template_id,
            kit.official_account_template_id,
        );
        fill(&mut account.api_base, &base);
        fill(&mut account.image_base, &base);
        // The sandbox's pages switch between the modes.
        account.plain_pushes_accepted = true;
    }
    let pay = &mut config.wechat_pay;
    if pay.mch_id.is_empty() {
        fill(&mut pay.mch_id, kit.mchid);
        fill(&mut pay.merchant_serial, kit.merchant_certificate_serial);
        fill(&mut pay.private_key, kit.merchant_private_key);
        fill(&mut pay.api_v3_key, kit.api_v3_key);
        fill(&mut pay.public_key_id, kit.wechat_pay_public_key_id);
        fill(&mut pay.public_key, kit.wechat_pay_public_key);
        fill(
            &mut pay.platform_certificate,
            kit.wechat_pay_platform_certificate,
        );
        fill(&mut pay.api_base, &base);
    }
    let alipay = &mut config.alipay;
    if alipay.app_id.is_empty() {
        fill(&mut alipay.app_id, kit.alipay_app_id);
        fill(&mut alipay.private_key, kit.alipay_app_private_key);
        fill(&mut alipay.public_key, kit.alipay_public_key);
        fill(&mut alipay.seller_id, kit.alipay_seller_id);
        fill(&mut alipay.gateway, &format!("{base}/gateway.do"));
    }
}

/// Makes what is there to try: packages, and users that the documents' examples name. Does nothing the second time.
pub async fn seed(app: &App) -> Result<()> {
    for package in demo_packages() {
        match app.add_package(&package).await {
            Ok(()) | Err(Error::Invalid { field: "id", .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut tx = app.store().begin().await?;
    for (id, nickname) in [(10001, "小明"), (10002, "小红")] {
        let user = User {
            id: UserId(id),
            nickname: nickname.to_owned(),
            avatar_url: String::new(),
            unionid: None,
            phone: None,
            email: None,
            created_at: app.now(),
        };
        tx.insert_user(&user).await?;
    }
    Ok(tx.commit().await?)
}

/// Closes the orders a sandbox that has just started knows nothing of: it keeps its state in memory, and a prepay id of
/// an earlier run would be handed out until its order ran out of time. Alipay's forms go on working.
pub async fn close_forgotten_orders(app: &App) -> Result<()> {
    const ORDERS_MAX: i64 = 1_000;
    for state in [OrderState::Created, OrderState::Waiting] {
        let open = app.list_orders(Some(state), ORDERS_MAX).await?;
        for order in open
            .iter()
            .filter(|order| order.channel == Channel::WechatJsapi)
        {
            if app.close_unknown_order(&order.id).await? {
                tracing::info!(order = %order.id, "closed: the sandbox of an earlier run took it along");
            }
        }
    }
    Ok(())
}

fn demo_packages() -> [Package; 4] {
    [
        Package {
            original_price: fen(200),
            description: "首次体验 / to try".to_owned(),
            validity_days: Some(30),
            ..package("100001", "体验包 100 点", 100, 168)
        },
        Package {
            description: "与体验包同价，一年有效 / a year".to_owned(),
            validity_days: Some(365),
            position: 1,
            ..package("100010090091", "标准包 100 点", 100, 168)
        },
        Package {
            original_price: fen(1_680),
            is_hot: true,
            description: "多买多省 / save 11%".to_owned(),
            validity_days: Some(365),
            position: 2,
            ..package("starter-1000", "进阶包 1000 点", 1_000, 1_500)
        },
        Package {
            original_price: fen(16_800),
            description: "永久有效 / never expires".to_owned(),
            position: 3,
            ..package("pro-10000", "专业包 10000 点", 10_000, 12_800)
        },
    ]
}

fn package(id: &str, name: &str, points: i64, price_fen: i64) -> Package {
    Package {
        id: id.to_owned(),
        name: name.to_owned(),
        points: Points::new(points).expect("a positive constant"),
        price: fen(price_fen),
        original_price: fen(price_fen),
        is_hot: false,
        description: String::new(),
        on_sale: true,
        position: 0,
        validity_days: None,
    }
}

fn fen(amount: i64) -> Fen {
    Fen::new(amount).expect("a positive constant")
}
