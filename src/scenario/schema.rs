//! Every key of the file, once: the parser, the error messages and `--set` all read it here.

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// One value.
    Value,
    /// A table of these keys (`version` and `popularity` may be a value instead).
    Table(&'static [Key]),
    /// A list of tables of these keys, told apart by the value of the one named first.
    Tables(&'static str, &'static [Key]),
    /// A table whose keys the user chooses.
    Names,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

const fn value(name: &'static str) -> Key {
    Key { name, kind: Kind::Value }
}

const fn table(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, kind: Kind::Table(keys) }
}

pub(super) const ROOT: &[Key] = &[
    value("title"),
    value("seed"),
    table("stack", STACK),
    table("target", TARGET),
    Key { name: "data", kind: Kind::Names },
    table("traffic", TRAFFIC),
    Key { name: "phase", kind: Kind::Tables("name", PHASE) },
    Key { name: "criterion", kind: Kind::Tables("says", CRITERION) },
];

pub(super) const STACK: &[Key] = &[table("redis", REDIS), table("postgres", POSTGRES)];

pub(super) const REDIS: &[Key] =
    &[value("provider"), value("url"), value("image"), value("maxmemory"), value("policy"), value("appendonly")];

pub(super) const POSTGRES: &[Key] = &[value("provider"), value("url"), value("image")];

pub(super) const TARGET: &[Key] = &[
    value("kind"),
    value("url"),
    value("start"),
    value("ready"),
    value("cache"),
    value("identity"),
    table("version", VERSION),
    table("hit", HIT),
    table("bypass", BYPASS),
];

pub(super) const VERSION: &[Key] = &[value("header")];

pub(super) const HIT: &[Key] =
    &[value("header"), value("json"), value("hit"), value("miss"), value("stale"), value("bypass")];

pub(super) const BYPASS: &[Key] = &[value("header"), value("query")];

pub(super) const TRAFFIC: &[Key] = &[
    value("rate"),
    value("arrivals"),
    value("connections"),
    value("users"),
    table("popularity", POPULARITY),
    value("timeout"),
    Key { name: "request", kind: Kind::Tables("name", REQUEST) },
];

pub(super) const POPULARITY: &[Key] = &[value("zipf")];

pub(super) const REQUEST: &[Key] = &[
    value("name"),
    value("get"),
    value("post"),
    value("put"),
    value("patch"),
    value("delete"),
    value("body"),
    value("weight"),
    value("cacheable"),
    value("expect"),
];

pub(super) const PHASE: &[Key] =
    &[value("name"), value("path"), value("lasts"), value("warm_up"), value("rate"), table("fault", FAULT)];

pub(super) const FAULT: &[Key] = &[value("kill"), value("pause"), value("after"), value("lasts")];

pub(super) const CRITERION: &[Key] = &[value("says"), value("rules"), value("proved_by")];
