//! Which servers may take a master's place: its replicas, and those that left it a short while ago. Out of looks at what the master says
//! of itself; whoever looks brings the clock.

use super::servers::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks, at most; less where the window is short.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server, as its master calls it. Several may share an address (behind a NAT): then each has a number behind it.
type Name = String;

/// What a master says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    replicas: BTreeSet<Name>,
    /// Whether each of them follows, or some still get their first copy.
    pub(super) in_step: bool,
    /// In whole seconds, and up to one less.
    up_for: Duration,
    /// Whether it keeps what it would send to a replica that comes back. It does from its first replica on, until an hour
    /// (`repl-backlog-ttl`) after its last.
    backlog: bool,
}

impl Said {
    /// Out of the answer to `INFO server replication`; `None`: it is no master, or says too little.
    pub(super) fn parse(info: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let number = |field| fields.get(field)?.trim().parse::<u64>().ok();
        if fields.get("role")?.trim() != "master" {
            return None;
        }
        let mut said = Self {
            in_step: true,
            up_for: Duration::from_secs(number("uptime_in_seconds")?),
            backlog: number("repl_backlog_active")? != 0,
            ..Self::default()
        };
        for i in 0..number("connected_slaves")? {
            let line = fields.get(format!("slave{i}").as_str())?;
            let parts: BTreeMap<&str, &str> = line.trim().split(',').filter_map(|part| part.split_once('=')).collect();
            // The second connection of one that gets its first copy.
            if parts.get("type") == Some(&"rdb-channel") {
                continue;
            }
            let host = (*parts.get("ip")?).to_owned();
            let name = Address { host, port: parts.get("port")?.parse().ok()? }.to_string();
            let mut names = std::iter::once(name.clone()).chain((2..).map(|n: u64| format!("{name} {n}")));
            said.replicas.extend(names.find(|name| !said.replicas.contains(name)));
            said.in_step &= *parts.get("state")? == "online";
        }
        Some(said)
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn same_replicas(&self, other: &Self) -> bool {
        self.replicas == other.replicas
    }
}

/// What several looks tell.
///
/// A look knows who is there, not who has just left. So nothing is known before the looks reach back as far as one that left counts,
/// and after a gap they begin anew.
#[derive(Debug)]
pub(super) struct Watch {
    /// For so long one that left counts.
    window: Duration,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The master.
    at: Name,
    /// Without a gap.
    since: Instant,
    /// When the last look was asked for.
    last: Instant,
    there: BTreeSet<Name>,
    /// Since when at the latest.
    gone: BTreeMap<Name, Instant>,
}

impl Watch {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, seen: None }
    }

    /// How long to wait between two looks.
    pub(super) fn look_every(window: Duration) -> Duration {
        (window / 10).min(LOOK_EVERY).max(Duration::from_millis(10))
    }

    /// What the master at an address said, some time between the two moments.
    pub(super) fn look(&mut self, at: &Address, asked: Instant, answered: Instant, said: &Said) {
        let at = at.to_string();
        let recent = |then: Instant| answered.saturating_duration_since(then) <= self.window / 2;
        // A replica that has just taken the master's place had no replicas before: those of the old master are all there are. Of a
        // stranger nothing is known.
        let known = |seen: &Seen| {
            seen.at == at || seen.there.contains(&at) || seen.gone.get(&at).is_some_and(|since| recent(*since))
        };
        let Some(seen) = self.seen.as_mut().filter(|seen| recent(seen.last) && known(seen)) else {
            let (there, gone) = (said.replicas.clone(), BTreeMap::new());
            self.seen = Some(Seen { at, since: answered, last: asked, there, gone });
            return;
        };
        let left = std::mem::replace(&mut seen.there, said.replicas.clone());
        seen.gone.extend(left.into_iter().map(|name| (name, answered)));
        let window = self.window;
        seen.gone.retain(|name, since| {
            !said.replicas.contains(name) && *name != at && answered.saturating_duration_since(*since) < window
        });
        (seen.at, seen.last) = (at, asked);
    }

    /// Whether those that are there, by a look that was asked for at this moment, are all that may take the master's place.
    pub(super) fn knows_all(&self, asked: Instant, said: &Said) -> bool {
        // Without a backlog it has had no replica since it started. For the usual server without any: known at the first look.
        let up = said.up_for.saturating_sub(Duration::from_secs(1)) >= self.window;
        let never_any = said.replicas.is_empty() && !said.backlog && up;
        let looked = |seen: &Seen| asked.saturating_duration_since(seen.since) >= self.window;
        never_any || self.seen.as_ref().is_some_and(|seen| looked(seen) && seen.gone.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(15);

    fn master(port: u16) -> Address {
        Address { host: "10.0.0.1".into(), port }
    }

    fn said(ports: &[u16]) -> Said {
        let replicas = ports.iter().map(|port| master(*port).to_string()).collect();
        Said { replicas, in_step: true, up_for: WINDOW * 100, backlog: true }
    }

    /// Seconds since the beginning; at each a look, at once answered.
    struct Looks(Instant, Watch);

    impl Looks {
        fn new() -> Self {
            Self(Instant::now(), Watch::new(WINDOW))
        }

        fn look(&mut self, seconds: u64, at: u16, ports: &[u16]) -> bool {
            let now = self.0 + Duration::from_secs(seconds);
            self.1.look(&master(at), now, now, &said(ports));
            self.1.knows_all(now, &said(ports))
        }
    }

    #[test]
    fn all_are_known_when_the_looks_reach_back_as_far_as_one_that_left_counts() {
        let mut looks = Looks::new();
        assert!((0..15).all(|s| !looks.look(s, 1, &[2, 3])), "one may have left before the first look");
        assert!((15..40).all(|s| looks.look(s, 1, &[2, 3])));
        assert!((40..55).all(|s| !looks.look(s, 1, &[3])), "one has left");
        assert!(looks.look(55, 1, &[3]));
    }

    #[test]
    fn one_that_left_is_not_made_up_for_by_another_that_came() {
        let mut looks = Looks::new();
        (0..16).for_each(|s| _ = looks.look(s, 1, &[2, 3]));
        assert!(!looks.look(16, 1, &[3, 4]));
        assert!(looks.look(17, 1, &[2, 3, 4]), "it is back");
    }

    #[test]
    fn after_a_gap_the_looks_begin_anew() {
        let mut looks = Looks::new();
        (0..16).for_each(|s| _ = looks.look(s, 1, &[2]));
        assert!(looks.look(22, 1, &[2]), "a few looks may fail");
        assert!((30..45).all(|s| !looks.look(s, 1, &[2])));
        assert!(looks.look(45, 1, &[2]));
    }

    #[test]
    fn a_replica_that_takes_over_brings_along_who_else_counts_and_a_stranger_does_not() {
        let mut looks = Looks::new();
        (0..16).for_each(|s| _ = looks.look(s, 1, &[2, 3]));
        assert!(!looks.look(18, 2, &[]), "the third server does not follow yet");
        assert!(looks.look(19, 2, &[3]));
        assert!(looks.look(20, 2, &[1, 3]), "the old master follows");
        assert!((21..36).all(|s| !looks.look(s, 9, &[3, 4])), "nobody knows who followed this one before");
        assert!(looks.look(36, 9, &[3, 4]));
        assert!((37..45).all(|s| !looks.look(s, 9, &[4])), "the third server has left");
        assert!((45..60).all(|s| !looks.look(s, 3, &[4])), "it has been a master for long, and nobody looked");
    }

    #[test]
    fn without_a_backlog_there_never_was_one_and_that_is_known_at_once() {
        let (now, watch) = (Instant::now(), Watch::new(WINDOW));
        let never = Said { backlog: false, ..said(&[]) };
        assert!(watch.knows_all(now, &never));
        assert!(!watch.knows_all(now, &said(&[])), "there was one");
        assert!(!watch.knows_all(now, &Said { up_for: WINDOW, ..never }), "it forgot when it was started");
    }

    #[test]
    fn what_a_master_says_is_read() {
        let info = |role: &str, lines: &[&str]| {
            let lines: String = lines.iter().enumerate().map(|(i, line)| format!("slave{i}:{line}\r\n")).collect();
            let count = lines.lines().count();
            format!(
                "# Server\r\nuptime_in_seconds:7\r\n\r\n# Replication\r\nrole:{role}\r\nconnected_slaves:{count}\r\n\
                 {lines}master_replid:ab\r\nrepl_backlog_active:1\r\n"
            )
        };
        let one = "ip=10.0.0.1,port=2,state=online,offset=14,lag=0";
        let read = Said::parse(&info("master", &[one, one])).expect("a master");
        assert_eq!(read.replicas, ["10.0.0.1:2".to_owned(), "10.0.0.1:2 2".to_owned()].into());
        assert!(read.in_step && read.backlog && read.up_for == Duration::from_secs(7));
        let copies = "ip=::1,port=3,state=wait_bgsave,offset=0,lag=0,type=main-channel";
        let second = "ip=::1,port=3,state=send_bulk,offset=0,lag=0,type=rdb-channel";
        let read = Said::parse(&info("master", &[copies, second])).expect("a master");
        assert_eq!((read.replicas(), read.in_step), (1, false));
        assert_eq!(Said::parse(&info("slave", &[])), None);
        for too_little in
            ["", "role:master", &info("master", &["ip=h"]), &info("master", &[one]).replace("slave0", "s")]
        {
            assert_eq!(Said::parse(too_little), None, "{too_little}");
        }
    }
}
