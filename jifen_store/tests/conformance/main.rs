//! Every verb of the store, on both engines from one text.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

/// Stamps each named test once for each engine, over an empty database, so that a failure names the engine.
macro_rules! on_both_engines {
    ($($test:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&jifen_store::testing::fresh(jifen_store::Engine::Sqlite).await).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&jifen_store::testing::fresh(jifen_store::Engine::Postgres).await).await;
                }
            )+
        }
    };
}

mod api_key;
mod audit;
mod catalogue;
mod concurrency;
mod constraint;
mod history;
mod hold;
mod job;
mod ledger;
mod locks;
mod merge;
mod migration;
mod official_account;
mod order;
mod refund;
mod request;
mod samples;
mod schema;
mod session;
mod statements;
mod system;
mod tariff;
mod usage;
mod user;
