//! Buying a package: the order is on disk before a provider is asked to take money for it.

use jifen_alipay::PagePay;
use jifen_domain::order::{Channel, Order, OrderState, PAYABLE_SECONDS};
use jifen_domain::{Time, UserId};
use jifen_store::Tx;
use jifen_wechat::Private;
use jifen_wechat::pay::{PayRefusalKind, Prepay, RequestPayment};

use crate::App;
use crate::catalogue::package_on_sale;
use crate::error::{Error, Result, Text};
use crate::jobs;
use crate::provider_orders::is_maybe_paid;

/// An order waiting for `wx.requestPayment`.
pub struct WechatOrder {
    /// The order.
    pub order: Order,
    /// What the mini program passes on.
    pub payment: RequestPayment,
}

/// An open order with less time left is replaced rather than reused: nobody pays in a moment.
const REUSABLE_SECONDS_MIN: i64 = 60;
/// Rounds in which an order found unusable is replaced by another.
const ORDER_ROUNDS_MAX: u32 = 3;

impl App {
    /// Makes an order for WeChat Pay in the mini program, or finds the open one of the same user and package.
    pub async fn create_wechat_order(&self, user: UserId, package_id: &str) -> Result<WechatOrder> {
        let wechat_pay = self.wechat_pay()?;
        for _ in 0..ORDER_ROUNDS_MAX {
            let order = self
                .open_order(user, "packageId", package_id, Channel::WechatJsapi)
                .await?;
            let prepay_id = match &order.prepay_id {
                Some(prepay_id) => prepay_id.clone(),
                None => match self.prepay(&order).await? {
                    Some(prepay_id) => prepay_id,
                    None => continue,
                },
            };
            let payment = wechat_pay
                .request_payment_params(&prepay_id)
                .map_err(Error::wechat)?;
            return Ok(WechatOrder { order, payment });
        }
        Err(Error::Busy(
            "orders kept being paid or closed while they were prepaid".into(),
        ))
    }

    /// Makes an order for Alipay's page pay, or finds the open one, and returns the form the browser submits. The form
    /// of an order is the same each time.
    pub async fn create_alipay_order(
        &self,
        user: &str,
        package_id: &str,
        session: Option<&str>,
    ) -> Result<String> {
        self.alipay()?;
        let user = self.buyer(user, session).await?;
        let order = self
            .open_order(user, "productId", package_id, Channel::AlipayPage)
            .await?;
        self.alipay_form(&order)
    }

    /// Who a pay page means: a user id, or an openid that has logged in.
    async fn buyer(&self, user: &str, session: Option<&str>) -> Result<UserId> {
        const UNKNOWN: Text = Text::new("没有这个用户，请先登录", "no such user: log in first");
        let mut tx = self.store.read().await?;
        let found = match UserId::parse(user) {
            Some(id) => tx.user(id).await?,
            None => tx.user_by_any_openid(user).await?,
        };
        let buyer = found.ok_or(Error::invalid("userId", UNKNOWN))?.id;
        drop(tx);
        if self.settings.alipay_require_login {
            const LOG_IN: Text = Text::new(
                "请以该用户登录后再下单",
                "log in as this user before ordering",
            );
            let token = session.ok_or(Error::Unauthenticated(LOG_IN))?;
            if self.authenticate(token).await? != buyer {
                return Err(Error::Unauthenticated(LOG_IN));
            }
        }
        Ok(buyer)
    }

    /// The order to pay: the open one if there is time left to pay it, else a new one.
    async fn open_order(
        &self,
        user: UserId,
        field: &'static str,
        package_id: &str,
        channel: Channel,
    ) -> Result<Order> {
        for _ in 0..ORDER_ROUNDS_MAX {
            let order = self
                .find_or_insert_order(user, field, package_id, channel)
                .await?;
            if order.is_payable(self.now().plus_seconds(REUSABLE_SECONDS_MIN)) {
                return Ok(order);
            }
            self.close_order(&order).await?;
        }
        Err(Error::Busy("orders kept running out of time".into()))
    }

    async fn find_or_insert_order(
        &self,
        user: UserId,
        field: &'static str,
        package_id: &str,
        channel: Channel,
    ) -> Result<Order> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let package = package_on_sale(&mut tx, field, package_id).await?;
        // Parallel calls of one user queue up here, so that one of them makes the order and the others find it.
        let user = tx
            .lock_user(user)
            .await?
            .ok_or_else(|| Error::internal(format!("user {user} is gone")))?
            .id;
        if let Some(order) = tx.open_order(user, &package.id, channel).await? {
            tx.commit().await?;
            return Ok(order);
        }
        let (state, payer_openid) = match channel {
            Channel::WechatJsapi => (
                OrderState::Created,
                Some(self.payer_openid(&mut tx, user).await?),
            ),
            // Alipay learns of the order from the buyer's browser: nothing comes between making it and waiting.
            Channel::AlipayPage => (OrderState::Waiting, None),
        };
        let order = Order {
            id: self.new_order_id(now),
            user,
            package_id: package.id,
            package_name: package.name,
            points: package.points,
            price: package.price,
            validity_days: package.validity_days,
            channel,
            payer_openid,
            state,
            created_at: now,
            payable_until: now.plus_seconds(PAYABLE_SECONDS),
            prepay_id: None,
            payment: None,
            closed_at: None,
            paid_after_close: false,
        };
        if !tx.insert_order(&order).await? {
            return Err(Error::Busy(
                "the same order was made at the same time".into(),
            ));
        }
        tx.enqueue(
            jobs::QUERY_ORDER,
            &order.id,
            "",
            now.plus_seconds(jobs::QUERY_ORDER_FIRST_SECONDS),
        )
        .await?;
        tx.enqueue(jobs::CLOSE_ORDER, &order.id, "", order.payable_until)
            .await?;
        tx.commit().await?;
        tracing::info!(order = %order.id, %user, package = %order.package_id, channel = channel.name(), "order made");
        Ok(order)
    }

    async fn payer_openid(&self, tx: &mut Tx, user: UserId) -> Result<String> {
        const NEEDS_MINI_PROGRAM: Text = Text::new(
            "微信支付需要先在小程序登录一次",
            "paying with WeChat Pay needs a login from the mini program first",
        );
        let app_id = self
            .settings
            .mini_program_app_id
            .as_deref()
            .unwrap_or_default();
        tx.openid_of(app_id, user)
            .await?
            .ok_or(Error::invalid("packageId", NEEDS_MINI_PROGRAM))
    }

    /// Tells WeChat Pay of an order. `None` when that showed that the order is paid or closed: it is up to date then.
    async fn prepay(&self, order: &Order) -> Result<Option<String>> {
        let openid = order
            .payer_openid
            .as_deref()
            .ok_or_else(|| Error::internal(format!("order {}: no payer", order.id)))?;
        let prepay = Prepay {
            out_trade_no: order.id.clone(),
            description: order.package_name.clone(),
            total_fen: order.price.get(),
            expires_at_unix_seconds: Some(order.payable_until.seconds()),
            attach: None,
        };
        match self
            .wechat_pay()?
            .prepay_jsapi(&prepay, &Private::from(openid))
            .await
        {
            Ok(prepay_id) => self.note_prepaid(order, prepay_id).await,
            Err(error) if error.refusal_kind() == Some(PayRefusalKind::Closed) => {
                self.close_locally(&order.id).await?;
                Ok(None)
            }
            Err(error) if is_maybe_paid(&error) => {
                tracing::warn!(order = %order.id, %error, "the prepayment was refused; asking what became of the order");
                let _ = self
                    .refresh_order(order, "query after a refused prepayment")
                    .await?;
                let open = self
                    .store
                    .read()
                    .await?
                    .order(&order.id)
                    .await?
                    .is_some_and(|order| order.state.is_open());
                if open {
                    Err(Error::wechat(error))
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(Error::wechat(error)),
        }
    }

    async fn note_prepaid(&self, order: &Order, prepay_id: String) -> Result<Option<String>> {
        let mut tx = self.store.begin().await?;
        let Some(mut order) = tx.lock_order(&order.id).await? else {
            return Ok(None);
        };
        if !order.state.is_open() {
            return Ok(None);
        }
        order
            .wait_for_payment(Some(prepay_id.clone()))
            .map_err(Error::internal)?;
        tx.update_order(&order).await?;
        tx.commit().await?;
        Ok(Some(prepay_id))
    }

    fn alipay_form(&self, order: &Order) -> Result<String> {
        let notify_url = format!(
            "{}/api/v1/alipay/alipay_notify_url",
            self.settings.public_base_url
        );
        let form = self.alipay()?.page_pay_form(&PagePay {
            out_trade_no: &order.id,
            total_fen: order.price.get(),
            subject: &order.package_name,
            time_expire: Some(order.payable_until.seconds()),
            timestamp: order.created_at.seconds(),
            notify_url: Some(&notify_url),
            return_url: self.settings.alipay_return_url.as_deref(),
        });
        form.map_err(Error::alipay)
    }

    /// 32 hexadecimal digits, in the order of time, never in sequence: a UUID of version 7.
    fn new_order_id(&self, now: Time) -> String {
        let mut random = [0; 10];
        self.environment.fill_random(&mut random);
        let millis = u64::try_from(now.micros() / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random)
            .into_uuid()
            .simple()
            .to_string()
    }
}
