//! The landing page and `/docs`, which fetch nothing from elsewhere.

use jifen_store::Engine;

use crate::world::{Answer, World};

/// The values of every `src` and `href` of a page.
fn links(html: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|attribute| html.split(attribute).skip(1));
    values.filter_map(|rest| rest.split('"').next()).collect()
}

async fn page(world: &World, path: &str) -> Answer {
    let answer = world.get(path).send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/html; charset=utf-8"),
        "{path}"
    );
    answer
}

#[tokio::test]
async fn the_landing_page_leads_to_what_is_there() {
    let world = World::start(Engine::Sqlite).await;
    let landing = page(&world, "/").await;
    let links = links(&landing.text);
    assert!(
        links.contains(&"/docs") && links.contains(&"/openapi.json"),
        "{links:?}"
    );
    for link in links {
        let answer = if link.starts_with('/') {
            world.get(link).send().await
        } else {
            assert!(link.starts_with(&world.sandbox), "{link} leads elsewhere");
            world.get_from(link, "").send().await
        };
        // The sandbox leads on to its first page.
        assert!(
            answer.status == 200 || answer.status == 303,
            "{link}: {}",
            answer.status
        );
    }
    let production_like = World::start_with(Engine::Sqlite, |config| {
        config.sandbox.mode = jifen::config::SandboxMode::Off;
    })
    .await;
    assert!(
        !page(&production_like, "/").await.text.contains("://"),
        "without a sandbox there is no link to one"
    );
}

#[tokio::test]
async fn the_reference_is_served_whole_from_here() {
    let world = World::start(Engine::Sqlite).await;
    let docs = page(&world, "/docs").await;
    assert!(!docs.text.contains("://"), "{}", docs.text);
    let policy = docs.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'")
            && !policy.contains("://")
            && !policy.contains('*'),
        "{policy}"
    );
    let links = links(&docs.text);
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        assert!(link.starts_with('/') && !link.starts_with("//"), "{link}");
        let asset = world.get(link).send().await;
        assert_eq!(asset.status, 200, "{link}");
        let kind = if link == "/docs/swagger-ui.css" {
            "text/css; charset=utf-8"
        } else {
            "text/javascript; charset=utf-8"
        };
        assert_eq!(
            (
                asset.header("content-type"),
                asset.header("x-content-type-options")
            ),
            (kind, "nosniff"),
            "{link}"
        );
        assert!(!asset.text.is_empty());
        let tag = asset.header("etag");
        if !tag.is_empty() {
            let cached = world.get(link).header("if-none-match", tag).send().await;
            assert_eq!((cached.status, cached.text.as_str()), (304, ""), "{link}");
        }
    }
    let start = world.get("/docs/start.js").send().await;
    assert!(
        start.text.contains("\"/openapi.json\"") && !start.text.contains("://"),
        "{}",
        start.text
    );
}

#[tokio::test]
async fn every_answer_carries_an_id_and_is_taken_for_what_it_says() {
    let world = World::start(Engine::Sqlite).await;
    let mut ids = std::collections::HashSet::new();
    for path in [
        "/",
        "/healthz",
        "/nowhere",
        "/api/v1/system/status",
        "/api/v1/user/info",
        "/api/v1/login/check_login",
        "/api/v2/nowhere",
    ] {
        let answer = world.get(path).send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let id = answer.header("x-request-id").to_owned();
        assert!(!id.is_empty() && ids.insert(id.clone()), "{path}: {id}");
        let own = world
            .get(path)
            .header("x-request-id", "my-own.id_1")
            .send()
            .await;
        assert_eq!(own.header("x-request-id"), "my-own.id_1", "{path}");
        for bad in ["a b", "<script>", &"x".repeat(65), "é"] {
            let replaced = world.get(path).header("x-request-id", bad).send().await;
            assert_ne!(replaced.header("x-request-id"), bad, "{path}");
        }
        if path.starts_with("/api/") {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_answers_browsers() {
    let world = World::start(Engine::Sqlite).await;
    for path in ["/", "/healthz", "/openapi.json", "/api/v1/system/status"] {
        let (head, get) = (
            world.request("HEAD", path).send().await,
            world.get(path).send().await,
        );
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
    }
    let preflight = async |world: &World, origin: &str| {
        let request = world
            .request("OPTIONS", "/api/v1/points/create-order")
            .header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
            .send()
            .await
    };
    let any = preflight(&world, "https://shop.example").await;
    assert_eq!(
        (any.status, any.header("access-control-allow-origin")),
        (200, "*")
    );
    assert_eq!(
        any.header("access-control-allow-headers"),
        "authorization,content-type"
    );
    assert!(any.header("access-control-allow-methods").contains("POST"));
    assert_eq!(
        any.header("access-control-allow-credentials"),
        "",
        "any page, but without cookies"
    );

    let listed = |config: &mut jifen::config::Config| {
        config.server.cors_origins = vec!["https://shop.example".to_owned()];
    };
    let world = World::start_with(Engine::Sqlite, listed).await;
    let ours = preflight(&world, "https://shop.example").await;
    assert_eq!(
        ours.header("access-control-allow-origin"),
        "https://shop.example"
    );
    assert_eq!(ours.header("access-control-allow-credentials"), "true");
    assert_eq!(
        preflight(&world, "https://evil.example")
            .await
            .header("access-control-allow-origin"),
        ""
    );
    let answer = world
        .get("/api/v1/system/status")
        .header("origin", "https://shop.example")
        .send()
        .await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example"
    );
    assert!(
        answer.header("vary").contains("origin"),
        "{}",
        answer.header("vary")
    );
}
