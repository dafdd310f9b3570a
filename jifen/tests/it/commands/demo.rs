//! `jifen demo`.

use std::process::Command;

/// Played several times: in it the buyer asks while the notification is under way, and each may come first.
#[test]
fn the_whole_story_holds_every_time() {
    for _ in 0..5 {
        let output = Command::new(env!("CARGO_BIN_EXE_jifen"))
            .arg("demo")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}\n{errors}");
        assert!(
            told.contains("22. ") && told.contains("steps held, and the ledger of"),
            "{told}"
        );
    }
}
