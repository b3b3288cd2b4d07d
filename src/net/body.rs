//! `Body` decodes the body of an HTTP answer by its `Content-Encoding`.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ureq::BodyReader;

use crate::error::{Exit, Failure};
use crate::net::NetError;

/// The body of an answer, by its `Content-Encoding`.
pub(super) enum Body {
    Plain(BodyReader<'static>),
    Gzip(Box<MultiGzDecoder<BodyReader<'static>>>),
    /// An encoding that was not requested.
    Unrequested(String),
}

impl Body {
    /// The case of the name does not count, and `x-gzip` is gzip (RFC 9110, 8.4.1.3).
    pub(super) fn of(encoding: &str, reader: BodyReader<'static>) -> Body {
        let encoding = encoding.trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" => Body::Plain(reader),
            "gzip" | "x-gzip" => Body::Gzip(Box::new(MultiGzDecoder::new(reader))),
            _ => Body::Unrequested(encoding),
        }
    }

    /// Reads on. The inner error is that of the connection.
    ///
    /// # Errors
    /// When the encoding was not requested.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<io::Result<usize>, NetError> {
        match self {
            Body::Plain(reader) => Ok(reader.read(buffer)),
            Body::Gzip(reader) => Ok(reader.read(buffer)),
            Body::Unrequested(encoding) => {
                let failure = Failure::new(format!(
                    "the answer has Content-Encoding {encoding:?}, but only gzip was requested"
                ));
                let failure = failure.with_exit(Exit::Data);
                Err(NetError::Lasting(failure.with_hint(
                    "check [http] proxy, and the url if one is set: something on the way encodes \
                     answers",
                )))
            }
        }
    }
}
