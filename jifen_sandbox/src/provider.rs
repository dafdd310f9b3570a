//! The four services the sandbox plays.

use serde::{Deserialize, Serialize};

use crate::pages::t;

/// One of the services the sandbox plays; its name in JSON is in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Provider {
    MiniProgram,
    OfficialAccount,
    WechatPay,
    Alipay,
}

impl Provider {
    pub(crate) const ALL: [Self; 4] = [
        Self::MiniProgram,
        Self::OfficialAccount,
        Self::WechatPay,
        Self::Alipay,
    ];

    /// The name used in JSON, in forms and as a CSS class.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MiniProgram => "mini_program",
            Self::OfficialAccount => "official_account",
            Self::WechatPay => "wechat_pay",
            Self::Alipay => "alipay",
        }
    }

    /// The name on the pages, in the visitor's language.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::MiniProgram => t("小程序", "Mini program"),
            Self::OfficialAccount => t("公众号", "Official account"),
            Self::WechatPay => t("微信支付", "WeChat Pay"),
            Self::Alipay => t("支付宝", "Alipay"),
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
}
