//! What WeChat calls.

mod wechat_pay;
mod weixin_portal;
