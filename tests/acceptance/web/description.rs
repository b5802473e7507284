//! Compares `docs/openapi.json`, which is maintained by hand, with the server.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::web::client::{Answer, ask, get, post};
use crate::web::swarm::{Swarm, get_until};

struct Description(Value);

impl Description {
    /// Checks the body of an answer against the description of the method at the path.
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let responses = &self.0["paths"][path][method]["responses"];
        let mut response = &responses[answer.status.to_string()];
        if response.is_null() {
            response = &self.0["components"]["responses"]["Problem"];
        }
        let schema = response["content"]["application/json"]["schema"].clone();
        assert!(schema.is_object(), "{method} {path}: {} is not described", answer.status);
        let mut root = schema;
        root["components"] = self.0["components"].clone();
        let validator = jsonschema::validator_for(&root).expect("a schema");
        let body = answer.json();
        let faults: Vec<String> =
            validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{method} {path}: {faults:?} in {body}");
    }
}

/// Each described path exists on the program that the description names, and only there.
#[test]
fn the_description_names_what_is_served() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let description = get(swarm.web(), "/api/v1/openapi.json").json();
    assert_eq!(description, get(swarm.member(0).web(), "/api/v1/openapi.json").json());
    let mut described = Vec::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        let tags = &methods.as_object().and_then(|all| all.values().next()).expect("a method")["tags"][0];
        described.push(path.as_str());
        let target = path.replace("{name}", "a").replace("{id}", "1");
        for (web, program) in [(swarm.web(), "tracker"), (swarm.member(0).web(), "node")] {
            let is_served = tags == "both" || tags == program;
            if methods.get("get").is_none() || target.ends_with("events") || path.contains("{id}") {
                continue;
            }
            // A request without its parameters may be invalid, but never unknown.
            let answer = get(web, &target);
            let is_unknown = answer.status == 404 && answer.text().contains("there is n");
            assert_eq!(!is_unknown, is_served, "{program}: {path}: {}", answer.status);
        }
    }
    let door = ask(swarm.member(0).web(), "GET /", "Accept: application/json\r\n", "").json();
    for path in door["api"].as_array().expect("paths") {
        assert!(described.contains(&path.as_str().expect("a path")), "{path} is not described");
    }
    swarm.stop();
}

#[test]
fn bodies_are_as_described() {
    let swarm = Swarm::new().node(&[("a", b"a"), ("b", b"b")]).node(&[("a", b"a")]);
    let (tracker, node) = (swarm.web(), swarm.member(1).web());
    let description = Description(get(tracker, "/api/v1/openapi.json").json());
    let begun = post(node, "/api/v1/downloads", "{\"name\":\"b\"}");
    description.check("post", "/api/v1/downloads", &begun);
    get_until(node, "/api/v1/downloads/1", |job| job.json()["state"] == "done");
    get(node, "/api/v1/find?name=a");
    get(tracker, "/api/v1/find?name=a");
    let seen = |web: SocketAddr, path: &str, target: &str, status: u16| {
        let answer = get(web, target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        description.check("get", path, &answer);
        let is_empty = answer.json()["items"].as_array().is_some_and(Vec::is_empty);
        assert!(!is_empty, "{target} shows nothing that could be wrong");
    };
    for web in [tracker, node] {
        for name in ["status", "peers", "files", "stats"] {
            let path = format!("/api/v1/{name}");
            seen(web, &path, &path, 200);
        }
        seen(web, "/api/v1/find", "/api/v1/find?name=a", 200);
        seen(web, "/api/v1/find", "/api/v1/find?name=nobody", 404);
        seen(web, "/api/v1/find", "/api/v1/find", 400);
        seen(web, "/api/v1/peers", "/api/v1/peers?limit=0", 400);
    }
    for name in ["load", "limits", "downloads"] {
        let path = format!("/api/v1/{name}");
        seen(node, &path, &path, 200);
    }
    seen(node, "/api/v1/downloads/{id}", "/api/v1/downloads/1", 200);
    seen(node, "/api/v1/downloads/{id}", "/api/v1/downloads/9", 404);
    for (path, target, body) in [
        ("/api/v1/updatelist", "/api/v1/updatelist", ""),
        ("/api/v1/replicate", "/api/v1/replicate", "{\"name\":\"a\",\"copies\":3}"),
        ("/api/v1/replicate", "/api/v1/replicate", "{}"),
        ("/api/v1/downloads", "/api/v1/downloads", "{}"),
        ("/api/v1/downloads/{id}/pause", "/api/v1/downloads/1/pause", ""),
    ] {
        description.check("post", path, &post(node, target, body));
    }
    let limits = ask(
        node,
        "PUT /api/v1/limits",
        "Content-Type: application/json\r\n",
        &json!({ "max_upload_bytes_per_s": 1000 }).to_string(),
    );
    description.check("put", "/api/v1/limits", &limits);
    swarm.stop();
}
