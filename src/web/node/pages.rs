//! The node's pages: search, files, downloads, peers.

use maud::{Markup, html};

use super::context::{NodeSite, NodeView, problem_of};
use crate::node::{Job, JobState};
use crate::proto::http::{Request, escape_path, escape_value};
use crate::rt::clock;
use crate::types::{FileEntry, FileName, Query, limits};
use crate::web::service::access::AccessControl;
use crate::web::service::params::{RowPage, rows_to_skip};
use crate::web::service::response::{Answer, Reply};
use crate::web::view::page::{NONE, count, rate, search_form, size, span};
use crate::web::view::peers::{self, PeerRow};
use crate::web::view::sources::{FoundContent, SourceRow, file_path, query_of, tables};

impl NodeSite {
    pub(super) fn peers_page(&self, request: &Request) -> Reply {
        match rows_to_skip(request, "skip") {
            Ok(skip) => self.on_worker(move |view| view.peers_page(skip)),
            Err(problem) => Reply::Now(self.view.frame().problem(&problem)),
        }
    }

    pub(super) fn search_page(&self, request: &Request, access: &AccessControl) -> Reply {
        let text = request.parameter("q").unwrap_or_default().to_owned();
        let query = match query_of(&text) {
            _ if text.is_empty() => return Reply::Now(self.view.search_page("", 200, &html! {})),
            Ok(query) => query,
            Err(why) => {
                let note = html! { p.note role="alert" { (why) } };
                return Reply::Now(self.view.search_page(&text, 400, &note));
            }
        };
        let form = access.form_token().to_owned();
        self.on_worker(move |view| match view.find_contents(&query) {
            Ok(contents) => view.search_page(&text, 200, &results(&contents, &query, &form)),
            Err(problem) => {
                let note = html! { p.note role="alert" { (problem.message) ": " (problem.hint) } };
                view.search_page(&text, problem.status, &note)
            }
        })
    }
}

fn results(contents: &[FoundContent], query: &Query, form: &str) -> Markup {
    let sources: usize = contents.iter().map(|content| content.rows.len()).sum();
    html! {
        @if contents.is_empty() { p role="status" { "No node that answers has it." } }
        @else { p role="status" { (count(sources, "source")) " of " (count(contents.len(), "content")) ", best first." } }
        (tables(contents, query, |content| action(content, form)))
    }
}

/// The actions for a content: its metalink, and a download unless this node has the content.
fn action(content: &FoundContent, form: &str) -> Markup {
    let Some(first) = content.rows.first() else { return html! {} };
    let metalink =
        format!("/metalink/{}.meta4?hash=b3%3D{}", escape_path(first.holder.name.as_str()), content.key.id);
    let is_here = content.rows.iter().any(SourceRow::is_own);
    html! {
        " · " a href=(metalink) { "metalink" } " "
        @if !is_here {
            form.inline action="/downloads" method="post" {
                input type="hidden" name="form" value=(form);
                input type="hidden" name="name" value=(first.holder.name.as_str());
                input type="hidden" name="checksum" value=(format!("b3={}", content.key.id));
                button.small { "Download into this node" }
            }
        }
    }
}

impl NodeView {
    fn search_page(&self, text: &str, status: u16, results: &Markup) -> Answer {
        let main = html! {
            h1 { "Find a file" }
            (search_form(text))
            (results)
            @if text.is_empty() {
                p.soft {
                    "This node asks each holder for its load, and ranks the holders by score: latency plus a weight for each "
                    "transfer of the load. A download begins at the first."
                }
            }
        };
        Answer::page(status, self.frame().page("/", "Search", &main))
    }

    pub(super) fn files_page(&self, request: &Request) -> Answer {
        // An invalid cursor means the first page.
        let after = request.parameter("after").and_then(|text| FileName::new(text).ok());
        let (files, more) = self.shared_files.files("", after.as_ref(), limits::HTTP_PAGE_ROWS);
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
                        @for file in &files { (file_row(&file.entry)) }
                        @if files.is_empty() { tr { td colspan="4" { "There is no file in the shared directory yet." } } }
                    }
                }
            }
            @if let Some(last) = files.last().filter(|_| more) {
                p { a href=(format!("/files?after={}", escape_value(last.entry.name.as_str()))) rel="next" { "Further files" } }
            }
        };
        Answer::page(200, self.frame().page("/files", "Files", &main))
    }

    pub(super) fn downloads_page(&self, request: &Request, form: &str) -> Answer {
        let skip = match rows_to_skip(request, "skip") {
            Ok(skip) => skip,
            Err(problem) => return self.frame().problem(&problem),
        };
        let mut jobs = self.node.jobs();
        jobs.reverse();
        let (jobs, next) = RowPage { skip, rows_max: limits::HTTP_PAGE_ROWS }.of(jobs);
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
            (further("/downloads", next.as_deref(), "Earlier downloads"))
        };
        Answer::page(200, self.frame().page("/downloads", "Downloads", &main))
    }

    fn peers_page(&self, skip: usize) -> Answer {
        let nodes = match self.node.nodes(&self.stop) {
            Ok(nodes) => nodes,
            Err(error) => return self.frame().problem(&problem_of(&error)),
        };
        let caption = format!("{} as the tracker tells, by address", count(nodes.len(), "node"));
        let (nodes, next) = RowPage { skip, rows_max: limits::HTTP_PAGE_ROWS }.of(nodes);
        let main = html! {
            h1 { "Peers" }
            (peers::table(&caption, false, nodes.iter().map(PeerRow::of_node)))
            (further("/peers", next.as_deref(), "Further nodes"))
        };
        Answer::page(200, self.frame().page("/peers", "Peers", &main))
    }
}

/// A link to the next page of a list, if there is a next page.
fn further(path: &str, next: Option<&str>, label: &str) -> Markup {
    html! {
        @if let Some(next) = next { p { a href=(format!("{path}?skip={next}")) rel="next" { (label) } } }
    }
}

fn file_row(entry: &FileEntry) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(file_path(&entry.name)) download { (entry.name.to_string()) } }
            td.num data-label="Size" { (size(entry.size_bytes)) }
            td.mono data-label="MD5" { (entry.md5) }
            td.mono data-label="BLAKE3" { (entry.content) }
        }
    }
}

fn job_row(job: &Job, form: &str) -> Markup {
    let Job { request, state, result, progress: figures, .. } = job;
    let now = clock::now();
    let is_running = *state == JobState::Running;
    let percent = if *state == JobState::Done { 100 } else { figures.done_of(100) };
    let tone = match state {
        JobState::Done => "tag good",
        JobState::Failed => "tag bad",
        JobState::Paused | JobState::Queued => "tag warn",
        JobState::Running | JobState::Cancelled => "tag",
    };
    let per_s = figures.rate_bytes_per_s(now).filter(|_| is_running);
    let time_left = figures.time_left(now).filter(|_| is_running);
    let name = request.name.to_string();
    html! {
        tr {
            th scope="row" {
                (name)
                @if let Some(Err(error)) = result { br; span.bad { (error) } }
            }
            td data-label="State" { span class=(tone) { (state.as_str()) } }
            td data-label="Progress" {
                progress max="100" value=(percent) aria-label=(format!("{name}: {percent} %")) { (percent) " %" }
                span.num { (percent) " % " @if figures.total_bytes > 0 { span.soft { "of " (size(figures.total_bytes)) } } }
            }
            td.num data-label="Rate" { @match per_s { Some(per_s) => (rate(per_s)), None => (NONE) } }
            td.num data-label="Left" { @match time_left { Some(time) => (span(time)), None => (NONE) } }
            td.num data-label="Sources" { (figures.sources()) }
            td data-label="Actions" {
                @match state {
                    JobState::Running | JobState::Queued => (buttons(job, ("pause", "Pause"), form)),
                    JobState::Paused => (buttons(job, ("resume", "Resume"), form)),
                    JobState::Done => a href=(file_path(&request.name)) download { "Save a copy" },
                    JobState::Failed | JobState::Cancelled => (NONE),
                }
            }
        }
    }
}

/// The buttons for a job that has not ended: the action, with its label, and cancel.
fn buttons(job: &Job, action: (&str, &str), form: &str) -> Markup {
    let Job { id, request, .. } = job;
    html! {
        form.inline method="post" {
            input type="hidden" name="form" value=(form);
            @for (action, label) in [action, ("cancel", "Cancel")] {
                button.small.plain #(format!("{action}-{id}")) formaction=(format!("/downloads/{id}/{action}"))
                    aria-label=(format!("{label} {}", request.name)) { (label) }
            }
        }
    }
}
