//! A value behind a lock that is never held across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex whose holder cannot leave the value half-changed: every change here is one insertion, removal or assignment, so a
/// panic in another thread (which only a defect could cause) does not make the value unusable.
#[derive(Default)]
pub(crate) struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
