//! `jifen orders`.

use anyhow::Context as _;
use clap::Subcommand;
use jifen_app::{App, PaymentIncident};
use jifen_domain::Time;
use jifen_domain::order::{Order, OrderState};
use serde::Serialize;

use super::output::{Output, Row};

/// Orders.
#[derive(Subcommand)]
pub(super) enum Command {
    /// The latest orders.
    List {
        /// Only those in this state: created, waiting, delivered or closed.
        #[arg(long)]
        state: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        most: i64,
    },
    /// One order.
    Show {
        /// The merchant order number (`out_trade_no`).
        id: String,
    },
    /// Ask the provider about an order, and book what it says.
    Query {
        /// The merchant order number (`out_trade_no`).
        id: String,
    },
    /// Authentic payments that could not be booked: money to look at.
    Incidents,
}

#[derive(Serialize)]
pub(super) struct Line {
    id: String,
    user: String,
    package: String,
    points: i64,
    price_fen: i64,
    channel: &'static str,
    state: &'static str,
    created_at: String,
    paid_at: Option<String>,
    transaction_id: Option<String>,
    paid_after_close: bool,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &[
        "ORDER",
        "USER",
        "PACKAGE",
        "POINTS",
        "FEN",
        "CHANNEL",
        "STATE",
        "CREATED",
        "PAID",
        "TRANSACTION",
    ];

    fn cells(&self) -> Vec<String> {
        let late = if self.paid_after_close {
            " (after closing)"
        } else {
            ""
        };
        vec![
            self.id.clone(),
            self.user.clone(),
            self.package.clone(),
            self.points.to_string(),
            self.price_fen.to_string(),
            self.channel.to_owned(),
            format!("{}{late}", self.state),
            self.created_at.clone(),
            self.paid_at.clone().unwrap_or_default(),
            self.transaction_id.clone().unwrap_or_default(),
        ]
    }
}

impl From<&Order> for Line {
    fn from(order: &Order) -> Self {
        Self {
            id: order.id.clone(),
            user: order.user.to_string(),
            package: order.package_id.clone(),
            points: order.points.get(),
            price_fen: order.price.get(),
            channel: order.channel.name(),
            state: order.state.name(),
            created_at: order.created_at.to_rfc3339(),
            paid_at: order
                .payment
                .as_ref()
                .map(|payment| payment.paid_at.to_rfc3339()),
            transaction_id: order
                .payment
                .as_ref()
                .map(|payment| payment.transaction_id.clone()),
            paid_after_close: order.paid_after_close,
        }
    }
}

#[derive(Serialize)]
struct Incident {
    channel: &'static str,
    transaction_id: String,
    order: String,
    reason: String,
    first_at: String,
    last_at: String,
    times: i64,
}

impl Row for Incident {
    const HEAD: &'static [&'static str] = &[
        "CHANNEL",
        "TRANSACTION",
        "ORDER",
        "REASON",
        "FIRST",
        "LAST",
        "TIMES",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.channel.to_owned(),
            self.transaction_id.clone(),
            self.order.clone(),
            self.reason.clone(),
            self.first_at.clone(),
            self.last_at.clone(),
            self.times.to_string(),
        ]
    }
}

impl From<PaymentIncident> for Incident {
    fn from(incident: PaymentIncident) -> Self {
        Self {
            channel: incident.channel.name(),
            transaction_id: incident.transaction_id,
            order: incident.order_id,
            reason: incident.reason,
            first_at: Time::to_rfc3339(incident.first_at),
            last_at: Time::to_rfc3339(incident.last_at),
            times: incident.times,
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    const INCIDENTS_MAX: i64 = 1_000;
    match command {
        Command::List { state, most } => {
            let state = state
                .map(|name| {
                    OrderState::from_name(&name)
                        .with_context(|| format!("{name:?} is no state of an order"))
                })
                .transpose()?;
            let lines: Vec<Line> = app
                .list_orders(state, most)
                .await?
                .iter()
                .map(Line::from)
                .collect();
            output.list(&lines)
        }
        Command::Show { id } => output.one(&Line::from(&app.find_order(&id).await?)),
        Command::Query { id } => {
            let (words, order) = app.query_order(&id).await?;
            if !output.json {
                println!("the provider says: {words}");
            }
            output.one(&Line::from(&order))
        }
        Command::Incidents => {
            let lines: Vec<Incident> = app
                .incidents(INCIDENTS_MAX)
                .await?
                .into_iter()
                .map(Incident::from)
                .collect();
            output.list(&lines)
        }
    }
}
