//! Which answer a request gets.

use std::borrow::Cow;

use crate::api;
use crate::asset;
use crate::host::Host;
use crate::http::{Method, Request, Response};
use crate::notice;
use crate::page;
use crate::replication;
use crate::user_agent::Visitor;
use crate::view::{self, Counted, Failure, Timing, View};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request. Every failure is an answer too.
pub fn respond(host: &mut impl Host, request: &Request<'_>) -> Response {
    let path = request.path();
    let Some(target) = Target::of(path) else {
        return finish(request, not_found(path));
    };
    if request.method == Method::Other {
        return method_not_allowed(path);
    }
    let response = match target {
        Target::Page => show_page(host, request),
        Target::Regions => show_regions(host, request),
        Target::Replication => show_replication(host),
        Target::Health => Response::new(200, TEXT, &b"ok\n"[..]),
        Target::Asset(asset) => asset.respond(request),
    };
    finish(request, response)
}

enum Target {
    Page,
    Regions,
    Replication,
    Health,
    Asset(&'static asset::Asset),
}

impl Target {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/api/regions" => Some(Self::Regions),
            "/api/replication" => Some(Self::Replication),
            "/health" => Some(Self::Health),
            _ => asset::find(path).map(Self::Asset),
        }
    }
}

/// `HEAD` is `GET` without the body.
fn finish(request: &Request<'_>, mut response: Response) -> Response {
    if request.method == Method::Head {
        response.send_body = false;
    }
    response
}

fn show_page(host: &mut impl Host, request: &Request<'_>) -> Response {
    let visitor = Visitor::from_user_agent(request.user_agent);
    // Nobody sees what `HEAD` returns, so it is no visit.
    let view = if request.method == Method::Head {
        view::look(host, visitor)
    } else {
        view::visit(host, visitor)
    };
    match view {
        Ok(view) => {
            report(host, &view);
            Response::new(200, HTML, page::draw(&view).into_bytes())
                .with("server-timing", server_timing(&view.timing))
        }
        Err(failure) => {
            let (_, title, message) = explain(host, failure);
            Response::new(503, HTML, notice::page(503, title, message).into_bytes())
                .with("retry-after", "1")
        }
    }
}

fn show_regions(host: &mut impl Host, request: &Request<'_>) -> Response {
    match view::look(host, Visitor::from_user_agent(request.user_agent)) {
        Ok(view) => Response::new(200, JSON, api::regions(&view))
            .with("server-timing", server_timing(&view.timing)),
        Err(failure) => {
            let (code, _, message) = explain(host, failure);
            Response::new(503, JSON, api::failed(code, message)).with("retry-after", "1")
        }
    }
}

fn show_replication(host: &mut impl Host) -> Response {
    match replication::look(host) {
        Ok((mode, timing)) => Response::new(200, JSON, api::replication(&mode))
            .with("server-timing", server_timing(&timing)),
        Err(replication::Failure::Store(_)) => {
            host.error("no answer from the key-value provider about replication");
            let message = "The store cannot be asked how it is replicated right now. Please try again in a moment.";
            Response::new(503, JSON, api::failed("store-unavailable", message))
                .with("retry-after", "1")
        }
        Err(replication::Failure::TooLarge) => {
            host.error("the replication status is too large");
            unreadable_status("The store says more about its replication than is read here.")
        }
        Err(replication::Failure::Unreadable) => {
            host.error("the replication status is unreadable");
            unreadable_status("What the store says about its replication cannot be read.")
        }
    }
}

/// The fault lies behind us, and asking again would not mend it.
fn unreadable_status(message: &'static str) -> Response {
    Response::new(502, JSON, api::failed("status-unreadable", message))
}

/// Puts what a visitor can only see, and an operator should know, into the log.
fn report(host: &mut impl Host, view: &View) {
    match view.counted {
        Counted::Unreadable => host.warn("a visit was not counted: its counter is not a number"),
        Counted::Full => host.warn("a visit was not counted: its counter is full"),
        Counted::Yes(_) | Counted::NotAsked => {}
    }
}

/// Logs a failure and names it for JSON and for people.
fn explain(host: &mut impl Host, failure: Failure) -> (&'static str, &'static str, &'static str) {
    match failure {
        Failure::Metadata(_) => {
            host.error("no answer from the metadata provider");
            (
                "metadata-unavailable",
                "This region cannot say where it is",
                "The metadata of this machine is not available right now. Please try again in a moment.",
            )
        }
        Failure::Store(_) => {
            host.error("no answer from the key-value provider");
            (
                "store-unavailable",
                "The visit counter is away",
                "The store of the visit counts cannot be reached right now. No count is lost; please try again in a moment.",
            )
        }
    }
}

fn not_found(path: &str) -> Response {
    if path.starts_with("/api/") {
        return Response::new(
            404,
            JSON,
            api::failed("not-found", "There is nothing here."),
        );
    }
    let body = notice::page(404, "Page not found", "There is nothing at this address.");
    Response::new(404, HTML, body.into_bytes())
}

fn method_not_allowed(path: &str) -> Response {
    let response = if path.starts_with("/api/") {
        let body = api::failed("method-not-allowed", "Only GET and HEAD are answered here.");
        Response::new(405, JSON, body)
    } else {
        let body = notice::page(
            405,
            "Method not allowed",
            "Only GET and HEAD are answered here.",
        );
        Response::new(405, HTML, body.into_bytes())
    };
    response.with("allow", "GET, HEAD")
}

/// The time of each call in milliseconds, for the browser's developer tools.
fn server_timing(timing: &Timing) -> Cow<'static, str> {
    let total = ("total", timing.total);
    let entries: Vec<String> = timing
        .steps
        .iter()
        .chain([&total])
        .map(|(step, time)| format!("{step};dur={:.3}", time.as_secs_f64() * 1_000.0))
        .collect();
    entries.join(", ").into()
}
