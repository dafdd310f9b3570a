//! `jifen doctor`.

use jifen_sandbox::Kit;
use jifen_store::Engine;
use serde_json::Value;

use super::shell::Ran;
use crate::world::World;

/// `(part, health, finding)` of every line.
fn findings(ran: &Ran) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    let text = |line: &Value, member: &str| line[member].as_str().unwrap().to_owned();
    report
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            (
                text(line, "part"),
                text(line, "health"),
                text(line, "finding"),
            )
        })
        .collect()
}

fn finding<'a>(
    findings: &'a [(String, String, String)],
    part: &str,
) -> &'a (String, String, String) {
    findings.iter().find(|(found, ..)| found == part).unwrap()
}

const DOCTOR: [&str; 2] = ["doctor", "--json"];

#[tokio::test]
async fn everything_works_with_the_sandbox() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::on_real_time(engine).await;
        let ran = world.jifen(&DOCTOR).await;
        let findings = findings(&ran);
        let parts: Vec<&str> = findings.iter().map(|(part, ..)| part.as_str()).collect();
        assert_eq!(
            parts,
            [
                "database",
                "mini program",
                "official account",
                "WeChat Pay",
                "Alipay"
            ]
        );
        assert!(
            findings.iter().all(|(_, health, _)| health == "good"),
            "{findings:?}"
        );
        assert_eq!(ran.code, 0);
        let table = world.jifen(&["doctor"]).await;
        assert!(
            table.text().starts_with("PART ") && table.stdout.contains("WeChat Pay"),
            "{}",
            table.stdout
        );
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_of_its_provider_alone() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let kit = Kit::builtin();
    let mini_program = [
        ("JIFEN__MINI_PROGRAM__APP_ID", kit.mini_program_appid),
        (
            "JIFEN__MINI_PROGRAM__APP_SECRET",
            "0123456789abcdef0123456789abcdef",
        ),
        ("JIFEN__MINI_PROGRAM__API_BASE", &world.sandbox),
    ];
    let gateway = format!("{}/gateway.do", world.sandbox);
    let alipay = [
        ("JIFEN__ALIPAY__APP_ID", kit.alipay_app_id),
        ("JIFEN__ALIPAY__PRIVATE_KEY", kit.merchant_private_key),
        ("JIFEN__ALIPAY__PUBLIC_KEY", kit.alipay_public_key),
        ("JIFEN__ALIPAY__GATEWAY", gateway.as_str()),
    ];
    let pay = [
        ("JIFEN__WECHAT_PAY__MCH_ID", kit.mchid),
        (
            "JIFEN__WECHAT_PAY__MERCHANT_SERIAL",
            kit.merchant_certificate_serial,
        ),
        ("JIFEN__WECHAT_PAY__PRIVATE_KEY", kit.alipay_app_private_key),
        ("JIFEN__WECHAT_PAY__API_V3_KEY", kit.api_v3_key),
        (
            "JIFEN__WECHAT_PAY__PUBLIC_KEY_ID",
            kit.wechat_pay_public_key_id,
        ),
        ("JIFEN__WECHAT_PAY__PUBLIC_KEY", kit.wechat_pay_public_key),
        ("JIFEN__WECHAT_PAY__API_BASE", &world.sandbox),
        ("JIFEN__MINI_PROGRAM__APP_ID", kit.mini_program_appid),
        ("JIFEN__MINI_PROGRAM__APP_SECRET", kit.mini_program_secret),
        ("JIFEN__MINI_PROGRAM__API_BASE", &world.sandbox),
    ];
    for (part, settings) in [
        ("mini program", &mini_program[..]),
        ("Alipay", &alipay),
        ("WeChat Pay", &pay),
    ] {
        let ran = world.jifen_with(settings, &DOCTOR).await;
        let findings = findings(&ran);
        assert_eq!(ran.code, 1, "{findings:?}");
        let (_, health, words) = finding(&findings, part);
        assert!(health == "BAD" && words.len() > 10, "{part}: {findings:?}");
        let others = findings.iter().filter(|(other, ..)| other != part);
        assert!(
            others.into_iter().all(|(_, health, _)| health == "good"),
            "{part}: {findings:?}"
        );
        for (_, secret) in settings
            .iter()
            .filter(|(name, _)| name.contains("SECRET") || name.contains("KEY"))
        {
            assert!(
                !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
                "{}{}",
                ran.stdout,
                ran.stderr
            );
        }
    }
}

#[tokio::test]
async fn providers_that_cannot_be_reached_are_told() {
    let world = World::on_real_time(Engine::Sqlite).await;
    // Nobody listens on the port of "discard".
    let ran = world
        .jifen_with(&[("JIFEN__SANDBOX__LISTEN", "127.0.0.1:9")], &DOCTOR)
        .await;
    assert_eq!(ran.code, 1);
    let report = findings(&ran);
    assert_eq!(finding(&report, "database").1, "good");
    for part in ["mini program", "official account", "WeChat Pay", "Alipay"] {
        assert_eq!(finding(&report, part).1, "BAD", "{report:?}");
    }
    let off = world
        .jifen_with(&[("JIFEN__SANDBOX__MODE", "off")], &DOCTOR)
        .await;
    assert_eq!(off.code, 0, "what is not wanted is not ill: {}", off.stdout);
    assert_eq!(finding(&findings(&off), "Alipay").1, "absent");
}

#[tokio::test]
async fn work_that_was_given_up_makes_the_database_ill() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let values = "'send_mail', 'x', '{}', 0, 10, 'no', 1768449600000000";
    world.raw(&format!("INSERT INTO jobs (kind, subject, payload, run_at, attempts, last_error, failed_at) VALUES ({values})")).await;
    let ran = world.jifen(&DOCTOR).await;
    assert_eq!(ran.code, 1);
    let report = findings(&ran);
    let (_, health, words) = finding(&report, "database");
    assert!(
        health == "BAD" && words.contains("jifen jobs"),
        "{report:?}"
    );
}
