"""Asks a Query API with Devo's own client and prints what it made of each row, or its error, as JSON.

Arguments: the address, the token, the query, its start and end in milliseconds, the mode of the answer.
"""

import json
import os
import sys

# the simulator is on the loopback, without TLS; the client reads this when it is made
os.environ["UNSECURE_HTTP"] = "True"

from devo.api.client import JSON, JSON_SIMPLE, SIMPLECOMPACT_TO_OBJ, Client, ClientConfig, DevoClientRequestException

address, token, query, start, end, mode = sys.argv[1:]
processor = {"json/simple/compact": SIMPLECOMPACT_TO_OBJ, "json/simple": JSON_SIMPLE}.get(mode, JSON)
config = ClientConfig(response=mode, stream=mode.startswith("json/simple"), processor=processor)
client = Client(address=address, auth={"token": token}, config=config)
try:
    answer = client.query(query, dates={"from": int(start), "to": int(end)})
    print(json.dumps(answer if isinstance(answer, dict) else list(answer)))
except DevoClientRequestException as error:
    print(json.dumps({"status": error.status, "message": error.message, "code": getattr(error, "code", None)}))
