//! Every key of the file, once: the parser, the error messages and `--set` all read it here.

/// What kind of value a key has.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyKind {
    /// One value.
    Value,
    /// A table of these keys (`version` and `popularity` may be a value instead).
    Table(&'static [Key]),
    /// A list of tables of these keys, distinguished by the value of the one named first.
    Tables(&'static str, &'static [Key]),
    /// A table whose keys the user chooses.
    UserKeys,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: KeyKind,
}

const fn value(name: &'static str) -> Key {
    Key { name, kind: KeyKind::Value }
}

const fn table(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, kind: KeyKind::Table(keys) }
}

pub(super) const ROOT: &[Key] = &[
    value("title"),
    value("seed"),
    value("proofs"),
    table("stack", STACK),
    table("target", TARGET),
    Key { name: "data", kind: KeyKind::UserKeys },
    table("traffic", TRAFFIC),
    table("freshness", FRESHNESS),
    table("evidence", EVIDENCE),
    Key { name: "phase", kind: KeyKind::Tables("name", PHASE) },
    table("safety", SAFETY),
    Key { name: "criterion", kind: KeyKind::Tables("says", CRITERION) },
];

pub(super) const STACK: &[Key] = &[table("redis", REDIS), table("postgres", POSTGRES)];

pub(super) const REDIS: &[Key] = &[
    value("provider"),
    value("url"),
    value("image"),
    value("maxmemory"),
    value("policy"),
    value("appendonly"),
    value("server"),
    value("topology"),
    value("replicas"),
    value("tls"),
    value("acl"),
    value("container"),
    table("compose", COMPOSE),
];

pub(super) const POSTGRES: &[Key] =
    &[value("provider"), value("url"), value("image"), value("container"), table("compose", COMPOSE)];

pub(super) const COMPOSE: &[Key] = &[value("project"), value("service")];

pub(super) const TARGET: &[Key] = &[
    value("kind"),
    value("url"),
    value("start"),
    value("args"),
    value("ready"),
    value("follow_redirects"),
    value("instances"),
    value("cache"),
    value("identity"),
    table("version", VERSION),
    value("tokens"),
    value("max_body"),
    table("hit", HIT),
    table("bypass", BYPASS),
];

pub(super) const VERSION: &[Key] = &[value("header")];

pub(super) const HIT: &[Key] = &[
    value("header"),
    value("json"),
    value("cache"),
    value("hit"),
    value("miss"),
    value("stale"),
    value("bypass"),
    value("fallback"),
    value("absent"),
];

pub(super) const BYPASS: &[Key] = &[value("header"), value("query")];

pub(super) const TRAFFIC: &[Key] = &[
    value("rate"),
    value("arrivals"),
    value("connections"),
    value("users"),
    table("popularity", POPULARITY),
    value("timeout"),
    Key { name: "request", kind: KeyKind::Tables("name", REQUEST) },
];

pub(super) const FRESHNESS: &[Key] = &[value("settle"), value("ttl"), value("probes")];

pub(super) const EVIDENCE: &[Key] = &[value("coverage"), value("opportunities")];

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
    Key { name: "headers", kind: KeyKind::UserKeys },
    value("owner"),
    value("item"),
    table("list", LIST),
];

pub(super) const LIST: &[Key] = &[value("of"), value("items"), value("id"), value("version")];

pub(super) const PHASE: &[Key] = &[
    value("name"),
    value("path"),
    value("lasts"),
    value("warm_up"),
    value("rate"),
    table("fault", FAULT),
    Key { name: "faults", kind: KeyKind::Tables("kill", FAULT) },
];

/// One of the first words says what is done and to whom; the rest says how and when.
pub(super) const FAULT: &[Key] = &[
    value("kill"),
    value("stop"),
    value("pause"),
    value("restart"),
    value("flush"),
    value("fill_memory"),
    value("fill_clients"),
    value("latency"),
    value("bandwidth"),
    value("refuse"),
    value("reset"),
    value("black_hole"),
    value("slice"),
    value("half_open"),
    value("partition"),
    value("failover"),
    value("run"),
    value("data"),
    value("delay"),
    value("jitter"),
    value("rate"),
    value("size"),
    value("gap"),
    value("direction"),
    value("share"),
    value("connections"),
    value("to"),
    value("undo"),
    value("check"),
    value("after"),
    value("lasts"),
    value("every"),
];

pub(super) const SAFETY: &[Key] = &[value("max_fault"), value("abort"), value("steady"), value("allow")];

pub(super) const CRITERION: &[Key] = &[value("says"), value("rules"), value("proved_by")];
