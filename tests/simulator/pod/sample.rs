//! Events as PoD writes them, the fields of the reference's samples, each with a serial number by
//! which a test counts.

use time::macros::{format_description, offset};
use time::{OffsetDateTime, UtcOffset};

use super::super::rng::Rng;

/// An event of a stream.
pub fn pod_event(stream: &str, rng: &mut Rng, time: OffsetDateTime, serial: u64) -> Vec<u8> {
    let ts = stamp(rng, time);
    let id = rng.hex(32);
    let text = match stream {
        "message" => format!(
            r#"{{"guid":"{id}","ts":"{ts}","metadata":{{"origin":{{"data":{{"agent":"m0290417.ppops.net","cid":"examplecorp_hosted","version":"8.21.0.1358"}}}}}},"connection":{{"country":"de","helo":"mta1.supplier.example","host":"mta1.supplier.example","ip":"203.0.113.{address}","protocol":"smtp:smtp","resolveStatus":"ok","sid":"{sid}","tls":{{"inbound":{{"cipher":"ECDHE-RSA-AES256-GCM-SHA384","cipherBits":256,"version":"TLSv1.2"}}}}}},"envelope":{{"from":"bounce+812@supplier.example","rcpts":["dana.reyes@examplecorp.example","ap-team@examplecorp.example"]}},"filter":{{"qid":"{sid}-1","disposition":"discard","routeDirection":"inbound","routes":["default_inbound","firewallsafe"],"durationSecs":0.512903,"msgSizeBytes":48211,"isMsgInDigest":true,"quarantine":{{"folder":"Phish","folderId":"phish","module":"spam","rule":"phish","type":"quarantine"}},"actions":[{{"action":"continue","module":"av","rule":"clean"}},{{"action":"discard","module":"spam","rule":"phish","isFinal":true}}],"modules":{{"spam":{{"langs":["en","de"],"scores":{{"engine":100,"overall":100,"classifiers":{{"adult":0,"mlxlog":-1000,"phish":100}}}},"triggeredClassifier":"phish"}}}}}},"msg":{{"header":{{"from":["\"Supplier Invoices\" <invoices@supplier.example>"],"message-id":["<serial.{serial}@mta1.supplier.example>"],"subject":["Rechnung überfällig \u2026"]}},"lang":"en","sizeBytes":47530}},"msgParts":[{{"structureId":"0","disposition":"inline","detectedMime":"text/html","md5":"{md5}","sha256":"{sha}","textExtracted":"UGF5bWVudCByZW1pbmRlcg==","dataBase64":"PHA+UGF5bWVudCByZW1pbmRlcjwvcD4=","metadata":{{}},"urls":[{{"url":"https://pay.supplier-portal.example/login","src":["urldefense","filter"],"isRewritten":true}}]}}]}}"#,
            address = 1 + rng.below(254),
            sid = rng.hex(10),
            md5 = rng.hex(32),
            sha = rng.hex(64),
        ),
        "maillog" => format!(
            r#"{{"id":"{id}","ts":"{ts}","data":"{ts} m0290417 sendmail[18342]: 50E8C5xa018340: to=<dana.reyes@examplecorp.example>, delay=00:00:02, mailer=esmtp, tls_verify=OK, relay=mx.examplecorp.example. [192.0.2.10], dsn=2.0.0, stat=Sent (serial.{serial})","metadata":{{"customerId":"0d9c8b7a-6f5e-3d4c-8b2a-1908f7e6d5c4","origin":{{"schemaVersion":"20200420","data":{{"agent":"m0290417.ppops.net","cid":"examplecorp_hosted"}}}}}},"pps":{{"agent":"m0290417.ppops.net","cid":"examplecorp_hosted"}},"sm":{{"delay":"00:00:02","dsn":"2.0.0","mailer":"esmtp","pri":"168211","qid":"50E8C5xa018340","relay":"mx.examplecorp.example. [192.0.2.10]","stat":"Sent (Queued as 7c1d)","to":["<dana.reyes@examplecorp.example>"],"xdelay":"00:00:01"}},"tls":{{"cipher":"ECDHE-RSA-AES256-GCM-SHA384","verify":"OK","version":"TLSv1.2"}}}}"#
        ),
        _ => format!(
            r#"{{"guid":"{id}","ts":"{ts}","audit":{{"action":"login","level":"INFO","resourceType":"authorization","tags":[{{"name":"login.status","value":"success"}}],"user":{{"email":"admin@examplecorp.example","id":"serial.{serial}","ipAddress":"198.51.100.7"}}}},"metadata":{{"customerId":"0d9c8b7a-6f5e-3d4c-8b2a-1908f7e6d5c4","origin":{{"type":"cadmin-api-gateway","schemaVersion":"1.0","data":{{"agent":"0a1b2c3d4e5f","cid":"examplecorp_hosted","version":"1.0.0"}}}}}}}}"#
        ),
    };
    text.into_bytes()
}

/// In the agent's zone; with a colon in older releases, without a fraction at times.
fn stamp(rng: &mut Rng, time: OffsetDateTime) -> String {
    let zone = *rng.pick(&[offset!(-8), offset!(+2), UtcOffset::UTC]);
    let time = time.to_offset(zone);
    let usual = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory][offset_minute]"
    );
    let older = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory]:[offset_minute]"
    );
    let text = if rng.chance(80) {
        time.format(usual)
    } else {
        time.format(older)
    };
    text.expect("a time can be written")
}
