//! What an operator does to a cluster of real nodes, through whichever of them answers.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::Cluster;
use crate::client::{Client, Value};
use crate::poll;

/// How long one node is waited for.
const ANSWER_TIME: Duration = Duration::from_secs(3);

impl Cluster {
    /// Asks some running node; `None`: nobody could answer now.
    pub fn ask(&self, line: &str) -> Option<Value> {
        let up = self.ids().filter(|id| self.is_up(*id));
        let mut answers = up.filter_map(|id| {
            let mut client = Client::connect(self.address(id), ANSWER_TIME).ok()?;
            client.line(line).ok()
        });
        let passes = |code: &str| ["CLUSTERDOWN", "TIMEOUT", "TRYAGAIN", "NOSPACE"].contains(&code);
        answers.find(|answer| !answer.error_code().is_some_and(passes))
    }

    /// Gives a command until somebody takes it.
    ///
    /// # Errors
    ///
    /// The last answer, when nobody took it within `time`.
    pub fn command(&self, line: &str, time: Duration) -> Result<(), String> {
        let mut last = None;
        let taken = poll::until(Instant::now() + time, || {
            last = self.ask(line);
            last == Some(Value::Simple("OK".into()))
        });
        if taken { Ok(()) } else { Err(format!("{line}: {last:?}")) }
    }

    /// The nodes that the directory lists, with their states; `None`: nobody could answer now.
    pub fn members(&self) -> Option<Vec<(u64, String)>> {
        let Some(Value::Bulk(text)) = self.ask("RINGRAFT MEMBER LIST") else { return None };
        let json: Json = serde_json::from_slice(&text).ok()?;
        let member = |member: &Json| Some((member["id"].as_u64()?, member["state"].as_str()?.to_string()));
        json.as_array()?.iter().map(member).collect()
    }
}
