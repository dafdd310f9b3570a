//! Two malls on one PostgreSQL, all charges on one account from both.

use crate::load::Load;
use crate::measured::median;
use crate::process::Mall;
use crate::progress::tell;
use crate::{Bench, prepare, requests, start_mall};

/// Charges a second, with the same number of connections.
pub(crate) struct Nodes {
    pub(crate) one: f64,
    pub(crate) two: f64,
}

pub(crate) async fn measure(bench: &Bench) -> Nodes {
    let scale = bench.scale;
    let database = bench.database("nodes");
    prepare::small_ledger(&database, scale.accounts).await;
    let (gateway, keys) = prepare::gateway_and_keys(&database, 1..=1).await;
    let load = Load {
        requests: requests::charges(&gateway, &keys),
        connections: scale.connections,
        warm_up: scale.warm_up,
        duration: scale.duration,
        pace: None,
    };
    let points = database.points();
    let malls: [Mall; 2] = [start_mall(&database).await, start_mall(&database).await];
    let [first, second] = malls.each_ref().map(|mall| mall.address);
    let (mut charged, mut one, mut two) = (0, Vec::new(), Vec::new());
    for round in 1..=scale.rounds {
        let turns = [
            ("one node", &[first][..], &mut one),
            ("two nodes", &[first, second], &mut two),
        ];
        for (nodes, addresses, rates) in turns {
            let name = format!("round {round}, one account through {nodes}");
            let outcome = bench.step(&name, load.send(addresses)).await;
            tell(&format!("{:.0} charges/s", outcome.per_second()));
            rates.push(outcome.per_second());
            charged += outcome.acknowledged;
        }
    }
    for mall in malls {
        mall.stop().await;
    }
    assert_eq!(
        points - database.points(),
        charged as i64,
        "what was taken is not what was acknowledged"
    );
    Nodes {
        one: median(&one),
        two: median(&two),
    }
}
