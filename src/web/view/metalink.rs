//! Metalinks (RFC 5854): an XML file that gives a downloader all sources of a file in order, and its digests.
//!
//! A metalink has only MD5 digests, because the registry of hash names has no BLAKE3. An MD5 that a node only
//! claims is left out: if the claim were wrong, a downloader would refuse the right file.

use std::sync::Arc;

use maud::{Markup, PreEscaped, html};

use super::sources::{FoundContent, SourceRow};
use crate::proto::event::ErrorCode;
use crate::proto::http::Request;
use crate::types::{Checksum, ContentKey, FileName, Manifest, Md5Origin, Query};
use crate::web::service::params;
use crate::web::service::response::{Answer, Problem};

const MEDIA_TYPE: &str = "application/metalink4+xml";
/// Maximum number of pieces in one metalink: half a megabyte of XML.
const PIECES_MAX: usize = 8192;

/// A request for a metalink.
#[derive(Debug, Clone)]
pub(crate) struct MetalinkRequest {
    name: FileName,
    /// Chooses a content if the name has several.
    checksum: Option<Checksum>,
}

impl MetalinkRequest {
    /// The query for the sources. The checksum is checked afterwards, by [`answer`].
    pub(crate) fn query(&self) -> Query {
        Query::Name(self.name.clone())
    }

    fn fits(&self, content: &FoundContent) -> bool {
        match &self.checksum {
            None => true,
            Some(Checksum::Content(prefix)) => prefix.matches(&content.key.id),
            Some(Checksum::Md5(md5)) => content.rows.iter().any(|row| row.holder.md5 == *md5),
        }
    }
}

/// The file name in `/metalink/NAME.meta4`, if `path` is of that form.
pub(crate) fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix("/metalink/")?.strip_suffix(".meta4")
}

/// Reads a request whose path [`name_of`] accepts.
///
/// # Errors
/// The name or the digest is not valid.
pub(crate) fn read_request(request: &Request) -> Result<MetalinkRequest, Problem> {
    let name = FileName::new(name_of(&request.path).unwrap_or_default());
    let name =
        name.map_err(|error| Problem::bad_request(error.to_string(), "ask for /metalink/NAME.meta4"))?;
    let checksum = request.parameter("hash").map(params::digest).transpose()?;
    Ok(MetalinkRequest { name, checksum })
}

/// The metalink of the requested file. The sources of `contents` must be in order. Of several contents that
/// fit, the metalink is of the one that a download would take. `manifest` returns the manifest of a content
/// if this program has it.
///
/// # Errors 400: the name cannot be written in XML; 404: no full source serves the content by HTTP; 409: the
/// name means several contents.
pub(crate) fn answer(
    wanted: &MetalinkRequest,
    contents: &[FoundContent],
    manifest: impl FnOnce(&ContentKey) -> Option<Arc<Manifest>>,
) -> Result<Answer, Problem> {
    let fitting: Vec<&FoundContent> = contents.iter().filter(|content| wanted.fits(content)).collect();
    let content = match fitting[..] {
        [] => {
            let hint = "ask again when one is there";
            return Err(Problem::new(404, ErrorCode::NotFound, "no live node has it", hint));
        }
        [only] => only,
        _ => fitting.into_iter().find(|content| content.resolved).ok_or_else(|| {
            let hint = "choose one with ?hash=b3=HEX";
            Problem::new(409, ErrorCode::Ambiguous, "the name means several contents", hint)
        })?,
    };
    let links: Vec<&str> = content.full_sources().filter_map(|row| row.link.as_deref()).collect();
    if links.is_empty() {
        let hint = "start a node that has it with HTTP";
        return Err(Problem::new(404, ErrorCode::NotFound, "no source serves it by HTTP", hint));
    }
    if wanted.name.as_str().contains(['\u{fffe}', '\u{ffff}']) {
        return Err(Problem::bad_request("the name cannot be written in XML", "fetch the file from /files/"));
    }
    let text = xml(wanted, content, &links, manifest(&content.key).as_deref()).into_string();
    Ok(Answer::text(200, MEDIA_TYPE, text))
}

fn xml(
    wanted: &MetalinkRequest,
    content: &FoundContent,
    links: &[&str],
    manifest: Option<&Manifest>,
) -> Markup {
    let is_computed = |row: &&SourceRow| row.md5_origin == Md5Origin::Computed;
    let md5 = content.full_sources().find(is_computed).map(|row| &row.holder.md5);
    // One piece has the digest of the file.
    let pieces = manifest.filter(|manifest| (2..=PIECES_MAX).contains(&manifest.pieces().len()));
    html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        metalink xmlns="urn:ietf:params:xml:ns:metalink" {
            generator { "nearpeer/" (env!("CARGO_PKG_VERSION")) }
            file name=(wanted.name.as_str()) {
                size { (content.key.size_bytes) }
                @if let Some(md5) = md5 { hash type="md5" { (md5) } }
                @if let Some(manifest) = pieces {
                    pieces length=(manifest.geometry().piece_len_bytes()) type="md5" {
                        @for piece in manifest.pieces() { hash { (piece.md5) } }
                    }
                }
                @for (index, link) in links.iter().enumerate() { url priority=(index + 1) { (link) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::{EventHolder, HolderState};
    use crate::types::{ContentId, Md5Digest};

    fn row(port: u16, link: bool, state: HolderState, md5_origin: Md5Origin) -> SourceRow {
        let holder = EventHolder {
            name: FileName::new("a & \"b\"<c>").expect("a name"),
            addr: ([127, 0, 0, 1], port).into(),
            size_bytes: 7,
            md5: Md5Digest([2; 16]),
            b3: ContentId([1; 32]),
            state,
            have_pieces: 1,
            total_pieces: 1,
            latency_ms: None,
            latency_from: None,
            load: None,
            score_ms: None,
            chosen: false,
        };
        let link = link.then(|| format!("http://127.0.0.1:{port}/files/a&b"));
        SourceRow { holder, md5_origin, link }
    }

    fn content(id: u8, rows: Vec<SourceRow>) -> FoundContent {
        FoundContent { key: ContentKey { size_bytes: 7, id: ContentId([id; 32]) }, resolved: false, rows }
    }

    #[test]
    fn a_metalink_keeps_the_order_of_sources_and_leaves_out_partial_holders_and_claims() {
        use HolderState::{Full, Part};
        use Md5Origin::{Claimed, Computed};
        let name = FileName::new("a & \"b\"<c>").expect("a name");
        let wanted = MetalinkRequest { name, checksum: None };
        let text = |contents: &[FoundContent]| {
            let body = answer(&wanted, contents, |_| None).map(|answer| answer.body);
            body.map(|body| String::from_utf8(body.into_owned()).expect("text"))
                .map_err(|problem| problem.status)
        };
        let claimed =
            [row(3, true, Full, Claimed), row(1, true, Full, Claimed), row(2, true, Part, Computed)];
        let xml = text(&[content(1, claimed.to_vec())]).expect("served");
        assert!(
            xml.contains("<file name=\"a &amp; &quot;b&quot;&lt;c&gt;\"><size>7</size><url priority=\"1\">"),
            "{xml}"
        );
        assert!(
            xml.contains(
                "priority=\"1\">http://127.0.0.1:3/files/a&amp;b</url><url priority=\"2\">http://127.0.0.1:1"
            ),
            "{xml}"
        );
        assert!(!xml.contains("<hash") && !xml.contains(":2/"), "{xml}");
        let computed = content(1, vec![row(1, true, Full, Computed)]);
        assert!(text(std::slice::from_ref(&computed)).expect("served").contains("<hash type=\"md5\">0202"));
        assert_eq!(text(&[]), Err(404));
        assert_eq!(text(&[content(1, vec![row(1, false, Full, Computed)])]), Err(404));
        assert_eq!(text(&[computed.clone(), content(2, vec![row(4, true, Full, Computed)])]), Err(409));
        let mut resolved = content(2, vec![row(4, true, Full, Computed)]);
        resolved.resolved = true;
        assert!(text(&[computed.clone(), resolved]).expect("served").contains(":4/"));
        let checksum = Some(Checksum::Content(ContentId([2; 32]).into()));
        let one = MetalinkRequest { checksum, ..wanted.clone() };
        assert!(answer(&one, &[computed, content(2, vec![row(4, true, Full, Computed)])], |_| None).is_ok());
    }
}
