#!/bin/bash
# fast_commit_trees.sh NAME BLOCK_SIZE FEATURES: makes NAME.img.zst, a file system as a power cut leaves it, many kinds of
# changes only in its fast commits, and NAME.tree, what the kernel showed at that moment. Needs root, loop devices and a
# kernel with fast commits (5.10 or newer); those here were made by Linux 6.18. Space is not allocated late, so that files
# that are not synced last, too.
set -euo pipefail
name=$(realpath -m "$1"); block_size=$2; features=$3; mnt=$(mktemp -d)
image=$name.img; rm -f "$image"; truncate -s 40M "$image"
uuid=01234567-89ab-cdef-0123-000000000fc2
mke2fs -q -F -t ext4 -b "$block_size" -O "fast_commit,$features" -U $uuid \
    -E hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0 -J size=5,fast_commit_size=1024 "$image"
mount -o loop,commit=300,nodelalloc "$image" "$mnt"
cd "$mnt"
sync_file() { python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$1"; }
# These are in a full commit; symbolic links and device nodes always are.
mkdir d d/sub d/doomed many; seq 1 9000 > d/old; seq 1 4000 > d/cut; echo gone > d/gone; ln -s d/old sym
for i in $(seq 40); do echo $i > many/old$i; done
echo a > d/link1; ln d/link1 d/link2; seq 1 3000 > d/shrunk; seq 1 2000 > d/replaced
ln -s "a short target" d/short; mknod d/null c 1 3; mknod d/big b 300 70000; mkfifo d/fifo; sync
# Each of these ends with a fast commit.
for i in 1 2 3; do seq $i 1500 > d/new$i; sync_file d/new$i; done
ln d/new1 d/sub/hard; sync_file d/new1
mv d/new2 d/renamed; sync_file d/renamed
rm d/gone d/link1; echo x > d/after; sync_file d/after
truncate -s 5000 d/cut; sync_file d/cut
mv d/new3 d/replaced; sync_file d/replaced
rmdir d/doomed; mkdir d/newdir d/newdir/below; echo deep > d/newdir/below/deep; sync_file d/newdir/below/deep
echo y > d/newdir/y; sync_file d/newdir/y
python3 - <<'PY'
import os
f = os.open('d/sparse', os.O_CREAT | os.O_RDWR)
for n in range(8):
    os.pwrite(f, b'written', n * 20000)
    os.fsync(f)
f = os.open('d/unwritten', os.O_CREAT | os.O_RDWR)
os.posix_fallocate(f, 0, 70000); os.pwrite(f, b'written', 30000); os.fsync(f)
f = os.open('d/old', os.O_RDWR); os.pwrite(f, b'overwritten', 48894 + 100000); os.fsync(f)
f = os.open('d/shrunk', os.O_RDWR); os.ftruncate(f, 10); os.fsync(f); os.pwrite(f, b'again', 9000); os.fsync(f)
# An inode that is used again for another type.
os.unlink('many/old7'); os.mkdir('many/seven'); f = os.open('many/seven/f', os.O_CREAT | os.O_RDWR); os.fsync(f)
os.unlink('many/seven/f'); os.rmdir('many/seven'); f = os.open('many/eight', os.O_CREAT | os.O_RDWR)
os.write(f, b'8' * 5000); os.fsync(f)
PY
# A directory that gets an index.
for i in $(seq 150); do echo $i > "many/with a name that is not short $i"; [ $((i % 40)) = 0 ] && sync_file "many/with a name that is not short $i"; done
rm many/old1*; chmod 4711 d/after; chown 1000:70000 d/after; touch -d @2 d/after; sync_file d/after
echo last > last; sync_file last
cp --sparse=always "$image" "$image.dirty"
find . -mindepth 1 -path ./lost+found -prune -o -print0 | LC_ALL=C sort -z | while IFS= read -r -d '' path; do
    extra=; [ -L "$path" ] && extra=$(readlink "$path"); [ -f "$path" ] && [ ! -L "$path" ] && extra=$(sha256sum < "$path" | cut -c1-64)
    size=0; [ -f "$path" ] && [ ! -L "$path" ] && size=$(stat -c %s "$path")
    [ -b "$path" ] || [ -c "$path" ] && extra=$(printf '%d:%d' "0x$(stat -c %t "$path")" "0x$(stat -c %T "$path")")
    # Type and mode, links, owner, group, size; the hash of the content, the target or the device number; the path.
    printf '%s\t%s\t%s\t%s\n' "$(stat -c '%f %h %u %g' "$path")" "$size" "${extra:--}" "${path#./}" >> "$name.tree.new"
done
cd /; umount "$mnt"; rmdir "$mnt"; mv "$name.tree.new" "$name.tree"; rm "$image"
zstd -q -19 -f --rm "$image.dirty" -o "$image.zst"
