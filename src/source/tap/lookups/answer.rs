//! `answer` reads the answer to a lookup.

use std::borrow::Cow;

use serde::Deserialize;

use crate::json_stream::Splitter;
use crate::net::http::{Answer, Bytes};
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{HttpApi, READ};

/// The largest answer that is accepted, in bytes; most have some kB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Reads a whole answer; only its frame is judged.
pub(super) fn read(api: &HttpApi, answer: &mut Answer) -> Result<Vec<u8>, FetchError> {
    let mut splitter = Splitter::new(&[]);
    let (mut body, mut none, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut buffer = vec![0; READ];
    let judged = loop {
        match answer.read(&mut buffer)? {
            Bytes::Some(count) => {
                let bytes = &buffer[..count];
                if let Err(broken) = splitter.feed(bytes, &mut none, &mut ends) {
                    break Err(broken);
                }
                body.extend_from_slice(bytes);
                if body.len() > MAX_ANSWER {
                    return Err(api.unexpected(answer, "the answer has more than 16 MiB"));
                }
            }
            Bytes::Waiting => {}
            Bytes::End => break splitter.finish(),
        }
    };
    match judged {
        Ok(()) => {
            let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
            Ok(text.trim_ascii().to_vec())
        }
        Err(broken) => Err(api.words.unreadable(&broken, &api.shown(answer))),
    }
}

/// Whether an answer has this id.
pub(in crate::source::tap) fn has_id(answer: &[u8], id: &str) -> bool {
    #[derive(Deserialize)]
    struct WithId<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let answer = serde_json::from_slice::<WithId<'_>>(answer);
    answer.is_ok_and(|answer| answer.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_id_is_its_answer() {
        for (body, expected) in [
            (r#"{"id":"ab12","name":"x"}"#, true),
            (r#"{"name":"x","id":"AB12"}"#, true),
            (r#"{"id":"\u0061b12"}"#, true),
            ("{}", false),
            (r#"{"error":"ab12"}"#, false),
            (r#"{"id":"ab13"}"#, false),
            (r#"{"id":12}"#, false),
            (r#"{"id":null}"#, false),
            (r#"[{"id":"ab12"}]"#, false),
            ("", false),
        ] {
            assert_eq!(has_id(body.as_bytes(), "ab12"), expected, "{body}");
        }
    }
}
