//! What calls cost, and the tariffs the operator sets.

use std::future::Future;
use std::sync::Arc;

use jifen_domain::ledger::TITLE_CHARS_MAX;
use jifen_domain::tariff::{
    PriceError, Rates, Route, RouteError, RoutePattern, TARIFFS_MAX, Tariff, TariffList,
};
use jifen_domain::{Points, Time, text};
use jifen_store::{Change, Tx};
use tokio::sync::RwLock;
use tokio::sync::broadcast::error::RecvError;

use crate::App;
use crate::error::{Error, Result, Text};

/// Seconds for which an answer of the database is believed: the most by which a change of another node can be late, when
/// it was not heard of.
const CACHE_SECONDS: i64 = 5;
/// Under which topic nodes tell each other that a tariff has changed.
const TOPIC: &str = "tariff";

/// What a call costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The tariff that says so.
    pub tariff_id: i64,
    /// How much.
    pub points: Points,
    /// The tariff's title, for charges without their own.
    pub title: String,
}

/// The tariffs in force, as last read. At most [`TARIFFS_MAX`].
#[derive(Default)]
pub(crate) struct TariffCache(RwLock<Option<Known>>);

struct Known {
    tariffs: Arc<TariffList>,
    read_at: Time,
}

impl Known {
    fn at(&self, now: Time) -> Option<Arc<TariffList>> {
        let until = self.read_at.plus_seconds(CACHE_SECONDS);
        (self.read_at <= now && now < until).then(|| Arc::clone(&self.tariffs))
    }
}

impl TariffCache {
    async fn get(&self, now: Time) -> Option<Arc<TariffList>> {
        self.0.read().await.as_ref()?.at(now)
    }

    /// Waits for whoever is reading: what they read may be older than the change.
    async fn clear(&self) {
        *self.0.write().await = None;
    }
}

impl App {
    /// What a call that used so many units costs.
    ///
    /// # Errors
    /// [`Error::Invalid`] of `route` when no tariff prices it, of `units` when the tariff cannot price so many.
    pub async fn price(&self, route: &Route, units: i64) -> Result<Priced> {
        let tariffs = self.known_tariffs().await?;
        let tariff = tariffs.find(route).ok_or_else(|| not_priced(route))?;
        Ok(Priced {
            tariff_id: tariff.id,
            points: tariff.price(units).map_err(Error::from_price)?,
            title: tariff.title.clone(),
        })
    }

    /// What so many units cost under the tariff a call was accepted under, also when another is in force by now.
    pub(crate) async fn price_under(&self, tariff_id: i64, units: i64) -> Result<Points> {
        let in_force = self.known_tariffs().await?;
        if let Some(tariff) = in_force.get(tariff_id) {
            return tariff.price(units).map_err(Error::from_price);
        }
        let stored = self.store.read().await?.tariff(tariff_id).await?;
        let tariff = stored.ok_or_else(|| Error::internal(format!("no tariff {tariff_id}")))?;
        tariff.price(units).map_err(Error::from_price)
    }

    async fn known_tariffs(&self) -> Result<Arc<TariffList>> {
        let now = self.now();
        if let Some(tariffs) = self.tariff_cache.get(now).await {
            return Ok(tariffs);
        }
        // One reads for all who wait, and a change waits, too: see `TariffCache::clear`.
        let mut known = self.tariff_cache.0.write().await;
        if let Some(tariffs) = known.as_ref().and_then(|known| known.at(now)) {
            return Ok(tariffs);
        }
        let tariffs = self.store.read().await?.tariffs_in_force().await?;
        let tariffs = Arc::new(TariffList::new(tariffs));
        *known = Some(Known {
            tariffs: Arc::clone(&tariffs),
            read_at: now,
        });
        Ok(tariffs)
    }

    /// Forgets what other nodes have changed, as soon as they say so. Runs until the mall ends; without it, such changes
    /// are seen when what is remembered is too old.
    pub fn follow_tariff_changes(&self) -> impl Future<Output = ()> + use<> {
        let app = self.clone();
        let mut changes = app.store.subscribe();
        async move {
            loop {
                match changes.recv().await {
                    Ok(Change::Made { topic, .. }) if topic != TOPIC => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => app.tariff_cache.clear().await,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// The tariffs in force, by path.
    pub async fn tariffs(&self) -> Result<Vec<Tariff>> {
        let mut tariffs = self.store.read().await?.tariffs_in_force().await?;
        tariffs.sort_by(|one, other| {
            let place = |tariff: &Tariff| {
                let pattern = &tariff.pattern;
                (pattern.path().to_owned(), pattern.method().to_owned())
            };
            place(one).cmp(&place(other))
        });
        Ok(tariffs)
    }

    /// The latest tariffs, retired ones too, newest first; of one pattern, or of all.
    pub async fn all_tariffs(
        &self,
        pattern: Option<&RoutePattern>,
        rows_max: i64,
    ) -> Result<Vec<Tariff>> {
        let mut tx = self.store.read().await?;
        Ok(match pattern {
            Some(pattern) => tx.tariff_versions(pattern, rows_max).await?,
            None => tx.latest_tariffs(rows_max).await?,
        })
    }

    /// Prices the routes of a pattern from now on. Charges made until now keep the tariff they were made under.
    pub async fn set_tariff(
        &self,
        pattern: &RoutePattern,
        title: &str,
        rates: Rates,
    ) -> Result<Tariff> {
        let title =
            text::line(title, TITLE_CHARS_MAX).map_err(|error| Error::from_text("title", error))?;
        let mut tx = self.store.begin().await?;
        let tariff = tx.put_tariff(pattern, title, rates, self.now()).await?;
        // Whoever put one before this has committed, so none is overlooked.
        if tx.tariffs_in_force().await?.len() > TARIFFS_MAX {
            let text = Text::owned(
                format!("最多 {TARIFFS_MAX} 个计价规则，请先停用一个"),
                format!("there are {TARIFFS_MAX} tariffs already: retire one first, or use *"),
            );
            return Err(Error::Invalid {
                field: "route",
                text,
            });
        }
        self.commit_tariffs(tx).await?;
        tracing::info!(route = %pattern, tariff = tariff.id, "tariff set by the operator");
        Ok(tariff)
    }

    /// Prices the routes of a pattern no longer. They are refused, unless a wider pattern prices them.
    pub async fn retire_tariff(&self, pattern: &RoutePattern) -> Result<()> {
        let mut tx = self.store.begin().await?;
        if !tx.retire_tariff(pattern, self.now()).await? {
            return Err(Error::NotFound(Text::owned(
                format!("{pattern} 没有生效的计价规则"),
                format!(
                    "no tariff of {pattern} is in force: `jifen tariffs list` shows those that are"
                ),
            )));
        }
        self.commit_tariffs(tx).await?;
        tracing::info!(route = %pattern, "tariff retired by the operator");
        Ok(())
    }

    /// Whether or not the commit is known to have succeeded, what was read before it is forgotten, here and elsewhere.
    async fn commit_tariffs(&self, mut tx: Tx) -> Result<()> {
        tx.announce(TOPIC, "");
        let committed = tx.commit().await;
        self.tariff_cache.clear().await;
        Ok(committed?)
    }
}

fn not_priced(route: &Route) -> Error {
    // The path comes from outside: it is shown, but never as part of a command that somebody might paste.
    Error::Invalid {
        field: "route",
        text: Text::owned(
            format!("{route} 没有计价规则，请运营者用 jifen tariffs set 添加"),
            format!("no tariff prices {route}: the operator adds one with `jifen tariffs set`"),
        ),
    }
}

impl Error {
    /// A refused route.
    pub fn from_route(error: RouteError) -> Self {
        let zh = match error {
            RouteError::Form => "须为方法和路径，以空格分隔，例如 POST /v1/ocr".to_owned(),
            RouteError::Method => "方法须由字母或连字符组成，例如 POST".to_owned(),
            RouteError::NoSlash => "路径须以 / 开头，例如 /v1/ocr".to_owned(),
            RouteError::TooLong => format!(
                "路径不含查询参数不能超过 {} 字节",
                jifen_domain::tariff::PATH_BYTES_MAX
            ),
            RouteError::EmptySegment => "路径不能包含连续的斜杠".to_owned(),
            RouteError::DotSegment => "路径不能包含 . 或 .. 段".to_owned(),
            RouteError::Character => {
                "路径不能包含空格、反斜杠、分号或 #，其他字符须百分号编码".to_owned()
            }
            RouteError::Encoding => "路径中 % 之后须为两位十六进制数字".to_owned(),
            RouteError::EncodedSeparator => {
                "路径不能包含编码的斜杠、反斜杠、分号或控制字符".to_owned()
            }
            RouteError::Wildcard => "* 须独占路径的一段，例如 /v1/files/*".to_owned(),
            RouteError::Query => "路径不能带查询参数".to_owned(),
        };
        Self::Invalid {
            field: "route",
            text: Text::owned(zh, error.to_string()),
        }
    }

    fn from_price(error: PriceError) -> Self {
        let zh = match error {
            PriceError::UnitsNegative => "不能为负数".to_owned(),
            PriceError::TooMuch => {
                format!("数量过大，价格超过 {} 积分", Points::MOVEMENT_MAX.get())
            }
        };
        let en = match error {
            PriceError::UnitsNegative => "must not be negative".to_owned(),
            PriceError::TooMuch => error.to_string(),
        };
        Self::Invalid {
            field: "units",
            text: Text::owned(zh, en),
        }
    }
}
