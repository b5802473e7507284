//! Style, script and icon of the pages. They are part of the program, and a request finds them by their exact
//! path. No text of a request becomes a path of the file system.

use std::sync::LazyLock;

use crate::proto::http::{HeaderValue, Request, Selection, Validators, select};
use crate::web::service::response::Answer;

/// Path, media type, content.
const ASSETS: [(&str, &str, &str); 3] = [
    ("/assets/style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("/assets/live.js", "text/javascript; charset=utf-8", include_str!("assets/live.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// The OpenAPI document of the interface, the same on tracker and node.
pub(crate) const OPENAPI: &str = include_str!("../../../docs/openapi.json");

/// Entity tags of [`ASSETS`], in their order.
static ETAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |body: &str| format!("\"{}\"", &blake3::hash(body.as_bytes()).to_hex()[..16]);
    ASSETS.iter().map(|(_, _, body)| tag(body)).collect()
});

/// The asset at the path of `request`, if there is one.
pub(crate) fn asset(request: &Request) -> Option<Answer> {
    let index = ASSETS.iter().position(|(path, ..)| *path == request.path)?;
    let ((_, kind, body), etag) = (ASSETS[index], &ETAGS[index]);
    let value = HeaderValue::new(etag.clone()).expect("hex digits in quotes");
    let mut answer = Answer::asset(kind, body, value);
    let validators = Validators { etag: etag.clone(), modified: None };
    if select(request, body.len() as u64, &validators) == Selection::NotModified {
        answer.head = answer.head.with_status(304);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_small_and_load_nothing_from_other_sites() {
        let total: usize = ASSETS.iter().map(|(.., body)| body.len()).sum();
        assert!(total < 50_000, "{total} bytes, and pages come on top");
        for (path, _, body) in ASSETS {
            let links = body.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !links.contains("http") && !links.contains("//cdn") && !links.contains("@import"),
                "{path}"
            );
        }
    }

    #[test]
    fn the_description_is_json() {
        let description: serde_json::Value = serde_json::from_str(OPENAPI).expect("JSON");
        assert_eq!(description["openapi"], "3.1.0");
    }
}
