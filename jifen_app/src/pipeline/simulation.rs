//! The whole ledger simulated: random histories through the real pipeline and the real store, against an auditor who knows
//! only the rules.
//!
//! A history is drawn from a seed: charges, batches, concurrent calls at two nodes, holds, captures, refunds, grants, merges,
//! sweeps, a clock that jumps both ways, repetitions early and late, requesters that do not wait, and processes that die. The
//! auditor predicts each answer to the letter, and at the end what the database holds.
//!
//! A failure names its seed and the shortest beginning of the history that fails. To see each step of one seed:
//! `JIFEN_SIMULATION_SEED=17 cargo test -p jifen_app simulation -- --nocapture`.

mod asking;
mod auditor;
mod compare;
mod history;
mod words;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jifen_store::testing::{TestStore, fresh};
use jifen_store::{Engine, Store, StoreConfig};

use history::Random;
use world::{Checked, World};

/// Replays one history.
const SEED_VARIABLE: &str = "JIFEN_SIMULATION_SEED";
const SQLITE_SEEDS: u64 = 2_000;
const POSTGRES_SEEDS: u64 = 40;
const STEPS: usize = 60;
/// Histories after which a new database is begun.
const SEEDS_PER_DATABASE: u64 = 100;

#[test]
fn every_history_on_sqlite_goes_as_the_auditor_says() {
    let seed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let first = seed.fetch_add(SEEDS_PER_DATABASE, Ordering::Relaxed);
                    let place = Place::new();
                    let end = (first + SEEDS_PER_DATABASE).min(SQLITE_SEEDS);
                    let seeds = first..end;
                    if seeds.is_empty() {
                        break;
                    }
                    seeds.for_each(|seed| check(&place.config(), seed));
                }
            });
        }
    });
}

#[test]
fn every_history_on_postgres_goes_as_the_auditor_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let database: TestStore = runtime.block_on(fresh(Engine::Postgres));
    (0..POSTGRES_SEEDS).for_each(|seed| check(database.config(), seed));
}

/// # Panics
/// When the history fails, with what it was.
fn check(config: &StoreConfig, seed: u64) {
    let only: Option<u64> = std::env::var(SEED_VARIABLE)
        .ok()
        .map(|seed| seed.parse().expect("the seed is a number"));
    if only.is_some_and(|only| only != seed) {
        return;
    }
    let (told, result) = play(config, seed, STEPS);
    if only.is_some() {
        println!("{}", told.join("\n"));
    }
    let Err(problem) = result else { return };
    // Whatever fails in the shortest beginning fails first.
    let beginnings = 1..=STEPS;
    let shortest = beginnings
        .map(|steps| (steps, play(config, seed, steps)))
        .find(|(_, (_, result))| result.is_err());
    match shortest {
        Some((steps, (told, Err(problem)))) => {
            panic!(
                "seed {seed} fails within {steps} steps:\n{}\n{problem}",
                told.join("\n")
            )
        }
        _ => panic!(
            "seed {seed} failed once only:\n{}\n{problem}",
            told.join("\n")
        ),
    }
}

/// The beginning of a history, and whether it went as it must.
fn play(config: &StoreConfig, seed: u64, steps: usize) -> (Vec<String>, Checked) {
    /// Accounts of each history on a database.
    static FIRST: AtomicI64 = AtomicI64::new(1_000);
    let mut random = Random::new(seed);
    let group_max = 1 + random.below(24);
    let mut world = World::new(config, FIRST.fetch_add(10, Ordering::Relaxed), group_max);
    for number in 0..steps {
        let step = history::step(&mut random, number);
        if let Err(problem) = world.step(&step) {
            return (std::mem::take(&mut world.told), Err(problem));
        }
    }
    let result = compare::compare(&world);
    (std::mem::take(&mut world.told), result)
}

/// A folder with an SQLite database, in memory where that is possible: what a disk does is tested elsewhere.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = Self(parent.join(format!("jifen_simulation_{}_{number}", std::process::id())));
        // What an earlier process of the same number left behind when it was killed.
        drop(std::fs::remove_dir_all(&place.0));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be built");
        runtime.block_on(async {
            let store = Store::open(&place.config())
                .await
                .expect("a fresh database opens");
            store.migrate().await.expect("the schema is sound");
        });
        place
    }

    fn config(&self) -> StoreConfig {
        StoreConfig::Sqlite {
            path: self.0.join("mall.sqlite"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
