//! Test fixture: the reference app with one planted defect, to show that cacheproof catches it.
//!
//! [`defects()`] is the table: each has the scenario that shows it and the criterion that must fail. [`prove`] runs cacheproof against one and
//! says what it caught. The program `defective-app` is the deployment, the program `defects` proves the whole table (`just defects`).

mod ask;
mod behind;
mod defects;
mod front;
pub mod prove;
mod visitors;

pub use defects::{Defect, HEALTHY, SCENARIOS, defects, find, help};

use axum::Router;
use reference_app::{App, ServeArgs};

/// Wraps the routes of the app that was built.
type Wrap = Box<dyn FnOnce(App, Router) -> Router>;

impl Defect {
    /// Changes the settings, and answers what wraps the routes of the app that is built by them.
    pub fn plant(&self, args: &mut ServeArgs) -> impl FnOnce(App, Router) -> Router + use<> {
        visitors::allow(args);
        let wrap = (self.plant)(args);
        |app, routes| wrap(app, visitors::beside(routes))
    }
}
