//! What providers call, answered as their protocols ask.

pub(crate) mod wechat_pay;
pub(crate) mod weixin_portal;
