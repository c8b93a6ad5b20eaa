#!/bin/bash
# fast_commits.sh IMAGE BLOCK_SIZE: makes a file system as a power cut leaves it, its last changes only in fast commits.
# Needs root, loop devices and a kernel with fast commits (5.10 or newer); IMAGE.sums has what the files should be.
# fast_commits_1k.bin: the blocks of the fast-commit area of such an image of 1 KiB blocks, made by Linux 6.18.
set -euo pipefail
image=$(realpath "$1"); block_size=$2; mnt=$(mktemp -d)
rm -f "$image"; truncate -s 48M "$image"
uuid=01234567-89ab-cdef-0123-000000000fc1
mke2fs -q -F -t ext4 -b "$block_size" -O fast_commit,metadata_csum,64bit -U $uuid \
    -E hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0 -J size=8 "$image"
mount -o loop,commit=300 "$image" "$mnt"
cd "$mnt"
sync_file() { python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$1"; }
# These are in a full commit.
mkdir d d/sub; seq 1 9000 > d/old; seq 1 4000 > d/cut; echo gone > d/gone; cp d/old d/punch; ln -s d/old sym; sync
# Each of these is a fast commit.
for i in 1 2 3; do seq $i 1500 > d/new$i; sync_file d/new$i; done
ln d/new1 d/sub/hard; sync_file d/new1
mv d/new2 d/renamed; sync_file d/renamed
rm d/gone; echo x > d/after; sync_file d/after
truncate -s 5000 d/cut; sync_file d/cut
python3 - <<'PY'
import os
f = os.open('d/sparse', os.O_CREAT | os.O_RDWR)
os.posix_fallocate(f, 0, 70000); os.pwrite(f, b'written', 30000); os.fsync(f)
f = os.open('d/old', os.O_RDWR); os.pwrite(f, b'overwritten', 100000); os.fsync(f)
PY
mkdir d/newdir; echo deep > d/newdir/deep; sync_file d/newdir/deep
chmod 4711 d/new3; touch -d @2 d/new3; sync_file d/new3
# Too much for one block.
for i in $(seq 12); do echo $i > "d/with a longer name $i"; done; sync_file "d/with a longer name 1"
cp --sparse=always "$image" "$image.dirty"
find . -type f -print0 | sort -z | xargs -0 sha256sum > "$image.sums"
cd /; umount "$mnt"; rmdir "$mnt"; mv "$image.dirty" "$image"
