//! `/api/v1/system`: needs no login, and goes on in maintenance.

use axum::extract::State;
use jifen_app::{App, Language, Text};
use jifen_domain::Time;
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::mall::{Envelope, Reply, Success};
use crate::request::language::ReaderLanguage;

/// 获取系统状态 · Whether the mall works and is open
#[utoipa::path(
    get, path = "", tag = "system", operation_id = "systemStatus",
    responses((status = 200, description = "系统状态 · The state of the mall", body = Envelope<Status>)),
)]
pub(crate) async fn status(
    State(app): State<App>,
    ReaderLanguage(language): ReaderLanguage,
) -> Reply<Status> {
    let status = match app.maintenance().await {
        Ok(None) => Status::open(
            ApiStatus::Normal,
            &Text::new("服务正常", "all is well"),
            language,
        ),
        Ok(Some(maintenance)) => Status {
            api_status: ApiStatus::Normal,
            message: maintenance.message,
            maintenance: true,
            maintenance_end_time: maintenance.ends_at.map(Time::to_rfc3339),
        },
        Err(error) => {
            tracing::error!(%error, "the system status could not be read");
            let text = Text::new(
                "服务异常，请稍后重试",
                "the service is disturbed, try again later",
            );
            Status::open(ApiStatus::Error, &text, language)
        }
    };
    Ok(Success(status))
}

/// 获取系统公告 · What the operator tells everyone now
#[utoipa::path(
    get, path = "", tag = "system", operation_id = "systemNotice",
    responses((status = 200, description = "当前公告 · The notice", body = Envelope<NoticeNow>)),
)]
pub(crate) async fn notice(State(app): State<App>) -> Reply<NoticeNow> {
    let notice = app.current_notice().await?;
    Ok(Success(match notice {
        None => NoticeNow {
            has_notice: false,
            content: String::new(),
            start_time: None,
            end_time: None,
        },
        Some(notice) => NoticeNow {
            has_notice: true,
            content: notice.content,
            start_time: Some(notice.start_at.to_rfc3339()),
            end_time: Some(notice.end_at.to_rfc3339()),
        },
    }))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(crate) struct Status {
    /// normal 或 error
    api_status: ApiStatus,
    /// 状态描述
    #[schema(example = "服务正常")]
    message: String,
    /// 是否在维护中
    maintenance: bool,
    /// 维护预计结束时间，可为 null
    #[schema(example = "2024-06-25T10:00:00Z", format = DateTime)]
    maintenance_end_time: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApiStatus {
    Normal,
    Error,
}

impl Status {
    fn open(api_status: ApiStatus, message: &Text, language: Language) -> Self {
        let message = message.in_language(language).to_owned();
        Self {
            api_status,
            message,
            maintenance: false,
            maintenance_end_time: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NoticeNow {
    /// 是否有公告
    has_notice: bool,
    /// 公告内容；没有公告时为空
    #[schema(example = "国庆期间充值九折")]
    content: String,
    #[schema(example = "2024-10-01T00:00:00Z", format = DateTime)]
    start_time: Option<String>,
    #[schema(example = "2024-10-07T23:59:59Z", format = DateTime)]
    end_time: Option<String>,
}
