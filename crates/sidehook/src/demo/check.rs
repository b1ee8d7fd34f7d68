//! What a receiver of the demonstration makes of a request: it trusts only the
//! signature over the raw body, made with the key of its own subscription.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use sidehook_signature::{Scheme, TimeWindow, Verifier};
use sidehook_testkit::receiver::Received;

use super::screen::Screen;

/// One receiver's examination of its requests.
pub(super) struct Check {
    name: &'static str,
    screen: Screen,
    /// The published `data`, which has to arrive as it is.
    data: Bytes,
    verifier: OnceLock<Verifier>,
    good: AtomicU32,
    problem: OnceLock<String>,
}

#[derive(serde::Deserialize)]
struct Envelope<'b> {
    #[serde(borrow)]
    event: EventPart<'b>,
}

#[derive(serde::Deserialize)]
struct EventPart<'b> {
    #[serde(borrow)]
    data: &'b RawValue,
}

impl Check {
    /// The examination of what `name` receives of an event with this `data`.
    pub(super) const fn new(name: &'static str, screen: Screen, data: Bytes) -> Self {
        Self {
            name,
            screen,
            data,
            verifier: OnceLock::new(),
            good: AtomicU32::new(0),
            problem: OnceLock::new(),
        }
    }

    /// Gives the receiver its subscription's key, which exists only now.
    ///
    /// # Errors
    /// The key is not one of the scheme.
    pub(super) fn trust(&self, scheme: &Scheme, secret: &str) -> Result<(), String> {
        let verifier = Verifier::new(scheme, &[secret])
            .map_err(|error| format!("the key of {}: {error}", self.name))?;
        self.verifier
            .set(verifier)
            .map_err(|_| format!("{} has a key already", self.name))
    }

    /// Examines one request and tells the result.
    pub(super) fn examine(&self, request: &Received) {
        let bytes = request.body.len();
        let answered = request.answered;
        match self.verified(request) {
            Ok(()) => {
                self.good.fetch_add(1, Ordering::Relaxed);
                let about = format!("{bytes} bytes, signature verified, answers {answered}");
                self.screen.step(self.name, "received", &about);
            }
            Err(problem) => {
                self.screen.step(self.name, "REFUSES", &problem);
                // The first one is told at the end.
                let _ = self.problem.set(problem);
            }
        }
    }

    fn verified(&self, request: &Received) -> Result<(), String> {
        let verifier = self.verifier.get().ok_or("a request came before the key")?;
        let window = TimeWindow::around(jiff::Timestamp::now().as_second());
        verifier
            .verify(|name| request.header(name), &[&request.body], window)
            .map_err(|error| error.to_string())?;
        let envelope: Envelope<'_> = serde_json::from_slice(&request.body)
            .map_err(|error| format!("the body is not an envelope: {error}"))?;
        if envelope.event.data.get().as_bytes() == self.data {
            Ok(())
        } else {
            Err("`data` is not byte for byte what was published".to_owned())
        }
    }

    /// How many requests were good.
    ///
    /// # Errors
    /// What was wrong with the first bad one.
    pub(super) fn result(&self) -> Result<u32, String> {
        match self.problem.get() {
            Some(problem) => Err(format!("{}: {problem}", self.name)),
            None => Ok(self.good.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidehook_signature::Signer;

    const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
    const OTHER: &str = "0808080808080808080808080808080808080808080808080808080808080808";
    const BODY: &str = r#"{"event": {"data": {"n":  1}}, "subscription_id": "x"}"#;

    /// What a receiver that trusts `KEY` says of `body`, signed with `key` as `BODY`.
    fn result(key: &str, body: &'static str, data: &'static str) -> Result<u32, String> {
        let (screen, _) = Screen::start().expect("a thread");
        let check = Check::new("receiver", screen, Bytes::from_static(data.as_bytes()));
        check.trust(&Scheme::Close, KEY).expect("a key");
        let signer = Signer::new(&Scheme::Close, &[key]).expect("a key");
        let now = jiff::Timestamp::now().as_second();
        let signed = signer.sign("", now, &[BODY.as_bytes()]);
        let headers = signed
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_string()));
        check.examine(&Received {
            path: "/hook".to_owned(),
            headers: headers.collect(),
            body: Bytes::from_static(body.as_bytes()),
            answered: 200,
        });
        check.result()
    }

    #[test]
    fn only_the_right_key_and_the_same_bytes_are_good() {
        assert_eq!(result(KEY, BODY, r#"{"n":  1}"#), Ok(1));
        let problem = result(OTHER, BODY, r#"{"n":  1}"#).expect_err("another's key");
        assert!(problem.contains("no signature matches"), "{problem}");
        let altered = r#"{"event": {"data": {"n":  2}}, "subscription_id": "x"}"#;
        let problem = result(KEY, altered, r#"{"n":  2}"#).expect_err("an altered body");
        assert!(problem.contains("no signature matches"), "{problem}");
        let problem = result(KEY, BODY, r#"{"n": 1}"#).expect_err("other spacing");
        assert!(problem.contains("byte for byte"), "{problem}");
    }
}
