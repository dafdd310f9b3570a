//! `jifen packages`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jifen_app::App;
use jifen_domain::catalogue::Package;
use jifen_domain::{Fen, Points};
use serde::Serialize;

use super::output::{Output, Row};

/// What is for sale.
#[derive(Subcommand)]
pub(super) enum Command {
    /// All packages in the order they are shown.
    List,
    /// Add one.
    Add {
        /// packageId and productId of the interfaces.
        id: String,
        #[command(flatten)]
        figures: Figures,
    },
    /// Change what is given; orders that exist keep what they were made with.
    Change {
        /// Which one.
        id: String,
        #[command(flatten)]
        figures: Figures,
    },
    /// Stop selling one; orders that exist go on.
    OffSale {
        /// Which one.
        id: String,
    },
    /// Sell it again.
    OnSale {
        /// Which one.
        id: String,
    },
}

#[derive(Args)]
pub(super) struct Figures {
    /// Shown to the buyer.
    #[arg(long)]
    name: Option<String>,
    /// Points granted.
    #[arg(long)]
    points: Option<i64>,
    /// Price in fen: 168 is 1.68 yuan.
    #[arg(long, value_name = "FEN")]
    price: Option<i64>,
    /// Price before the discount in fen; the price itself when there is none.
    #[arg(long, value_name = "FEN")]
    original_price: Option<i64>,
    /// Mark as selling well.
    #[arg(long)]
    hot: Option<bool>,
    /// Shown below the name.
    #[arg(long)]
    description: Option<String>,
    /// Place in the list, smallest first.
    #[arg(long)]
    position: Option<i64>,
    /// Days the points live; 0 for ever.
    #[arg(long)]
    days: Option<i64>,
}

#[derive(Serialize)]
struct Line {
    id: String,
    name: String,
    points: i64,
    price_fen: i64,
    original_price_fen: i64,
    discount_percent: i64,
    hot: bool,
    on_sale: bool,
    position: i64,
    days: Option<i64>,
    description: String,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &[
        "ID", "NAME", "POINTS", "YUAN", "BEFORE", "DAYS", "ON SALE", "HOT", "POSITION",
    ];

    fn cells(&self) -> Vec<String> {
        let yuan = |fen| Fen::new(fen).map(Fen::to_yuan).unwrap_or_default();
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        vec![
            self.id.clone(),
            self.name.clone(),
            self.points.to_string(),
            yuan(self.price_fen),
            yuan(self.original_price_fen),
            self.days
                .map_or_else(|| "for ever".to_owned(), |days| days.to_string()),
            yes(self.on_sale),
            yes(self.hot),
            self.position.to_string(),
        ]
    }
}

impl From<Package> for Line {
    fn from(package: Package) -> Self {
        Self {
            points: package.points.get(),
            price_fen: package.price.get(),
            original_price_fen: package.original_price.get(),
            discount_percent: package.discount_percent(),
            hot: package.is_hot,
            on_sale: package.on_sale,
            position: package.position,
            days: package.validity_days,
            description: package.description,
            id: package.id,
            name: package.name,
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let lines: Vec<Line> = app
                .all_packages()
                .await?
                .into_iter()
                .map(Line::from)
                .collect();
            output.list(&lines)
        }
        Command::Add { id, figures } => {
            let price = figures.price.context("--price is needed")?;
            let blank = Package {
                id,
                name: figures.name.clone().context("--name is needed")?,
                points: Points::new(figures.points.context("--points is needed")?)
                    .context("--points: must not be negative")?,
                price: fen("--price", price)?,
                original_price: fen("--price", price)?,
                is_hot: false,
                description: String::new(),
                on_sale: true,
                position: 0,
                validity_days: None,
            };
            let package = figures.apply(blank)?;
            app.add_package(&package).await?;
            output.one(&Line::from(package))
        }
        Command::Change { id, figures } => {
            let before = app
                .all_packages()
                .await?
                .into_iter()
                .find(|package| package.id == id);
            let after = figures.apply(before.context("there is no such package")?)?;
            let changed = app.change_package(&id, |package| *package = after).await?;
            output.one(&Line::from(changed))
        }
        Command::OffSale { id } => output.one(&Line::from(
            app.change_package(&id, |package| package.on_sale = false)
                .await?,
        )),
        Command::OnSale { id } => output.one(&Line::from(
            app.change_package(&id, |package| package.on_sale = true)
                .await?,
        )),
    }
}

impl Figures {
    fn apply(self, mut package: Package) -> anyhow::Result<Package> {
        if let Some(name) = self.name {
            package.name = name;
        }
        if let Some(points) = self.points {
            package.points = Points::new(points).context("--points: must not be negative")?;
        }
        if let Some(price) = self.price {
            let had_discount = package.original_price > package.price;
            package.price = fen("--price", price)?;
            if !had_discount {
                package.original_price = package.price;
            }
        }
        if let Some(price) = self.original_price {
            package.original_price = fen("--original-price", price)?;
        }
        package.is_hot = self.hot.unwrap_or(package.is_hot);
        package.description = self.description.unwrap_or(package.description);
        package.position = self.position.unwrap_or(package.position);
        if let Some(days) = self.days {
            package.validity_days = (days != 0).then_some(days);
        }
        Ok(package)
    }
}

fn fen(flag: &'static str, amount: i64) -> anyhow::Result<Fen> {
    Fen::new(amount).with_context(|| format!("{flag}: must not be negative"))
}
