#!/bin/sh
# Runs a shell command where mount(8) finds this program as its helper, as after an installation: in a
# mount namespace of its own, so that the machine's /sbin stays as it is.
#
#   with_helper.sh PROGRAM FOLDER COMMAND [ARGUMENT...]
set -eu
program=$1 folder=$2
shift 2

# Mounts of others must not be held here, where they would outlive their end.
umount --all --lazy --types fuse.logsinkfs

sbin=$(readlink -f /sbin)
mkdir -p "$folder"
ln -s "$program" "$folder/mount.logsinkfs"
mount -t overlay overlay -o "lowerdir=$folder:$sbin" "$sbin"
exec sh -euc "$@"
