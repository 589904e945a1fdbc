//! Which keys and tags a changed row invalidates, for the outbox's triggers. The same as the handlers' writes name, but also for writes
//! that bypass the app.

use crate::handlers::content::RESOURCES;
use crate::keys;
use cache_layer::promise::{Outbox, Watched};

/// The outbox for all tables.
pub(crate) fn outbox() -> Outbox {
    watched().into_iter().fold(Outbox::new(), Outbox::watch)
}

fn watched() -> Vec<Watched> {
    // An item shows its children. A post also shows its author's handle, which never changes; when the author is deleted, the post's own
    // row changes.
    let service = |name: &str, children: &str| {
        [
            Watched::table(name).key(format!("{name}:{{id}}")).tag(format!("{name}:list")),
            Watched::table(children).key(format!("{name}:{{parent_id}}")).tag(format!("{name}:list")).per_statement(),
        ]
    };
    let mut tables =
        RESOURCES.iter().flat_map(|resource| service(resource.name(), resource.children)).collect::<Vec<_>>();
    tables.extend([
        // Everything that is gone with the row.
        Watched::table("users")
            .key("users:profile:{id}")
            .key("users:full:{id}")
            .key("users:projects:{id}")
            .key("users:tasks:{id}")
            .key("users:dashboard:{id}")
            .key("users:preferences:{id}"),
        Watched::table("workspaces")
            .key("dashboards:overview:{id}")
            .key("dashboards:stats:{id}")
            .key("dashboards:activity:{id}"),
        Watched::table("projects")
            .key("projects:details:{id}")
            .key("projects:full:{id}")
            .key("projects:tasks:{id}")
            .key("projects:team:{id}")
            .key("projects:stats:{id}")
            .key("dashboards:overview:{workspace_id}")
            .tag(keys::project_names().name().to_owned()),
        Watched::table("members")
            .key("projects:full:{project_id}")
            .key("projects:team:{project_id}")
            .key("projects:stats:{project_id}")
            .key("users:full:{user_id}")
            .key("users:projects:{user_id}"),
        Watched::table("tasks")
            .key("projects:full:{project_id}")
            .key("projects:tasks:{project_id}")
            .key("projects:stats:{project_id}")
            .key("users:full:{assignee_id}")
            .key("users:tasks:{assignee_id}")
            .key("users:dashboard:{assignee_id}")
            .key("dashboards:overview:{workspace_id}")
            .key("dashboards:stats:{workspace_id}")
            .key("dashboards:activity:{workspace_id}"),
        Watched::table("requirements").key("requirements:item:{id}"),
        Watched::table("features").key("features:item:{id}"),
        Watched::table("schemas").tag("schemas:valid:{id}"),
        Watched::table("preferences").key("users:preferences:{user_id}"),
        Watched::table("notes").tag("notes:{owner_id}"),
        Watched::table("devices").key("sessions:data:{id}").key("sessions:user:{user_id}"),
        Watched::table("regions").key("static:region:{id}"),
    ]);
    tables
}
