#!/bin/bash
# The application of a pod: begins its log anew, as programs do that open it with `>`, and writes a line with each
# write(2), until TERM. Like the programs of the end-to-end tests it keeps a journal outside of the mount: `try LINE`, then
# `ok LINE` or `err LINE`. After an error it opens its log again, as it has to when a mount died and is back.
#
# usage: application.sh NAME LOG JOURNAL
run=$1@$EPOCHREALTIME log=$2
exec 4>>"$3" 5<> <(:)
trap 'stop=1' TERM

exec 3>"$log" || exit 1
number=0
while [ -z "$stop" ]; do
    number=$((number + 1))
    # Full speed at first; then slower, so that an application that waits for its test writes no flood.
    [ $number -le 2000 ] || read -r -t 0.002 <&5
    line="$run line $number of an application that has something to say about itself"
    echo "try $line" >&4
    if { echo "$line" >&3; } 2>/dev/null; then
        echo "ok $line" >&4
    else
        echo "err $line" >&4
        until { exec 3>>"$log"; } 2>/dev/null; do read -r -t 0.01 <&5; done
    fi
done
