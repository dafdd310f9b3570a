//! One gateway: one request after the other.

use std::sync::Arc;
use std::time::Duration;

use jifen_domain::AccountId;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Charge, Counted, Dice, Done, OpenHold, People, Plan};
use crate::world::{Answer, Request};

const METERING: &str = "/api/v2/metering";
/// The longest wait for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(45);
/// How long a gateway that was turned away waits, unless it hears of another node before.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const HOLD_SECONDS: i64 = 86_400;
/// Every so many charges are sent once more when everything is over.
const REPEATED_EVERY: u64 = 8;

pub(super) struct Caller {
    number: usize,
    dice: Dice,
    people: Arc<People>,
    plan: watch::Receiver<Plan>,
    counted: Arc<Counted>,
    http: reqwest::Client,
    requests: u64,
    done: Done,
    /// Charges that were answered, with what they were answered, to be sent once more.
    to_repeat: Vec<(String, Value, String)>,
}

impl Caller {
    pub(super) fn new(
        number: usize,
        people: &Arc<People>,
        plan: &watch::Receiver<Plan>,
        counted: &Arc<Counted>,
        http: &reqwest::Client,
    ) -> Self {
        Self {
            number,
            dice: Dice::new(1_000 + number as u64),
            people: Arc::clone(people),
            plan: plan.clone(),
            counted: Arc::clone(counted),
            http: http.clone(),
            requests: 0,
            done: Done::default(),
            to_repeat: Vec::new(),
        }
    }

    pub(super) async fn work(mut self) -> Done {
        while !self.plan.borrow().ends {
            match self.dice.below(16) {
                0..=7 => self.charge().await,
                8..=9 => self.charge_a_batch().await,
                10..=12 => self.hold().await,
                _ => self.refund().await,
            }
        }
        for (key, body, first) in std::mem::take(&mut self.to_repeat) {
            let again = self.ask("/charges", Some(&key), &body).await;
            assert_eq!(again.text, first, "{key} was answered differently");
            assert_eq!(again.header("idempotency-hit"), "true", "{key}");
        }
        self.done
    }

    async fn charge(&mut self) {
        let key = self.new_key();
        let body = self.call(5);
        let answer = self.ask("/charges", Some(&key), &body).await;
        if !self.is_made(&answer) {
            return;
        }
        assert_eq!(answer.body["points"], body["points"], "{}", answer.text);
        self.note_charge(&answer.body["id"], &answer.body["points"]);
        if self.dice.below(REPEATED_EVERY) == 0 {
            self.to_repeat.push((key, body, answer.text));
        }
    }

    async fn charge_a_batch(&mut self) {
        let count = 2 + self.dice.below(11);
        let charges: Vec<Value> = (0..count)
            .map(|_| {
                let mut call = self.call(5);
                call["idempotencyKey"] = self.new_key().into();
                call
            })
            .collect();
        let body = json!({ "charges": charges });
        let results = loop {
            let answer = self.ask("/charges/batch", None, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let results = answer.body["results"].as_array().unwrap().clone();
            assert_eq!(results.len(), charges.len(), "{}", answer.text);
            if results.iter().all(|result| result["status"] != 503) {
                break results;
            }
            self.counted.add(&self.counted.busy);
            self.wait().await;
        };
        for (result, charge) in results.iter().zip(&charges) {
            if result["status"] == 402 {
                self.done.refused += 1;
                continue;
            }
            assert_eq!(result["status"], 200, "{result}");
            let made = &result["charge"];
            assert_eq!(made["points"], charge["points"], "{result}");
            self.note_charge(&made["id"], &made["points"]);
        }
    }

    /// Sets points aside, and mostly ends that in one way or another.
    async fn hold(&mut self) {
        let mut body = self.call(20);
        body["seconds"] = HOLD_SECONDS.into();
        let key = self.new_key();
        let answer = self.ask("/holds", Some(&key), &body).await;
        if !self.is_made(&answer) {
            return;
        }
        let id = answer.body["id"].as_str().unwrap().to_owned();
        let mut points = answer.body["points"].as_i64().unwrap();
        if self.dice.below(4) == 0 {
            let more = self.dice.points(1, 5);
            let key = self.new_key();
            let path = format!("/holds/{id}/extend");
            let answer = self
                .ask(&path, Some(&key), &json!({ "points": more }))
                .await;
            if self.is_made(&answer) {
                points += more;
                assert_eq!(answer.body["points"], points, "{}", answer.text);
            }
        }
        match self.dice.below(8) {
            0 => {
                let (account, _) = parse(&id);
                let hold = OpenHold { account, points };
                self.done.open_holds.push(hold);
            }
            1..=2 => {
                let path = format!("/holds/{id}/release");
                let answer = self.ask(&path, None, &json!({})).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
            _ => {
                let cost = self.dice.points(1, points + 5);
                let path = format!("/holds/{id}/capture");
                let answer = self.ask(&path, None, &json!({ "points": cost })).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                let number = |field: &str| answer.body[field].as_i64().unwrap();
                assert_eq!(
                    number("points") + number("shortfall"),
                    cost,
                    "{}",
                    answer.text
                );
                self.note_charge(&answer.body["chargeId"], &answer.body["points"]);
            }
        }
    }

    /// Takes a charge back that it has made itself, as far as it was not taken back yet.
    async fn refund(&mut self) {
        let count = self.done.charges.len();
        if count == 0 {
            return;
        }
        let place = self.dice.below(count as u64);
        let (id, charge) = self
            .done
            .charges
            .iter()
            .nth(place.try_into().unwrap())
            .unwrap();
        let ((account, entry), left) = (*id, charge.points - charge.refunded);
        if left == 0 {
            return;
        }
        let mut body = json!({ "chargeId": format!("{account}-{entry}") });
        let is_part = self.dice.below(2) == 0;
        let points = if is_part {
            self.dice.points(1, left)
        } else {
            left
        };
        if is_part {
            body["points"] = points.into();
        }
        let key = self.new_key();
        let answer = self.ask("/refunds", Some(&key), &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        assert_eq!(answer.body["points"], points, "{body}: {}", answer.text);
        let charge = self.done.charges.get_mut(&(account, entry)).unwrap();
        charge.refunded += points;
    }

    fn new_key(&mut self) -> String {
        self.requests += 1;
        format!("{}-{}", self.number, self.requests)
    }

    /// Somebody's call.
    fn call(&mut self, points_max: i64) -> Value {
        let holder = self.dice.below(self.people.holders.len() as u64);
        let holder = &self.people.holders[usize::try_from(holder).unwrap()];
        json!({ "apiKey": holder.key, "points": self.dice.points(1, points_max), "title": "OCR" })
    }

    fn is_made(&mut self, answer: &Answer) -> bool {
        if answer.status == 402 {
            self.done.refused += 1;
            return false;
        }
        assert_eq!(answer.status, 200, "{}", answer.text);
        true
    }

    fn note_charge(&mut self, id: &Value, points: &Value) {
        let charge = Charge {
            points: points.as_i64().unwrap(),
            refunded: 0,
        };
        let before = self
            .done
            .charges
            .insert(parse(id.as_str().unwrap()), charge);
        assert!(before.is_none(), "{id} was the answer to two requests");
    }

    /// Sends a request until it is answered.
    async fn ask(&mut self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        for attempt in 0.. {
            let nodes = self.plan.borrow().nodes.clone();
            let node = &nodes[(self.number + attempt) % nodes.len()];
            let request = self
                .http
                .post(format!("{node}{METERING}{path}"))
                .timeout(ANSWER_TIME_MAX)
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {}", self.people.gateway))
                .body(body.to_string());
            let request = match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            };
            match Request(request).try_send().await {
                Ok(answer) if answer.status == 503 => {
                    let again = answer.header("retry-after").parse::<u32>();
                    assert!(again.is_ok(), "when to try again? {}", answer.text);
                    self.counted.add(&self.counted.busy);
                }
                Ok(answer) => {
                    self.done.answered_late += u64::from(attempt > 0);
                    self.counted.add(&self.counted.answers);
                    return answer;
                }
                // It may have been done all the same.
                Err(_) => {}
            }
            self.wait().await;
        }
        unreachable!("there are many numbers")
    }

    async fn wait(&mut self) {
        // Either will do.
        drop(tokio::time::timeout(AGAIN_AFTER, self.plan.changed()).await);
    }
}

fn parse(id: &str) -> (AccountId, i64) {
    let (account, entry) = id.rsplit_once('-').unwrap();
    (AccountId(account.parse().unwrap()), entry.parse().unwrap())
}
