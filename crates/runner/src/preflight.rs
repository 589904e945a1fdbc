//! The check, before anything is measured, that the scenario fits the app.

use std::time::Duration;

use crate::app::TargetError;
use cacheproof_core::journal::Outcome;
use cacheproof_core::scenario::{BypassSpec, Scenario};
use cacheproof_load::response::{
    BodyError, ResponseClassifier, VersionReading, client, client_failure, failure_in_words, read_body, unpack,
    with_bypass,
};
use cacheproof_load::{Call, TrafficPlan};

/// Sends each kind of read once, past the cache if the scenario says how, and checks the answer. A read that fails here
/// would fail during the whole run, because of the scenario and not because of the cache.
pub(super) async fn preflight(scenario: &Scenario, plan: &TrafficPlan, base_url: &str) -> Result<(), TargetError> {
    let classifier = ResponseClassifier::new(&scenario.target);
    let client = client(Duration::from_secs(10), scenario.target.follow_redirects);
    for (index, request) in scenario.traffic.requests.iter().enumerate() {
        if !request.method.is_read() {
            continue;
        }
        let Call { path, expected, headers, .. } = plan.first_call(index);
        let unfit = |problem: String, help: &str| TargetError::Unfit {
            request: format!("GET {path}"),
            problem,
            help: help.into(),
        };
        let url = with_bypass(&format!("{base_url}{path}"), scenario.target.bypass.as_ref());
        let mut builder = client.get(&url);
        for (name, value) in &headers {
            builder = builder.header(name, value);
        }
        if let Some(BypassSpec::Header(name, value)) = &scenario.target.bypass {
            builder = builder.header(name, value);
        }
        let mut answer = builder.send().await.map_err(|error| match client_failure(&error) {
            Some(reason) => TargetError::NotSent { reason },
            None => unfit(
                format!("no answer: {}", failure_in_words(&error)),
                "is the path correct, and does the app answer it in time?",
            ),
        })?;
        let (status, answered) = (answer.status(), answer.headers().clone());
        let limit = scenario.target.max_body;
        let body = match read_body(&mut answer, limit).await.map(|body| (body.clone(), unpack(&answered, body, limit)))
        {
            // Nobody looks into it.
            Ok((body, Err(BodyError::UnknownEncoding(_)))) if !scenario.reads_body(index) => Ok(body),
            Ok((_, unpacked)) => unpacked,
            Err(error) => Err(error),
        };
        let body = body.map_err(|error| unfit(error.to_string(), body_help(&error)))?;
        let reading = classifier.classify(request, &expected, status, &answered, &body);
        match reading.outcome {
            Outcome::Error if status.is_success() => {
                let kind =
                    answered.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("no content-type");
                return Err(unfit(
                    format!("{} ({kind})", reading.error_detail.unwrap_or_default()),
                    "target.identity must name a field of a JSON body; remove it for an app without JSON bodies \
                     (then wrong answers can't be detected). If this path names no item, write item = false into its \
                     request",
                ));
            }
            Outcome::Error => {
                let help = if status.is_redirection() && answered.contains_key("location") {
                    redirect_help(scenario.target.follow_redirects, status.as_u16())
                } else {
                    "check the path, and that [data] has no more keys than the app has items; \
                     expect = [404] in the request accepts a status"
                        .to_owned()
                };
                return Err(unfit(format!("it answers with {}", reading.error_detail.unwrap_or_default()), &help));
            }
            Outcome::Wrong => {
                return Err(unfit(
                    reading.error_detail.unwrap_or_default(),
                    "target.identity must name the field that contains the key of the path, or the whole segment with \
                     it (a slug); if this path names no item, write item = false into its request",
                ));
            }
            _ => {}
        }
        if let (Some(version), VersionReading::Unreadable(found)) = (&scenario.target.version, &reading.version)
            && !request.template().is_some_and(|template| scenario.assigns_versions(template))
        {
            return Err(unfit(
                format!("its version ({version}) is {found:?}"),
                "target.version must be a whole number or a time with hours and minutes (2026-01-02T03:04:05.678Z) that \
                 grows with every write: only these can be compared. Name another field, or remove target.version (then \
                 stale answers can only be found after the load, with a bypass)",
            ));
        }
    }
    Ok(())
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
