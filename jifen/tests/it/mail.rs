//! Mail leaves over SMTP, to a server that says only what RFC 5321 asks it to.

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;

#[tokio::test]
async fn the_code_that_binds_an_address_is_mailed_over_smtp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { receive_one(listener.accept().await.unwrap().0).await });
    let world = World::start_with(jifen_store::Engine::Sqlite, |config| {
        config.mail.smtp_url = format!("smtp://{address}");
        config.mail.from = "Jifen <noreply@example.com>".to_owned();
    })
    .await;

    let token = world.log_in("xiaoming").await;
    let body = json!({ "email": "xiaoming@example.com" });
    let asked = world
        .post("/api/v1/user/bind-email", &body)
        .token(&token)
        .send()
        .await;
    assert_eq!(asked.body["code"], 0, "{}", asked.text);
    world.do_jobs().await;

    let mail = server.await.unwrap();
    assert_eq!(mail.from, "MAIL FROM:<noreply@example.com>");
    assert_eq!(mail.to, "RCPT TO:<xiaoming@example.com>");
    let code = mail.text.split("Your code is ").nth(1).unwrap()[..6].to_owned();
    let confirmed = world
        .post("/api/v1/user/confirm-email", &json!({ "code": code }))
        .token(&token)
        .send()
        .await;
    assert_eq!(confirmed.body["code"], 0, "{}", confirmed.text);
}

#[tokio::test]
async fn mail_that_cannot_be_sent_is_given_up_and_shown_to_the_operator() {
    let world = World::start_with(jifen_store::Engine::Sqlite, |config| {
        config.mail.smtp_url = "smtp://127.0.0.1:1".to_owned();
        config.mail.from = "Jifen <noreply@example.com>".to_owned();
    })
    .await;
    let token = world.log_in("xiaoming").await;
    let body = json!({ "email": "xiaoming@example.com" });
    world
        .post("/api/v1/user/bind-email", &body)
        .token(&token)
        .send()
        .await;
    // Five attempts with growing waits, then it is given up for the operator to see.
    for _ in 0..5 {
        world.do_jobs().await;
        world.clock.advance_seconds(3_600);
    }
    let failed = world.app.failed_jobs(10).await.unwrap();
    assert_eq!(
        (failed.len(), failed[0].kind.as_str()),
        (1, "send_mail"),
        "{failed:?}"
    );
    assert!(
        !format!("{failed:?}").contains("xiaoming@example.com"),
        "{failed:?}"
    );
}

struct Received {
    from: String,
    to: String,
    /// Decoded.
    text: String,
}

async fn receive_one(stream: TcpStream) -> Received {
    let mut stream = BufReader::new(stream);
    let mut mail = Received {
        from: String::new(),
        to: String::new(),
        text: String::new(),
    };
    stream.write_all(b"220 smtp.test ESMTP\r\n").await.unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end();
        match line.get(..4).unwrap_or_default() {
            "EHLO" => stream.write_all(b"250 smtp.test\r\n").await.unwrap(),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                mail.text = read_data(&mut stream).await;
                stream.write_all(b"250 kept\r\n").await.unwrap();
                return mail;
            }
            verb => {
                match verb {
                    "MAIL" => line.clone_into(&mut mail.from),
                    "RCPT" => line.clone_into(&mut mail.to),
                    other => panic!("unexpected {other}: {line}"),
                }
                stream.write_all(b"250 ok\r\n").await.unwrap();
            }
        }
    }
}

/// The message up to the lone dot; its body is base64 because it is Chinese.
async fn read_data(stream: &mut BufReader<TcpStream>) -> String {
    use base64::Engine as _;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line == ".\r\n" {
            break;
        }
        lines.push(line);
    }
    let body: String = lines
        .iter()
        .skip_while(|line| *line != "\r\n")
        .map(|line| line.trim())
        .collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    String::from_utf8(bytes).unwrap()
}
