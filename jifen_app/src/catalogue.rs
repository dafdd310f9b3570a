//! What is for sale.

use jifen_domain::catalogue::Package;
use jifen_store::Tx;

use crate::App;
use crate::error::{Error, Result, Text};

impl App {
    /// The packages on sale now, in the operator's order.
    pub async fn packages_on_sale(&self) -> Result<Vec<Package>> {
        Ok(self.store.read().await?.packages(false).await?)
    }
}

/// The package somebody wants to buy; `field` is what the request calls it.
pub(crate) async fn package_on_sale(tx: &mut Tx, field: &'static str, id: &str) -> Result<Package> {
    match tx.package(id).await? {
        Some(package) if package.on_sale => Ok(package),
        _ => Err(Error::invalid(
            field,
            Text::new(
                "没有这个套餐，或已下架",
                "no such package, or it is off sale",
            ),
        )),
    }
}
