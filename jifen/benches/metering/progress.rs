//! What is being done, told while it runs: leave the machine alone meanwhile.

use std::time::Instant;

/// Tells the name of a step before it and its time after it.
pub(crate) async fn step<T>(name: &str, work: impl Future<Output = T>) -> T {
    eprintln!("==> {name}");
    let started = Instant::now();
    let result = work.await;
    eprintln!("==> {name}: {:.1} s", started.elapsed().as_secs_f64());
    result
}

/// A part of a step.
pub(crate) fn quietly<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    eprintln!("    {name}: {:.1} s", started.elapsed().as_secs_f64());
    result
}

/// What a step found.
pub(crate) fn tell(line: &str) {
    eprintln!("    {line}");
}
