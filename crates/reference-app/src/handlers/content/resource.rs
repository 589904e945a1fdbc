//! The four services as data: their tables, their texts, their statements.

use cache_layer::Service;
use cache_layer::key::{COURSES, POSTS, PRODUCTS, PROFILES};
use sqlx::AssertSqlSafe;
use std::sync::LazyLock;

/// Items on one page of a list.
pub(crate) const PAGE_SIZE: u32 = 20;
/// The last page that is served; it bounds the number of lists in the cache.
pub(crate) const LAST_PAGE: u32 = 1000;

/// One of the four services.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) service: Service,
    /// The name of the short text, in JSON and in the table.
    pub(crate) title: &'static str,
    /// The name of the long text.
    pub(crate) text: &'static str,
    /// The table of the comments on an item.
    pub(crate) children: &'static str,
    /// Comments for each item in the seed data.
    pub(crate) children_each: i64,
}

pub(crate) static RESOURCES: [Resource; 4] = [
    Resource { service: POSTS, title: "title", text: "body", children: "comments", children_each: 20 },
    Resource { service: PROFILES, title: "name", text: "bio", children: "endorsements", children_each: 20 },
    Resource { service: PRODUCTS, title: "name", text: "description", children: "reviews", children_each: 20 },
    Resource { service: COURSES, title: "title", text: "summary", children: "feedback", children_each: 20 },
];

/// The orders a list can be read in.
pub(crate) static FILTERS: [Filter; 3] = [
    Filter { name: "recent", order: "id DESC" },
    Filter { name: "top", order: "score DESC, id DESC" },
    Filter { name: "oldest", order: "id" },
];

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    order: &'static str,
}

/// The statements of one service, built once.
#[derive(Debug)]
pub(crate) struct Statements {
    /// $1 id. One row, one text: the body of the answer.
    item: String,
    /// By filter. $1 page. One row, one text: the body of the answer.
    lists: [String; FILTERS.len()],
    /// $1 short text, $2 long text. Like the next two: id, version, version of the lists, posts that show this item.
    create: String,
    /// $1 id, $2 short text or null, $3 long text or null.
    update: String,
    /// $1 id.
    delete: String,
}

static STATEMENTS: LazyLock<[Statements; 4]> =
    LazyLock::new(|| [0, 1, 2, 3].map(|i: usize| Statements::of(&RESOURCES[i])));

impl Resource {
    pub(crate) const fn name(&self) -> &'static str {
        self.service.name()
    }

    pub(crate) fn statements(&self) -> &'static Statements {
        let at = RESOURCES.iter().position(|resource| resource.name() == self.name());
        &STATEMENTS[at.unwrap_or_default()]
    }

    fn is_posts(&self) -> bool {
        self.service == POSTS
    }
}

impl Statements {
    pub(crate) fn item(&'static self) -> AssertSqlSafe<&'static str> {
        AssertSqlSafe(&self.item)
    }

    pub(crate) fn list(&'static self, filter: usize) -> AssertSqlSafe<&'static str> {
        AssertSqlSafe(&self.lists[filter])
    }

    pub(crate) fn create(&'static self) -> AssertSqlSafe<&'static str> {
        AssertSqlSafe(&self.create)
    }

    pub(crate) fn update(&'static self) -> AssertSqlSafe<&'static str> {
        AssertSqlSafe(&self.update)
    }

    pub(crate) fn delete(&'static self) -> AssertSqlSafe<&'static str> {
        AssertSqlSafe(&self.delete)
    }

    fn of(resource: &Resource) -> Self {
        Self {
            item: item(resource),
            lists: [0, 1, 2].map(|i: usize| list(resource, &FILTERS[i])),
            create: create(resource),
            update: update(resource),
            delete: delete(resource),
        }
    }
}

/// The item, its author, and a digest of its comments: count, mean score, the latest, the most frequent words (stemmed, which is most
/// of the work).
fn item(resource: &Resource) -> String {
    let Resource { title, text, children, .. } = resource;
    let table = resource.name();
    // A handle never changes, so editing the author's profile need not invalidate the post.
    let author = if resource.is_posts() {
        "'author', (SELECT json_build_object('id', p.id, 'handle', p.handle) FROM profiles p WHERE p.id = i.author_id),"
    } else {
        ""
    };
    format!(
        "WITH said AS MATERIALIZED (SELECT id, author, score, body, created_at FROM {children} WHERE parent_id = $1),
              latest AS (SELECT author, score, body, created_at FROM said ORDER BY created_at DESC, id DESC LIMIT 5),
              words AS (SELECT lexeme AS word, cardinality(positions) AS n
                          FROM unnest(to_tsvector('english', (SELECT string_agg(body, ' ') FROM said)))
                         ORDER BY n DESC, word LIMIT 8)
         SELECT json_build_object(
                  'id', i.id, 'version', i.version, '{title}', i.{title}, '{text}', i.{text}, 'score', i.score, {author}
                  'created_at', i.created_at, 'updated_at', i.updated_at,
                  '{children}', (SELECT json_build_object('count', count(*), 'mean_score', round(avg(score), 2)) FROM said),
                  'latest', (SELECT coalesce(json_agg(latest), '[]') FROM latest),
                  'keywords', (SELECT coalesce(json_agg(word ORDER BY n DESC, word), '[]') FROM words))::text
           FROM {table} i WHERE i.id = $1"
    )
}

fn list(resource: &Resource, filter: &Filter) -> String {
    let Resource { title, text, children, .. } = resource;
    let (table, Filter { name, order }) = (resource.name(), filter);
    format!(
        "SELECT json_build_object(
                  'filter', '{name}', 'page', $1,
                  'version', (SELECT n FROM revisions WHERE service = '{table}'),
                  'items', coalesce(json_agg(json_build_object(
                      'id', m.id, 'version', m.version, '{title}', m.{title}, 'excerpt', left(m.{text}, 160), 'score', m.score,
                      '{children}', (SELECT count(*) FROM {children} c WHERE c.parent_id = m.id)) ORDER BY m.at), '[]'))::text
           FROM (SELECT *, row_number() OVER (ORDER BY {order}) AS at FROM {table}
                  ORDER BY {order} LIMIT {PAGE_SIZE} OFFSET ($1 - 1) * {PAGE_SIZE}) m"
    )
}

fn create(resource: &Resource) -> String {
    let Resource { title, text, .. } = resource;
    let change = format!("INSERT INTO {} ({title}, {text}) VALUES ($1, $2) RETURNING id, version", resource.name(),);
    with_revision_count(resource, "", &change, NO_POSTS)
}

fn update(resource: &Resource) -> String {
    let Resource { title, text, .. } = resource;
    let change = format!(
        "UPDATE {} SET {title} = coalesce($2, {title}), {text} = coalesce($3, {text}), version = version + 1,
                       updated_at = now() WHERE id = $1 RETURNING id, version",
        resource.name(),
    );
    with_revision_count(resource, "", &change, NO_POSTS)
}

fn delete(resource: &Resource) -> String {
    // Not by a foreign key: checking it for each row would double the loading time.
    let mut change = format!(
        "DELETE FROM {} WHERE id = $1 RETURNING id, version),
              orphans AS (DELETE FROM {} WHERE parent_id = $1",
        resource.name(),
        resource.children
    );
    if resource.service != PROFILES {
        return with_revision_count(resource, "", &change, NO_POSTS);
    }
    // Posts stay when their author is deleted.
    change += "), anonymous AS (UPDATE posts SET author_id = 0 WHERE author_id = $1 RETURNING id";
    with_revision_count(resource, "", &change, "(SELECT coalesce(array_agg(id), '{}') FROM anonymous)")
}

const NO_POSTS: &str = "'{}'::bigint[]";

/// A change, the statement before it, and the count of changes, in one statement. The change comes first (the count depends on it), so
/// all writers take their locks in the same order.
pub(crate) fn with_revision_count(resource: &Resource, before: &str, change: &str, shown_in: &str) -> String {
    let table = resource.name();
    format!(
        "WITH {before} changed AS ({change}),
              revised AS (UPDATE revisions SET n = n + 1
                           WHERE service = '{table}' AND EXISTS (SELECT FROM changed) RETURNING n)
         SELECT changed.id, changed.version, revised.n, {shown_in} AS shown_in FROM changed, revised"
    )
}
