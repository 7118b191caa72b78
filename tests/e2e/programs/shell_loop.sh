#!/bin/sh
# Opens, appends and closes for each line, as shell scripts do. The environment is that of
# journal.py; $1 is the log file.
number=0
while [ ! -e "$STOP" ]; do
    number=$((number + 1))
    line="$RUN line $number"
    echo "try $line" >>"$JOURNAL"
    # The redirection is inside the braces, so that its failure is no error of the script itself.
    if { echo "$line" >>"$1"; } 2>/dev/null; then
        echo "ok $line" >>"$JOURNAL"
    else
        echo "err $line" >>"$JOURNAL"
        waited=0
        until [ -e "$BACK" ]; do
            waited=$((waited + 1))
            [ "$waited" -lt 6000 ] || exit 1
            sleep 0.01
        done
    fi
done
