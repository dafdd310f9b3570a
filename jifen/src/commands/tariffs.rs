//! `jifen tariffs`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jifen_app::App;
use jifen_domain::tariff::{Rates, Route, RoutePattern, Tariff, UnitPrice};
use jifen_domain::{Points, Time};
use serde::Serialize;
use serde_json::json;

use super::output::{Output, Row};

/// Tariffs shown by `list --all`.
const ROWS_MAX: i64 = 10_000;

/// What calls of your API cost.
#[derive(Subcommand)]
pub(super) enum Command {
    /// The tariffs in force, by path.
    List {
        /// Every version of this route's tariff, newest first.
        route: Option<String>,
        /// Retired tariffs too, newest first.
        #[arg(long)]
        all: bool,
    },
    /// Price a route from now on; charges made until now keep their tariff.
    Set {
        /// 'POST /v1/ocr'; '* /v1/files/*' for every method and all paths below. The narrowest route that matches a call
        /// prices it. Between quotes, for the sake of the space and the stars.
        route: String,
        /// Shown in the histories of your users.
        #[arg(long)]
        title: String,
        #[command(flatten)]
        figures: Figures,
    },
    /// Price a route no longer: calls of it are refused, unless a wider route prices them.
    Retire {
        /// As it is listed.
        route: String,
    },
    /// Say what a call costs.
    Price {
        /// 'POST /v1/ocr', as it is called.
        route: String,
        /// What the call used.
        #[arg(long, default_value_t = 0)]
        units: i64,
    },
}

#[derive(Args)]
pub(super) struct Figures {
    /// Points for every call.
    #[arg(long)]
    points: Option<i64>,
    /// Points for what a call used: 0.8/1000 is 0.8 points for every 1,000 units. The sum is rounded up to whole points.
    #[arg(long, value_name = "POINTS/UNITS")]
    per_units: Option<String>,
    /// The least a call costs, in points.
    #[arg(long, default_value_t = 1)]
    min: i64,
}

#[derive(Serialize)]
struct Line {
    id: i64,
    route: String,
    version: i64,
    title: String,
    points: i64,
    per_units: Option<String>,
    min: i64,
    created_at: String,
    retired_at: Option<String>,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &[
        "ROUTE",
        "TITLE",
        "POINTS",
        "PER UNITS",
        "MIN",
        "VERSION",
        "ID",
        "SINCE",
        "RETIRED",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.route.clone(),
            self.title.clone(),
            self.points.to_string(),
            self.per_units.clone().unwrap_or_default(),
            self.min.to_string(),
            self.version.to_string(),
            self.id.to_string(),
            self.created_at.clone(),
            self.retired_at.clone().unwrap_or_default(),
        ]
    }
}

impl From<Tariff> for Line {
    fn from(tariff: Tariff) -> Self {
        Self {
            id: tariff.id,
            route: tariff.pattern.to_string(),
            version: tariff.version,
            title: tariff.title,
            points: tariff.rates.points_per_call().get(),
            per_units: tariff.rates.unit_price().map(|price| price.to_string()),
            min: tariff.rates.points_min().get(),
            created_at: tariff.created_at.to_rfc3339(),
            retired_at: tariff.retired_at.map(Time::to_rfc3339),
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List { route, all } => {
            let pattern = route.as_deref().map(pattern).transpose()?;
            let tariffs = if all || pattern.is_some() {
                app.all_tariffs(pattern.as_ref(), ROWS_MAX).await?
            } else {
                app.tariffs().await?
            };
            let lines: Vec<Line> = tariffs.into_iter().map(Line::from).collect();
            output.list(&lines)
        }
        Command::Set {
            route,
            title,
            figures,
        } => {
            let (pattern, rates) = (pattern(&route)?, figures.rates()?);
            let tariff = app.set_tariff(&pattern, &title, rates).await?;
            output.one(&Line::from(tariff))
        }
        Command::Retire { route } => {
            let pattern = pattern(&route)?;
            app.retire_tariff(&pattern).await?;
            let sentence = format!("{pattern} has no tariff any more");
            output.done(&sentence, &json!({ "retired": pattern.to_string() }))
        }
        Command::Price { route, units } => {
            let route = Route::parse(&route).with_context(|| not_a_route(&route))?;
            let priced = app.price(&route, units).await?;
            let (points, title, tariff) = (priced.points.get(), priced.title, priced.tariff_id);
            let sentence = format!("{points} points ({title}, tariff {tariff})");
            let object = json!({
                "route": route.to_string(), "units": units, "points": points, "title": title, "tariff_id": tariff,
            });
            output.done(&sentence, &object)
        }
    }
}

impl Figures {
    fn rates(self) -> anyhow::Result<Rates> {
        anyhow::ensure!(
            self.points.is_some() || self.per_units.is_some(),
            "--points, --per-units or both are needed"
        );
        let unit_price = self
            .per_units
            .map(|text| UnitPrice::parse(&text).with_context(|| format!("--per-units {text:?}")))
            .transpose()?;
        let points_per_call = points("--points", self.points.unwrap_or(0))?;
        let points_min = points("--min", self.min)?;
        Ok(Rates::new(points_per_call, unit_price, points_min)?)
    }
}

fn points(flag: &'static str, number: i64) -> anyhow::Result<Points> {
    Points::new(number).with_context(|| format!("{flag}: must not be negative"))
}

fn pattern(text: &str) -> anyhow::Result<RoutePattern> {
    RoutePattern::parse(text).with_context(|| not_a_route(text))
}

fn not_a_route(text: &str) -> String {
    format!("{text:?} is not a route")
}
