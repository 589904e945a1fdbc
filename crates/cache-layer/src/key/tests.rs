use super::catalog::{CLASSES, dashboards, posts, product, projects, sessions, users};
use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

const fn minutes(m: u64) -> Duration {
    Duration::from_secs(60 * m)
}

#[test]
fn keys_follow_the_documented_patterns() {
    assert_eq!(POSTS.item(7).name(), "posts:7");
    assert_eq!(PROFILES.item(7).name(), "profiles:7");
    assert_eq!(PRODUCTS.item(7).name(), "products:7");
    assert_eq!(COURSES.item(7).name(), "courses:7");
    for service in SERVICES {
        assert_eq!(service.list("recent", 3).name(), format!("{}:list:recent:3", service.name()));
        assert!(service.list("recent", 3).name().starts_with(&format!("{}:", service.lists().name())));
    }
    assert_eq!(posts::all().name(), "posts:all");
    assert_eq!(posts::of_user(7).name(), "posts:user:7");
    assert_eq!(posts::top(10).name(), "posts:top:10");
    assert_eq!(sessions::data("a b").name(), "sessions:data:a%20b");
    assert_eq!(dashboards::stats("platform").name(), "dashboards:stats:platform");
    assert_eq!(product::api("weather", "Köln").name(), "api:weather:K%C3%B6ln");
    assert_eq!(product::query(product::Cost::Usual, "late orders", &[&7, &"x"]).name(), "queries:late%20orders:7:x");
}

#[test]
fn ttl_of_each_key_class() {
    assert_eq!(SERVICES.map(|s| s.items.ttl), [minutes(5), minutes(5), minutes(10), minutes(10)]);
    assert_eq!(SERVICES.map(|s| s.pages.ttl), [minutes(1); 4]);
    let hour = minutes(60);
    let expected = [
        ("posts:all", minutes(5)),
        ("posts:user", minutes(5)),
        ("posts:top", minutes(5)),
        ("users:profile", hour),
        ("users:full", minutes(5)),
        ("users:projects", minutes(15)),
        ("users:tasks", minutes(5)),
        ("users:dashboard", minutes(5)),
        ("users:preferences", 24 * hour),
        ("projects:details", minutes(30)),
        ("projects:full", minutes(5)),
        ("projects:tasks", minutes(5)),
        ("projects:team", hour),
        ("projects:stats", minutes(15)),
        ("sessions:data", 24 * hour),
        ("sessions:user", hour),
        ("dashboards:overview", minutes(5)),
        ("dashboards:stats", minutes(5)),
        ("dashboards:activity", minutes(2)),
        ("requirements:item", hour),
        ("features:item", minutes(15)),
        ("schemas:valid", 2 * hour),
        ("queries:cheap", minutes(1)),
        ("queries:usual", minutes(5)),
        ("queries:costly", minutes(15)),
        ("api", minutes(5)),
        ("static", 24 * hour),
    ];
    assert_eq!(CLASSES.map(|class| (class.name, class.ttl)), expected);
}

#[test]
fn the_presets_are_the_storys() {
    let presets = [ttl::MINUTE, ttl::FIVE_MINUTES, ttl::QUARTER_HOUR, ttl::HOUR, ttl::DAY, ttl::WEEK];
    assert_eq!(presets.map(|ttl| ttl.as_secs()), [60, 300, 900, 3600, 86_400, 604_800]);
}

#[test]
fn a_filter_cannot_forge_another_key() {
    assert_eq!(POSTS.list("a:1*", 2).name(), "posts:list:a%3A1%2A:2");
    assert_ne!(POSTS.list("a:1", 2), POSTS.list("a", 1));
}

#[test]
fn what_belongs_to_one_thing_goes_together() {
    let names: HashSet<String> = users::everything_of(7).keys.into_iter().collect();
    let own = [users::profile, users::full, users::projects, users::tasks, users::dashboard, users::preferences];
    assert_eq!(names, own.map(|key| key(7).name().to_owned()).into());
    assert_eq!(projects::everything_of(7).keys.len(), 5);
    assert_eq!(dashboards::everything_of(7).keys.len(), 3);
    let lists = [POSTS.list("top", 1), posts::all(), posts::of_user(7), posts::top(10)];
    assert!(lists.iter().all(|key| key.tags() == [POSTS.lists()]));
}

/// Every maker, with whatever comes from outside.
fn make(maker: usize, a: &str, b: &str, n: u32) -> Option<Key> {
    let makers: [&dyn Fn() -> Key; 26] = [
        &|| POSTS.item(n.into()),
        &|| POSTS.list(a, n),
        &posts::all,
        &|| posts::of_user(a),
        &|| posts::top(n),
        &|| users::profile(a),
        &|| users::full(a),
        &|| users::projects(a),
        &|| users::tasks(a),
        &|| users::dashboard(a),
        &|| users::preferences(a),
        &|| projects::details(a),
        &|| projects::full(a),
        &|| projects::tasks(a),
        &|| projects::team(a),
        &|| projects::stats(a),
        &|| sessions::data(a),
        &|| sessions::of_user(a),
        &|| dashboards::overview(a),
        &|| dashboards::stats(a),
        &|| dashboards::activity(a),
        &|| product::requirement(a),
        &|| product::schema(a),
        &|| product::query(product::Cost::Cheap, a, &[&b, &n]),
        &|| product::api(a, b),
        &|| product::fixed(a, b),
    ];
    makers.get(maker).map(|make| make())
}

fn part() -> impl Strategy<Value = String> {
    // Much of what could mislead, and anything else.
    prop_oneof!["[a:%*{}!1]{0,4}", "(all|user|list|top|1|:)*", "\\PC{0,6}"]
}

proptest! {
    #[test]
    fn two_inputs_never_make_one_key(
        makers in (0_usize..26, 0_usize..26),
        parts in (part(), part(), part(), part()),
        numbers in (0_u32..3, 0_u32..3),
    ) {
        let (a, b, c, d) = &parts;
        let one = make(makers.0, a, b, numbers.0).expect("a maker");
        let other = make(makers.1, c, d, numbers.1).expect("a maker");
        if one.name() == other.name() {
            prop_assert_eq!(makers.0, makers.1, "two makers made {}", one);
            // What the maker does not use may differ.
            prop_assert_eq!(make(makers.0, a, b, numbers.0), make(makers.0, c, d, numbers.1));
            let uses_a = make(makers.0, "x", b, numbers.0) != make(makers.0, "y", b, numbers.0);
            prop_assert!(!uses_a || a == c, "{:?} and {:?} both made {}", a, c, one);
            let uses_b = make(makers.0, a, "x", numbers.0) != make(makers.0, a, "y", numbers.0);
            prop_assert!(!uses_b || b == d, "{:?} and {:?} both made {}", b, d, one);
        }
    }

    #[test]
    fn a_part_holds_nothing_with_a_meaning(part in part(), other in part()) {
        let clean = sanitised(&part);
        prop_assert!(clean.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b)), "{}", clean);
        prop_assert_eq!(clean == sanitised(&other), part == other);
    }
}
