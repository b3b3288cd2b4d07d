"""Reads an hour of the archive and the live stream from the simulated log stream, with a WebSocket client that
others wrote: `pod.py websockets|websocket-client URL TOKEN`. Prints one JSON object of what was seen."""

import json
import sys

LIBRARY, BASE, TOKEN = sys.argv[1:4]
AGENT = {"Authorization": f"Bearer {TOKEN}"}
ARCHIVE = "&sinceTime=2026-11-20T05:20:00-0000&toTime=2026-11-20T05:40:00%2B0000"


def url(more=""):
    return f"{BASE}/v1/stream?cid=examplecorp_hosted&type=message{more}"


def events(messages):
    found = []
    for message in messages:
        text = message.decode() if isinstance(message, bytes) else message
        if text.strip():
            found.append(json.loads(text)["guid"])
    return found


def with_websockets():
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    def open_it(more="", headers=AGENT):
        # an answer to a ping must not wait behind messages that nobody reads
        options = {"max_size": None, "max_queue": None, "compression": None}
        return connect(url(more), additional_headers=headers, **options)

    def refused(headers):
        try:
            open_it(headers=headers).close()
        except InvalidStatus as error:
            return [error.response.status_code, error.response.body.decode()]
        return [101, ""]

    messages = []
    with open_it(ARCHIVE) as archive:
        try:
            while True:
                messages.append(archive.recv(timeout=30))
        except ConnectionClosed as closed:
            code = closed.rcvd.code
    live = open_it()
    said = [live.recv(timeout=30) for _ in range(5)]
    answered = live.ping().wait(30)
    second = refused(AGENT)
    live.close()
    return messages, code, said, bool(answered), second, refused({}), live.protocol.close_code


def with_websocket_client():
    import websocket

    def open_it(more="", headers=AGENT):
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return websocket.create_connection(url(more), header=lines, timeout=30)

    def refused(headers):
        try:
            open_it(headers=headers).close()
        except websocket.WebSocketBadStatusException as error:
            return [error.status_code, (error.resp_body or b"").decode()]
        return [101, ""]

    def frames(socket):
        while True:
            kind, data = socket.recv_data(control_frame=True)
            yield kind, data

    messages, code = [], None
    for kind, data in frames(open_it(ARCHIVE)):
        if kind == websocket.ABNF.OPCODE_CLOSE:
            code = int.from_bytes(data[:2], "big")
            break
        if kind in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            messages.append(data)
    live = open_it()
    said, answered = [], False
    live.ping("are you there")
    for kind, data in frames(live):
        if kind == websocket.ABNF.OPCODE_PONG:
            answered = data == b"are you there"
        elif kind in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            said.append(data)
        if answered and len(said) >= 5:
            break
    second = refused(AGENT)
    live.send_close()
    for kind, data in frames(live):
        if kind == websocket.ABNF.OPCODE_CLOSE:
            closed = int.from_bytes(data[:2], "big")
            break
    live.shutdown()
    return messages, code, said, answered, second, refused({}), closed


run = {"websockets": with_websockets, "websocket-client": with_websocket_client}[LIBRARY]
messages, code, said, answered, second, stranger, closed = run()
print(
    json.dumps(
        {
            "archive": len(set(events(messages))),
            "archive_repeats": len(events(messages)) - len(set(events(messages))),
            "archive_code": code,
            "live": len(events(said)) > 0,
            "ping_answered": answered,
            "second_session": second,
            "stranger": stranger[0],
            "live_code": closed,
        }
    )
)
