//! `open`: what is found, what is made, and what is refused.

use crate::prelude::*;

for_each_fs! {
    missing_file_is_enoent,
    empty_path_is_enoent,
    missing_directory_on_the_way_is_enoent,
    file_on_the_way_is_enotdir,
    trailing_slash_on_a_file_is_enotdir,
    creating_with_a_trailing_slash_is_refused,
    creat_makes_an_empty_file_of_the_caller,
    creat_obeys_the_umask,
    creat_keeps_set_id_bits_of_the_owner,
    creat_on_an_existing_file_changes_nothing,
    creat_changes_times_of_the_directory,
    excl_on_what_exists_is_eexist,
    excl_on_a_symbolic_link_is_eexist_even_if_it_leads_nowhere needs SYMLINKS,
    creat_through_a_dangling_link_makes_its_target needs SYMLINKS,
    creat_through_a_link_with_a_trailing_slash_is_refused needs SYMLINKS,
    writing_a_directory_is_eisdir,
    creat_on_a_directory_is_eisdir,
    creat_of_dot_is_eisdir,
    nofollow_on_a_symbolic_link_is_eloop needs SYMLINKS,
    nofollow_counts_for_the_last_component_only needs SYMLINKS,
    directory_flag_on_a_file_is_enotdir,
    directory_flag_on_a_link_to_a_directory_opens_it needs SYMLINKS,
    both_write_modes_are_einval,
    trunc_empties_the_file,
    trunc_changes_times_even_of_an_empty_file,
    trunc_without_write_permission_is_eacces_and_empties_nothing needs OWNERS,
    descriptors_are_the_lowest_free,
    too_many_descriptors_are_emfile,
    openat_starts_at_the_directory,
    openat_with_an_absolute_path_ignores_the_directory,
    openat_at_a_file_is_enotdir,
    openat_at_a_bad_descriptor_is_ebadf,
    a_path_descriptor_only_names,
    a_path_descriptor_names_what_may_not_be_read needs OWNERS,
    a_path_descriptor_of_a_link_is_the_link needs SYMLINKS,
    read_and_write_need_their_mode,
    noatime_is_for_owners_only needs OWNERS,
    creating_in_a_removed_directory_is_enoent,
    device_without_a_driver_is_enxio needs NODES,
    socket_cannot_be_opened needs NODES,
    creat_of_a_name_that_is_there_finds_it_in_an_unwritable_directory needs OWNERS,
}

fn missing_file_is_enoent(t: &Fixture) {
    for flags in [O::RDONLY, O::WRONLY, O::RDWR, O::TRUNC | O::WRONLY, O::PATH] {
        fails!(t.root.open("none", flags, 0), ENOENT);
    }
    // A second time, when the cache knows.
    fails!(t.root.open("none", O::RDONLY, 0), ENOENT);
}

fn empty_path_is_enoent(t: &Fixture) {
    fails!(t.root.open("", O::RDONLY, 0), ENOENT);
    fails!(t.root.open("", O::CREAT | O::WRONLY, 0o644), ENOENT);
}

fn missing_directory_on_the_way_is_enoent(t: &Fixture) {
    fails!(t.root.open("none/file", O::RDONLY, 0), ENOENT);
    fails!(t.root.open("none/file", O::CREAT | O::WRONLY, 0o644), ENOENT);
    fails!(t.root.open("none/../file", O::CREAT | O::WRONLY, 0o644), ENOENT);
}

fn file_on_the_way_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    for path in ["file/x", "file/.", "file/..", "file/../file"] {
        fails!(p.open(path, O::RDONLY, 0), ENOTDIR);
        fails!(p.open(path, O::CREAT | O::WRONLY, 0o644), ENOTDIR);
    }
}

fn trailing_slash_on_a_file_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.open("file/", O::RDONLY, 0), ENOTDIR);
    fails!(t.root.open("file///", O::WRONLY, 0), ENOTDIR);
    // POSIX 2024 takes either for CREAT.
    fails!(t.root.open("file/", O::CREAT | O::WRONLY, 0o644), ENOTDIR | EISDIR);
}

fn creating_with_a_trailing_slash_is_refused(t: &Fixture) {
    fails!(t.root.open("new/", O::CREAT | O::WRONLY, 0o644), EISDIR | ENOENT | ENOTDIR);
    assert!(!t.root.exists("new"));
}

fn creat_makes_an_empty_file_of_the_caller(t: &Fixture) {
    let user = t.user(100);
    user.create("file", 0o640).unwrap();
    let stat = user.stat("file").unwrap();
    assert_eq!((stat.file_type, stat.size, stat.nlink), (FileType::Regular, 0, 1));
    assert_eq!(stat.blocks, 0);
    if t.caps().contains(Cap::OWNERS) {
        assert_eq!((stat.mode, stat.uid), (0o640, 100));
        // POSIX allows the process's group or the directory's.
        assert!([0, 100].contains(&stat.gid), "group {}", stat.gid);
    }
}

fn creat_obeys_the_umask(t: &Fixture) {
    if !t.caps().contains(Cap::OWNERS) {
        return t.root.create("file", 0o666).unwrap();
    }
    t.root.umask(0o027);
    t.root.create("file", 0o777).unwrap();
    t.root.mkdir("dir", 0o777).unwrap();
    t.root.umask(0);
    assert_eq!(t.root.mode("file"), Ok(0o750));
    assert_eq!(t.root.mode("dir"), Ok(0o750));
}

fn creat_keeps_set_id_bits_of_the_owner(t: &Fixture) {
    if t.caps().contains(Cap::OWNERS) {
        t.user(100).create("file", 0o6711).unwrap();
        assert_eq!(t.root.mode("file").map(|mode| mode & 0o777), Ok(0o711));
        t.root.create("of-root", 0o4711).unwrap();
        assert_eq!(t.root.mode("of-root"), Ok(0o4711));
    }
}

fn creat_on_an_existing_file_changes_nothing(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let (file, dir) = (p.stat("file").unwrap(), p.stat(".").unwrap());
    t.tick();
    let fd = p.open("file", O::CREAT | O::RDWR, 0o600).unwrap();
    assert_eq!(p.read_all(fd).unwrap(), b"content");
    p.close(fd).unwrap();
    let after = p.stat("file").unwrap();
    assert_eq!((after.mode, after.mtime, after.ctime), (file.mode, file.mtime, file.ctime));
    assert_eq!(p.stat(".").unwrap().mtime, dir.mtime);
}

fn creat_changes_times_of_the_directory(t: &Fixture) {
    let p = &t.root;
    let before = p.stat(".").unwrap();
    t.tick();
    p.create("file", 0o644).unwrap();
    let (after, file) = (p.stat(".").unwrap(), p.stat("file").unwrap());
    assert!(after.mtime > before.mtime);
    assert!(after.ctime > before.ctime);
    assert!(file.mtime > before.mtime);
    assert!(file.ctime > before.mtime);
    assert!(file.atime > before.mtime);
}

fn excl_on_what_exists_is_eexist(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.mkdir("dir", 0o755).unwrap();
    for path in ["file", "dir", "dir/", ".", "..", "dir/.", "/"] {
        fails!(p.open(path, O::CREAT | O::EXCL | O::WRONLY, 0o644), EEXIST | EISDIR);
    }
    fails!(p.open("file", O::CREAT | O::EXCL | O::WRONLY, 0o644), EEXIST);
    fails!(p.open("dir", O::CREAT | O::EXCL | O::RDONLY, 0o644), EEXIST);
}

fn excl_on_a_symbolic_link_is_eexist_even_if_it_leads_nowhere(t: &Fixture) {
    t.root.symlink("nowhere", "link").unwrap();
    fails!(t.root.open("link", O::CREAT | O::EXCL | O::WRONLY, 0o644), EEXIST);
    assert!(!t.root.exists("nowhere"));
}

fn creat_through_a_dangling_link_makes_its_target(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.symlink("dir/target", "link").unwrap();
    p.put("link", b"through").unwrap();
    assert_eq!(p.get("dir/target").unwrap(), b"through");
    p.symlink("none/target", "lost").unwrap();
    fails!(p.open("lost", O::CREAT | O::WRONLY, 0o644), ENOENT);
}

fn creat_through_a_link_with_a_trailing_slash_is_refused(t: &Fixture) {
    t.root.symlink("nowhere", "link").unwrap();
    fails!(
        t.root.open("link/", O::CREAT | O::WRONLY, 0o644),
        EISDIR | ENOENT | ENOTDIR
    );
    assert!(!t.root.exists("nowhere"));
}

fn writing_a_directory_is_eisdir(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    for flags in [O::WRONLY, O::RDWR, O::WRONLY | O::TRUNC, O::RDWR | O::APPEND] {
        fails!(t.root.open("dir", flags, 0), EISDIR);
        fails!(t.root.open(".", flags, 0), EISDIR);
    }
}

fn creat_on_a_directory_is_eisdir(t: &Fixture) {
    t.root.mkdir("dir", 0o755).unwrap();
    fails!(t.root.open("dir", O::CREAT | O::WRONLY, 0o644), EISDIR);
    fails!(t.root.open("dir", O::CREAT | O::RDONLY, 0o644), EISDIR);
}

fn creat_of_dot_is_eisdir(t: &Fixture) {
    for path in [".", "..", "./", "/"] {
        fails!(t.root.open(path, O::CREAT | O::WRONLY, 0o644), EISDIR);
    }
}

fn nofollow_on_a_symbolic_link_is_eloop(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    p.symlink("file", "link").unwrap();
    p.symlink("nowhere", "dangling").unwrap();
    for path in ["link", "dangling"] {
        fails!(p.open(path, O::RDONLY | O::NOFOLLOW, 0), ELOOP);
        fails!(p.open(path, O::WRONLY | O::CREAT | O::NOFOLLOW, 0o644), ELOOP);
    }
    p.can_open("file", O::NOFOLLOW).unwrap();
}

fn nofollow_counts_for_the_last_component_only(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.create("dir/file", 0o644).unwrap();
    p.symlink("dir", "link").unwrap();
    p.can_open("link/file", O::NOFOLLOW).unwrap();
}

fn directory_flag_on_a_file_is_enotdir(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.open("file", O::DIRECTORY, 0), ENOTDIR);
    t.root.can_open(".", O::DIRECTORY).unwrap();
    fails!(t.root.open("none", O::DIRECTORY, 0), ENOENT);
}

fn directory_flag_on_a_link_to_a_directory_opens_it(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    p.symlink("dir", "link").unwrap();
    p.can_open("link", O::DIRECTORY).unwrap();
    fails!(p.open("link", O::DIRECTORY | O::NOFOLLOW, 0), ENOTDIR | ELOOP);
}

fn both_write_modes_are_einval(t: &Fixture) {
    t.root.create("file", 0o644).unwrap();
    fails!(t.root.open("file", O::WRONLY | O::RDWR, 0), EINVAL);
}

fn trunc_empties_the_file(t: &Fixture) {
    let p = &t.root;
    p.put("file", &[7; 10_000]).unwrap();
    let fd = p.open("file", O::RDWR | O::TRUNC, 0).unwrap();
    assert_eq!(p.fstat(fd).unwrap().size, 0);
    assert_eq!(p.fstat(fd).unwrap().blocks, 0);
    // Nothing of the old content comes back.
    p.ftruncate(fd, 10_000).unwrap();
    assert!(p.read_all(fd).unwrap().iter().all(|&b| b == 0));
}

fn trunc_changes_times_even_of_an_empty_file(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let before = p.stat("file").unwrap();
    t.tick();
    p.can_open("file", O::WRONLY | O::TRUNC).unwrap();
    let after = p.stat("file").unwrap();
    assert!(after.mtime > before.mtime);
    assert!(after.ctime > before.ctime);
}

fn trunc_without_write_permission_is_eacces_and_empties_nothing(t: &Fixture) {
    t.root.put("file", b"content").unwrap();
    t.root.chmod("file", 0o444).unwrap();
    fails!(t.user(100).open("file", O::RDONLY | O::TRUNC, 0), EACCES);
    fails!(t.user(100).open("file", O::WRONLY | O::TRUNC, 0), EACCES);
    assert_eq!(t.root.get("file").unwrap(), b"content");
}

fn descriptors_are_the_lowest_free(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let open = || p.open("file", O::RDONLY, 0).unwrap();
    let (a, b, c) = (open(), open(), open());
    assert!(a < b && b < c);
    p.close(b).unwrap();
    assert_eq!(open(), b);
    fails!(p.open("none", O::RDONLY, 0), ENOENT);
    assert_eq!(open(), c + 1);
}

fn too_many_descriptors_are_emfile(t: &Fixture) {
    let p = t.root.fork();
    p.create("file", 0o644).unwrap();
    let mut limits = p.limits();
    limits.open_files = 3;
    p.set_limits(limits);
    for _ in 0..3 {
        p.open("file", O::RDWR, 0).unwrap();
    }
    fails!(p.open("file", O::RDWR, 0), EMFILE);
    fails!(p.open("new", O::CREAT | O::WRONLY, 0o644), EMFILE);
    fails!(p.stat("new"), ENOENT);
    p.close(1).unwrap();
    assert_eq!(p.open("file", O::RDONLY, 0), Ok(1));
}

fn openat_starts_at_the_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let dir = p.open("dir", O::DIRECTORY, 0).unwrap();
    let file = p.openat(At::Fd(dir), "file", O::CREAT | O::WRONLY, 0o644).unwrap();
    p.close(file).unwrap();
    assert!(p.exists("dir/file"));
    p.rename("dir", "moved").unwrap();
    assert_eq!(p.fstatat(At::Fd(dir), "file", Follow::Yes), p.stat("moved/file"));
}

fn openat_with_an_absolute_path_ignores_the_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let dir = p.open("dir", O::DIRECTORY, 0).unwrap();
    assert_eq!(p.fstatat(At::Fd(dir), MOUNT_POINT, Follow::Yes), p.stat(MOUNT_POINT));
    // POSIX leaves open whether the descriptor is looked at.
    match p.fstatat(At::Fd(9999), MOUNT_POINT, Follow::Yes) {
        Err(Errno::EBADF) => {}
        other => assert_eq!(other, p.stat(MOUNT_POINT)),
    }
}

fn openat_at_a_file_is_enotdir(t: &Fixture) {
    let p = &t.root;
    p.create("file", 0o644).unwrap();
    let fd = p.open("file", O::RDONLY, 0).unwrap();
    fails!(p.openat(At::Fd(fd), "x", O::RDONLY, 0), ENOTDIR);
    fails!(p.openat(At::Fd(fd), "x", O::CREAT | O::WRONLY, 0o644), ENOTDIR);
}

fn openat_at_a_bad_descriptor_is_ebadf(t: &Fixture) {
    fails!(t.root.openat(At::Fd(9999), "x", O::RDONLY, 0), EBADF);
    fails!(t.root.unlinkat(At::Fd(9999), "x", false), EBADF);
    fails!(t.root.mkdirat(At::Fd(9999), "x", 0o755), EBADF);
}

fn a_path_descriptor_only_names(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let fd = p.open("file", O::PATH, 0).unwrap();
    fails!(p.read(fd, &mut [0; 4]), EBADF);
    fails!(p.write(fd, b"x"), EBADF);
    fails!(p.lseek(fd, Seek::Set(0)), EBADF);
    fails!(p.ftruncate(fd, 0), EBADF | EINVAL);
    assert_eq!(p.fstat(fd), p.stat("file"));
    let dir = p.open(".", O::PATH, 0).unwrap();
    assert_eq!(p.fstatat(At::Fd(dir), "file", Follow::Yes), p.stat("file"));
    fails!(p.getdents(dir, 10), EBADF);
}

fn a_path_descriptor_names_what_may_not_be_read(t: &Fixture) {
    t.root.create("secret", 0o600).unwrap();
    let user = t.user(100);
    let fd = user.open("secret", O::PATH, 0).unwrap();
    assert_eq!(user.fstat(fd).unwrap().mode, 0o600);
    t.root.mkdir("closed", 0o700).unwrap();
    t.root.create("closed/file", 0o666).unwrap();
    fails!(user.open("closed/file", O::PATH, 0), EACCES);
}

fn a_path_descriptor_of_a_link_is_the_link(t: &Fixture) {
    let p = &t.root;
    p.symlink("nowhere", "link").unwrap();
    let fd = p.open("link", O::PATH | O::NOFOLLOW, 0).unwrap();
    assert_eq!(p.fstat(fd).unwrap().file_type, FileType::Symlink);
    assert_eq!(p.readlinkat(At::Fd(fd), "").unwrap(), b"nowhere");
}

fn read_and_write_need_their_mode(t: &Fixture) {
    let p = &t.root;
    p.put("file", b"content").unwrap();
    let read = p.open("file", O::RDONLY, 0).unwrap();
    let write = p.open("file", O::WRONLY, 0).unwrap();
    fails!(p.write(read, b"x"), EBADF);
    fails!(p.pwrite(read, b"x", 0), EBADF);
    fails!(p.ftruncate(read, 0), EBADF | EINVAL);
    fails!(p.read(write, &mut [0]), EBADF);
    fails!(p.pread(write, &mut [0], 0), EBADF);
    fails!(p.read(9999, &mut [0]), EBADF);
    fails!(p.close(9999), EBADF);
    assert_eq!(p.get("file").unwrap(), b"content");
}

fn noatime_is_for_owners_only(t: &Fixture) {
    t.root.create("file", 0o666).unwrap();
    fails!(t.user(100).open("file", O::RDONLY | O::NOATIME, 0), EPERM);
    t.root.can_open("file", O::NOATIME).unwrap();
    t.user(100).create("mine", 0o666).unwrap();
    t.user(100).can_open("mine", O::NOATIME).unwrap();
}

fn creating_in_a_removed_directory_is_enoent(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o755).unwrap();
    let dir = p.open("dir", O::DIRECTORY, 0).unwrap();
    p.rmdir("dir").unwrap();
    fails!(p.openat(At::Fd(dir), "file", O::CREAT | O::WRONLY, 0o644), ENOENT);
    fails!(p.openat(At::Fd(dir), "file", O::RDONLY, 0), ENOENT);
    fails!(p.mkdirat(At::Fd(dir), "sub", 0o755), ENOENT);
    fails!(p.openat(At::Fd(dir), "..", O::RDONLY, 0), ENOENT);
    assert_eq!(p.fstat(dir).unwrap().nlink, 0);
}

fn device_without_a_driver_is_enxio(t: &Fixture) {
    let p = &t.root;
    for (name, kind) in [("block", FileType::Block), ("char", FileType::Character)] {
        p.mknod(name, kind, 0o666).unwrap();
        fails!(p.open(name, O::RDONLY, 0), ENXIO);
        fails!(p.open(name, O::RDWR | O::CREAT, 0o666), ENXIO);
    }
}

fn socket_cannot_be_opened(t: &Fixture) {
    t.root.mknod("socket", FileType::Socket, 0o666).unwrap();
    // POSIX: ENXIO or EOPNOTSUPP.
    fails!(t.root.open("socket", O::RDWR, 0), ENXIO | EOPNOTSUPP);
}

fn creat_of_a_name_that_is_there_finds_it_in_an_unwritable_directory(t: &Fixture) {
    let p = &t.root;
    p.mkdir("dir", 0o777).unwrap();
    p.put("dir/file", b"content").unwrap();
    p.chmod("dir/file", 0o666).unwrap();
    p.chmod("dir", 0o555).unwrap();
    let user = t.user(100);
    user.can_open("dir/file", O::CREAT | O::RDWR).unwrap();
    fails!(user.open("dir/file", O::CREAT | O::EXCL | O::RDWR, 0o644), EEXIST);
    fails!(user.open("dir/new", O::CREAT | O::RDWR, 0o644), EACCES);
}
