//! What was done for a request, so that its repetition gets the same answer.

use jifen_domain::ledger::{HeldUntil, Request};
use jifen_domain::{AccountId, Points, Time};

use super::account::LockedAccount;
use super::points;
use super::tail::{Fingerprint, fingerprint};
use crate::engine::{Column, Row};
use crate::{Error, Result, Tx};

/// An entry that answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The account.
    pub account: AccountId,
    /// The entry's number in it.
    pub entry: i64,
    /// Hash of what was asked for.
    pub input: [u8; 8],
    /// What it added to the balance.
    pub signed_points: i64,
    /// Balance after it.
    pub balance_after: Points,
    /// Of that, held.
    pub held_after: Points,
    /// When.
    pub at: Time,
    /// The key that was used.
    pub api_key_id: Option<String>,
    /// What it was for.
    pub title: String,
    /// The tariff it was priced by.
    pub tariff_id: Option<i64>,
    /// The entry of the hold it captured, extended or released, or of the charge it refunded.
    pub origin_entry: Option<i64>,
    /// When it made or extended a hold: how that stood then.
    pub until: Option<HeldUntil>,
}

impl Tx {
    /// What was done for requests before, each looked for in one of the accounts, which are locked: `(place of the account,
    /// request)`. In the order asked.
    pub async fn recorded_requests(
        &mut self,
        accounts: &[LockedAccount],
        requests: &[(usize, Request)],
    ) -> Result<Vec<Option<Recorded>>> {
        let fingerprints: Vec<Fingerprint> = requests
            .iter()
            .map(|(_, request)| fingerprint(&request.key))
            .collect();
        let account_of = |asked: usize| accounts.get(requests.get(asked)?.0);
        let mut places: Vec<(usize, i64)> = Vec::new();
        for (asked, fingerprint) in fingerprints.iter().enumerate() {
            let in_tail = account_of(asked)
                .into_iter()
                .flat_map(|account| account.tail.requests())
                .filter(|(_, known)| known == fingerprint);
            places.extend(in_tail.map(|(position, _)| (asked, position)));
        }
        let in_blocks = self
            .fetch_rows(
                "SELECT $1, k.position FROM {each} (SELECT position FROM request_keys WHERE account_id = $2 AND fingerprint = $3) k",
                &[
                    Column::ints((0_i64..).take(requests.len())),
                    Column::ints((0..requests.len()).map(|asked| Some(account_of(asked)?.id().0))),
                    Column::blobs(fingerprints.iter().map(|known| Some(known.as_slice()))),
                ],
                |row| Ok((read_place(row)?, row.get(1)?)),
            )
            .await?;
        places.extend(in_blocks);
        let mut found: Vec<Option<Recorded>> = vec![None; requests.len()];
        if places.is_empty() {
            return Ok(found);
        }
        for (asked, key, recorded) in self.entries_with_keys(&places).await? {
            let is_it = requests
                .get(asked)
                .is_some_and(|(_, request)| request.key.as_slice() == key);
            // Accounts that were merged may have used the same key: the account's own entry counts, else the oldest account's.
            let own = account_of(asked).map(|account| account.id());
            let rank = |one: &Recorded| (Some(one.account) != own, one.account, one.entry);
            if let Some(place) = found.get_mut(asked).filter(|place| {
                let known = place.as_ref();
                is_it && known.is_none_or(|known| rank(&recorded) < rank(known))
            }) {
                *place = Some(recorded);
            }
        }
        Ok(found)
    }

    /// What was done for a request before, without locking its account.
    pub async fn recorded_request(
        &mut self,
        account: AccountId,
        request: Request,
    ) -> Result<Option<Recorded>> {
        let account = self.look_at_account(account).await?;
        let found = self
            .recorded_requests(account.as_slice(), &[(0, request)])
            .await?;
        Ok(found.into_iter().next().flatten())
    }

    /// What was done for this very request in an account of the person, among them those that were merged: the same key may have
    /// been used in several before.
    pub async fn recorded_request_of_person(
        &mut self,
        account: AccountId,
        request: Request,
    ) -> Result<Option<Recorded>> {
        for account in self.accounts_of_person(account).await? {
            let recorded = self.recorded_request(account, request).await?;
            if recorded
                .as_ref()
                .is_some_and(|recorded| recorded.input == request.input)
            {
                return Ok(recorded);
            }
        }
        Ok(None)
    }

    async fn entries_with_keys(
        &mut self,
        places: &[(usize, i64)],
    ) -> Result<Vec<(usize, Vec<u8>, Recorded)>> {
        self.fetch_rows(
            "SELECT $1, e.request_key, e.account_id, e.number, e.request_hash, e.points, e.balance_after, e.held_after, e.at, \
             e.api_key_id, e.title, e.tariff_id, e.origin_entry, e.hold_points, e.hold_expires_at \
             FROM {each} (SELECT * FROM entries WHERE position = $2 AND request_key IS NOT NULL) e",
            &[
                Column::ints(places.iter().map(|(asked, _)| i64::try_from(*asked).unwrap_or(i64::MAX))),
                Column::ints(places.iter().map(|(_, position)| *position)),
            ],
            |row| Ok((read_place(row)?, row.get(1)?, read_recorded(row)?)),
        )
        .await
    }
}

/// Which of the requests the row is for.
fn read_place(row: &Row<'_>) -> Result<usize> {
    Ok(usize::try_from(row.get::<i64>(0)?).unwrap_or(usize::MAX))
}

/// From the third column on.
fn read_recorded(row: &Row<'_>) -> Result<Recorded> {
    let input: Vec<u8> = row.get(4)?;
    let input = input
        .try_into()
        .map_err(|_| Error::Corrupt("a request hash that is not of 8 bytes".to_owned()))?;
    Ok(Recorded {
        account: AccountId(row.get(2)?),
        entry: row.get(3)?,
        input,
        signed_points: row.get(5)?,
        balance_after: points(row.get(6)?)?,
        held_after: points(row.get(7)?)?,
        at: Time::from_micros(row.get(8)?),
        api_key_id: row.get(9)?,
        title: row.get(10)?,
        tariff_id: row.get(11)?,
        origin_entry: row.get(12)?,
        until: match row.get::<Option<i64>>(13)? {
            Some(held) => Some(HeldUntil {
                points: points(held)?,
                expires_at: Time::from_micros(row.get(14)?),
            }),
            None => None,
        },
    })
}
