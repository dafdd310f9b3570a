//! What was found out, as the part of `docs/benchmarks.md` and its plots.

use std::fmt::Write as _;

use crate::chart::{self, Bar, Curve};
use crate::growth::Growth;
use crate::measured::{Line, Measured};
use crate::soak::Soak;
use crate::{Engine, Part, Scale};

/// What a rate is held against.
#[derive(Clone, Copy)]
struct Aim {
    ratio: f64,
    of: &'static str,
    base: f64,
}

/// Tables, and links to the plots where there are any.
pub(crate) fn markdown(scale: &Scale, measured: &[Measured], has_plots: bool) -> String {
    let mut text = format!(
        "{} connections, {} accounts, rounds of {} s for each kind of request, taken in turns; the middle one of {} counts. Times are as the \
         client sees them. *Echo* is a request of the same size to the same server that parses the same JSON and touches no data. Every \
         answer was a 200, and what the accounts lost is what was acknowledged, to the point.\n\n",
        scale.connections,
        thousands(f64::from(scale.accounts)),
        scale.duration.as_secs_f64(),
        scale.rounds,
    );
    for engine in measured {
        writeln!(text, "### {}\n", engine.version).unwrap();
        if has_plots && !engine.rounds.lines.is_empty() {
            let name = engine.engine.name();
            writeln!(
                text,
                "![Rates on {name}](benchmarks/{})\n",
                file("throughput", engine)
            )
            .unwrap();
        }
        text += &rates(engine);
        text += &facts(engine);
        if let Some(growth) = &engine.growth {
            text += &grown(growth);
        }
    }
    if has_plots && measured.iter().any(|engine| engine.growth.is_some()) {
        text += "### In a large ledger\n\n![Rates in a small and in a large ledger](benchmarks/growth.svg)\n\n";
    }
    if has_plots && measured.iter().any(|engine| engine.soak.is_some()) {
        text += "### Under a long load\n\n![Memory](benchmarks/soak-memory.svg)\n\n![Rate](benchmarks/soak-rate.svg)\n";
    }
    text
}

/// The plots and the names of their files.
pub(crate) fn plots(measured: &[Measured]) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    for engine in measured
        .iter()
        .filter(|engine| !engine.rounds.lines.is_empty())
    {
        let title = format!("{}: a second (red: the aim)", engine.engine.name());
        let pgbench = engine.rounds.pgbench.map(|rate| Bar {
            name: "pgbench -N -M prepared".to_owned(),
            value: rate,
            text: thousands(rate),
            aim: None,
        });
        let lines = engine.rounds.lines.iter().map(|line| Bar {
            name: name_of(line.part).to_owned(),
            value: line.per_second(),
            text: thousands(line.per_second()),
            aim: aim_of(engine, line.part).map(|aim| aim.ratio * aim.base),
        });
        let bars: Vec<Bar> = lines.chain(pgbench).collect();
        plots.push((file("throughput", engine), chart::bars(&title, &bars)));
    }
    let sides = measured.iter().filter_map(|engine| {
        let growth = engine.growth.as_ref()?;
        let bar = |entries: &str, line: &Line, aim| Bar {
            name: format!("{}, {entries} entries", engine.engine.name()),
            value: line.per_second(),
            text: thousands(line.per_second()),
            aim,
        };
        let aim = Some(0.8 * growth.small.per_second());
        Some([
            bar("few", &growth.small, None),
            bar("many", &growth.grown, aim),
        ])
    });
    let bars: Vec<Bar> = sides.flatten().collect();
    if !bars.is_empty() {
        let title = "Charges over all accounts a second (red: the aim)";
        plots.push(("growth.svg".to_owned(), chart::bars(title, &bars)));
    }
    let curves = |value: fn(&crate::soak::Sample) -> f64| -> Vec<Curve> {
        let soaked = measured
            .iter()
            .filter_map(|engine| Some((engine, engine.soak.as_ref()?)));
        soaked
            .map(|(engine, soak)| Curve {
                name: engine.engine.name().to_owned(),
                points: soak
                    .samples
                    .iter()
                    .map(|sample| (sample.seconds / 60.0, value(sample)))
                    .collect(),
            })
            .collect()
    };
    let memory = curves(|sample| sample.memory_bytes as f64 / 1e6);
    if !memory.is_empty() {
        let rate = curves(|sample| sample.per_second);
        let plot = chart::curves("Memory of the mall", ("minutes", "MB resident"), &memory);
        plots.push(("soak-memory.svg".to_owned(), plot));
        let plot = chart::curves(
            "Charges over 10,000 accounts",
            ("minutes", "a second"),
            &rate,
        );
        plots.push(("soak-rate.svg".to_owned(), plot));
    }
    plots
}

/// A column says how a rate compares with the echo, and with PostgreSQL's own benchmark where there is one.
fn rates(engine: &Measured) -> String {
    let rounds = &engine.rounds;
    if rounds.lines.is_empty() {
        return String::new();
    }
    let (echo, pgbench) = (rounds.rate(Part::Echo), rounds.pgbench);
    let mut text = String::from("| what | a second | rounds | of echo |");
    text += if pgbench.is_some() {
        " of pgbench |"
    } else {
        ""
    };
    text += " aim | median | p99 | CPU of the mall |\n|---|---|---|---|---|---|---|---|";
    text += if pgbench.is_some() { "---|\n" } else { "\n" };
    for line in rounds
        .lines
        .iter()
        .chain(&rounds.half)
        .chain(&rounds.single)
    {
        let (low, high) = line.range();
        let ratio = |base: Option<f64>| {
            base.map_or(String::new(), |base| {
                format!("{:.2}", line.per_second() / base)
            })
        };
        let of_pgbench = pgbench.map_or(String::new(), |rate| format!(" {} |", ratio(Some(rate))));
        writeln!(
            text,
            "| {} | {} | {} to {} | {} |{of_pgbench} {} | {:.2} ms | {:.2} ms | {:.1} µs |",
            name_of(line.part),
            thousands(line.per_second()),
            thousands(low),
            thousands(high),
            ratio(echo),
            verdict(engine, line),
            line.latencies.millis_at(0.5),
            line.latencies.millis_at(0.99),
            line.cpu_micros(),
        )
        .unwrap();
    }
    if let Some(rate) = pgbench {
        let rate = thousands(rate);
        writeln!(
            text,
            "| pgbench -N -M prepared, 64 clients, scale 10 | {rate} | | | 1.00 | | | | |"
        )
        .unwrap();
    }
    text + "\n"
}

/// The aim of a line, and whether it was met.
fn verdict(engine: &Measured, line: &Line) -> String {
    let told = |is_met| if is_met { "met" } else { "**missed**" };
    if line.part == Part::Half && engine.engine == Engine::Sqlite {
        let is_met = line.latencies.millis_at(0.99) <= 10.0;
        return format!("p99 ≤ 10 ms: {}", told(is_met));
    }
    aim_of(engine, line.part).map_or(String::new(), |aim| {
        let is_met = line.per_second() >= aim.ratio * aim.base;
        format!("≥ {} × {}: {}", aim.ratio, aim.of, told(is_met))
    })
}

fn facts(engine: &Measured) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let mut text = String::new();
    if !engine.rounds.lines.is_empty() {
        let memory = megabytes(engine.rounds.memory_bytes);
        writeln!(
            text,
            "- Memory of the mall after all of this: {memory:.0} MB resident (aim: under 150)."
        )
        .unwrap();
    }
    if let Some(single) = engine.rounds.single.as_ref().map(Line::per_second) {
        let ratios = [Part::Spread, Part::One, Part::Batch].map(|part| {
            let rate = engine.rounds.rate(part);
            rate.map_or("–".to_owned(), |rate| format!("{:.1}", rate / single))
        });
        let [spread, one, batch] = ratios;
        writeln!(
            text,
            "- Of the same charge in a transaction each: spread {spread} ×, on one account {one} ×, in batches {batch} × (aim on PostgreSQL: 5 ×)."
        )
        .unwrap();
    }
    if let Some(soak) = &engine.soak {
        let (early, late) = early_and_late(soak);
        writeln!(
            text,
            "- {:.0} minutes of spread charges: {:.1} MB resident in the second tenth of that time, {:.1} MB in the last (aim: no growth).\n\
             - {} bytes on disk for each of {} charges, everything counted.",
            soak.samples.last().map_or(0.0, |sample| sample.seconds / 60.0),
            megabytes(early),
            megabytes(late),
            soak.bytes / soak.charges as i64,
            thousands(soak.charges as f64),
        )
        .unwrap();
    }
    if let Some(audit) = engine.soak.as_ref().and_then(|soak| soak.audit.as_ref()) {
        let entries = audit.entries as f64;
        writeln!(
            text,
            "- An audit of the {} entries took {:.1} s, {} entries a second, and found nothing.",
            thousands(entries),
            audit.seconds,
            thousands(entries / audit.seconds),
        )
        .unwrap();
    }
    if let Some(nodes) = &engine.nodes {
        writeln!(
            text,
            "- All charges on one account: {} a second through one node, {} through two, {:.2} of it (aim: 0.7), exact.",
            thousands(nodes.one),
            thousands(nodes.two),
            nodes.two / nodes.one
        )
        .unwrap();
    }
    text + "\n"
}

/// The largest size in the second tenth and in the last tenth of the time.
fn early_and_late(soak: &Soak) -> (u64, u64) {
    let tenth = (soak.samples.len() / 10).max(1);
    let largest = |skip: usize| {
        let samples = soak.samples.iter().skip(skip).take(tenth);
        samples.map(|sample| sample.memory_bytes).max().unwrap_or(0)
    };
    (
        largest(tenth),
        largest(soak.samples.len().saturating_sub(tenth)),
    )
}

fn grown(growth: &Growth) -> String {
    let (small, grown) = (growth.small.per_second(), growth.grown.per_second());
    let audit = growth.audit_millis.map_or(String::new(), |millis| {
        format!("| audit of one account | {} | the same |\n", beside(millis))
    });
    let [first, thousandth, last] = growth.pages_millis;
    let slowest = first.max(thousandth).max(last);
    let fastest = first.min(thousandth).min(last);
    format!(
        "With {} entries and {} accounts in the database ({:.1} GB), compared in turns with one of few entries:\n\n\
         | what | few entries | many | ratio | aim |\n|---|---|---|---|---|\n\
         | charges a second, over as many accounts | {} | {} | {:.2} | ≥ 0.8 |\n\
         | p99 of them | {:.2} ms | {:.2} ms | | |\n\
         | balance of one account | {} | the same |\n{audit}\n\
         In a history of {} charges, page 1 takes {first:.3} ms, page 1,000 {thousandth:.3} ms, the last one {last:.3} ms: slowest to fastest {:.2} \
         (aim: 1.5 or less).\n\n",
        thousands(growth.entries as f64),
        thousands(f64::from(growth.accounts)),
        growth.bytes as f64 / 1e9,
        thousands(small),
        thousands(grown),
        grown / small,
        growth.small.latencies.millis_at(0.99),
        growth.grown.latencies.millis_at(0.99),
        beside(growth.balance_millis),
        thousands(growth.long_charges as f64),
        slowest / fastest,
    )
}

/// Times in the small and in the large ledger, and their ratio.
fn beside([few, many]: [f64; 2]) -> String {
    format!("{few:.3} ms | {many:.3} ms | {:.2}", many / few)
}

/// What a rate should reach: on SQLite of the echo, on PostgreSQL of its own benchmark.
fn aim_of(engine: &Measured, part: Part) -> Option<Aim> {
    let (ratio, of) = match (engine.engine, part) {
        (Engine::Sqlite, Part::Spread) => (0.5, "echo"),
        (Engine::Sqlite, Part::One) => (0.6, "echo"),
        (Engine::Sqlite, Part::Batch | Part::BatchOne) => (3.0, "echo"),
        (Engine::Sqlite, Part::Verify) => (0.85, "echo"),
        (Engine::Postgres, Part::Spread) => (2.0, "pgbench"),
        (Engine::Postgres, Part::One) => (2.5, "pgbench"),
        (Engine::Postgres, Part::Batch | Part::BatchOne) => (6.0, "pgbench"),
        _ => return None,
    };
    let base = match of {
        "echo" => engine.rounds.rate(Part::Echo)?,
        _ => engine.rounds.pgbench?,
    };
    Some(Aim { ratio, of, base })
}

fn name_of(part: Part) -> &'static str {
    match part {
        Part::Echo => "echo",
        Part::Verify => "verify",
        Part::Spread => "charges over all accounts",
        Part::One => "charges all on one account",
        Part::Batch => "charges in batches of 100",
        Part::BatchOne => "charges in batches of 100, each on one account",
        Part::Half => "charges over all accounts, at half that rate",
        Part::Single => "charges over all accounts, a transaction each",
        Part::Pgbench => "pgbench",
        Part::Soak => "a long load",
        Part::Nodes => "two nodes",
        Part::Growth => "growth",
        Part::Audit => "audit",
    }
}

fn file(plot: &str, engine: &Measured) -> String {
    format!("{plot}-{}.svg", engine.engine.name().to_lowercase())
}

/// `12,345`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
