//! Whether the mall is open, and what the operator tells everyone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jifen_domain::Time;
use jifen_store::{Maintenance, Notice};

use crate::App;
use crate::error::{Error, Result};

/// Seconds for which an answer of the database is believed; the mall closes and opens within this time on every node.
const MAINTENANCE_CACHE_SECONDS: i64 = 1;

/// What was last read.
#[derive(Default)]
pub(crate) struct MaintenanceCache(Mutex<Option<Known>>);

#[derive(Clone)]
struct Known {
    maintenance: Option<Maintenance>,
    read_at: Time,
}

impl MaintenanceCache {
    fn get(&self, now: Time) -> Option<Known> {
        let known = self.lock().clone()?;
        let until = known.read_at.plus_seconds(MAINTENANCE_CACHE_SECONDS);
        (known.read_at <= now && now < until).then_some(known)
    }

    fn put(&self, maintenance: Option<Maintenance>, read_at: Time) {
        *self.lock() = Some(Known {
            maintenance,
            read_at,
        });
    }

    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        // What is in there is replaced whole, so a panic elsewhere leaves nothing half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Why the mall is closed; `None` when it is open.
    pub async fn maintenance(&self) -> Result<Option<Maintenance>> {
        let now = self.now();
        if let Some(known) = self.maintenance_cache.get(now) {
            return Ok(known.maintenance);
        }
        let maintenance = self.store.read().await?.maintenance().await?;
        self.maintenance_cache.put(maintenance.clone(), now);
        Ok(maintenance)
    }

    /// Lets nobody in while the mall is closed.
    pub async fn require_open(&self) -> Result<()> {
        self.maintenance()
            .await?
            .map_or(Ok(()), |maintenance| Err(closed(maintenance)))
    }

    /// Lets no charge through while the operator has stopped them.
    pub(crate) async fn require_charges_open(&self) -> Result<()> {
        let stopped = self
            .maintenance()
            .await?
            .filter(|maintenance| maintenance.charges_stopped);
        stopped.map_or(Ok(()), |maintenance| Err(closed(maintenance)))
    }

    /// The notice to show now.
    pub async fn current_notice(&self) -> Result<Option<Notice>> {
        Ok(self.store.read().await?.current_notice(self.now()).await?)
    }
}

fn closed(maintenance: Maintenance) -> Error {
    Error::Maintenance {
        message: maintenance.message,
        ends_at: maintenance.ends_at,
    }
}
