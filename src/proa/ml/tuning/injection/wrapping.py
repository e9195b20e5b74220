"""The primary container's command, so that its lines go to a file, and that it can be stopped early.

Without stopping rules the shell only opens the file and becomes the training: process 1, signals and exit code are the
training's own. With rules the shell stays as the training's parent: it hands signals on, stops the training with the
signals whose names it reads from a FIFO (the collector writes them), and then exits with 0. A FIFO, because containers
do not see one another's processes; a shell, because any image that trains has one, and nothing is copied into it.

Upstream joins command and arguments with spaces into a line for the shell; here each argument stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence

TO_FILE = """[ ! -e "$0" ] || rm -f "$0"; exec "$@" >"$0" 2>&1"""
"""Run the arguments with their output in the file $0. A restarted training starts a new file."""

STOPPABLE = """\
stop=$1; shift
if [ "$0" != - ]; then [ ! -e "$0" ] || rm -f "$0"; exec >"$0" 2>&1; fi
rm -f "$stop.done"
until [ -p "$stop" ]; do mkfifo -m 666 "$stop" 2>/dev/null || [ -p "$stop" ] || sleep 1; done
child=; early=
for s in TERM INT HUP QUIT USR1 USR2; do
  trap "early=$s; [ -z \\"\\$child\\" ] || kill -$s \\$child 2>/dev/null" $s
done
"$@" &
child=$!
[ -z "$early" ] || kill -"$early" "$child" 2>/dev/null
(while read -r s; do : >"$stop.done"; kill -"$s" "$child" 2>/dev/null; done) <"$stop" &
reader=$!
while :; do wait "$child"; code=$?; kill -0 "$child" 2>/dev/null || break; done
wait "$child" 2>/dev/null; last=$?
[ $last -eq 127 ] || code=$last
kill -KILL "$reader" 2>/dev/null
[ ! -e "$stop.done" ] || exit 0
exit $code
"""
"""The same ($0 is "-" for output that stays where it goes), and read names of signals for it from the FIFO $1."""


def wrap(command: Sequence[str], output: str, stop: str) -> list[str]:
    """Return what runs `command` with its output in file `output`, stopped by FIFO `stop`; "" for neither."""
    if stop:
        return ["sh", "-c", STOPPABLE, output or "-", stop, *command]
    return ["sh", "-c", TO_FILE, output, *command] if output else list(command)
