//! `jifen users`.

use anyhow::Context as _;
use clap::Subcommand;
use jifen_app::App;
use jifen_app::operator::{Gift, UserDetails};
use jifen_domain::{Time, UserId};
use serde::Serialize;
use serde_json::json;

use super::orders;
use super::output::{Output, Row};

/// Users and their points.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Users in the order of their ids.
    List {
        /// Only those with a higher id.
        #[arg(long, default_value = "0")]
        after: i64,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        most: i64,
    },
    /// One user with the latest orders.
    Show {
        /// The user's id.
        id: String,
    },
    /// Give points.
    Grant {
        /// The user's id.
        id: String,
        /// How many.
        points: i64,
        /// Why, for the books.
        #[arg(long)]
        reason: String,
        /// Days they live; for ever when left out.
        #[arg(long)]
        days: Option<i64>,
        /// Repeating a grant with the same key gives nothing more.
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    nickname: String,
    balance: i64,
    created_at: String,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["USER", "NICKNAME", "BALANCE", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.nickname.clone(),
            self.balance.to_string(),
            self.created_at.clone(),
        ]
    }
}

#[derive(Serialize)]
struct Details {
    id: String,
    nickname: String,
    points: i64,
    next_expiry: Option<String>,
    phone_bound: bool,
    email_bound: bool,
    created_at: String,
    merged: Vec<String>,
    orders: Vec<orders::Line>,
}

impl Row for Details {
    const HEAD: &'static [&'static str] = &[
        "user",
        "nickname",
        "points",
        "next expiry",
        "phone",
        "e-mail",
        "created",
        "merged ids",
    ];

    fn cells(&self) -> Vec<String> {
        let bound = |is: bool| if is { "bound" } else { "not bound" }.to_owned();
        vec![
            self.id.clone(),
            self.nickname.clone(),
            self.points.to_string(),
            self.next_expiry
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
            bound(self.phone_bound),
            bound(self.email_bound),
            self.created_at.clone(),
            self.merged.join(" "),
        ]
    }
}

impl From<UserDetails> for Details {
    fn from(details: UserDetails) -> Self {
        Self {
            id: details.user.id.to_string(),
            nickname: details.user.nickname,
            points: details.holdings.available.get(),
            next_expiry: details.holdings.next_expiry.map(Time::to_rfc3339),
            phone_bound: details.user.phone.is_some(),
            email_bound: details.user.email.is_some(),
            created_at: details.user.created_at.to_rfc3339(),
            merged: details.merged.iter().map(ToString::to_string).collect(),
            orders: details.orders.iter().map(orders::Line::from).collect(),
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List { after, most } => {
            let users = app.list_users(UserId(after), most).await?;
            let lines: Vec<Line> = users
                .into_iter()
                .map(|summary| Line {
                    id: summary.user.id.to_string(),
                    nickname: summary.user.nickname,
                    balance: summary.balance,
                    created_at: summary.user.created_at.to_rfc3339(),
                })
                .collect();
            output.list(&lines)
        }
        Command::Show { id } => {
            let details = Details::from(app.find_user(user(&id)?).await?);
            output.one(&details)?;
            if !output.json && !details.orders.is_empty() {
                println!();
                output.list(&details.orders)?;
            }
            Ok(())
        }
        Command::Grant {
            id,
            points,
            reason,
            days,
            key,
        } => {
            let gift = Gift {
                user: user(&id)?,
                points,
                validity_days: days,
                reason,
                key,
            };
            let balance = app.give_points(&gift).await?;
            let sentence = format!("given; user {id} can spend {} points", balance.get());
            output.done(&sentence, &json!({ "user": id, "balance": balance.get() }))
        }
    }
}

fn user(id: &str) -> anyhow::Result<UserId> {
    UserId::parse(id).with_context(|| format!("{id:?} is not a user id"))
}
