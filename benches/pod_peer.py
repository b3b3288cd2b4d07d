"""An hour of the PoD archive to Devo with websocket-client and devo-sdk, as collectors built on them do it: parse
each message, drop what was seen, append the pulling id, send."""

import json
import ssl
import sys
import time

import websocket
from devo.sender import Sender, SenderConfigSSL

base, token, cluster, stream, receiver, ca, cert, key = sys.argv[1:]
host, port = receiver.rsplit(":", 1)
config = SenderConfigSSL(address=(host, int(port)), key=key, cert=cert, chain=ca)
sender = Sender(config)
socket = websocket.create_connection(
    f"{base}/v1/stream?cid={cluster}&type={stream}&sinceTime=2026-11-20T05:00:00-0000&toTime=2026-11-20T06:00:00-0000",
    header=[f"Authorization: Bearer {token}"],
    sslopt={"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED},
)
seen, started = set(), time.time()
while True:
    try:
        message = socket.recv()
    except websocket.WebSocketConnectionClosedException:
        break
    if not message:
        if not socket.connected:
            break
        continue
    event = json.loads(message)
    identity = (event.get("guid") or event["id"], event["ts"])
    if identity in seen:
        continue
    seen.add(identity)
    event["@devo_pulling_id"] = "1795170000000"
    sender.send(tag=f"mail.proofpoint.pod.{stream}", msg=json.dumps(event))
sender.close()
print(f"python: {len(seen)} events, {time.time() - started:.1f} s", file=sys.stderr)
