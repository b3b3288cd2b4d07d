#!/usr/bin/env bash
# One alert for each sender, however many messages: who sent what to whom, and since when.
#
#   alerts-by-sender.sh [SERVICE [OPTION OF proofpull run]...]
#
# Reads what is new since it was last run, whatever others read (with --start-time: all of a time), and writes one JSON
# object a line, those with most messages first. The sender is the one whom people see, in small
# letters; where an event has none, it is that of the envelope. Needs jq 1.6 or later.
set -euo pipefail

proofpull run "${1:-tap-messages-delivered}" --stdout --consumer alerts-by-sender -q "${@:2}" | jq -cn '
  def texts: [.] | flatten | map(strings) | unique;
  def sender: ((.fromAddress | texts | first) // .sender // "(unknown)") | ascii_downcase;
  def threats: [.threatsInfoMap[]?.threat, .url?] | texts;
  def time: .messageTime // .clickTime // "";

  reduce inputs as $event ({};
    ($event | sender) as $sender
    | .[$sender] |= {
        sender: $sender,
        events: ((.events // 0) + 1),
        first: ([.first, ($event | time)] | texts | min),
        last: ([.last, ($event | time)] | texts | max),
        recipients: ([.recipients, $event.recipient] | texts),
        threats: ([.threats, ($event | threats)] | texts)
      })
  | [.[]] | sort_by([-.events, .sender])[]'
