//! A cheap check that everything is set up: keys, app, contract, clock, network.

use crate::certificate::hex;
use crate::client::Alipay;
use crate::error::{AnswerError, Error, TransportError};
use crate::failure::FailureKind;

/// Why Alipay cannot be used, in the operator's words.
#[derive(Debug, thiserror::Error)]
#[error("{explanation}")]
pub struct ProbeError {
    /// What is wrong and what to do.
    pub explanation: String,
    /// The error behind it.
    #[source]
    pub cause: Error,
}

impl Alipay {
    /// Asks for an order that cannot exist and expects Alipay to say so, signed: then the gateway can be reached, it
    /// accepts our signature, app and clock, and we accept its signature. Costs one call and changes nothing.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let mut random = [0; 16];
        self.environment.fill_random(&mut random);
        let cause = match self.query(&format!("probe_{}", hex(&random))).await {
            // An order of that name, absurd as it is, proves the same.
            Ok(_) => return Ok(()),
            Err(error) if error.failure_kind() == Some(FailureKind::TradeNotExist) => return Ok(()),
            Err(error) => error,
        };
        Err(ProbeError {
            explanation: explain(&cause),
            cause,
        })
    }
}

fn explain(cause: &Error) -> String {
    match cause {
        Error::Transport(TransportError::NotConnected(_)) => {
            "the gateway cannot be reached: check its URL, name resolution, the firewall and TLS"
                .into()
        }
        Error::Transport(TransportError::Status { status }) => format!(
            "HTTP status {status} in place of an answer: the URL is not that of Alipay's gateway, or a proxy \
             stands between"
        ),
        Error::Answer(AnswerError::Unsigned) => {
            "the answer is not signed: this is not Alipay's gateway".into()
        }
        other => other.to_string(),
    }
}
