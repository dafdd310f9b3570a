//! Misbehaviour on demand: what goes wrong with a provider or its notifications, until removed or for the next few times.

use serde::{Deserialize, Serialize};

use crate::{locked::Locked, payments::ActionError, provider::Provider};

/// What goes wrong. In JSON: `{"kind": "provider_slow", "seconds": 3}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// A delivery is not sent; the provider's schedule goes on as if there had been no answer.
    NotificationLost,
    /// A delivery happens this many seconds later (real ones, not compressed).
    NotificationLate { seconds: u32 },
    /// A delivery is sent twice at the same time.
    NotificationDoubled,
    /// A delivery waits until the next one of the same provider has been sent.
    NotificationReordered,
    /// A delivery carries a wrong signature.
    NotificationBadlySigned,
    /// Answers come this many seconds late.
    ProviderSlow { seconds: u32 },
    /// Answers are 502 with an HTML page, as from a broken gateway; the request is not carried out.
    ProviderDown,
    /// The request is carried out, then the connection is closed without an answer.
    ProviderClosesConnection,
    /// The request is carried out, but the answer is 200 with a body that is neither JSON nor signed.
    ProviderNonsense,
}

impl FaultKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotificationLost => "notification_lost",
            Self::NotificationLate { .. } => "notification_late",
            Self::NotificationDoubled => "notification_doubled",
            Self::NotificationReordered => "notification_reordered",
            Self::NotificationBadlySigned => "notification_badly_signed",
            Self::ProviderSlow { .. } => "provider_slow",
            Self::ProviderDown => "provider_down",
            Self::ProviderClosesConnection => "provider_closes_connection",
            Self::ProviderNonsense => "provider_nonsense",
        }
    }

    pub(crate) const fn seconds(self) -> Option<u32> {
        match self {
            Self::NotificationLate { seconds } | Self::ProviderSlow { seconds } => Some(seconds),
            _ => None,
        }
    }

    const fn is_of_notifications(self) -> bool {
        matches!(
            self,
            Self::NotificationLost
                | Self::NotificationLate { .. }
                | Self::NotificationDoubled
                | Self::NotificationReordered
                | Self::NotificationBadlySigned
        )
    }
}

/// Put into the extensions of a response that must not be sent: the server closes the connection instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloseConnection;

/// A fault in force.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fault {
    pub(crate) id: u64,
    /// `None`: every provider.
    pub(crate) provider: Option<Provider>,
    #[serde(flatten)]
    pub(crate) kind: FaultKind,
    /// How many more times; `None`: until removed.
    pub(crate) remaining: Option<u32>,
}

/// A fault to be put in force.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NewFault {
    #[serde(default)]
    pub(crate) provider: Option<Provider>,
    #[serde(flatten)]
    pub(crate) kind: FaultKind,
    #[serde(default)]
    pub(crate) count: Option<u32>,
}

/// Longest delay a fault may ask for.
const FAULT_SECONDS_MAX: u32 = 600;

/// The faults in force, in the order they were added.
pub(crate) struct Faults {
    faults_max: usize,
    list: Locked<List>,
}

#[derive(Default)]
struct List {
    last_id: u64,
    faults: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(faults_max: usize) -> Self {
        Self {
            faults_max,
            list: Locked::default(),
        }
    }

    pub(crate) fn add(&self, new: &NewFault) -> Result<Fault, ActionError> {
        if new.count == Some(0) {
            return Err(ActionError::Invalid(
                "count must be at least 1; leave it out for \"until removed\"".into(),
            ));
        }
        if new
            .kind
            .seconds()
            .is_some_and(|seconds| seconds == 0 || seconds > FAULT_SECONDS_MAX)
        {
            return Err(ActionError::Invalid(format!(
                "seconds must be 1..={FAULT_SECONDS_MAX}"
            )));
        }
        let mut list = self.list.lock();
        if list.faults.len() >= self.faults_max {
            return Err(ActionError::Full(format!(
                "there are already {} faults; remove some",
                self.faults_max
            )));
        }
        list.last_id += 1;
        let fault = Fault {
            id: list.last_id,
            provider: new.provider,
            kind: new.kind,
            remaining: new.count,
        };
        list.faults.push(fault.clone());
        Ok(fault)
    }

    pub(crate) fn all(&self) -> Vec<Fault> {
        self.list.lock().faults.clone()
    }

    pub(crate) fn remove(&self, id: u64) -> Result<(), ActionError> {
        let mut list = self.list.lock();
        let before = list.faults.len();
        list.faults.retain(|fault| fault.id != id);
        if list.faults.len() == before {
            Err(ActionError::NotFound("fault"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn clear(&self) {
        self.list.lock().faults.clear();
    }

    /// The faults that apply to one request to `provider`; each counted as used once.
    pub(crate) fn take_for_request(&self, provider: Provider) -> Vec<FaultKind> {
        self.take(provider, |kind| !kind.is_of_notifications())
    }

    /// The faults that apply to one delivery by `provider`; each counted as used once.
    pub(crate) fn take_for_delivery(&self, provider: Provider) -> Vec<FaultKind> {
        self.take(provider, FaultKind::is_of_notifications)
    }

    fn take(&self, provider: Provider, wanted: impl Fn(FaultKind) -> bool) -> Vec<FaultKind> {
        let mut list = self.list.lock();
        let mut taken: Vec<FaultKind> = Vec::new();
        for fault in &mut list.faults {
            let same_taken = taken.iter().any(|kind| kind.name() == fault.kind.name());
            if same_taken
                || !wanted(fault.kind)
                || fault.provider.is_some_and(|only| only != provider)
            {
                continue;
            }
            taken.push(fault.kind);
            fault.remaining = fault.remaining.map(|remaining| remaining.saturating_sub(1));
        }
        list.faults.retain(|fault| fault.remaining != Some(0));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_for_the_next_two_applies_twice_and_only_to_its_provider() {
        let faults = Faults::new(10);
        let new = NewFault {
            provider: Some(Provider::Alipay),
            kind: FaultKind::ProviderDown,
            count: Some(2),
        };
        faults.add(&new).unwrap();
        assert_eq!(faults.take_for_request(Provider::WechatPay), []);
        assert_eq!(
            faults.take_for_request(Provider::Alipay),
            [FaultKind::ProviderDown]
        );
        assert_eq!(faults.take_for_delivery(Provider::Alipay), []);
        assert_eq!(
            faults.take_for_request(Provider::Alipay),
            [FaultKind::ProviderDown]
        );
        assert_eq!(faults.take_for_request(Provider::Alipay), []);
        assert!(faults.all().is_empty());
    }

    #[test]
    fn two_equal_faults_apply_one_after_the_other() {
        let faults = Faults::new(10);
        let new = NewFault {
            provider: None,
            kind: FaultKind::NotificationLost,
            count: Some(1),
        };
        faults.add(&new).unwrap();
        faults.add(&new).unwrap();
        assert_eq!(faults.take_for_delivery(Provider::WechatPay).len(), 1);
        assert_eq!(faults.take_for_delivery(Provider::WechatPay).len(), 1);
        assert_eq!(faults.take_for_delivery(Provider::WechatPay).len(), 0);
    }
}
