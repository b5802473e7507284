//! The node's pages: search, files, downloads, peers.

use maud::{Markup, html};

use super::{Inner, NodeSite};
use crate::node::{Job, JobState};
use crate::proto::http::{Request, escape_path, escape_value};
use crate::rt::clock;
use crate::types::{FileEntry, FileName, Liveness, NodeSummary, limits};
use crate::web::answer::{Answer, Reply};
use crate::web::gate::Gate;
use crate::web::page::{NONE, count, search_form, size, span};
use crate::web::sources::http_of;
use crate::web::sources::{FoundContent, query_of};

impl NodeSite {
    pub(super) fn search_page(&self, request: &Request, gate: &Gate) -> Reply {
        let text = request.parameter("q").unwrap_or_default().to_owned();
        let query = match query_of(&text) {
            _ if text.is_empty() => return Reply::Now(self.inner.search_page("", 200, &html! {})),
            Ok(query) => query,
            Err(why) => {
                let note = html! { p.note role="alert" { (why) } };
                return Reply::Now(self.inner.search_page(&text, 400, &note));
            }
        };
        let form = gate.form_token().to_owned();
        self.later(move |inner| match inner.found(&query) {
            Ok(contents) => inner.search_page(&text, 200, &results(&contents, &form)),
            Err(problem) => {
                let note = html! { p.note role="alert" { (problem.message) ": " (problem.hint) } };
                inner.search_page(&text, problem.status, &note)
            }
        })
    }
}

fn results(contents: &[FoundContent], form: &str) -> Markup {
    let sources: usize = contents.iter().map(|content| content.rows.len()).sum();
    html! {
        @if contents.is_empty() { p role="status" { "No node that answers has it." } }
        @else { p role="status" { (count(sources, "source")) " of " (count(contents.len(), "content")) ", best first." } }
        @for content in contents { (content.table(&action(content, form))) br; }
    }
}

/// What can be done with a content: have it downloaded, unless it is here.
fn action(content: &FoundContent, form: &str) -> Markup {
    let Some(first) = content.rows.first() else { return html! {} };
    let metalink =
        format!("/metalink/{}.meta4?hash=b3%3D{}", escape_path(first.entry.name.as_str()), content.key.id);
    let is_here = content.rows.iter().any(|row| row.state == "self");
    html! {
        " · " a href=(metalink) { "metalink" } " "
        @if !is_here {
            form.inline action="/downloads" method="post" {
                input type="hidden" name="form" value=(form);
                input type="hidden" name="name" value=(first.entry.name.as_str());
                input type="hidden" name="checksum" value=(format!("b3={}", content.key.id));
                button.small { "Download into this node" }
            }
        }
    }
}

impl Inner {
    fn search_page(&self, text: &str, status: u16, results: &Markup) -> Answer {
        let main = html! {
            h1 { "Find a file" }
            (search_form(text))
            (results)
            @if text.is_empty() {
                p.soft {
                    "All nodes that have it are asked how busy they are; each is ranked by its latency plus 10 ms for each transfer "
                    "it takes part in. The first is where a download begins."
                }
            }
        };
        Answer::page(status, self.frame().page("/", "Search", &main))
    }

    pub(super) fn files_page(&self, request: &Request) -> Answer {
        // What is no name comes before none.
        let after = request.parameter("after").and_then(|text| FileName::new(text).ok());
        let (entries, more) = self.shelf.entries("", after.as_ref(), limits::HTTP_ROWS_MAX);
        let main = html! {
            h1 { "Files of this node" }
            div.scroll {
                table.stack {
                    caption { "By name" }
                    thead {
                        tr {
                            th scope="col" { "Name" } th.num scope="col" { "Size" } th scope="col" { "MD5" } th scope="col" { "BLAKE3" }
                        }
                    }
                    tbody {
                        @for entry in &entries { (file_row(entry)) }
                        @if entries.is_empty() { tr { td colspan="4" { "There is no file in the shared directory yet." } } }
                    }
                }
            }
            @if let Some(last) = entries.last().filter(|_| more) {
                p { a href=(format!("/files?after={}", escape_value(last.name.as_str()))) rel="next" { "Further files" } }
            }
        };
        Answer::page(200, self.frame().page("/files", "Files", &main))
    }

    pub(super) fn downloads_page(&self, form: &str) -> Answer {
        let mut jobs = self.node.jobs();
        jobs.reverse();
        let main = html! {
            h1 { "Downloads" }
            div #downloads data-live {
                div.scroll {
                    table.stack {
                        caption { "The last first" }
                        thead {
                            tr {
                                th scope="col" { "Name" } th scope="col" { "State" }
                                th scope="col" { "Progress" } th.num scope="col" { "Rate" }
                                th.num scope="col" { "Left" } th.num scope="col" { "Sources" } th scope="col" { "Actions" }
                            }
                        }
                        tbody {
                            @for job in &jobs { (job_row(job, form)) }
                            @if jobs.is_empty() { tr { td colspan="7" { "Nothing was downloaded yet: search, and begin one." } } }
                        }
                    }
                }
            }
        };
        Answer::page(200, self.frame().page("/downloads", "Downloads", &main))
    }

    pub(super) fn peers_page(&self) -> Answer {
        let nodes = match self.node.nodes(&self.stop) {
            Ok(nodes) => nodes,
            Err(error) => return self.frame().problem(&super::problem_of(&error)),
        };
        let main = html! {
            h1 { "Peers" }
            div.scroll {
                table.stack {
                    caption { (count(nodes.len(), "node")) " as the tracker tells, by address" }
                    thead {
                        tr {
                            th scope="col" { "Address" } th scope="col" { "State" } th.num scope="col" { "Files" }
                            th.num scope="col" { "Load" } th scope="col" { "Node" }
                        }
                    }
                    tbody { @for node in nodes.iter().take(limits::HTTP_ROWS_MAX) { (peer_row(node)) } }
                }
            }
        };
        Answer::page(200, self.frame().page("/peers", "Peers", &main))
    }
}

fn file_row(entry: &FileEntry) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("/files/{}", escape_path(entry.name.as_str()))) download { (entry.name.to_string()) } }
            td.num data-label="Size" { (size(entry.size_bytes)) }
            td.mono data-label="MD5" { (entry.md5) }
            td.mono data-label="BLAKE3" { (entry.content) }
        }
    }
}

fn peer_row(node: &NodeSummary) -> Markup {
    let tone = if node.liveness == Liveness::Live { "tag good" } else { "tag warn" };
    html! {
        tr {
            th.mono scope="row" {
                @match http_of(node) {
                    Some(http) => a href=(format!("http://{http}/")) { (node.endpoint) },
                    None => (node.endpoint),
                }
            }
            td data-label="State" { span class=(tone) { (node.liveness) } }
            td.num data-label="Files" { (node.files) }
            td.num data-label="Load" { @match node.load { Some(load) => (load), None => (NONE) } }
            td.mono data-label="Node" { (node.node) }
        }
    }
}

fn job_row(job: &Job, form: &str) -> Markup {
    let Job { request, state, figures, .. } = job;
    let now = clock::now();
    let is_running = *state == JobState::Running;
    let percent = if matches!(state, JobState::Done(_)) { 100 } else { figures.done_of(100) };
    let tone = match state {
        JobState::Done(_) => "tag good",
        JobState::Failed(_) => "tag bad",
        JobState::Paused | JobState::Queued => "tag warn",
        JobState::Running | JobState::Cancelled => "tag",
    };
    let rate = figures.rate_bytes_per_s(now).filter(|_| is_running);
    let left = figures.time_left(now).filter(|_| is_running);
    let name = request.name.to_string();
    html! {
        tr {
            th scope="row" {
                (name)
                @if let JobState::Failed(error) = state { br; span.bad { (error) } }
            }
            td data-label="State" { span class=(tone) { (state.as_str()) } }
            td data-label="Progress" {
                progress max="100" value=(percent) aria-label=(format!("{name}: {percent} %")) { (percent) " %" }
                span.num { (percent) " % " @if figures.total_bytes > 0 { span.soft { "of " (size(figures.total_bytes)) } } }
            }
            td.num data-label="Rate" { @match rate { Some(rate) => { (size(rate)) "/s" }, None => (NONE) } }
            td.num data-label="Left" { @match left { Some(left) => (span(left)), None => (NONE) } }
            td.num data-label="Sources" { (figures.sources()) }
            td data-label="Actions" {
                @match state {
                    JobState::Running | JobState::Queued => {
                        (button(job, "pause", "Pause", form)) (button(job, "cancel", "Cancel", form))
                    },
                    JobState::Paused => { (button(job, "resume", "Resume", form)) (button(job, "cancel", "Cancel", form)) },
                    JobState::Done(_) => a href=(format!("/files/{}", escape_path(request.name.as_str()))) download { "Save a copy" },
                    JobState::Failed(_) | JobState::Cancelled => (NONE),
                }
            }
        }
    }
}

fn button(job: &Job, act: &str, label: &str, form: &str) -> Markup {
    let spoken = format!("{label} {}", job.request.name);
    html! {
        form.inline action=(format!("/downloads/{}/{act}", job.id)) method="post" {
            input type="hidden" name="form" value=(form);
            button.small.plain #(format!("{act}-{}", job.id)) aria-label=(spoken) { (label) }
        }
    }
}
