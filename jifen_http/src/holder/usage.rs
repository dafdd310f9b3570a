//! `GET /api/v2/usage`: what was spent.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::StatusCode;
use jifen_app::{App, Error, Grouping, Text, UsageLine};
use jifen_domain::Time;
use jifen_domain::key::{china_date, china_day_start};
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::KeyHolder;
use crate::request::query::QueryFields;
use crate::request::rates::rate_headers;

/// Ask for the spending · 查询消费统计
///
/// With the API key itself: what its account spent by day, key and title, less what was given back. Days are China's.
#[utoipa::path(
    get, path = "", tag = "holder", operation_id = "usage", security(("api_key" = [])),
    params(
        ("from" = String, Query, description = "The first day", example = "2024-06-01"),
        ("to" = String, Query, description = "The last day, at most 91 days later", example = "2024-06-30"),
        ("by" = Option<String>, Query, description = "What to add up by: `day`, `key`, `title`, separated by commas; all three without", example = "day,key"),
    ),
    responses(
        (status = 200, description = "What was spent", body = Usage),
        (status = 401, description = "`unauthenticated`: unknown API key", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the parameter", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn usage(
    State(app): State<App>,
    KeyHolder { key, rates }: KeyHolder,
    query: QueryFields,
) -> Result<Response, Failure> {
    let (from, to) = (day(&query, "from")?, day(&query, "to")?);
    let by = grouping(&query)?;
    let lines = app.usage(&key, (from, to), by).await?;
    let usage = Usage {
        charges: lines.iter().map(|line| line.charges).sum(),
        points: lines.iter().map(|line| line.points).sum(),
        lines: lines.into_iter().map(|line| Line::new(line, by)).collect(),
    };
    let answer = json(StatusCode::OK, "application/json", &usage);
    Ok((AppendHeaders(rate_headers(&rates)), answer).into_response())
}

fn day(query: &QueryFields, field: &'static str) -> Result<Time, Error> {
    china_day_start(query.required(field)?).ok_or_else(|| {
        let text = Text::new(
            "须为日期，如 2024-06-30",
            "must be a date such as 2024-06-30",
        );
        Error::invalid(field, text)
    })
}

fn grouping(query: &QueryFields) -> Result<Grouping, Error> {
    let Some(by) = query.optional("by")? else {
        return Ok(Grouping {
            day: true,
            key: true,
            title: true,
        });
    };
    let mut grouping = Grouping {
        day: false,
        key: false,
        title: false,
    };
    for word in by.split(',') {
        match word {
            "day" => grouping.day = true,
            "key" => grouping.key = true,
            "title" => grouping.title = true,
            _ => {
                let text = Text::new(
                    "只能是 day、key、title，用逗号分隔",
                    "must be day, key or title, separated by commas",
                );
                return Err(Error::invalid("by", text));
            }
        }
    }
    Ok(grouping)
}

/// What was spent.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Charges in all.
    #[schema(example = 120)]
    charges: i64,
    /// Points in all.
    #[schema(example = 600)]
    points: i64,
    /// In the order of day, key and title; at most 10,000.
    lines: Vec<Line>,
}

/// What was spent on a day, with a key, for a title: as far as it was asked for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2024-06-25", nullable = false)]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "5f0c2c6de1a54c0d9a6b1c77", nullable = false)]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OCR", nullable = false)]
    title: Option<String>,
    #[schema(example = 20)]
    charges: i64,
    /// Less what was given back on that day.
    #[schema(example = 100)]
    points: i64,
}

impl Line {
    fn new(line: UsageLine, by: Grouping) -> Self {
        Self {
            day: by.day.then(|| china_date(line.day)),
            key_id: by.key.then_some(line.api_key_id),
            title: by.title.then_some(line.title),
            charges: line.charges,
            points: line.points,
        }
    }
}
