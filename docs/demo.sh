#!/usr/bin/env bash
# The demo: a program logs into a mounted bucket, is started again and again under the same file name
# and dies by kill -9 each time; in the middle the daemon dies by kill -9 too. Then mount and bucket
# are shown, and every line is counted. Ends with 1 when a line is missing or stored twice.
#
# Usage: docs/demo.sh            builds the program (release) and runs the demo
#        LOGSINKFS=PATH docs/demo.sh   runs it with a program that is built already
#
# Everything is in a temporary directory, which goes when the script ends, however it ends.
set -euo pipefail

starts=10   # starts of the writing program
fatal=6     # the start during which the daemon is killed

# The writing program: opens the log with `>`, as a program does that restarts, writes numbered lines,
# one write(2) a line, and kills itself after the last. Where a write fails it notes how many had
# succeeded, and ends.
write_lines() {
    local log=$1 start=$2 lines=$3 note=$4 line
    exec 3>"$log"
    for ((line = 1; line <= lines; line++)); do
        if ! printf '%(%FT%T)T INFO start=%02d line=%06d GET /orders 200\n' -1 "$start" "$line" >&3; then
            echo $((line - 1)) >"$note"
            exit 1
        fi 2>/dev/null
    done
    kill -KILL "$BASHPID"
}

if [ "${1-}" = write-lines ]; then
    shift
    write_lines "$@"
fi

self=$(realpath "$0")
cd "$(dirname "$self")/.."
dir=
daemon=
writer=

mounted() {
    grep -qsF " $dir/mount fuse" /proc/self/mounts
}

unmount() {
    if [ "$(id -u)" = 0 ]; then umount -l "$dir/mount"; else fusermount3 -u -z "$dir/mount"; fi
}

clean_up() {
    local code=$?
    trap - EXIT
    for pid in $writer $daemon; do
        kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    if [ -n "$dir" ]; then
        ! mounted || unmount || true
        # A mount that could not be taken away is not walked into.
        rm -rf --one-file-system "$dir"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "demo: $*" >&2
    if [ -n "$dir" ] && [ -s "$dir/daemon.log" ]; then
        echo "demo: the daemon's last words:" >&2
        tail -n 5 "$dir/daemon.log" >&2
    fi
    exit 1
}

title() {
    if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

[ -w /dev/fuse ] || fail "/dev/fuse is missing, or this user may not open it"
if [ "$(id -u)" != 0 ] && ! command -v fusermount3 >/dev/null; then
    fail "fusermount3 is missing: run \`make setup\`, or install the package fuse3"
fi
if [ -z "${LOGSINKFS-}" ]; then
    cargo build --release --locked
    LOGSINKFS=${CARGO_TARGET_DIR:-target}/release/logsinkfs
fi

dir=$(realpath "$(mktemp -d)")
# Started by root, the daemon's worker is not root, and makes its directories itself.
chmod 755 "$dir"
mkdir "$dir/mount"
log=$dir/mount/web/app.log

# Mounts the embedded bucket, and waits until the mount serves.
mount_bucket() {
    # What the daemon before has said must not be taken for what this one says.
    rm -f "$dir/daemon.out"
    "$LOGSINKFS" mount --foreground --spool-dir "$dir/spool" --writer-id demo \
        "file://$dir/bucket" "$dir/mount" >"$dir/daemon.out" 2>>"$dir/daemon.log" &
    daemon=$!
    for _ in {1..100}; do
        ! grep -qs '^logsinkfs: serving' "$dir/daemon.out" || return 0
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    fail "the mount does not serve"
}

title "1. A program logs into the mount; it is killed and started again under the same file name"
mount_bucket
mkdir "$dir/mount/web"
written=()
total=0
printf '   lines of each start, then kill -9:'
for ((start = 1; start <= starts; start++)); do
    lines=999999
    [ "$start" = "$fatal" ] || lines=$((2000 + RANDOM % 1000))
    "$self" write-lines "$log" "$start" "$lines" "$dir/note" 2>/dev/null &
    writer=$!
    if [ "$start" = "$fatal" ]; then
        # This one writes until its daemon dies under it.
        sleep 1
        kill -KILL "$daemon"
        wait "$daemon" 2>/dev/null || true
    fi
    code=0
    wait "$writer" 2>/dev/null || code=$?
    writer=
    if [ "$start" = "$fatal" ]; then
        [ "$code" = 1 ] || fail "writer $start ended with $code instead of an error of its log"
        lines=$(cat "$dir/note")
        printf ' %d(*)' "$lines"
        mount_bucket
    else
        [ "$code" = 137 ] || fail "writer $start ended with $code instead of being killed"
        printf ' %d' "$lines"
    fi
    written[start]=$lines
    total=$((total + lines))
done
printf '\n   (*) here the daemon was killed instead, by kill -9, and the bucket mounted again\n'

title "2. The mount: what a program on this machine sees, the last start alone"
(
    cd "$dir/mount"
    echo "\$ ls -l web; wc -l web/app.log; tail -n 2 web/app.log"
    ls -l web | tail -n +2
    wc -l web/app.log
    tail -n 2 web/app.log
)

# What is not uploaded yet is sealed and uploaded now.
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
daemon=

title "3. The bucket: plain gzip objects, each written once; every start is there"
(
    cd "$dir/bucket/web/app.log.segments"
    echo "\$ cd bucket/web/app.log.segments; find . -name '*.gz'"
    find . -name '*.log.gz' -printf '%6s bytes %P\n' | sort -k 3
    first=$(find . -name '*_00000001_*' -printf '%P\n' | sort | head -n 1)
    echo "\$ zcat ${first%%_*}*00000001_* | head -n 2"
    zcat "$first" | head -n 2 || true
)

for ((start = 1; start <= starts; start++)); do
    for ((line = 1; line <= written[start]; line++)); do
        printf 'start=%02d line=%06d\n' "$start" "$line"
    done
done >"$dir/expected"
find "$dir/bucket/web" -name '*.log.gz' -exec zcat {} + |
    sed -n 's/.* \(start=[0-9]* line=[0-9]*\) .*/\1/p' | sort >"$dir/found"
missing=$(comm -23 "$dir/expected" <(uniq "$dir/found") | wc -l)
twice=$(uniq -d "$dir/found" | wc -l)
# A write that the daemon's death cut off was never acknowledged; its line may be there.
unacknowledged=$(comm -13 "$dir/expected" <(uniq "$dir/found") | wc -l)
found=$(($(wc -l <"$dir/found") - unacknowledged))
objects=$(find "$dir/bucket/web" -name '*.log.gz' | wc -l)

title "4. Counted"
row() { printf '   %-46s %8d\n' "$@"; }
row "starts of the program" "$starts"
row "kill -9 of the daemon" 1
row "lines written (write(2) returned)" "$total"
row "lines found in the bucket" "$found"
row "lines missing" "$missing"
row "lines stored twice" "$twice"
row "objects" "$objects"
row "exit code of the daemon when it was stopped" "$code"
[ "$unacknowledged" = 0 ] ||
    echo "   (and one line whose write the death of the daemon cut off before it was acknowledged)"
[ "$missing" = 0 ] && [ "$twice" = 0 ] && [ "$found" = "$total" ] && [ "$unacknowledged" -le 1 ] ||
    fail "lines written and lines found differ"
[ "$code" = 0 ] || fail "the daemon left data in its spool"
