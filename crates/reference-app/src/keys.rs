//! What the rooms' keys have beside their names in [`cache_layer::key`], and which of them show the same thing.
//!
//! Nearly all is invalidated by name, which costs reads nothing; a tag is for keys that a write cannot name.

pub(crate) use cache_layer::key::catalog::{dashboards, posts, product, projects, users};

use cache_layer::{Invalidation, Key, KeyClass, Refresh, ServeStale, Tag, key};
use std::time::Duration;

/// Kept for some minutes and not invalidated: every write would. What it shows says how old it is.
const PLATFORM: KeyClass = KeyClass::new("platform:stats", key::ttl::FIVE_MINUTES)
    .stale(ServeStale::OnError, key::ttl::DAY)
    .timeouts(Duration::from_millis(500), Duration::from_secs(5));

/// Served for a day more when Postgres is too slow for it, or gone: an old overview is better than none (fail-safe).
pub(crate) fn platform() -> Key {
    Key::new(PLATFORM, PLATFORM.name)
}

/// A dashboard is looked at far more often than it has to be right to the second: past its TTL it is shown, marked as stale, while it is
/// loaded anew. (What a write made invalid is gone, and not shown.)
pub(crate) mod dashboard {
    use super::{Key, dashboards, key, with_class};
    use cache_layer::{KeyClass, ServeStale};

    fn stale_while_revalidating(class: KeyClass) -> KeyClass {
        class.stale(ServeStale::WhileRevalidating, key::ttl::QUARTER_HOUR)
    }

    pub(crate) fn overview(id: i64) -> Key {
        with_class(dashboards::overview(id), stale_while_revalidating)
    }

    pub(crate) fn stats(id: i64) -> Key {
        with_class(dashboards::stats(id), stale_while_revalidating)
    }

    pub(crate) fn activity(id: i64) -> Key {
        with_class(dashboards::activity(id), stale_while_revalidating)
    }
}

/// Figures that many look at: loaded anew when most of their TTL is over, so that nobody waits for them (refresh-ahead).
pub(crate) fn project_stats(id: i64) -> Key {
    with_class(projects::stats(id), |class| class.refreshed(Refresh::Ahead { percent: 80 }))
}

/// A key of the catalogue, whose values live in another way.
fn with_class(key: Key, change: fn(KeyClass) -> KeyClass) -> Key {
    let other = Key::new(change(key.class()), key.name());
    key.tags().iter().fold(other, |other, tag| other.tagged(tag.clone()))
}

/// Who is in a project is not known to a write that renames it.
pub(crate) fn user_projects(id: i64) -> Key {
    users::projects(id).tagged(project_names())
}

/// Whatever shows names and status of projects that it cannot be found by.
pub(crate) fn project_names() -> Tag {
    Tag::new("projects:names")
}

/// What a schema says of a document, known by its digest.
pub(crate) fn validation(schema: i64, digest: &str) -> Key {
    product::schema(format_args!("{schema}-{digest}")).tagged(validations(schema))
}

/// All validations by a schema.
pub(crate) fn validations(schema: i64) -> Tag {
    Tag::new(format!("schemas:valid:{schema}"))
}

/// The row of a user changed.
pub(crate) fn user_changed(id: i64) -> Invalidation {
    Invalidation::new().key(&users::profile(id)).key(&users::full(id))
}

/// The row of a project changed. Its workspace may not be known.
pub(crate) fn project_changed(id: i64, workspace: Option<i64>) -> Invalidation {
    let stale = Invalidation::new().key(&projects::details(id)).key(&projects::full(id)).tag(project_names());
    workspace.into_iter().fold(stale, |stale, id| stale.key(&dashboards::overview(id)))
}

/// A task changed: it stands on the pages of its project, of who has it or had it, and of the workspace.
pub(crate) fn task_changed(
    project: i64,
    workspace: Option<i64>,
    people: impl IntoIterator<Item = i64>,
) -> Invalidation {
    let keys = [projects::full(project), projects::tasks(project), projects::stats(project)];
    let keys = keys.into_iter().chain(
        workspace
            .into_iter()
            .flat_map(|id| [dashboards::overview(id), dashboards::stats(id), dashboards::activity(id)]),
    );
    let people = people.into_iter().flat_map(|id| [users::full(id), users::tasks(id), users::dashboard(id)]);
    keys.chain(people).fold(Invalidation::new(), |stale, key| stale.key(&key))
}

/// A user joined a team or left it.
pub(crate) fn team_changed(project: i64, user: i64) -> Invalidation {
    let keys = [projects::full(project), projects::team(project), projects::stats(project)];
    let people = [users::full(user), users::projects(user)];
    keys.into_iter().chain(people).fold(Invalidation::new(), |stale, key| stale.key(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guides say so, and nothing else would show it before five minutes are over.
    #[test]
    fn dashboards_platform_and_figures_live_as_the_guides_say_under_the_names_of_the_catalogue() {
        for (key, other) in [
            (dashboard::overview(7), dashboards::overview(7)),
            (dashboard::stats(7), dashboards::stats(7)),
            (dashboard::activity(7), dashboards::activity(7)),
        ] {
            assert_eq!((key.name(), key.class().ttl), (other.name(), other.class().ttl));
            assert_eq!(key.class().serve_stale, ServeStale::WhileRevalidating);
        }
        assert_eq!(project_stats(7).name(), projects::stats(7).name());
        assert_eq!(project_stats(7).class().refresh, Refresh::Ahead { percent: 80 });
        assert_eq!(platform().class().serve_stale, ServeStale::OnError);
        assert_eq!(user_projects(7).tags(), [project_names()]);
    }
}
