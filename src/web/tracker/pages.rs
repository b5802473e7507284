//! The tracker's pages: search, peers, stats.

use std::net::IpAddr;

use maud::{Markup, html};

use super::context::{TrackerSite, peer_row};
use crate::proto::event::rfc3339;
use crate::proto::http::{Request, escape_value};
use crate::rt::clock;
use crate::tracker::{RecentFind, Via};
use crate::types::{FileName, limits};
use crate::web::service::params::rows_to_skip;
use crate::web::service::response::Answer;
use crate::web::view::page::{count, moment, search_form, span};
use crate::web::view::peers;
use crate::web::view::plot::{self, Scale};
use crate::web::view::sources::{query_of, tables};

/// Maximum number of names below the search form.
const NAMES_SHOWN: usize = 60;

impl TrackerSite {
    pub(super) fn search_page(&self, request: &Request, asker: IpAddr) -> Answer {
        let text = request.parameter("q").unwrap_or_default();
        let (status, results) = match text {
            "" => (200, html! {}),
            text => self.results(text, asker),
        };
        let (names, more) = self.view.names(text, None, NAMES_SHOWN);
        let main = html! {
            h1 { "Find a file" }
            (search_form(text))
            (results)
            @if !names.is_empty() {
                h2 { @if text.is_empty() { "Files" } @else { "Names that begin with this" } }
                (names_list(&names))
                @if more { p.soft { "There are more: type the beginning of a name." } }
            } @else if text.is_empty() {
                p.soft { "No node has registered a file yet. Start one with " code { "node DIRECTORY" } "." }
            }
        };
        Answer::page(status, self.frame().page("/", "Search", &main))
    }

    fn results(&self, text: &str, asker: IpAddr) -> (u16, Markup) {
        let query = query_of(text);
        let result = query
            .as_ref()
            .map_err(String::clone)
            .and_then(|query| self.find_contents(query, limits::HTTP_ROWS_MAX, asker));
        match result {
            Ok((contents, _)) if contents.is_empty() => {
                (200, html! { p role="status" { "No live node has it." } })
            }
            Ok((contents, more)) => {
                let sources = contents.iter().map(|content| content.rows.len()).sum();
                let markup = html! {
                    p role="status" {
                        (count(sources, "source")) " of " (count(contents.len(), "content")) "."
                        @if more { " There are more than can be shown." }
                        span.soft { " Latency and score are between two nodes: ask a node for them." }
                    }
                    @if let Ok(query) = &query { (tables(&contents, query, |_| html! {})) }
                };
                (200, markup)
            }
            Err(why) => (400, html! { p.note role="alert" { (why) } }),
        }
    }

    pub(super) fn peers_page(&self, request: &Request) -> Answer {
        let skip = match rows_to_skip(request, "skip") {
            Ok(skip) => skip,
            Err(problem) => return self.frame().problem(&problem),
        };
        let (nodes, more) = self.view.nodes(skip, limits::HTTP_PAGE_ROWS);
        let counts = self.view.counts();
        let main = html! {
            h1 { "Peers" }
            div #peers data-live {
                p.soft {
                    (counts.live) " live, " (counts.suspect) " suspect, " (counts.unproved) " unproved. The tracker calls a suspect "
                    "node back and does not return it until it answers. An unproved node did not answer at the address it gave."
                }
                (peers::table("Registered nodes, by address", true, nodes.iter().map(peer_row)))
            }
            @if more { p { a href=(format!("/peers?skip={}", skip + nodes.len())) rel="next" { "Further nodes" } } }
        };
        Answer::page(200, self.frame().page("/peers", "Peers", &main))
    }

    pub(super) fn stats_page(&self) -> Answer {
        let mut tally = self.view.stats();
        let counts = self.view.counts();
        let per_s = tally.history.per_s(clock::now());
        let main = html! {
            h1 { "Stats" }
            div #stats data-live {
                dl.facts {
                    div { dt { "Finds" } dd { (tally.finds.total()) } }
                    div { dt { "of them found" } dd { (tally.finds.with_rows()) } }
                    div { dt { "Registrations, updates" } dd { (tally.publications) } }
                    div { dt { "Live nodes" } dd { (counts.live) } }
                    div { dt { "Files" } dd { (counts.files) } }
                    div { dt { "Up for" } dd { (span(self.view.uptime())) } }
                }
                (plot::figure(&per_s, "Finds per second", Scale::Count))
                h2 { "Recent finds" }
                div.scroll {
                    table.stack {
                        caption { "The last first, times in UTC" }
                        thead {
                            tr {
                                th scope="col" { "Query" } th scope="col" { "Time" }
                                th.num scope="col" { "Number" } th scope="col" { "Asker" }
                                th.num scope="col" { "Took" } th scope="col" { "Answers" }
                            }
                        }
                        tbody {
                            @for find in &tally.recent { (find_row(find)) }
                            @if tally.recent.is_empty() { tr { td colspan="6" { "Nobody has searched yet." } } }
                        }
                    }
                }
            }
        };
        Answer::page(200, self.frame().page("/stats", "Stats", &main))
    }
}

fn names_list(names: &[FileName]) -> Markup {
    html! {
        ul.columns {
            @for name in names {
                li { a href=(format!("/?q={}", escape_value(name.as_str()))) { (name.to_string()) } }
            }
        }
    }
}

fn find_row(find: &RecentFind) -> Markup {
    let text = find.query.to_string();
    let printable = crate::types::Printable(&text).to_string();
    html! {
        tr {
            th scope="row" { a href=(format!("/?q={}", escape_value(&text))) { (printable) } }
            td.nowrap data-label="Time" { (moment(&rfc3339(find.at_ns))) }
            td.num data-label="Number" { (find.number) }
            td.mono data-label="Asker" { (find.requester) @if find.via == Via::Http { " (HTTP)" } }
            td.num data-label="Took" { (find.duration.as_micros()) " µs" }
            td data-label="Answers" {
                @if find.rows == 0 { span.soft { "none" } }
                @else {
                    (find.rows) @if find.more { " and more" } ": "
                    span.mono {
                        @for (index, source) in find.sources.iter().enumerate() { @if index > 0 { ", " } (source) }
                        @if find.rows > find.sources.len() { ", …" }
                    }
                }
            }
        }
    }
}
