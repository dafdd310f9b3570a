//! The API that is sold: it does what its path says, and remembers what reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};

use super::wire::{free_address, serve};

#[derive(Clone)]
pub(super) struct Api {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request<String>>>>,
}

impl Api {
    pub(super) async fn start() -> Self {
        let api = Self {
            address: free_address(),
            seen: Arc::default(),
        };
        let serving = api.clone();
        serve(api.address, move |request| {
            let api = serving.clone();
            async move { api.answer(request) }
        })
        .await;
        api
    }

    /// What has reached it since it was last asked.
    pub(super) fn take_seen(&self) -> Vec<Request<String>> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn answer(&self, request: Request<String>) -> Option<Response<String>> {
        let response = Response::builder().header("x-api", "real");
        let response = match request.uri().path() {
            "/hangs-up" => None,
            "/answers-500" => Some(response.status(500)),
            "/answers-503" => Some(response.status(503)),
            "/answers-404" => Some(response.status(404)),
            "/refunds" => Some(response.header("x-jifen-refund", "true")),
            _ => Some(response),
        };
        self.seen.lock().unwrap().push(request);
        response.map(|response| response.body("served".to_owned()).unwrap())
    }
}
