"""Saves a position as the SDK of Devo's collectors does: collector_state.py FOLDER INPUT SERVICE MODULE KEY VALUE"""

import hashlib
import pickle
import sys
from pathlib import Path

folder, collector, service, module, key, value = sys.argv[1:]
name = "_".join([collector, "12345", service, "predefined", module])
path = Path(folder, hashlib.md5(name.encode("utf-8"), usedforsecurity=False).hexdigest())
state = {"@persistence_version": 1, key: value, "last_ids": ["a", "b"], "is_first": False, "next": None}
with path.open("wb") as file:
    pickle.dump(state, file, pickle.HIGHEST_PROTOCOL)
