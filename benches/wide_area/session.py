"""What one writes with requests, websocket-client and devo-sdk: one session, one connection to the receiver.

    session.py JOB RECEIVER_PORT KEY CERT CHAIN URL ...

Prints how many events it sent.
"""

import json
import ssl
import sys
import time

import requests
import websocket
from devo.sender import Sender, SenderConfigSSL

job, port, key, cert, chain, url, *rest = sys.argv[1:]
sender = Sender(SenderConfigSSL(address=("localhost", int(port)), key=key, cert=cert, chain=chain))
session = requests.Session()
seen = set()


def get(path, **query):
    answer = session.get(url + path, params=query, timeout=60)
    answer.raise_for_status()
    return answer.json()


def send(tag, identity, event):
    if identity in seen:
        return
    seen.add(identity)
    event["@devo_pulling_id"] = "1795170000000"
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    sender.send(tag, json.dumps(event, separators=(",", ":")), date=date, hostname="bench")


def tap(principal, secret, *windows):
    session.auth = (principal, secret)
    for window in windows:
        for event in get("/v2/siem/messages/blocked", format="json", interval=window)["messagesBlocked"]:
            send("mail.proofpoint.tapsiem_v2.messagesblocked", event["GUID"] + event["id"], event)


def threats(principal, secret, *windows):
    session.auth = (principal, secret)
    for window in windows:
        answer = get("/v2/siem/all", format="json", interval=window)
        for event in (event for events in answer.values() if isinstance(events, list) for event in events):
            for threat in event.get("threatsInfoMap", []):
                name = threat["threatID"]
                if name not in seen:
                    send("mail.proofpoint.tap_threats.events", name, get(f"/v2/threat/summary/{name}"))


def isolation(api_key, start, end):
    session.headers["Authorization"] = f"Bearer {api_key}"
    query = {"from": start, "to": end, "pageSize": 10000}
    while True:
        answer = get("", **query)
        query["jobId"] = answer.get("jobId")
        if answer["status"] != "COMPLETED":
            time.sleep(0.25)
            continue
        for event in answer["data"]:
            send("tap.proofpoint.isolation.browser_and_email", json.dumps(event, sort_keys=True), event)
        if not answer.get("pageToken"):
            return
        query["pageToken"] = answer["pageToken"]


def pod(token, cluster, *hours):
    for start, end in zip(hours, hours[1:]):
        socket = websocket.create_connection(
            f"{url}/v1/stream?cid={cluster}&type=maillog&sinceTime={start}&toTime={end}",
            header=[f"Authorization: Bearer {token}"],
            sslopt={"ca_certs": chain, "cert_reqs": ssl.CERT_REQUIRED},
        )
        while True:
            try:
                message = socket.recv()
            except websocket.WebSocketConnectionClosedException:
                break
            if not message:
                break
            event = json.loads(message)
            send("mail.proofpoint.pod.maillog", (event["id"], event["ts"]), event)
        socket.close()


{"tap": tap, "threats": threats, "isolation": isolation, "pod": pod}[job](*rest)
sender.close()
print(len(seen))
