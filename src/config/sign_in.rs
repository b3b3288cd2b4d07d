//! `SignIn` holds the tables that say how to sign in: `[tap]`, `[isolation]` and `[pod]`.

use super::Url;
use super::secret_ref::{SecretRef, secret};
use super::table_reader::TableReader;
use super::value_error::ValueError;

const TAP: &str = "https://tap-api-v2.proofpoint.com";
const POD: &str = "wss://logstream.proofpoint.com:443";

/// How to sign in to each API, as far as it is configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignIn {
    /// For TAP.
    pub(crate) tap: Option<TapConfig>,
    /// For Isolation.
    pub(crate) isolation: Option<IsolationConfig>,
    /// For PoD.
    pub(crate) pod: Option<PodConfig>,
}

impl SignIn {
    pub(super) fn read(top: &mut TableReader) -> SignIn {
        SignIn {
            tap: top.table("tap").and_then(tap),
            pod: top.table("pod").and_then(pod),
            isolation: top.table("isolation").and_then(isolation),
        }
    }
}

/// `[tap]`: sign-in for TAP.
#[derive(Debug, Clone)]
pub(crate) struct TapConfig {
    /// Scheme, host and port, without a slash at the end.
    pub(crate) base_url: Url,
    /// The service principal.
    pub(crate) principal: String,
    /// Its secret.
    pub(crate) secret: SecretRef,
}

/// `[isolation]`: sign-in for Isolation.
#[derive(Debug, Clone)]
pub(crate) struct IsolationConfig {
    /// The key of the reporting API.
    pub(crate) api_key: SecretRef,
}

/// `[pod]`: sign-in for the log stream of Proofpoint on Demand.
#[derive(Debug, Clone)]
pub(crate) struct PodConfig {
    /// Scheme, host and port, without a slash at the end.
    pub(crate) base_url: Url,
    /// The name of the cluster, as the admin console shows it.
    pub(crate) cluster_id: String,
    /// The API key.
    pub(crate) api_key: SecretRef,
}

fn tap(mut table: TableReader) -> Option<TapConfig> {
    table.also_called(&[("username", "principal"), ("password", "secret")]);
    let base_url = table.text_or("base_url", Url::parse(TAP).ok()?, base_url);
    table.need("principal", "\"the service principal\"");
    let principal = table.text("principal", "the service principal", principal);
    let secret = secret(&mut table, "secret", "tap.secret");
    table.close();
    Some(TapConfig {
        base_url,
        principal: principal?,
        secret: secret?,
    })
}

fn isolation(mut table: TableReader) -> Option<IsolationConfig> {
    let api_key = secret(&mut table, "api_key", "isolation.key");
    table.close();
    api_key.map(|api_key| IsolationConfig { api_key })
}

fn pod(mut table: TableReader) -> Option<PodConfig> {
    table.also_called(&[("token", "api_key"), ("cluster", "cluster_id")]);
    let base_url = table.text_or(
        "base_url",
        Url::parse_web_socket(POD).ok()?,
        stream_base_url,
    );
    table.need("cluster_id", "\"examplecorp_hosted\"");
    let cluster_id = table.text("cluster_id", "examplecorp_hosted", cluster_id);
    let api_key = secret(&mut table, "api_key", "pod.key");
    table.close();
    Some(PodConfig {
        base_url,
        cluster_id: cluster_id?,
        api_key: api_key?,
    })
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim_end_matches('/'))?;
    match url.path().contains("/v2") {
        true => Err("must end before /v2: proofpull adds the path".into()),
        false => Ok(url),
    }
}

fn stream_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse_web_socket(text.trim_end_matches('/'))?;
    match url.path().contains("/v1") {
        true => Err("must end before /v1: proofpull adds the path".into()),
        false => Ok(url),
    }
}

/// It stands in the console's corner beside the release number, and blanks come along.
fn cluster_id(text: &str) -> Result<String, ValueError> {
    match text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        true => Ok(text.into()),
        false => Err(ValueError::but(
            "must have only letters, digits, -, _ and .",
            "copy it from the top right corner of the PoD admin console, without the release number",
        )),
    }
}

/// HTTP Basic parts the user from the password at the first colon.
fn principal(text: &str) -> Result<String, ValueError> {
    let remedy =
        "copy the service principal from the TAP Dashboard: Settings, Connected Applications";
    match text {
        _ if text.contains(|c: char| c == ':' || c.is_control()) => Err(ValueError::but(
            "must not have a colon or a control character",
            remedy,
        )),
        _ if text.trim() != text => Err(ValueError::but(
            "must not begin or end with a space",
            remedy,
        )),
        _ => Ok(text.into()),
    }
}
