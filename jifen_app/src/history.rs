//! What a user bought and spent.

use jifen_domain::UserId;
use jifen_domain::order::Order;
use jifen_store::Consumption;

use crate::App;
use crate::error::Result;

/// One page of a history, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Exact number of all rows.
    pub total: i64,
    /// The rows of this page.
    pub list: Vec<T>,
}

/// Which page: both numbers are checked where they come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: i64,
    /// Rows a page, 1 to 100.
    pub size: i64,
}

impl Paging {
    fn skip(self) -> i64 {
        (self.page - 1).saturating_mul(self.size)
    }
}

impl App {
    /// A user's orders.
    pub async fn purchases(&self, user: UserId, paging: Paging) -> Result<Page<Order>> {
        let (total, list) = self
            .store
            .read()
            .await?
            .orders_of(user, paging.skip(), paging.size)
            .await?;
        Ok(Page { total, list })
    }

    /// A user's charges.
    pub async fn consumption(&self, user: UserId, paging: Paging) -> Result<Page<Consumption>> {
        let (total, list) = self
            .store
            .read()
            .await?
            .consumption(user, paging.skip(), paging.size)
            .await?;
        Ok(Page { total, list })
    }
}
