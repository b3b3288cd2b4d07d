//! `examples` are what the help of each command shows below its options.

pub(super) const RUN: &str = "\
Examples:
  Collect what is new, as a timer does:
    proofpull run tap-messages-blocked
  See what a run would request, and what that costs:
    proofpull run 'tap-*' --dry-run
  Look at events, and deliver none:
    proofpull run tap-messages-blocked --stdout | head
  Deliver the last three days again:
    proofpull run tap-messages-blocked --start-time 3d";

pub(super) const CHECK: &str = "\
Examples:
  Read the configuration, and every file that it names:
    proofpull check
  Sign in to each API, and complete an empty transaction with Devo:
    proofpull check --online
  Print each key with its effective value:
    proofpull check --show";

pub(super) const STATUS: &str = "\
Examples:
  See what is wrong, and where each service stands:
    proofpull status
  Follow the runs that are under way:
    proofpull status 'tap-*' --watch
  Answer as a Nagios check:
    proofpull status tap-messages-blocked --max-lag 30m";

pub(super) const VERIFY: &str = "\
Examples:
  Compare with Devo what was delivered in the last day:
    proofpull verify
  Answer as a Nagios check:
    proofpull verify --since 3d --max-missing 0";

pub(super) const SERVICES: &str = "\
Examples:
  List all services:
    proofpull services
  Print the default tags:
    proofpull services --json | jq -r '.services[].tag'";

pub(super) const IMPORT: &str = "\
Examples:
  Print what would be written:
    proofpull import config.yaml --state state --into new --dry-run
  Take over configuration and position, for the systemd units:
    sudo proofpull import config.yaml --state state --into /etc/proofpull";

pub(super) const INIT: &str = "\
Examples:
  Be asked for everything:
    sudo proofpull init
  Be asked for what is not given, and start the timers:
    sudo proofpull init --services 'tap-messages-*' --devo-address collector-us.devo.io:443 --enable
  Write a configuration of your own, without systemd:
    proofpull init --dir collector";

pub(super) const COMPLETIONS: &str = "\
Examples:
  For this bash:
    source <(proofpull completions bash)
  For each fish:
    proofpull completions fish > ~/.config/fish/completions/proofpull.fish";
