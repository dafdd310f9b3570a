//! Looking at an API key: is it good, whose is it, what may it still spend.

use std::net::IpAddr;
use std::sync::Arc;

use jifen_domain::Points;
use jifen_domain::key::ApiKey;
use jifen_domain::tariff::Route;

use crate::App;
use crate::call::{Cost, movable};
use crate::error::{Error, Language, Limit, Result};

/// A key, and the call it is to be used for.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// The secret of the key.
    pub api_key: String,
    /// What the call would cost.
    pub cost: Option<Cost>,
    /// Which route it would use.
    pub route: Option<Route>,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
}

/// What there is to say of a key.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Why the call could not be made now.
    pub refusal: Option<Refusal>,
    /// What the call would cost.
    pub points: Option<Points>,
    /// The key; `None` when it is unknown.
    pub key: Option<KnownKey>,
}

/// A key and what it may spend.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key.
    pub key: Arc<ApiKey>,
    /// Points its account can spend.
    pub balance: Points,
    /// What is left of the tightest of its caps.
    pub cap_left: Option<Points>,
}

/// Why a call could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A limit of the key.
    Limit(Limit),
    /// The account holds too little.
    Balance(Points),
}

impl Refusal {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Limit(limit) => limit.name(),
            Self::Balance(_) => "balance",
        }
    }

    /// For people.
    pub fn text(&self, language: Language) -> String {
        let error = match *self {
            Self::Limit(limit) => Error::KeyRefused {
                limit,
                balance: None,
                limited: None,
            },
            Self::Balance(available) => Error::Insufficient { available },
        };
        error.text(language)
    }
}

impl App {
    /// Looks at a key without taking or counting anything.
    pub async fn verify(&self, question: &Question) -> Result<Verified> {
        let points = match (question.cost, &question.route) {
            (None, _) => None,
            (Some(Cost::Points(points)), _) => Some(movable(points)?),
            (Some(Cost::Units(units)), Some(route)) => Some(self.price(route, units).await?.points),
            (Some(Cost::Units(_)), None) => return Err(crate::call::missing("route")),
        };
        let unknown = |limit| Verified {
            refusal: Some(Refusal::Limit(limit)),
            points,
            key: None,
        };
        let key = match self.find_api_key(&question.api_key).await {
            Ok(key) => key,
            Err(Error::KeyRefused { limit, .. }) => return Ok(unknown(limit)),
            Err(error) => return Err(error),
        };
        let now = self.now();
        let balance = self.remembered_spendable(key.account()).await?;
        let cap_left = self.cap_left(&key).await?;
        let wanted = points.unwrap_or(Points::new(1).unwrap_or_default());
        let allowed = key.allows(now, question.ip, question.route.as_ref());
        let refusal = match (allowed, cap_left) {
            (Err(refused), _) => Some(Refusal::Limit(refused.into())),
            (Ok(()), Some(left)) if left < wanted => Some(Refusal::Limit(Limit::KeyCap)),
            _ if balance < wanted => Some(Refusal::Balance(balance)),
            _ => None,
        };
        Ok(Verified {
            refusal,
            points,
            key: Some(KnownKey {
                key,
                balance,
                cap_left,
            }),
        })
    }
}
