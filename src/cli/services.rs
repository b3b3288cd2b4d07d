//! `services` lists the services: what each reads, and the Devo tag that it delivers under.

use serde_json::{Value, json};

use super::args::ServicesArgs;
use crate::error::Result;
use crate::output;
use crate::service::{SERVICES, Service};

pub(super) fn services(args: &ServicesArgs) -> Result<()> {
    if args.json {
        let all: Vec<Value> = SERVICES.iter().map(object).collect();
        return output::answer(&format!("{:#}\n", json!({ "services": all })));
    }
    let mut rows = vec![["SERVICE", "READS", "TAG"].map(str::to_owned).to_vec()];
    let row = |service: &Service| [service.name, service.reads, service.tag].map(str::to_owned);
    rows.extend(SERVICES.iter().map(|service| row(service).to_vec()));
    output::answer(&output::table(&rows))
}

fn object(service: &Service) -> Value {
    json!({
        "service": service.name,
        "reads": service.reads,
        "tag": service.tag,
        "sign_in": service.sign_in_table(),
        "devo_name": service.devo,
    })
}
