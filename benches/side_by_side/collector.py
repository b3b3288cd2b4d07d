"""A collector as one writes it with requests, json and devo-sdk: one request, an identity for each event, one record each.

Says at its end how many events it sent, how many bytes, and its peak memory in bytes.
"""

import hashlib
import json
import sys
import time

import requests
from devo.sender import Sender, SenderConfigSSL

TAG = "mail.proofpoint.tapsiem_v2.messagesblocked"

url, principal, secret, interval, host, port, key, cert, chain, state = sys.argv[1:]
sender = Sender(SenderConfigSSL(address=(host, int(port)), key=key, cert=cert, chain=chain))
answer = requests.get(
    f"{url}/v2/siem/messages/blocked",
    params={"format": "json", "interval": interval},
    auth=(principal, secret),
    timeout=60,
)
answer.raise_for_status()

pulling_id = str(int(time.time() * 1000))
seen, size = set(), 0
for event in answer.json()["messagesBlocked"]:
    canonical = json.dumps(event, sort_keys=True, separators=(",", ":"))
    identity = hashlib.sha256(canonical.encode()).digest()
    if identity in seen:
        continue
    seen.add(identity)
    event["@devo_pulling_id"] = pulling_id
    message = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    sender.send(TAG, message, date=date, hostname="bench")
    size += len(message.encode())
sender.close()
with open(state, "w", encoding="utf-8") as file:
    json.dump({"until": interval.split("/")[1], "seen": [identity.hex() for identity in seen]}, file)

with open("/proc/self/status", encoding="utf-8") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"delivered": len(seen), "bytes": size, "peak_memory_bytes": peak}))
