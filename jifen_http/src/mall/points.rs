//! `/api/v1/points`: buying points, and what became of them.

use axum::extract::State;
use jifen_app::{App, Consumption, Error, PaymentStatus, Text, WechatOrder, charge_id};
use jifen_domain::Time;
use jifen_domain::catalogue::Package;
use jifen_domain::order::{Order, OrderState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::mall::{Envelope, MallError, Reply, Success};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields, is_plausible_id};
use crate::request::query::QueryFields;

/// 获取积分套餐列表 · Packages on sale now, in the operator's order
#[utoipa::path(
    get, path = "", tag = "points", operation_id = "packages", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "套餐列表 · The packages", body = Envelope<Packages>)),
)]
pub(crate) async fn packages(State(app): State<App>, _user: SignedIn) -> Reply<Packages> {
    let packages = app.packages_on_sale().await?;
    Ok(Success(Packages {
        packages: packages.into_iter().map(PackageOnSale::from).collect(),
    }))
}

/// 创建积分购买订单 · Order a package, to be paid with WeChat Pay in the mini program
///
/// 同一用户、同一套餐未支付且仍可支付的订单会被复用。 An unpaid order of the same user and package that can still be paid is
/// used again. 仅网页登录过的用户没有小程序 openid，返回 422。
#[utoipa::path(
    post, path = "", tag = "points", operation_id = "createOrder", security(("session" = []), ("cookie" = [])),
    request_body = NewOrder,
    responses((status = 200, description = "订单及 `wx.requestPayment` 的参数 · The order, and what `wx.requestPayment` takes", body = Envelope<CreatedOrder>)),
)]
pub(crate) async fn create_order(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(wanted): JsonBody<NewOrder>,
) -> Reply<CreatedOrder> {
    Ok(Success(
        app.create_wechat_order(user.id, &wanted.package_id)
            .await?
            .into(),
    ))
}

/// 查询订单支付状态 · Whether an order of the caller is paid
#[utoipa::path(
    get, path = "", tag = "points", operation_id = "checkPayment", security(("session" = []), ("cookie" = [])),
    params(("orderId" = String, Query, description = "订单 ID · The order", example = "01904ac5d8e47b1f9d3c2a7e6f5b4c3d")),
    responses(
        (status = 200, description = "支付状态 · Whether it is paid", body = Envelope<Payment>),
        (status = 404, description = "没有这个订单，或不属于当前用户 · No such order of the caller", body = MallError),
    ),
)]
pub(crate) async fn check_payment(
    State(app): State<App>,
    user: SignedIn,
    query: QueryFields,
) -> Reply<Payment> {
    let order_id = query.required("orderId")?;
    if !is_plausible_id(order_id) {
        return Err(Error::NotFound(Text::new("没有这个订单", "no such order")).into());
    }
    Ok(Success(app.check_payment(user.id, order_id).await?.into()))
}

/// 获取积分购买记录 · Orders of the caller, newest first
#[utoipa::path(
    get, path = "", tag = "points", operation_id = "purchaseHistory", security(("session" = []), ("cookie" = [])),
    params(
        ("page" = Option<i64>, Query, description = "页码，从 1 开始 · From 1", minimum = 1, example = 1),
        ("size" = Option<i64>, Query, description = "每页条数 · Rows a page", minimum = 1, maximum = 100, example = 10),
    ),
    responses((status = 200, description = "购买记录 · The orders", body = Envelope<Purchases>)),
)]
pub(crate) async fn purchase_history(
    State(app): State<App>,
    user: SignedIn,
    query: QueryFields,
) -> Reply<Purchases> {
    let page = app.purchases(user.id, query.paging()?).await?;
    Ok(Success(Purchases {
        total: page.total,
        list: page.list.into_iter().map(Purchase::from).collect(),
    }))
}

/// 获取积分消费记录 · Charges of the caller's API keys, newest first
#[utoipa::path(
    get, path = "", tag = "points", operation_id = "consumptionHistory", security(("session" = []), ("cookie" = [])),
    params(
        ("page" = Option<i64>, Query, description = "页码，从 1 开始 · From 1", minimum = 1, example = 1),
        ("size" = Option<i64>, Query, description = "每页条数 · Rows a page", minimum = 1, maximum = 100, example = 10),
    ),
    responses((status = 200, description = "消费记录 · The charges", body = Envelope<Consumptions>)),
)]
pub(crate) async fn consumption_history(
    State(app): State<App>,
    user: SignedIn,
    query: QueryFields,
) -> Reply<Consumptions> {
    let page = app.consumption(user.id, query.paging()?).await?;
    Ok(Success(Consumptions {
        total: page.total,
        list: page.list.into_iter().map(Consumed::from).collect(),
    }))
}

/// Bytes of a package id.
const PACKAGE_ID_BYTES_MAX: usize = 64;

#[derive(Serialize, ToSchema)]
pub(crate) struct Packages {
    packages: Vec<PackageOnSale>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PackageOnSale {
    /// 套餐 ID；即支付接口的 productId · The pay document's `productId`.
    #[schema(example = "100001")]
    id: String,
    #[schema(example = "入门套餐")]
    name: String,
    /// 包含积分数量
    #[schema(example = 1000)]
    points: i64,
    /// 价格（分） · In fen.
    #[schema(example = 168)]
    price: i64,
    /// 原价（分） · In fen; the price when there is no discount.
    #[schema(example = 200)]
    original_price: i64,
    /// 折扣百分比：减去的百分数，无折扣为 0 · The percentage taken off, 0 when there is none.
    #[schema(example = 16)]
    discount: i64,
    /// 是否热销
    is_hot: bool,
    #[schema(example = "适合个人试用")]
    description: String,
}

impl From<Package> for PackageOnSale {
    fn from(package: Package) -> Self {
        Self {
            discount: package.discount_percent(),
            id: package.id,
            name: package.name,
            points: package.points.get(),
            price: package.price.get(),
            original_price: package.original_price.get(),
            is_hot: package.is_hot,
            description: package.description,
        }
    }
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewOrder {
    /// 套餐 ID
    #[schema(example = "100001", max_length = 64)]
    package_id: String,
}

impl FromFields for NewOrder {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            package_id: fields.text("packageId", PACKAGE_ID_BYTES_MAX)?,
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedOrder {
    /// 订单 ID，即 `out_trade_no`
    #[schema(example = "01904ac5d8e47b1f9d3c2a7e6f5b4c3d")]
    order_id: String,
    payment_info: PaymentInfo,
    order_info: OrderInfo,
}

/// `wx.requestPayment()` 的参数 · To be passed on to `wx.requestPayment()`
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentInfo {
    #[schema(example = "1719302400")]
    time_stamp: String,
    #[schema(example = "5K8264ILTKCH16CQ2502SI8ZNMTM67VS")]
    nonce_str: String,
    #[schema(example = "prepay_id=wx201410272009395522657a690389285100")]
    package: String,
    #[schema(example = "RSA")]
    sign_type: &'static str,
    /// Base64。
    pay_sign: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderInfo {
    #[schema(example = "入门套餐")]
    package_name: String,
    #[schema(example = 1000)]
    points: i64,
    /// 价格（分） · In fen.
    #[schema(example = 168)]
    price: i64,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    create_time: String,
}

impl From<WechatOrder> for CreatedOrder {
    fn from(WechatOrder { order, payment }: WechatOrder) -> Self {
        Self {
            order_id: order.id,
            payment_info: PaymentInfo {
                time_stamp: payment.time_stamp,
                nonce_str: payment.nonce_str,
                package: payment.package,
                sign_type: payment.sign_type,
                pay_sign: payment.pay_sign,
            },
            order_info: OrderInfo {
                package_name: order.package_name,
                points: order.points.get(),
                price: order.price.get(),
                create_time: order.created_at.to_rfc3339(),
            },
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payment {
    /// 是否已支付
    is_paid: bool,
    /// 支付后的总积分；未支付为 0 · The balance after payment, 0 before.
    #[schema(example = 1000)]
    points: i64,
    /// 所购积分的有效期；未支付或永久有效为 null · When the points just bought expire, null before payment and for points that
    /// never do.
    #[schema(example = "2024-12-31T23:59:59Z", format = DateTime)]
    expiry_date: Option<String>,
}

impl From<PaymentStatus> for Payment {
    fn from(status: PaymentStatus) -> Self {
        match status {
            PaymentStatus::Unpaid => Self {
                is_paid: false,
                points: 0,
                expiry_date: None,
            },
            PaymentStatus::Paid { points, expires_at } => Self {
                is_paid: true,
                points: points.get(),
                expiry_date: expires_at.map(Time::to_rfc3339),
            },
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Purchases {
    /// 总记录数 · Exact.
    #[schema(example = 1)]
    total: i64,
    list: Vec<Purchase>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(crate) struct Purchase {
    #[schema(example = "01904ac5d8e47b1f9d3c2a7e6f5b4c3d")]
    order_id: String,
    #[schema(example = "入门套餐")]
    package_name: String,
    #[schema(example = 1000)]
    points: i64,
    /// 支付价格（分） · In fen.
    #[schema(example = 168)]
    price: i64,
    /// pending、paid、failed
    status: PurchaseStatus,
    /// 下单时间 · When it was ordered.
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    purchase_time: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PurchaseStatus {
    Pending,
    Paid,
    Failed,
}

impl From<Order> for Purchase {
    fn from(order: Order) -> Self {
        Self {
            status: match order.state {
                OrderState::Created | OrderState::Waiting => PurchaseStatus::Pending,
                OrderState::Delivered => PurchaseStatus::Paid,
                OrderState::Closed => PurchaseStatus::Failed,
            },
            order_id: order.id,
            package_name: order.package_name,
            points: order.points.get(),
            price: order.price.get(),
            purchase_time: order.created_at.to_rfc3339(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Consumptions {
    /// 总记录数 · Exact.
    #[schema(example = 1)]
    total: i64,
    list: Vec<Consumed>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consumed {
    /// 消费记录 ID，与扣费接口返回的相同 · The id the charge was answered with.
    #[schema(example = "4503599627370496-7")]
    id: String,
    #[schema(example = "chat/completions")]
    title: String,
    /// 消费描述，可为 null
    #[schema(example = "1,024 tokens")]
    description: Option<String>,
    #[schema(example = 12)]
    points: i64,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    consume_time: String,
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    api_key_id: Option<String>,
    /// 删除后仍保留名称 · Kept when the key is deleted.
    #[schema(example = "production")]
    api_key_name: Option<String>,
}

impl From<Consumption> for Consumed {
    fn from(charge: Consumption) -> Self {
        Self {
            id: charge_id(charge.account, charge.entry),
            title: charge.title,
            description: charge.description,
            points: charge.points,
            consume_time: charge.at.to_rfc3339(),
            api_key_id: Some(charge.api_key_id),
            api_key_name: charge.api_key_name,
        }
    }
}
