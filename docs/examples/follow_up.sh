#!/bin/sh
# Called for each alert: ALERT_... say what it is, and the payload is on the standard input.
# Status 0 means that it is done; after any other it is tried again, or comes again.
set -e

[ "$ALERT_TYPE" = new ] || exit 0

# An alert may come twice: a superevent is queued once.
grep -qsxF -e "$ALERT_SUPEREVENT" queue.txt || echo "$ALERT_SUPEREVENT" >> queue.txt
