#!/bin/busybox sh
# The first process of the guest. On each write path it makes a mount, runs writers through restarts and kills, and has what is
# left recovered; what became of it is in /results, which goes to the second serial line as an archive. Here nothing is
# expected of the kernel: that is for the test on the other side. The console says what is awaited.
/bin/busybox mkdir -p /proc /sys /dev /etc /run /tmp /data /results
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /data
mount -t tmpfs tmpfs /results
mkfifo /pause
echo root:x:0:0::/:/bin/sh >/etc/passwd
ip link set lo up
[ ! -e /fuse.ko ] || insmod /fuse.ko

uname -r >/results/release
mkdir /results/bucket
logsinkfs bucket --listen 127.0.0.1:9000 /results/bucket >/data/bucket.json &
until grep -qs '"endpoint"' /data/bucket.json; do sleep 0.05; done
told() { sed "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/" /data/bucket.json; }
AWS_ACCESS_KEY_ID=$(told access_key_id)
AWS_SECRET_ACCESS_KEY=$(told secret_access_key)
LOGSINKFS_REGION=$(told region)
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY LOGSINKFS_REGION
export AWS_EC2_METADATA_DISABLED=true LOGSINKFS_ENDPOINT_URL=http://127.0.0.1:9000 LOGSINKFS_FORCE_PATH_STYLE=true
# Segments are made while the writers run.
export LOGSINKFS_ROTATE_SIZE=8KiB LOGSINKFS_SPOOL_MIN_FREE=0

await() {
    echo "await: $*"
    until "$@"; do sleep 0.05; done
}

ended() { [ -e "$1.code" ]; }

# Runs a program in the background, with its pid, its exit code and what it says in files of this name.
start() {
    file=$1
    shift
    (
        sh -c 'echo $$ >"$0.pid"; exec "$@"' "$file" "$@" >"$file.out" 2>"$file.err"
        echo $? >"$file.code"
    ) &
    await [ -s "$file.pid" ]
}

kill_now() {
    kill -KILL "$(cat "$1.pid")"
    await ended "$1"
}

lines() { cat "$1.journal" 2>/dev/null | grep -c '^ok'; }

has_lines() { [ "$(lines "$1")" -ge "$2" ] || ended "$1"; }

# Waits for further lines of a writer, or for its end.
await_more() { await has_lines "$1" $(($(lines "$1") + $2)); }

# Starts a writer that begins the log anew, or one that appends to it.
begin() { start "$2" sh /writer.sh "$2" "$2.journal" 3>"$point/$1"; }
append() { start "$2" sh /writer.sh "$2" "$2.journal" 3>>"$point/$1"; }

serves() { grep -q '^logsinkfs: serving' "$daemon.out" || ended "$daemon"; }

# Starts the daemon, whose files are `daemon` then.
mount_it() {
    daemon=$results/$1
    start "$daemon" logsinkfs mount --foreground --write-path "$path" --spool-dir "$spool" "$source" "$point"
    await serves
}

workers() { cat "/proc/$(cat "$daemon.pid")"/task/*/children; }

# Whether a mount whose worker was killed for the nth time is served again, or has ended.
is_decided() { ended "$daemon" || [ "$(grep -c 'the new worker serves' "$daemon.err")" -ge "$1" ]; }

kill_all() {
    old=$(workers)
    kill -KILL "$(cat "$daemon.pid")" $old
    await ended "$daemon"
}

# What is seen of a mount whose daemon is gone.
look() { ls "$point" >"$results/$1.out" 2>"$results/$1.err"; }

scenario() {
    path=$1 results=/results/$1 point=/data/$1/mount spool=/data/$1/spool source=s3://logs/$1/
    mkdir -p "$results" "$point"
    cd "$results" || exit 1

    mount_it first
    for n in 1 2 3; do
        begin restarted.log "restarted-$n"
        await_more "restarted-$n" 100
        kill_now "restarted-$n"
    done

    append app.log app-1
    for n in 1 2 3; do
        await_more app-1 100
        kill -KILL $(workers)
        await is_decided $n
        ! ended "$daemon" || break
        mkdir "$point/asked-$n" || echo "$n" >>refused
    done
    await_more app-1 100
    writer=app-1
    if ended "$daemon"; then
        await ended app-1
        mount_it second
        append app.log app-2
        await_more app-2 100
        writer=app-2
    fi

    kill_all
    look all-killed
    await_more $writer 100
    mount_it third
    append app.log app-3
    await_more $writer 100
    await_more app-3 100
    kill_all
    for writer in app-1 app-2 app-3; do
        [ ! -e $writer.pid ] || ended $writer || kill_now $writer
    done
    start "$results/recover" logsinkfs recover --source "$source" "$spool"
    await ended "$results/recover"
}

# Whatever hangs, the results get out.
for path in auto daemon; do
    (scenario $path) &
    scenario=$!
    (sleep 120 && kill -KILL $scenario) 2>/dev/null &
    wait $scenario || { echo "the scenario $path hangs" && cat /results/$path/*.err; }
done
stty -F /dev/ttyS1 raw
tar -czf /dev/ttyS1 -C /results .
sync
poweroff -f
