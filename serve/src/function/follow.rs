//! Follows the names of snapshots: when one leads to another snapshot, that one takes over.

use super::Function;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Looks for names that have moved. A snapshot that could not take over is not tried again until the name moves again.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    failed: BTreeMap<String, String>,
}

impl Follower {
    /// Looks once. It blocks.
    pub(crate) fn look(&mut self, functions: &[Arc<Function>]) {
        for function in functions {
            self.look_at(function);
        }
    }

    /// Tries again also what has failed before.
    pub(crate) fn forget(&mut self) {
        self.failed.clear();
    }

    fn look_at(&mut self, function: &Arc<Function>) {
        let name = &function.config.name;
        // A name that leads nowhere is not followed.
        let Some(snapshot) = function.snapshot() else { return };
        let Ok(now) = snapshot.current_identity() else { return };
        if now == snapshot.identity() || self.failed.get(name.as_str()) == Some(&now) {
            return;
        }
        match function.generation() {
            Ok(generation) => {
                let identity = generation.pool.snapshot().identity().to_owned();
                function.switch(generation);
                function.metrics.takeover(true);
                let message = format!("{} has taken over from {}", short(&identity), short(snapshot.identity()));
                function.log.line("info", Some(name), &message);
                self.failed.remove(name.as_str());
            }
            Err(error) => {
                function.metrics.takeover(false);
                let message =
                    format!("{} cannot take over, {} goes on: {error}", short(&now), short(snapshot.identity()));
                function.log.line("error", Some(name), &message);
                self.failed.insert(name.as_str().to_owned(), now);
            }
        }
    }
}

/// Enough of a digest to find it by.
fn short(identity: &str) -> &str {
    identity.get(..12).unwrap_or(identity)
}
