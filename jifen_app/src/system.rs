//! Whether the mall is open, and what the operator tells everyone.

use std::sync::{Mutex, PoisonError};

use jifen_domain::Time;
use jifen_store::{Maintenance, Notice};

use crate::App;
use crate::error::{Error, Result};

/// Seconds for which an answer of the database is believed; the mall closes and opens within this time on every node.
const MAINTENANCE_CACHE_SECONDS: i64 = 1;

/// What was last read, and when.
#[derive(Default)]
pub(crate) struct MaintenanceCache(Mutex<Option<(Time, Option<Maintenance>)>>);

impl MaintenanceCache {
    fn get(&self, now: Time) -> Option<Option<Maintenance>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, maintenance) = cached.as_ref()?;
        let fresh = *read_at <= now && now < read_at.plus_seconds(MAINTENANCE_CACHE_SECONDS);
        fresh.then(|| maintenance.clone())
    }

    fn put(&self, now: Time, maintenance: Option<Maintenance>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, maintenance));
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl App {
    /// Why the mall is closed; `None` when it is open.
    pub async fn maintenance(&self) -> Result<Option<Maintenance>> {
        let now = self.now();
        if let Some(known) = self.maintenance_cache.get(now) {
            return Ok(known);
        }
        let maintenance = self.store.read().await?.maintenance().await?;
        self.maintenance_cache.put(now, maintenance.clone());
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
