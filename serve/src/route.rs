//! From a host and a path to a function.

use crate::config::Route;
use crate::function::Function;
use crate::request::Target;
use std::sync::Arc;

/// The routes of all functions. The longest path wins; at the same length, one with a host wins.
#[derive(Debug)]
pub(crate) struct Table {
    routes: Vec<(Route, Arc<Function>)>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) function: Arc<Function>,
    /// How many bytes of the path are the route; the rest is the function's.
    pub(crate) prefix: usize,
}

impl Table {
    pub(crate) fn new(functions: &[Arc<Function>]) -> Self {
        let all = functions
            .iter()
            .flat_map(|function| function.config.routes.iter().map(|route| (route.clone(), Arc::clone(function))));
        let mut routes: Vec<_> = all.collect();
        routes.sort_by_key(|(route, _)| std::cmp::Reverse((route.path.len(), route.host.is_some())));
        Table { routes }
    }

    pub(crate) fn find(&self, target: &Target) -> Option<Found> {
        let is_match = |route: &Route| {
            route.host.as_deref().is_none_or(|host| host == target.name)
                && target
                    .path
                    .strip_prefix(route.path.as_bytes())
                    .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        let (route, function) = self.routes.iter().find(|(route, _)| is_match(route))?;
        Some(Found { function: Arc::clone(function), prefix: route.path.len() })
    }
}
