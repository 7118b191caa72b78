#!/bin/bash
# Boots the machine's systemd as the first process of namespaces of its own, runs a shell script under it and prints
# what that prints. Nothing outside is changed: /etc, /usr and /var are overlays, the network is a loopback alone.
#
#   boot.sh FOLDER      FOLDER/etc and FOLDER/usr lie over those of the machine; FOLDER/script is run
set -eu
folder=$1

if [ "${2:-}" = inside ]; then
    # Mounts of others must not be held here, where they would outlive their end.
    umount --all --lazy --types fuse.logsinkfs
    mount -t proc proc /proc
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mount -t tmpfs tmpfs "$folder/changes"
    for dir in etc usr var; do
        changes=$folder/changes/$dir
        mkdir -p "$folder/$dir" "$changes/new" "$changes/work"
        mount -t overlay overlay -o "lowerdir=$folder/$dir:/$dir,upperdir=$changes/new,workdir=$changes/work" "/$dir"
    done
    mkdir "$folder/changes/dev"
    for device in fuse null random urandom zero; do
        touch "$folder/changes/dev/$device"
        mount --bind "/dev/$device" "$folder/changes/dev/$device"
    done
    mount --rbind "$folder/changes/dev" /dev
    mount -t sysfs -o ro sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs /run
    # The machine's own services have nothing to do here.
    rm -rf /etc/systemd/system/*.wants /usr/lib/systemd/system/*.wants
    cat >/etc/systemd/system/script.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash -eu $folder/script
ExecStopPost=/bin/sh -c 'exec systemctl exit \$\$EXIT_STATUS'
StandardOutput=append:$folder/said
StandardError=append:$folder/said
TimeoutStartSec=120
UNIT
    exec env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd \
        --system --unit=script.service --show-status=no --log-target=console </dev/null
fi

all=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)
own=${all:?there is no cgroup2}/logsinkfs-boot-$$
mkdir "$own"
mkdir -p "$folder/changes"
touch "$folder/said"
code=0
(
    echo "$BASHPID" >"$own/cgroup.procs"
    exec setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
        --cgroup --ipc --uts --net /bin/bash "$0" "$folder" inside
) >&2 || code=$?
find "$own" -depth -type d -exec rmdir {} \;
cat "$folder/said"
exit "$code"
