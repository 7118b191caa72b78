# A program that logs: writes a line with each write(2) to descriptor 3, until it is killed or a write fails. Like the programs
# of the end-to-end tests it keeps a journal outside of the mount: `try LINE`, then `ok LINE` or `err LINE`.
#
# usage: writer.sh NAME JOURNAL 3>LOG
exec 4>>"$2" 5<>/pause
number=0
while :; do
    number=$((number + 1))
    line="$1 line $number of a program that has something to say about itself"
    echo "try $line" >&4
    if ! echo "$line" >&3; then
        echo "err $line" >&4
        exit 1
    fi
    echo "ok $line" >&4
    # Some hundred lines a second: the test waits for the daemon, not for a flood.
    read -r -t 0.002 _ <&5
done
