//! The traffic: how requests arrive, for which keys, and what each request is.

use std::time::Duration;

use super::{ItemAddress, ListSpec};

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Open or closed loop.
    pub load_model: LoadModel,
    /// Which keys are asked for how often.
    pub popularity: Popularity,
    /// A request is given up after this time and counts as an error.
    pub timeout: Duration,
    /// The kinds of request, with their weights.
    pub requests: Vec<Request>,
}

/// How the load is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadModel {
    /// Requests arrive by the clock, whatever the app does.
    Open {
        /// Mean arrival rate in requests a second.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
        /// How many requests may be in flight; more wait, and the wait counts.
        connections: usize,
    },
    /// Each user sends the next request when the last was answered.
    Closed {
        /// Number of users.
        users: usize,
    },
}

/// How arrivals are spread in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponential gaps, as independent users make them.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Key of rank r with weight 1 ÷ r^s.
    Zipf(f64),
    /// Every key alike.
    Uniform,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its name in rules and reports.
    pub name: String,
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Path (and query) with placeholders: `/posts/{post}`.
    pub path: String,
    /// Body with placeholders, `{random}` for a random word among them.
    pub body: Option<String>,
    /// Share of the traffic, against the sum of all weights.
    pub weight: f64,
    /// Whether the hit rate counts it. Reads only.
    pub cacheable: bool,
    /// Statuses that are right beside 2xx.
    pub expect: Vec<u16>,
    /// Request headers, name and value with placeholders: who asks, for example.
    pub headers: Vec<(String, String)>,
    /// JSON field that must equal the key in [`Self::headers`]: whose answer it is.
    pub owner: Option<String>,
    /// Reads a list whose items are judged.
    pub list: Option<ListSpec>,
    /// The item that it reads or writes.
    pub item: Option<ItemAddress>,
}

impl Request {
    /// The address of its item: by it, writes and reads of one item find each other.
    pub fn template(&self) -> Option<&str> {
        self.item.as_ref().map(|item| item.template.as_str())
    }

    /// Whether it is of the items with this address.
    pub fn is_of(&self, template: &str) -> bool {
        self.template() == Some(template)
    }

    /// The value of one of its headers, whose name may be written in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether its answers can be distinguished from another item's, where the target has an identity: it names an item
    /// and is answered with it.
    pub fn has_identity(&self) -> bool {
        self.method != Method::Delete && self.item.is_some()
    }

    /// The placeholder of the user in [`Self::headers`] that an answer's owner is compared with.
    pub fn owner_key(&self) -> Option<&str> {
        self.headers.iter().find_map(|(_, value)| {
            let places = super::placeholders(value);
            let mut names = places.iter().map(|place| &value[place.start + 1..place.end - 1]);
            names.find(|name| *name != "random")
        })
    }

    /// Whether it writes an item and is answered with the item's new version.
    pub fn writes_item(&self) -> bool {
        matches!(self.method, Method::Post | Method::Put | Method::Patch) && self.item.is_some()
    }
}

/// HTTP methods that a scenario can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// Whether it only reads.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get)
    }

    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}
