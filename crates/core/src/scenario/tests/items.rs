//! Would break if the item that a request reads or writes was not found by its path, or a wrong one was.

use super::*;

fn file(requests: &str, rule: &str) -> String {
    format!(
        r#"
title = "items"
[target]
kind = "http"
url = "http://localhost:1"
identity = "data.id"
version = "version"
[data]
posts = 10
users = 3
[traffic]
rate = "10/s"
{requests}
[[phase]]
name = "steady"
lasts = "5s"
[[criterion]]
says = "it"
rules = ["{rule}"]
"#
    )
}

fn request(name: &str, rest: &str) -> String {
    format!("[[traffic.request]]\nname = \"{name}\"\n{rest}\n")
}

/// Address, keys and segment of a request's item.
fn item(rest: &str) -> Option<(String, Vec<String>, Option<String>)> {
    let scenario = parse("it.toml", &file(&request("one", rest), "errors < 1%"))
        .unwrap_or_else(|errors| panic!("{rest}: {}", shown(&errors)));
    scenario.traffic.requests[0].item.clone().map(|item| (item.template, item.keys, item.segment))
}

#[test]
fn a_path_names_an_item_by_one_key_in_its_last_segment_or_in_the_field_of_the_identity() {
    for (rest, template, keys, segment) in [
        ("get = \"/posts/{post}\"", "/posts/{post}", &["posts"][..], None),
        ("get = \"/posts/{posts}/\"", "/posts/{post}", &["posts"], None),
        ("get = \"/posts/{post}?lang=de\"", "/posts/{post}", &["posts"], None),
        ("get = \"/posts/article-{post}\"", "/posts/article-{post}", &["posts"], Some("article-{post}")),
        ("get = \"/posts/{post}.json\"", "/posts/{post}.json", &["posts"], Some("{post}.json")),
        ("get = \"/users/{user}/posts/{post}\"", "/users/{user}/posts/{post}", &["users", "posts"], None),
        ("get = \"/post?lang=de&id={post}\"", "/post?id={post}", &["posts"], None),
        ("get = \"/post/?id=p{post}\"", "/post?id=p{post}", &["posts"], Some("p{post}")),
        ("get = \"/{post}\"", "/{post}", &["posts"], None),
        ("get = \"/caf%C3%A9/{post}\"", "/café/{post}", &["posts"], None),
        ("get = \"/posts/{post}/full\"\nitem = \"/posts/{post}\"", "/posts/{post}", &["posts"], None),
        ("get = \"/posts/p-{post}/full\"\nitem = \"/posts/{post}/\"", "/posts/{post}", &["posts"], Some("p-{post}")),
        ("post = \"/posts/{post}\"\nbody = '{}'\nitem = \"/posts/{post}\"", "/posts/{post}", &["posts"], None),
        ("post = \"/q\"\nbody = '{\"id\": {post}}'\nitem = \"/posts/{post}\"", "/posts/{post}", &["posts"], None),
    ] {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(item(rest), Some((template.to_owned(), keys, segment.map(str::to_owned))), "{rest}");
    }
    for rest in [
        "get = \"/posts\"",
        "get = \"/posts?page={post}\"",
        "get = \"/posts/{post}/votes\"",
        "get = \"/posts/{random}\"",
        "get = \"/posts/{post}-{random}\"",
        "get = \"/compare/{post}-{user}\"",
        "get = \"/r/{random}/{post}\"",
        "post = \"/posts/{post}\"",
        "get = \"/posts/{post}\"\nitem = false",
    ] {
        assert_eq!(item(rest), None, "{rest}");
    }
}

#[test]
fn a_write_and_a_read_find_each_other_by_the_address() {
    for (read, write) in [
        ("/posts/{post}/", "put = \"/posts/{post}\""),
        ("/posts/{post}", "patch = \"/posts/{posts}/?by=me\""),
        ("/post?id={post}", "put = \"/post?by=me&id={post}\""),
        ("/posts/{post}.json", "put = \"/admin/{post}\"\nitem = \"/posts/{post}.json\""),
        ("/posts/{post}", "delete = \"/posts/{post}/\""),
        ("/posts/{post}", "post = \"/posts/{post}\"\nitem = \"/posts/{post}\""),
    ] {
        let requests = request("read", &format!("get = \"{read}\"")) + &request("write", write);
        let rules = if write.starts_with("delete") { "stale == 0" } else { "stale for read == 0" };
        if let Err(errors) = parse("it.toml", &file(&requests, rules)) {
            panic!("{read}, {write}: {}", shown(&errors));
        }
    }
}

#[test]
fn what_is_no_item_or_no_body_is_refused_with_the_true_reason() {
    let read = request("read", "get = \"/posts/{post}.json\"");
    for (rest, why) in [
        (
            "put = \"/posts/{post}\"\nbody = '{}'",
            "if both are the same item, write item = \"/posts/{post}\" into the request",
        ),
        (
            "post = \"/posts\"\nbody = '{}'",
            "say which item a write by another path changes: item = \"/posts/{post}.json\"",
        ),
        ("put = \"/posts/{post}\"\nitem = \"/posts\"", "\"item\" is not the path of an item"),
        ("put = \"/posts/{post}\"\nitem = true", "item"),
        ("put = \"/posts/{post}\"\nitem = \"/users/{user}\"", "this request has no key of users"),
        ("put = \"/posts/{post}\"\nitem = \"/posts/{random}\"", "\"item\" is not the path of an item"),
        ("put = \"/posts/{post}\"\nbody = 'a=1'", "say what another body is: headers = {"),
        (
            "put = \"/posts/{post}\"\nbody = 'a=1'\nheaders = { \"content-type\" = \"Application/JSON; charset=utf-8\" }",
            "not JSON",
        ),
        (
            "put = \"/posts/{post}\"\nbody = 'a=b c'\nheaders = { \"CONTENT-TYPE\" = \"application/x-www-form-urlencoded\" }",
            "a space has to be encoded",
        ),
        (
            "put = \"/posts/{post}\"\nbody = 'a=%zz'\nheaders = { \"Content-Type\" = \"application/x-www-form-urlencoded\" }",
            "\"%\" has to be encoded",
        ),
        (
            "put = \"/posts/{post}\"\nbody = 'x'\nheaders = { \"Content-Type\" = \"multipart/form-data\" }",
            "needs its boundary",
        ),
        (
            "put = \"/posts/{post}\"\nbody = \"--b\\nx\\n--b--\"\nheaders = { \"Content-Type\" = \"multipart/form-data; boundary=b\" }",
            "end with CR LF",
        ),
        (
            "put = \"/posts/{post}\"\nbody = \"x\"\nheaders = { \"Content-Type\" = \"multipart/form-data; boundary=b\" }",
            "does not begin with \"--b\"",
        ),
        ("put = \"/posts/{post}\"\nheaders = { \"A\" = \"1\", \"a\" = \"2\" }", "this header is there twice"),
        (
            "get = \"/posts\"\nlist = { of = \"/users/{user}/posts/{post}\", id = \"id\" }\n[[traffic.request]]\nname = \"w\"\nput = \"/users/{user}/posts/{post}\"",
            "has a key of users, and the request for the list has none",
        ),
    ] {
        match parse("it.toml", &file(&(read.clone() + &request("write", rest)), "stale == 0")) {
            Err(errors) => {
                let shown = shown(&errors).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
                assert!(shown.contains(why), "{rest}: {why} in {shown}");
            }
            Ok(_) => panic!("{rest} should be refused: {why}"),
        }
    }
}

#[test]
fn a_body_is_what_its_content_type_says() {
    for (media, body) in [
        ("application/x-www-form-urlencoded", "name=x&v={random}&n={version}&t={token}&p={post}"),
        ("application/x-www-form-urlencoded; charset=utf-8", "name=a+b%20c&empty="),
        ("text/plain", "anything at all"),
        ("application/xml", "<post id=\\\"{post}\\\">{random}</post>"),
        ("application/vnd.api+json", "{\\\"a\\\": {post}}"),
        (
            "multipart/form-data; boundary=\\\"b\\\"",
            "--b\\r\\nContent-Disposition: form-data; name=\\\"t\\\"\\r\\n\\r\\n{token}\\r\\n--b--\\r\\n",
        ),
        ("application/octet-stream", "\\u0001"),
    ] {
        let rest =
            format!("put = \"/posts/{{post}}\"\nbody = \"{body}\"\nheaders = {{ \"Content-Type\" = \"{media}\" }}");
        if let Err(errors) = parse("it.toml", &file(&request("write", &rest), "errors < 1%")) {
            panic!("{media}: {}", shown(&errors));
        }
    }
}
