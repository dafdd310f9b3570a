//! Notices and maintenance.

use jifen_domain::Time;

use crate::{Result, Tx};

/// Something the operator tells everyone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Opaque.
    pub id: String,
    /// The text.
    pub content: String,
    /// Shown from.
    pub start_at: Time,
    /// Shown until.
    pub end_at: Time,
}

/// The mall is closed for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Why, for people.
    pub message: String,
    /// Its expected end.
    pub ends_at: Option<Time>,
    /// Charges are refused too.
    pub charges_stopped: bool,
}

impl Tx {
    /// Adds a notice.
    pub async fn insert_notice(&mut self, notice: &Notice) -> Result<()> {
        self.execute(
            "INSERT INTO notices (id, content, start_at, end_at) VALUES ($1, $2, $3, $4)",
            &[
                (&notice.id).into(),
                (&notice.content).into(),
                notice.start_at.micros().into(),
                notice.end_at.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Removes a notice. `false` when there is none of this id.
    pub async fn delete_notice(&mut self, id: &str) -> Result<bool> {
        Ok(self
            .execute("DELETE FROM notices WHERE id = $1", &[id.into()])
            .await?
            == 1)
    }

    /// All notices, the latest start first.
    pub async fn notices(&mut self) -> Result<Vec<Notice>> {
        self.fetch_all(
            "SELECT id, content, start_at, end_at FROM notices ORDER BY start_at DESC, id DESC",
            &[],
            read_notice,
        )
        .await
    }

    /// The notice to show at `now`: of those running, the one that started last.
    pub async fn current_notice(&mut self, now: Time) -> Result<Option<Notice>> {
        self.fetch_optional(
            "SELECT id, content, start_at, end_at FROM notices WHERE start_at <= $1 AND end_at > $1 \
             ORDER BY start_at DESC, id DESC LIMIT 1",
            &[now.micros().into()],
            read_notice,
        )
        .await
    }

    /// Closes the mall.
    pub async fn put_maintenance(&mut self, maintenance: &Maintenance) -> Result<()> {
        self.execute(
            "INSERT INTO maintenance (id, message, ends_at, charges_stopped) VALUES (1, $1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET message = excluded.message, ends_at = excluded.ends_at, \
             charges_stopped = excluded.charges_stopped",
            &[
                (&maintenance.message).into(),
                maintenance.ends_at.map(Time::micros).into(),
                maintenance.charges_stopped.into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Opens the mall again. `false` when it was open.
    pub async fn delete_maintenance(&mut self) -> Result<bool> {
        Ok(self
            .execute("DELETE FROM maintenance WHERE id = 1", &[])
            .await?
            == 1)
    }

    /// Whether the mall is closed. It stays closed past the expected end, until the operator opens it.
    pub async fn maintenance(&mut self) -> Result<Option<Maintenance>> {
        self.fetch_optional(
            "SELECT message, ends_at, charges_stopped FROM maintenance WHERE id = 1",
            &[],
            |row| {
                Ok(Maintenance {
                    message: row.get(0)?,
                    ends_at: row.get::<Option<i64>>(1)?.map(Time::from_micros),
                    charges_stopped: row.get(2)?,
                })
            },
        )
        .await
    }
}

fn read_notice(row: &crate::engine::Row<'_>) -> Result<Notice> {
    Ok(Notice {
        id: row.get(0)?,
        content: row.get(1)?,
        start_at: Time::from_micros(row.get(2)?),
        end_at: Time::from_micros(row.get(3)?),
    })
}
