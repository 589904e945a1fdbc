//! The handlers' keys: what they have besides the names in [`cache_layer::key`], and which keys a change invalidates.
//!
//! Nearly all are invalidated by name, which costs reads nothing; tags are for keys that a write cannot name.

pub(crate) use cache_layer::key::catalog::{dashboards, posts, product, projects, users};

use cache_layer::{Invalidation, Key, KeyClass, Refresh, ServeStale, Tag, key};
use std::time::Duration;

/// Expires after some minutes and is never invalidated, because every write would. The value contains its age.
const PLATFORM: KeyClass = KeyClass::new("platform:stats", key::ttl::FIVE_MINUTES)
    .stale(ServeStale::OnError, key::ttl::DAY)
    .timeouts(Duration::from_millis(500), Duration::from_secs(5));

/// Served for another day if Postgres is too slow or down: old statistics are better than none (fail-safe).
pub(crate) fn platform() -> Key {
    Key::new(PLATFORM, PLATFORM.name)
}

/// A dashboard is read far more often than it must be exact to the second: after its TTL it is served as stale while it is reloaded.
/// (A value that a write invalidated is deleted, and not served.)
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

/// Statistics that are read often: reloaded when most of their TTL is over, so that no request waits for them (refresh-ahead).
pub(crate) fn project_stats(id: i64) -> Key {
    with_class(projects::stats(id), |class| class.refreshed(Refresh::Ahead { percent: 80 }))
}

/// A key of the catalogue with a changed class.
fn with_class(key: Key, change: fn(KeyClass) -> KeyClass) -> Key {
    let other = Key::new(change(key.class()), key.name());
    key.tags().iter().fold(other, |other, tag| other.tagged(tag.clone()))
}

/// Tagged, because a write that renames a project does not know its members.
pub(crate) fn user_projects(id: i64) -> Key {
    users::projects(id).tagged(project_names())
}

/// A user's preferences are personal, so they are encrypted.
pub(crate) fn preferences(id: i64) -> Key {
    with_class(users::preferences(id), KeyClass::sealed)
}

/// A region: static data.
pub(crate) fn region(id: i64) -> Key {
    product::fixed("region", id)
}

/// The record of a device on which a user is signed in, and the devices of a user.
pub(crate) mod sessions {
    use super::Key;
    use cache_layer::key::catalog::sessions;

    pub(crate) fn data(id: i64) -> Key {
        sessions::data(id)
    }

    pub(crate) fn of_user(id: i64) -> Key {
        sessions::of_user(id)
    }
}

/// Queries, by what they cost the database.
pub(crate) mod queries {
    use super::Key;
    use super::product::{Cost, query};

    /// One index look-up.
    pub(crate) fn scores(id: i64) -> Key {
        query(Cost::Cheap, "scores", &[&id])
    }

    /// An aggregate over a workspace.
    pub(crate) fn workload(id: i64) -> Key {
        query(Cost::Usual, "workload", &[&id])
    }

    /// Ranks hundreds of texts.
    pub(crate) fn related(id: i64) -> Key {
        query(Cost::Costly, "related", &[&id])
    }
}

/// The tag of keys that show a project's name and status but cannot be derived from its id.
pub(crate) fn project_names() -> Tag {
    Tag::new("projects:names")
}

/// The validation of a document, given by its digest, against a schema.
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

/// A task changed: it is shown on the pages of its project, of its present and former assignee, and of the workspace.
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

    /// The guides promise these classes, and other tests would need minutes to see them.
    #[test]
    fn dashboards_and_statistics_have_the_classes_of_the_guides_and_the_names_of_the_catalogue() {
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
