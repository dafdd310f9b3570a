//! What is sent and answered about API keys.

use jifen_app::{Change, CreatedKey, Error, KeyChange, NewKey};
use jifen_domain::key::{ApiKey, KeyRefused};
use jifen_domain::{Points, Time};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::fields::{Fields, FromFields, missing};

/// Bytes of a name as sent; the rules count 64 characters after trimming.
const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of an IP range and of a scope as sent; the path of a scope has 2,048 at most.
const ITEM_BYTES_MAX: usize = 4_096;
const EXPIRY_MONTHS_DEFAULT: i64 = 6;

/// An API key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyInfo {
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    id: String,
    #[schema(example = "production")]
    name: String,
    /// It spends play points only.
    test: bool,
    /// Whether it can be used now, and if not, why.
    status: ApiKeyStatus,
    /// The last four characters of the secret before its checksum (six characters); null for the oldest keys.
    #[schema(example = "Ea1u")]
    hint: Option<String>,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    created_at: String,
    #[schema(example = "2024-12-25T08:00:00Z", format = DateTime)]
    expires_at: String,
    /// The last charge, to the minute.
    #[schema(example = "2024-06-26T09:30:00Z", format = DateTime)]
    last_used_at: Option<String>,
    /// The most points of a day, from midnight in China.
    #[schema(example = 1_000)]
    daily_cap: Option<i64>,
    /// The most points of a calendar month.
    #[schema(example = 10_000)]
    monthly_cap: Option<i64>,
    /// The most points in the key's life.
    #[schema(example = 100_000)]
    total_cap: Option<i64>,
    rate_limit: Option<ApiKeyRate>,
    /// From where it may be used; empty for everywhere.
    #[schema(example = json!(["10.0.0.0/8", "2001:db8::/32"]))]
    ip_ranges: Vec<String>,
    /// For which routes it may be used; empty for all.
    #[schema(example = json!(["POST /v1/ocr", "* /v1/files/*"]))]
    scopes: Vec<String>,
}

impl ApiKeyInfo {
    pub(crate) fn at(key: ApiKey, now: Time) -> Self {
        Self {
            status: match key.usable(now) {
                Err(KeyRefused::Expired) => ApiKeyStatus::Expired,
                _ if !key.active => ApiKeyStatus::Inactive,
                _ => ApiKeyStatus::Active,
            },
            id: key.id,
            name: key.name,
            test: key.is_test,
            hint: key.hint,
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.to_rfc3339(),
            last_used_at: key.last_used_at.map(Time::to_rfc3339),
            daily_cap: key.caps.daily.map(Points::get),
            monthly_cap: key.caps.monthly.map(Points::get),
            total_cap: key.caps.total.map(Points::get),
            rate_limit: key.rate.map(|rate| ApiKeyRate {
                requests: rate.requests().into(),
                seconds: rate.seconds().into(),
            }),
            ip_ranges: key.ip_ranges.iter().map(ToString::to_string).collect(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApiKeyStatus {
    Active,
    Inactive,
    Expired,
}

/// So many requests in so many seconds.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyRate {
    #[schema(example = 100, minimum = 1, maximum = 1_000_000)]
    requests: i64,
    #[schema(example = 60, minimum = 1, maximum = 86_400)]
    seconds: i64,
}

/// An API key with its secret, told once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyWithSecret {
    #[serde(flatten)]
    key: ApiKeyInfo,
    /// What the holder sends.
    #[schema(example = "jf_live_4TnDq0QvHk7mW2xYb9RzLc3sEa1u0k3Fh2")]
    secret: String,
}

impl ApiKeyWithSecret {
    pub(crate) fn new(created: CreatedKey, now: Time) -> Self {
        Self {
            key: ApiKeyInfo::at(created.key, now),
            secret: created.secret,
        }
    }
}

/// A key to be made.
#[derive(ToSchema)]
#[schema(value_type = NewApiKeyFields)]
pub(crate) struct NewApiKey(pub(crate) NewKey);

/// A key to be made.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct NewApiKeyFields {
    /// 1 to 64 characters.
    #[schema(example = "production")]
    name: String,
    /// Calendar months it lives: 1, 3, 6 or 12.
    #[schema(example = 6, default = 6, required = false)]
    expiry_months: i64,
    /// It spends play points only.
    #[schema(example = false, default = false, required = false)]
    test: bool,
    /// The most points of a day, from midnight in China: 1 to 1,000,000,000,000.
    #[schema(example = 1_000, minimum = 1)]
    daily_cap: Option<i64>,
    /// The most points of a calendar month.
    #[schema(example = 10_000, minimum = 1)]
    monthly_cap: Option<i64>,
    /// The most points in the key's life.
    #[schema(example = 100_000, minimum = 1)]
    total_cap: Option<i64>,
    rate_limit: Option<ApiKeyRate>,
    /// From where it may be used, as CIDR: at most 32. Empty or null for everywhere.
    #[schema(example = json!(["10.0.0.0/8", "2001:db8::/32"]), max_items = 32)]
    ip_ranges: Option<Vec<String>>,
    /// For which routes it may be used: at most 32. Empty or null for all.
    #[schema(example = json!(["POST /v1/ocr", "* /v1/files/*"]), max_items = 32)]
    scopes: Option<Vec<String>>,
}

impl FromFields for NewApiKey {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self(NewKey {
            name: fields.text("name", NAME_BYTES_MAX)?,
            expiry_months: fields
                .optional_integer("expiryMonths")?
                .unwrap_or(EXPIRY_MONTHS_DEFAULT),
            is_test: fields.optional_boolean("test")?.unwrap_or(false),
            settings: settings(fields)?,
        }))
    }
}

/// What to change about a key.
#[derive(ToSchema)]
#[schema(value_type = ApiKeyChangeFields)]
pub(crate) struct ApiKeyChange(pub(crate) KeyChange);

/// What to change about a key.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct ApiKeyChangeFields {
    /// 1 to 64 characters.
    #[schema(example = "production", required = false)]
    name: String,
    /// On or off; an expired key cannot be switched on.
    #[schema(example = true, required = false)]
    active: bool,
    /// The most points of a day; null for no cap.
    #[schema(example = 1_000, minimum = 1)]
    daily_cap: Option<i64>,
    /// The most points of a calendar month; null for no cap.
    #[schema(example = 10_000, minimum = 1)]
    monthly_cap: Option<i64>,
    /// The most points in the key's life; null for no cap.
    #[schema(example = 100_000, minimum = 1)]
    total_cap: Option<i64>,
    /// null for no limit.
    rate_limit: Option<ApiKeyRate>,
    /// From where it may be used; empty or null for everywhere.
    #[schema(example = json!(["10.0.0.0/8", "2001:db8::/32"]), max_items = 32)]
    ip_ranges: Option<Vec<String>>,
    /// For which routes it may be used; empty or null for all.
    #[schema(example = json!(["POST /v1/ocr", "* /v1/files/*"]), max_items = 32)]
    scopes: Option<Vec<String>>,
}

impl FromFields for ApiKeyChange {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        let name = fields
            .has("name")
            .then(|| fields.text("name", NAME_BYTES_MAX))
            .transpose()?;
        let active = fields
            .has("active")
            .then(|| fields.optional_boolean("active")?.ok_or(missing("active")))
            .transpose()?;
        Ok(Self(KeyChange {
            name,
            active,
            ..settings(fields)?
        }))
    }
}

/// What a new key and a changed one are told in the same way.
fn settings(fields: &Fields) -> Result<KeyChange, Error> {
    let number = |field| change(fields, field, Fields::optional_integer);
    let texts = |field| {
        change(fields, field, |fields, field| {
            fields.optional_texts(field, ITEM_BYTES_MAX)
        })
    };
    Ok(KeyChange {
        name: None,
        active: None,
        daily_cap: number("dailyCap")?,
        monthly_cap: number("monthlyCap")?,
        total_cap: number("totalCap")?,
        rate: change(fields, "rateLimit", rate)?,
        ip_ranges: texts("ipRanges")?,
        scopes: texts("scopes")?,
    })
}

/// Requests and seconds.
fn rate(fields: &Fields, field: &'static str) -> Result<Option<(i64, i64)>, Error> {
    let Some(rate) = fields.optional_object(field)? else {
        return Ok(None);
    };
    let part = |name, full| {
        rate.integer(name).map_err(|error| match error {
            Error::Invalid { text, .. } => Error::Invalid { field: full, text },
            other => other,
        })
    };
    Ok(Some((
        part("requests", "rateLimit.requests")?,
        part("seconds", "rateLimit.seconds")?,
    )))
}

fn change<T>(
    fields: &Fields,
    field: &'static str,
    read: impl FnOnce(&Fields, &'static str) -> Result<Option<T>, Error>,
) -> Result<Change<T>, Error> {
    if !fields.has(field) {
        return Ok(Change::Keep);
    }
    Ok(read(fields, field)?.map_or(Change::Remove, Change::Set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<KeyChange, Error> {
        let fields = Fields::parse(body.as_bytes())?;
        ApiKeyChange::from_fields(&fields).map(|ApiKeyChange(change)| change)
    }

    #[test]
    fn what_is_absent_stays_and_null_removes() {
        let nothing = read("{}").unwrap();
        assert_eq!(
            (&nothing.daily_cap, &nothing.rate, &nothing.scopes),
            (&Change::Keep, &Change::Keep, &Change::Keep)
        );
        assert!(nothing.name.is_none() && nothing.active.is_none());
        let removed =
            read(r#"{"dailyCap":null,"rateLimit":null,"ipRanges":null,"scopes":[]}"#).unwrap();
        assert_eq!(
            (&removed.daily_cap, &removed.rate, &removed.ip_ranges),
            (&Change::Remove, &Change::Remove, &Change::Remove)
        );
        assert_eq!(removed.scopes, Change::Set(Vec::new()));
        let set = read(r#"{"totalCap":7,"rateLimit":{"requests":1,"seconds":2},"active":false}"#);
        let set = set.unwrap();
        assert_eq!(
            (set.total_cap, set.rate, set.active),
            (Change::Set(7), Change::Set((1, 2)), Some(false))
        );
    }

    #[test]
    fn what_must_be_there_cannot_be_null() {
        for (body, field) in [
            (r#"{"name":null}"#, "name"),
            (r#"{"active":null}"#, "active"),
            (r#"{"rateLimit":{"requests":1}}"#, "rateLimit.seconds"),
            (
                r#"{"rateLimit":{"requests":null,"seconds":1}}"#,
                "rateLimit.requests",
            ),
        ] {
            let refused = read(body);
            assert!(
                matches!(refused, Err(Error::Invalid { field: named, .. }) if named == field),
                "{body}: {refused:?}"
            );
        }
    }
}
