#!/usr/bin/env bash
# Who has got a threat that was delivered: one address a line, in small letters, each once. It is what
# to go through to reset passwords or to disable users:
#
#   recipients-of-delivered-threats.sh | while read -r user; do ...; done
#
# Takes the options of proofpull run. Reads what is new since it was last run, whatever others read (with
# --start-time: all of a time). A threat that was cleared, or was found to be none, in what is read does not count.
# Needs jq 1.6 or later.
set -euo pipefail

proofpull run tap-messages-delivered --stdout --consumer recipients -q "$@" | jq -rn '
  [ inputs
    | .GUID as $message
    | ([.recipient] | flatten | map(strings | ascii_downcase)[]) as $recipient
    | .threatsInfoMap[]?
    | {key: [$message, $recipient, .threatID], $recipient, status: .threatStatus} ]
  | group_by(.key)
  | map(select(all(.status == "active"))[0].recipient)
  | unique[]'
