//! Charging an API key: exact, durable before it is answered, once per idempotency key.

use jifen_domain::key::{ApiKey, KeyRefused};
use jifen_domain::ledger::{ChargeDetail, DESCRIPTION_CHARS_MAX, Refused, TITLE_CHARS_MAX};
use jifen_domain::text;
use jifen_domain::{AccountId, Points, Time};
use jifen_store::{ChargeRecord, ServiceCredential, Tx};

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{API_KEY_PREFIX, Purpose, SERVICE_CREDENTIAL_PREFIX, is_well_formed};

/// Bytes of an idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Seconds to which a key's last use is exact; between, charges do not write the key's row.
const LAST_USED_EXACT_SECONDS: i64 = 60;
/// Rounds in which a charge that met a merge or its own duplicate is repeated.
const CHARGE_ROUNDS_MAX: u32 = 5;

/// What a gateway asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct ChargeRequest {
    /// The secret of the key to charge.
    pub api_key: String,
    /// How many points.
    pub points: i64,
    /// For the holder's history.
    pub title: String,
    /// More about it.
    pub description: Option<String>,
}

impl ChargeRequest {
    fn description(&self) -> Option<&str> {
        let description = self.description.as_deref().map(str::trim);
        description.filter(|description| !description.is_empty())
    }
}

impl std::fmt::Debug for ChargeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChargeRequest")
            .field("points", &self.points)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Names the charge for ever.
    pub id: String,
    /// Points taken.
    pub points: i64,
    /// Balance right after it.
    pub balance: Points,
    /// When.
    pub at: Time,
    /// The charge had been made before under the same idempotency key; this is its first answer.
    pub is_replay: bool,
}

impl Charged {
    fn from_record(record: &ChargeRecord, is_replay: bool) -> Self {
        Self {
            id: charge_id(record.account, record.entry),
            points: record.points,
            balance: record.balance_after,
            at: record.at,
            is_replay,
        }
    }
}

/// The public id of a charge: its account and its number there.
pub fn charge_id(account: AccountId, entry: i64) -> String {
    format!("{account}-{entry}")
}

impl App {
    /// The gateway a service credential belongs to.
    pub async fn authenticate_service(&self, secret: &str) -> Result<ServiceCredential> {
        let unknown = || {
            Error::Unauthenticated(Text::new(
                "服务凭证无效",
                "unknown or revoked service credential",
            ))
        };
        if !is_well_formed(SERVICE_CREDENTIAL_PREFIX, secret) {
            return Err(unknown());
        }
        let secret_hash = self.hasher.hash(Purpose::ServiceCredential, secret);
        let credential = self
            .store
            .read()
            .await?
            .service_credential_by_hash(&secret_hash)
            .await?;
        credential
            .filter(|credential| credential.revoked_at.is_none())
            .ok_or_else(unknown)
    }

    /// Charges a key.
    pub async fn charge(
        &self,
        gateway: &ServiceCredential,
        idempotency_key: &str,
        request: &ChargeRequest,
    ) -> Result<Charged> {
        let points = check_request(idempotency_key, request)?;
        self.require_charges_open().await?;
        let input_hash = hash_input(request);
        for _ in 0..CHARGE_ROUNDS_MAX {
            let mut tx = self.store.begin().await?;
            if let Some(record) = tx.charge_record(&gateway.id, idempotency_key).await? {
                return replay(tx, &record, &input_hash).await;
            }
            match self
                .take_points(&mut tx, request, points, &input_hash)
                .await
            {
                Ok(Some(record)) => {
                    let is_recorded = tx
                        .insert_charge_record(&gateway.id, idempotency_key, &record)
                        .await?;
                    if is_recorded {
                        tx.commit().await?;
                        return Ok(Charged::from_record(&record, false));
                    }
                }
                Ok(None) => {}
                Err(refused) if refused.is_ours() => return Err(refused),
                Err(refused) => {
                    // While this one waited for the account, the same request may have gone through.
                    if let Some(record) = tx.charge_record(&gateway.id, idempotency_key).await? {
                        return replay(tx, &record, &input_hash).await;
                    }
                    tx.commit().await?;
                    return Err(refused);
                }
            }
        }
        Err(Error::Busy(
            "a charge kept meeting its own duplicates".into(),
        ))
    }

    async fn usable_key(&self, tx: &mut Tx, secret: &str) -> Result<ApiKey> {
        let refused = |refused| match refused {
            KeyRefused::Unknown => {
                Error::invalid("apiKey", Text::new("没有这个 API Key", "no such API key"))
            }
            KeyRefused::Expired => {
                Error::Forbidden(Text::new("API Key 已过期", "the API key has expired"))
            }
            KeyRefused::Inactive => {
                Error::Forbidden(Text::new("API Key 已停用", "the API key is inactive"))
            }
        };
        if !is_well_formed(API_KEY_PREFIX, secret) {
            return Err(refused(KeyRefused::Unknown));
        }
        let key = tx
            .api_key_by_hash(&self.hasher.hash(Purpose::ApiKey, secret))
            .await?;
        let key = key.ok_or_else(|| refused(KeyRefused::Unknown))?;
        key.usable(self.now()).map_err(refused)?;
        Ok(key)
    }

    /// Takes the points and notes the use of the key. `None` when the account changed hands meanwhile.
    async fn take_points(
        &self,
        tx: &mut Tx,
        request: &ChargeRequest,
        points: Points,
        input_hash: &[u8],
    ) -> Result<Option<ChargeRecord>> {
        let key = self.usable_key(tx, &request.api_key).await?;
        let account_id = AccountId::from(key.user);
        let mut account = tx
            .lock_account(account_id)
            .await?
            .ok_or_else(|| Error::internal("a key without an account"))?;
        let detail = ChargeDetail {
            api_key_id: key.id.clone(),
            title: request.title.trim().to_owned(),
            description: request.description().map(str::to_owned),
        };
        let now = self.now();
        let (entry, balance_after) = match account.charge(points, detail, now) {
            Ok(entry) => (entry.number, entry.balance_after),
            Err(Refused::OutOfRange) => return Err(out_of_range()),
            Err(Refused::Insufficient { available }) => {
                // After a merge the points are in the account of the older record, and the key points there.
                let owner = tx.lock_api_key(&key.id).await?.map(|key| key.user);
                return if owner == Some(key.user) {
                    Err(Error::Insufficient { available })
                } else {
                    Ok(None)
                };
            }
        };
        tx.append_journal(&account).await?;
        if key
            .last_used_at
            .is_none_or(|at| at.plus_seconds(LAST_USED_EXACT_SECONDS) <= now)
        {
            tx.touch_api_key(&key.id, now).await?;
        }
        Ok(Some(ChargeRecord {
            input_hash: input_hash.to_vec(),
            account: account_id,
            entry,
            points: points.get(),
            balance_after,
            at: now,
        }))
    }
}

fn check_request(idempotency_key: &str, request: &ChargeRequest) -> Result<Points> {
    let printable = idempotency_key.bytes().all(|byte| byte.is_ascii_graphic());
    if idempotency_key.is_empty() || idempotency_key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !printable
    {
        let text = Text::new(
            "须为 1 至 255 个可见 ASCII 字符",
            "must be 1 to 255 visible ASCII characters",
        );
        return Err(Error::invalid("Idempotency-Key", text));
    }
    text::line(&request.title, TITLE_CHARS_MAX)
        .map_err(|error| Error::from_text("title", error))?;
    if let Some(description) = request.description() {
        text::line(description, DESCRIPTION_CHARS_MAX)
            .map_err(|error| Error::from_text("description", error))?;
    }
    Points::new(request.points)
        .filter(|points| points.is_movable())
        .ok_or_else(out_of_range)
}

fn out_of_range() -> Error {
    let max = Points::MOVEMENT_MAX.get();
    Error::Invalid {
        field: "points",
        text: Text::owned(
            format!("须为 1 至 {max} 的整数"),
            format!("must be a whole number from 1 to {max}"),
        ),
    }
}

fn hash_input(request: &ChargeRequest) -> Vec<u8> {
    // Each part with its length, so that no two different requests are one text.
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let points = request.points.to_string();
    let description = request.description.as_deref().unwrap_or_default();
    for part in [
        request.api_key.as_str(),
        &points,
        &request.title,
        description,
    ] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

async fn replay(tx: Tx, record: &ChargeRecord, input_hash: &[u8]) -> Result<Charged> {
    tx.commit().await?;
    if record.input_hash == input_hash {
        return Ok(Charged::from_record(record, true));
    }
    let text = Text::new(
        "这个 Idempotency-Key 已用于另一次扣费，请换一个",
        "this Idempotency-Key was used for another charge: choose a new one",
    );
    Err(Error::Conflict(text))
}
