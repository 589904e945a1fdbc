//! The check, before anything is measured, that the scenario fits the app.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::app::TargetError;
use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::scenario::{BypassSpec, Scenario};
use cacheproof_load::response::{
    BodyError, ClassifiedResponse, ResponseClassifier, VersionReading, client, client_failure, failure_in_words,
    read_body, unpack, with_bypass,
};
use cacheproof_load::{Call, TrafficPlan};

/// Sends each kind of read once, past the cache if the scenario says how, and checks the answer. A read that fails here
/// would fail during the whole run, because of the scenario and not because of the cache.
///
/// Returns what the user should know at once: a bypass that does not seem to work. The load shows it as well, for each
/// request, but only minutes later.
pub(super) async fn preflight(
    scenario: &Scenario,
    plan: &TrafficPlan,
    base_url: &str,
) -> Result<Option<String>, TargetError> {
    let preflight = Preflight {
        scenario,
        classifier: ResponseClassifier::new(&scenario.target).past_cache(),
        client: client(Duration::from_secs(10), scenario.target.follow_redirects),
        base_url,
    };
    let has_uncached = scenario.phases.iter().any(|phase| phase.path == CachePath::Uncached);
    let mut from_cache = Vec::new();
    for (index, request) in scenario.traffic.requests.iter().enumerate() {
        if !request.method.is_read() {
            continue;
        }
        let call = plan.first_call(index);
        let answer = preflight.read(&call).await?;
        preflight.check(&call, answer)?;
        // A cache that keeps what it was asked to leave out has it now.
        if has_uncached && request.cacheable {
            let again = preflight.read(&call).await?.reading.outcome;
            if again.is_served_from_cache() == Some(true) {
                from_cache.push(format!("GET {}", call.path));
            }
        }
    }
    Ok((!from_cache.is_empty()).then(|| {
        format!(
            "Before the load, [target] bypass did not reach past the cache: {} said that it came from the cache when it was \
             asked for the second time. Does the app honour the bypass?",
            from_cache.join(", ")
        )
    }))
}

struct Preflight<'run> {
    scenario: &'run Scenario,
    classifier: ResponseClassifier,
    client: reqwest::Client,
    base_url: &'run str,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    reading: ClassifiedResponse,
}

impl Preflight<'_> {
    async fn read(&self, call: &Call) -> Result<Answer, TargetError> {
        let bypass = self.scenario.target.bypass.as_ref();
        let mut builder = self.client.get(with_bypass(&format!("{}{}", self.base_url, call.path), bypass));
        for (name, value) in &call.headers {
            builder = builder.header(name, value);
        }
        if let Some(BypassSpec::Header(name, value)) = bypass {
            builder = builder.header(name, value);
        }
        let mut answer = builder.send().await.map_err(|error| match client_failure(&error) {
            Some(reason) => TargetError::NotSent { reason },
            None => unfit(
                call,
                format!("no answer: {}", failure_in_words(&error)),
                "is the path correct, and does the app answer it in time?",
            ),
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let limit = self.scenario.target.max_body;
        let body = match read_body(&mut answer, limit).await.map(|body| (body.clone(), unpack(&headers, body, limit))) {
            // Nobody looks into it.
            Ok((body, Err(BodyError::UnknownEncoding(_)))) if !self.scenario.reads_body(call.request) => Ok(body),
            Ok((_, unpacked)) => unpacked,
            Err(error) => Err(error),
        };
        let body = body.map_err(|error| unfit(call, error.to_string(), body_help(&error)))?;
        let request = &self.scenario.traffic.requests[call.request];
        let reading = self.classifier.classify(request, &call.expected, status, &headers, &body);
        Ok(Answer { status, headers, reading })
    }

    /// Whether it is an answer that a run can use.
    fn check(&self, call: &Call, answer: Answer) -> Result<(), TargetError> {
        let Answer { status, headers, reading } = answer;
        let problem = reading.error_detail.unwrap_or_default();
        match reading.outcome {
            Outcome::Error if status.is_success() => {
                let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("no content-type");
                return Err(unfit(
                    call,
                    format!("{problem} ({kind})"),
                    "target.identity must name a field of a JSON body; remove it for an app without JSON bodies \
                     (then wrong answers can't be detected). If this path names no item, write item = false into its \
                     request",
                ));
            }
            Outcome::Error => {
                let help = if status.is_redirection() && headers.contains_key("location") {
                    redirect_help(self.scenario.target.follow_redirects, status.as_u16())
                } else {
                    "check the path, and that [data] has no more keys than the app has items; \
                     expect = [404] in the request accepts a status"
                        .to_owned()
                };
                return Err(unfit(call, format!("it answers with {problem}"), &help));
            }
            Outcome::Wrong => {
                return Err(unfit(
                    call,
                    problem,
                    "target.identity must name the field that contains the key of the path, or the whole segment with \
                     it (a slug); if this path names no item, write item = false into its request",
                ));
            }
            _ => {}
        }
        let request = &self.scenario.traffic.requests[call.request];
        if let (Some(version), VersionReading::Unreadable(found)) = (&self.scenario.target.version, &reading.version)
            && !request.template().is_some_and(|template| self.scenario.assigns_versions(template))
        {
            return Err(unfit(
                call,
                format!("its version ({version}) is {found:?}"),
                "target.version must be a whole number below 2^64, or a time with hours and minutes \
                 (2026-01-02T03:04:05.678Z), that grows with every write: only these can be compared. Name another \
                 field, or remove target.version (then \
                 stale answers can only be found after the load, with a bypass)",
            ));
        }
        Ok(())
    }
}

fn unfit(call: &Call, problem: String, help: &str) -> TargetError {
    TargetError::Unfit { request: format!("GET {}", call.path), problem, help: help.into() }
}

/// What to do about a body that cannot be read.
fn body_help(error: &BodyError) -> &'static str {
    match error {
        BodyError::TooLong { .. } | BodyError::UnpacksTooLong { .. } => {
            "name a path with a shorter body, or raise the limit in [target]: max_body = \"64mb\""
        }
        BodyError::UnknownEncoding(_) => {
            "cacheproof unpacks gzip, deflate, br and zstd: send headers = { \"Accept-Encoding\" = \"gzip\" }"
        }
        BodyError::Broken { .. } => {
            "request this path by hand: is the body packed as Content-Encoding says? `curl -v --raw` shows both"
        }
        BodyError::EndedEarly(_) => "request this path by hand: what does it answer?",
    }
}

/// What to do about a redirect that was not followed, by whether the scenario wants them followed.
fn redirect_help(follow_redirects: bool, status: u16) -> String {
    let follow = if follow_redirects {
        "Only redirects to the same scheme, host and port are followed, no loops, and no more than 10: name the last URL \
         in the scenario."
    } else {
        "A redirect within the app is followed with follow_redirects = true in [target]."
    };
    format!(
        "is it a login page? Then send what it needs in headers = {{ … }}. {follow} \
         expect = [{status}] in the request takes the redirect itself for the answer"
    )
}

#[cfg(test)]
mod tests {
    use super::redirect_help;

    #[test]
    fn what_is_set_already_is_not_advised() {
        assert!(redirect_help(false, 301).contains("follow_redirects = true"));
        let help = redirect_help(true, 301);
        assert!(!help.contains("follow_redirects = true") && help.contains("same scheme, host and port"), "{help}");
        assert!(help.contains("expect = [301]"), "{help}");
    }
}
