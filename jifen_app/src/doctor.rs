//! Calling every configured provider, and saying what is wrong in the operator's words.

use crate::App;
use crate::error::Text;

/// How one part of the mall is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Which part.
    pub part: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found, and what to do about it.
    pub text: Text,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Good,
    /// It is not configured.
    Absent,
    /// It does not work.
    Bad,
}

impl App {
    /// Examines the database, the follow-up work, and every provider.
    pub async fn doctor(&self) -> Vec<Diagnosis> {
        let mut diagnoses = vec![self.examine_database().await];
        diagnoses.push(match &self.providers.mini_program {
            Some(client) => examined(
                "mini program",
                client.probe().await.map_err(|error| error.to_string()),
            ),
            None => absent("mini program"),
        });
        diagnoses.push(match &self.providers.official_account {
            Some(client) => examined(
                "official account",
                client.probe().await.map_err(|error| error.to_string()),
            ),
            None => absent("official account"),
        });
        diagnoses.push(match &self.providers.wechat_pay {
            Some(client) => examined(
                "WeChat Pay",
                client.probe().await.map_err(|error| error.to_string()),
            ),
            None => absent("WeChat Pay"),
        });
        diagnoses.push(match &self.providers.alipay {
            Some(client) => examined(
                "Alipay",
                client.probe().await.map_err(|error| error.to_string()),
            ),
            None => absent("Alipay"),
        });
        diagnoses
    }

    async fn examine_database(&self) -> Diagnosis {
        let counts = async { self.store.read().await?.job_counts().await };
        match counts.await {
            Ok((waiting, 0)) => Diagnosis {
                part: "database",
                health: Health::Good,
                text: Text::owned(
                    format!("正常，{waiting} 个后台任务等待中"),
                    format!("works, {waiting} jobs waiting"),
                ),
            },
            Ok((_, failed)) => Diagnosis {
                part: "database",
                health: Health::Bad,
                text: Text::owned(
                    format!("{failed} 个后台任务已放弃，用 `jifen jobs` 查看"),
                    format!("{failed} jobs were given up: see `jifen jobs`"),
                ),
            },
            Err(error) => examined("database", Err(error.to_string())),
        }
    }
}

fn examined(part: &'static str, result: Result<(), String>) -> Diagnosis {
    match result {
        Ok(()) => Diagnosis {
            part,
            health: Health::Good,
            text: Text::new("正常", "works"),
        },
        Err(error) => Diagnosis {
            part,
            health: Health::Bad,
            text: Text::owned(error.clone(), error),
        },
    }
}

fn absent(part: &'static str) -> Diagnosis {
    Diagnosis {
        part,
        health: Health::Absent,
        text: Text::new("未配置", "not configured"),
    }
}
