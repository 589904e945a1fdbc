//! Test fixture: the reference app with one planted defect, to show that cacheproof catches it.
//!
//! [`defects()`] is the table: each defect has the scenario that shows it and the criterion that must fail. [`defect_run`]
//! runs cacheproof against one and reads what it caught. The program `defective-app` is the deployment; the program
//! `defects` checks the whole table (`just defects`).

mod data_request;
pub mod defect_run;
mod defects;
mod fixture_routes;
mod front_cache;
mod write_behind;

pub use defects::{Defect, HEALTHY, SCENARIOS, defects, find, help};

use axum::Router;
use reference_app::{App, ServeArgs};

/// Wraps the routes of the app.
type RouteWrapper = Box<dyn FnOnce(App, Router) -> Router>;

impl Defect {
    /// Changes the settings, and returns what wraps the routes of the app that is built with them.
    pub fn install(&self, args: &mut ServeArgs) -> impl FnOnce(App, Router) -> Router + use<> {
        fixture_routes::enable_login(args);
        let wrap = (self.install)(args);
        |app, routes| wrap(app, fixture_routes::with_fixture_routes(routes))
    }
}
