//! What a person sees when the mall has started.

use crate::config::{Config, SandboxMode};

pub(super) fn print(config: &Config) {
    let mall = config.public_base_url();
    println!(
        "Jifen {} ({:?} profile)",
        env!("CARGO_PKG_VERSION"),
        config.profile
    );
    println!("  mall      {mall}/        interface {mall}/docs");
    if config.sandbox.mode == SandboxMode::Inside {
        let sandbox = config.sandbox_base_url();
        println!(
            "  sandbox   {sandbox}/        WeChat and Alipay, played on this machine: log in, scan and pay there"
        );
    }
    println!("  database  {}", config.store_for_people());
    if config.is_development() {
        print_examples(&mall);
    }
    println!("Stop with Ctrl-C.");
}

fn print_examples(mall: &str) {
    println!("Try (`jifen demo` plays the whole story):");
    println!("  curl {mall}/api/v1/system/status");
    println!("  curl {mall}/api/v1/login/weixin_qrcode_ticket");
    println!(
        "  curl -X POST {mall}/api/v1/alipay/create_pay_order -H 'Content-Type: application/json' \\\n       \
         -d '{{\"userId\":\"10001\",\"productId\":\"100001\"}}'"
    );
}
