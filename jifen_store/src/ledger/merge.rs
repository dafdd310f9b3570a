//! The accounts of two records of one person become one.

use std::collections::BTreeMap;

use jifen_domain::ledger::Refused;
use jifen_domain::{AccountId, Time, UserId};

use super::account::LockedAccount;
use super::tail::Fingerprint;
use crate::engine::Column;
use crate::{Error, Result, Tx};

impl Tx {
    /// Moves everything in the accounts of the younger person into those of the older: lots, open holds, and what was done
    /// for which request. Both persons are locked. The younger's accounts are empty from then on and say where to look
    /// ([`LockedAccount::merged_into`]). Roll back when the ledger's rules refuse it.
    pub async fn merge_accounts(
        &mut self,
        younger: UserId,
        older: UserId,
        now: Time,
    ) -> Result<std::result::Result<(), Refused>> {
        let of_tests = [AccountId::of_tests(younger), AccountId::of_tests(older)];
        if self.look_at_account(of_tests[0]).await?.is_some() {
            self.ensure_test_account(older).await?;
        }
        let pairs = [of_tests, [younger.into(), older.into()]];
        let mut ids: Vec<AccountId> = pairs.into_iter().flatten().collect();
        ids.sort_unstable();
        let mut accounts = self.lock_accounts(&ids).await?;
        self.load_lots(&mut accounts).await?;
        let mut accounts: BTreeMap<AccountId, LockedAccount> = accounts
            .into_iter()
            .map(|account| (account.id(), account))
            .collect();
        for [from, to] in pairs {
            // Not everybody has test keys.
            let Some(mut from) = accounts.remove(&from) else {
                continue;
            };
            let no_account = || Error::Corrupt(format!("user {older} has no account {to}"));
            let to = accounts.get_mut(&to).ok_or_else(no_account)?;
            if let Err(refused) = from.merge_into(to, now) {
                return Ok(Err(refused));
            }
            self.append_journal(&from).await?;
            self.append_journal(to).await?;
            self.adopt_requests(from.id(), to.id()).await?;
            self.execute(
                "UPDATE accounts SET merged_into = $1 WHERE id = $2",
                &[to.id().0.into(), from.id().0.into()],
            )
            .await?;
        }
        Ok(Ok(()))
    }

    /// Lets the requests of an account that is merged into an older one be recognised there, too.
    async fn adopt_requests(&mut self, younger: AccountId, older: AccountId) -> Result<()> {
        self.execute(
            "INSERT INTO request_keys (account_id, fingerprint, position) \
             SELECT $1, fingerprint, position FROM request_keys WHERE account_id = $2",
            &[older.0.into(), younger.0.into()],
        )
        .await?;
        let younger = self.look_at_account(younger).await?;
        let latest: Vec<(i64, Fingerprint)> = younger
            .iter()
            .flat_map(|account| account.tail.requests())
            .collect();
        self.execute_rows(
            "INSERT INTO request_keys (account_id, fingerprint, position) SELECT $1, $2, $3 {from each}",
            &[
                Column::ints(latest.iter().map(|_| older.0)),
                Column::blobs(latest.iter().map(|(_, fingerprint)| Some(fingerprint.as_slice()))),
                Column::ints(latest.iter().map(|(position, _)| *position)),
            ],
        )
        .await
        .map(drop)
    }
}
