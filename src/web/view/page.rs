//! The frame of every page, and the texts of values on a page.
//!
//! The templates escape foreign text. A name is shown with its control characters escaped, so a page has no
//! invisible or reversed characters.

use std::time::Duration;

use bytesize::ByteSize;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::web::service::response::{Answer, Problem};

/// The frame that all pages of a program share.
pub(crate) struct Frame {
    /// `tracker` or `node`.
    pub(crate) program: &'static str,
    /// The address of the program in the native protocol.
    pub(crate) addr: String,
    /// Path and label of each page.
    pub(crate) pages: &'static [(&'static str, &'static str)],
    /// A few figures about the state of the program.
    pub(crate) summary: Vec<Figure>,
}

/// A figure on every page.
pub(crate) struct Figure {
    pub(crate) label: &'static str,
    /// The script updates the figure from the `stat` events of this name.
    pub(crate) stat: &'static str,
    pub(crate) value: usize,
}

impl Frame {
    /// A page. `path` is the path of its entry in the navigation; empty: it has none.
    pub(crate) fn page(&self, path: &str, title: &str, main: &Markup) -> Markup {
        let Frame { program, addr, pages, summary } = self;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " · nearpeer " (program) }
                    link rel="stylesheet" href="/assets/style.css";
                    link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                    script src="/assets/live.js" defer {}
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    div.top {
                        header {
                            a.brand href="/" { "nearpeer " span { (program) } }
                            nav aria-label="Pages" {
                                ul {
                                    @for (page, label) in *pages {
                                        li { a href=(page) aria-current=[(*page == path).then_some("page")] { (label) } }
                                    }
                                }
                            }
                            p #summary {
                                @for (index, figure) in summary.iter().enumerate() {
                                    @if index > 0 { " · " }
                                    (figure.label) " " span data-stat=(figure.stat) { (figure.value) }
                                }
                            }
                        }
                    }
                    main #main { (main) }
                    footer {
                        (program) " at " code { (addr) } " · version " (env!("CARGO_PKG_VERSION"))
                        " · " a href="/api/v1/openapi.json" { "API" } " · " a href="/metrics" { "metrics" }
                    }
                }
            }
        }
    }

    /// A page that shows an error.
    pub(crate) fn problem(&self, problem: &Problem) -> Answer {
        let title = crate::proto::http::reason_phrase(problem.status);
        let main = html! {
            h1 { (title) }
            p { (problem.message) "." }
            p.soft { (problem.hint) "." }
        };
        Answer::page(problem.status, self.page("", title, &main))
    }
}

/// The search form.
pub(crate) fn search_form(query: &str) -> Markup {
    html! {
        form.search action="/" method="get" role="search" {
            label for="q" { "File name, or md5= or b3= and a digest" }
            input #q type="search" name="q" value=(query) autocomplete="off" spellcheck="false" autofocus[query.is_empty()];
            button { "Search" }
        }
    }
}

/// `10.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `10.5 MiB/s`.
pub(crate) fn rate(bytes_per_s: u64) -> String {
    format!("{}/s", size(bytes_per_s))
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// A duration in its two largest units: `3 d 4 h`, `12 s`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A moment in UTC in the form of RFC 3339. The page shows the time of day, and the date in a tooltip.
pub(crate) fn moment(rfc3339: &str) -> Markup {
    html! { time datetime=(rfc3339) title=(rfc3339) { (rfc3339.get(11..19).unwrap_or(rfc3339)) } }
}

/// The text of a cell without a value.
pub(crate) const NONE: PreEscaped<&str> = PreEscaped("-");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".into(), "0 files".into()));
        assert!(moment("1994-11-06T08:49:37.000Z").into_string().contains(">08:49:37<"));
    }

    #[test]
    fn foreign_text_is_inert_on_a_page() {
        let frame = Frame { program: "tracker", addr: "<b>".into(), pages: &[], summary: Vec::new() };
        let hostile = "\"><script>alert(1)</script>";
        let page = frame.page("", hostile, &search_form(hostile)).into_string();
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(!page.contains("value=\"\">") && page.contains("&lt;b&gt;"), "{page}");
    }
}
