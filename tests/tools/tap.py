"""Proofpoint's community SDK for TAP (tap-api) asks a simulated one for an hour of events by every
end point of the SIEM API, and for the summary of each threat that they name.

    tap.py BASE_URL PRINCIPAL SECRET START END

Prints one JSON object of what it understood.
"""

import json
import sys
from datetime import datetime

from tap_api.common.filters import StartEndInterval
from tap_api.v2 import Client

base, principal, secret, start, end = sys.argv[1:]
client = Client(principal, secret)
# the host is fixed, but for this
client._Resource__name = base + "/v2"
client.error_handler.raise_for_status = True
hour = StartEndInterval(datetime.fromisoformat(start), datetime.fromisoformat(end))

understood = {
    "clicksBlocked": [click.id for click in client.siem.clicks.blocked(hour).clicks_blocked],
    "clicksPermitted": [click.id for click in client.siem.clicks.permitted(hour).clicks_permitted],
    "messagesBlocked": [m.message_id for m in client.siem.messages.blocked(hour).messages_blocked],
    "messagesDelivered": [m.message_id for m in client.siem.messages.delivered(hour).messages_delivered],
}
everything = client.siem.all(hour)
messages = everything.messages_blocked + everything.messages_delivered
clicks = everything.clicks_blocked + everything.clicks_permitted
named = {click.threat_id for click in clicks}
# in messages the SDK goes by the document, which spells it threatId; the API does not
named |= {threat["threatID"] for message in messages for threat in message.threats_info_map}
summaries = [client.threat.summary[threat]() for threat in sorted(named)]
json.dump(
    {
        "lists": understood,
        "all": [len(messages), len(clicks)],
        "named": sorted(named),
        "summaries": [[summary.id, summary.status, summary.category] for summary in summaries],
    },
    sys.stdout,
)
