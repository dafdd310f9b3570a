//! What an owner may change about a key, held against the rules field by field.

use jifen_domain::key::{
    self, ApiKey, IP_RANGES_MAX, IpRange, IpRangeError, KeyRefused, RateLimit, SCOPES_MAX,
};
use jifen_domain::tariff::RoutePattern;
use jifen_domain::{Points, Time};

use super::NO_SUCH_KEY;
use crate::error::{Error, Result, Text};

/// What to do with something a key may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// The key has none from now on.
    Remove,
    /// The key has this from now on.
    Set(T),
}

/// What to change about a key. Nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Another name.
    pub name: Option<String>,
    /// On or off.
    pub active: Option<bool>,
    /// The most points of a day.
    pub daily_cap: Change<i64>,
    /// The most points of a month.
    pub monthly_cap: Change<i64>,
    /// The most points ever.
    pub total_cap: Change<i64>,
    /// Requests, and in how many seconds.
    pub rate: Change<(i64, i64)>,
    /// From where it may be used, as CIDR.
    pub ip_ranges: Change<Vec<String>>,
    /// For which routes it may be used.
    pub scopes: Change<Vec<String>>,
}

impl KeyChange {
    /// Changes the key; the first field that does not fit is the error, and then the key is not to be used.
    pub(super) fn apply(self, key: &mut ApiKey, now: Time) -> Result<()> {
        if let Some(name) = self.name {
            key::name(&name)
                .map_err(|error| Error::from_text("name", error))?
                .clone_into(&mut key.name);
        }
        if let Some(active) = self.active {
            set_active(key, active, now, "active")?;
        }
        self.daily_cap
            .apply_to(&mut key.caps.daily, |cap| read_cap("dailyCap", cap))?;
        self.monthly_cap
            .apply_to(&mut key.caps.monthly, |cap| read_cap("monthlyCap", cap))?;
        self.total_cap
            .apply_to(&mut key.caps.total, |cap| read_cap("totalCap", cap))?;
        self.rate.apply_to(&mut key.rate, read_rate)?;
        match self.ip_ranges {
            Change::Keep => {}
            Change::Remove => key.ip_ranges.clear(),
            Change::Set(ranges) => key.ip_ranges = read_ip_ranges(&ranges)?,
        }
        match self.scopes {
            Change::Keep => {}
            Change::Remove => key.scopes.clear(),
            Change::Set(scopes) => key.scopes = read_scopes(&scopes)?,
        }
        Ok(())
    }
}

impl<T> Change<T> {
    fn apply_to<U>(self, place: &mut Option<U>, read: impl FnOnce(T) -> Result<U>) -> Result<()> {
        match self {
            Self::Keep => {}
            Self::Remove => *place = None,
            Self::Set(value) => *place = Some(read(value)?),
        }
        Ok(())
    }
}

/// Switches a key on or off; `field` is what the interface calls that.
pub(super) fn set_active(
    key: &mut ApiKey,
    active: bool,
    now: Time,
    field: &'static str,
) -> Result<()> {
    key.set_active(active, now)
        .map_err(|refused| match refused {
            KeyRefused::Expired => Error::invalid(
                field,
                Text::new(
                    "API Key 已过期，无法启用",
                    "the API key has expired and cannot be activated",
                ),
            ),
            KeyRefused::Unknown | KeyRefused::Inactive | KeyRefused::Ip | KeyRefused::Scope => {
                Error::NotFound(NO_SUCH_KEY)
            }
        })
}

fn read_cap(field: &'static str, points: i64) -> Result<Points> {
    Points::new(points)
        .filter(|points| points.is_movable())
        .ok_or_else(|| between(field, Points::MOVEMENT_MAX.get()))
}

fn read_rate((requests, seconds): (i64, i64)) -> Result<RateLimit> {
    RateLimit::new(requests, seconds).ok_or_else(|| {
        // One of the two is out of range; with a good number for the other it is found out which.
        if RateLimit::new(requests, 1).is_none() {
            between("rateLimit.requests", RateLimit::REQUESTS_MAX.into())
        } else {
            between("rateLimit.seconds", RateLimit::SECONDS_MAX.into())
        }
    })
}

fn between(field: &'static str, max: i64) -> Error {
    let text = Text::owned(
        format!("须为 1 至 {max} 的整数"),
        format!("must be a whole number from 1 to {max}"),
    );
    Error::Invalid { field, text }
}

fn read_ip_ranges(texts: &[String]) -> Result<Vec<IpRange>> {
    read_list("ipRanges", texts, IP_RANGES_MAX, |text| {
        text.parse().map_err(|error: IpRangeError| {
            let zh = match error {
                IpRangeError::NotAnAddress => {
                    "请写 IP 地址或地址段，例如 203.0.113.7、10.0.0.0/8、2001:db8::/32".to_owned()
                }
                IpRangeError::NotAPrefix { bits_max } => format!("斜杠后请写 0 至 {bits_max}"),
                IpRangeError::MappedPrefix { bits_min } => {
                    format!("IPv6 形式的 IPv4 地址，斜杠后至少为 {bits_min}，或改写为 IPv4 形式")
                }
                IpRangeError::HostBits { network } => {
                    format!("以这些位开头的地址段是 {network}，请写该地址段，或去掉斜杠只写地址")
                }
            };
            (zh, error.to_string())
        })
    })
}

fn read_scopes(texts: &[String]) -> Result<Vec<RoutePattern>> {
    read_list("scopes", texts, SCOPES_MAX, |text| {
        RoutePattern::parse(text).map_err(|error| {
            let zh = "请写方法和路径，例如 POST /v1/ocr、* /v1/files/*".to_owned();
            (zh, error.to_string())
        })
    })
}

/// Reads each text, names the first that does not fit, and leaves out repetitions.
fn read_list<T: PartialEq>(
    field: &'static str,
    texts: &[String],
    items_max: usize,
    read: impl Fn(&str) -> std::result::Result<T, (String, String)>,
) -> Result<Vec<T>> {
    if texts.len() > items_max {
        let text = Text::owned(
            format!("最多 {items_max} 项"),
            format!("must not have more than {items_max} items"),
        );
        return Err(Error::Invalid { field, text });
    }
    let mut items = Vec::with_capacity(texts.len());
    for text in texts {
        let item = read(text.trim()).map_err(|(zh, en)| Error::Invalid {
            field,
            text: Text::owned(format!("“{text}”：{zh}"), format!("\"{text}\": {en}")),
        })?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}
