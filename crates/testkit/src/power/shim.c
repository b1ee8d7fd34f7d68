/*
 * A disk whose cache forgets, put between a process and its files by LD_PRELOAD.
 *
 * After kill -9 everything that a process wrote is still in the page cache, so a
 * killed process says nothing about fsync. This library keeps, beside the files of
 * one folder (POWER_DATA), what a disk would still have if its power failed now: the
 * platter (POWER_PLATTER). A file's bytes get there when it is synced; a name, and
 * with it a creation, a rename and a removal, when its folder is synced. The test kit
 * (power.rs) then makes a folder of what is on the platter.
 *
 *   files/INODE  the bytes of a file when it was last synced
 *   dirs/INODE   the entries of a folder when it was last synced: "kind inode name"
 *   kept/INODE   a second name for each file that lost one: a name that was removed, and
 *                whose folder was not synced, comes back with the power. It also keeps
 *                the number of the inode from being used again
 *   lies         while it is there, syncs do nothing and say that all is well
 *
 * A sync copies what changed since the last one. What changed is noted as it is
 * written; where that cannot be known (a truncation, another process), the whole file
 * is compared. What lies beyond the end of the copy is always taken, so the
 * C library's streams, whose writes cannot be seen here, may append.
 *
 * What is not seen here is lost at the cut, although it was synced: ignorance fails a
 * test, it never passes one. This is so of sync(), syncfs(), O_SYNC and O_DSYNC, of
 * io_uring, and of streams that overwrite. A mapping that can be written ends the process. sync_file_range() and msync() give no
 * promise that is worth keeping, and do not here.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The function of this name that would be called without this library. */
#define REAL(name) \
    static __typeof__(&name) real_##name; \
    if (!real_##name && !(real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name))) \
        fail(#name)

#define PUBLIC __attribute__((visibility("default")))

enum { FILES_MAX = 1024, EXTENTS_MAX = 256, CHUNK = 64 * 1024 };

struct extent {
    off_t from, to;
};

/* What was written to a file since it was last synced. */
struct file {
    dev_t device;
    ino_t inode;
    int whole;
    size_t count;
    struct extent extents[EXTENTS_MAX];
};

static char data[PATH_MAX];
static size_t data_length;
static char platter[PATH_MAX];
static struct file files[FILES_MAX];
static size_t files_count;
/* Guards the table. */
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
/* One sync at a time: none may say that it is done while another still copies. */
static pthread_mutex_t syncing = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what)
{
    dprintf(2, "power shim: %s: %s\n", what, strerror(errno));
    abort();
}

static void lock_all(void)
{
    pthread_mutex_lock(&syncing);
    pthread_mutex_lock(&table);
}

static void unlock_all(void)
{
    pthread_mutex_unlock(&table);
    pthread_mutex_unlock(&syncing);
}

/* The power fails for children too, at the same moment as for who began them. */
static void in_child(void)
{
    unlock_all();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("POWER_DATA"), *beside = getenv("POWER_PLATTER");
    if (!folder || !beside)
        return;
    if (!realpath(folder, data) || !realpath(beside, platter))
        fail("POWER_DATA and POWER_PLATTER");
    /* A fork while another thread syncs would leave the child a lock that nobody opens. */
    pthread_atfork(lock_all, unlock_all, in_child);
    data_length = strlen(data);
}

static void on_platter(char *path, const char *kind, ino_t inode)
{
    if (snprintf(path, PATH_MAX, "%s/%s/%llu", platter, kind, (unsigned long long)inode) >= PATH_MAX)
        fail("a path that is too long");
}

/* Whether it is open in the folder that is watched. */
static int inside(int fd)
{
    char link[64], path[PATH_MAX];
    if (!data_length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < (ssize_t)data_length)
        return 0;
    path[length] = 0;
    return !strncmp(path, data, data_length) && (path[data_length] == '/' || !path[data_length]);
}

/* ---------------------------------------------------------- noting what is written */

static struct file *find(const struct stat *is)
{
    for (size_t i = 0; i < files_count; i++)
        if (files[i].inode == is->st_ino && files[i].device == is->st_dev)
            return &files[i];
    return NULL;
}

/* A file was opened. One that is not noted is compared whole when it is synced. */
static void opened(int fd, int truncated)
{
    int error = errno;
    struct stat is;
    if (fd >= 0 && inside(fd) && !fstat(fd, &is) && S_ISREG(is.st_mode)) {
        pthread_mutex_lock(&table);
        struct file *file = find(&is);
        if (!file && files_count < FILES_MAX) {
            file = &files[files_count++];
            *file = (struct file){.device = is.st_dev, .inode = is.st_ino, .whole = 1};
        }
        if (file && truncated)
            file->whole = 1;
        pthread_mutex_unlock(&table);
    }
    errno = error;
}

/* `count` bytes were written, at `at`, or up to where the file now is if that is -1.
 * A `count` below 0 stands for a change of which nothing is known. */
static void wrote(int fd, off_t at, ssize_t count, int failed)
{
    int error = errno;
    struct stat is;
    if (!failed && count && data_length && !fstat(fd, &is) && S_ISREG(is.st_mode)) {
        if (at < 0 && count > 0)
            at = lseek(fd, 0, SEEK_CUR) - count;
        pthread_mutex_lock(&table);
        struct file *file = find(&is);
        if (file && count > 0 && at >= 0 && file->count < EXTENTS_MAX) {
            struct extent *last = file->count ? &file->extents[file->count - 1] : NULL;
            if (last && last->to == at)
                last->to = at + count;
            else
                file->extents[file->count++] = (struct extent){at, at + count};
        } else if (file && count > 0 && at >= 0) {
            /* Too many to tell apart: the last one takes the others in. */
            struct extent *last = &file->extents[EXTENTS_MAX - 1];
            last->from = at < last->from ? at : last->from;
            last->to = at + count > last->to ? at + count : last->to;
        } else if (file) {
            file->whole = 1;
        }
        pthread_mutex_unlock(&table);
    }
    errno = error;
}

/* ---------------------------------------------------------- bringing to the platter */

static void write_fully(int fd, const char *bytes, size_t count, off_t at)
{
    REAL(pwrite);
    while (count) {
        ssize_t done = real_pwrite(fd, bytes, count, at);
        if (done < 0 && errno != EINTR)
            fail("writing to the platter");
        if (done > 0)
            bytes += done, count -= (size_t)done, at += done;
    }
}

/* Copies a part of a file; of what is the same already, nothing. */
static void copy(int from, int to, struct extent part)
{
    static char theirs[CHUNK], ours[CHUNK];
    while (part.from < part.to) {
        size_t most = part.to - part.from < CHUNK ? (size_t)(part.to - part.from) : CHUNK;
        ssize_t got = pread(from, theirs, most, part.from);
        if (got < 0)
            fail("reading what is synced");
        if (!got)
            return;
        ssize_t had = pread(to, ours, (size_t)got, part.from);
        if (had != got || memcmp(theirs, ours, (size_t)got))
            write_fully(to, theirs, (size_t)got, part.from);
        part.from += got;
    }
}

static void file_to_platter(int fd, const struct stat *is)
{
    static struct file taken;
    pthread_mutex_lock(&table);
    struct file *file = find(is);
    taken = file ? *file : (struct file){.whole = 1};
    if (file)
        file->whole = 0, file->count = 0;
    pthread_mutex_unlock(&table);

    char path[PATH_MAX], link[64];
    on_platter(path, "files", is->st_ino);
    REAL(open);
    int to = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), from = fd;
    /* A second descriptor only where it must be: closing one ends a process's locks. */
    int readable = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
    if (!readable) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        from = real_open(link, O_RDONLY | O_CLOEXEC);
    }
    struct stat now, had;
    if (to < 0 || from < 0 || fstat(fd, &now) || fstat(to, &had))
        fail("a file of the platter");
    if (taken.whole) {
        copy(from, to, (struct extent){0, now.st_size});
    } else {
        for (size_t i = 0; i < taken.count; i++)
            copy(from, to, taken.extents[i]);
        copy(from, to, (struct extent){had.st_size, now.st_size});
    }
    REAL(ftruncate);
    if (real_ftruncate(to, now.st_size))
        fail("the length of a file of the platter");
    close(to);
    if (!readable)
        close(from);
}

/* What is in a folder, as it is on disk from now on. */
static void folder_to_platter(int fd, const struct stat *is)
{
    char link[64], path[PATH_MAX], unfinished[PATH_MAX + 8];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    on_platter(path, "dirs", is->st_ino);
    snprintf(unfinished, sizeof unfinished, "%s.new", path);
    DIR *folder = opendir(link);
    FILE *to = fopen(unfinished, "we");
    if (!folder || !to)
        fail("a folder of the platter");
    for (struct dirent *one; (one = readdir(folder));) {
        struct stat entry;
        if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, ".."))
            continue;
        /* One that has gone meanwhile has gone. */
        if (!fstatat(dirfd(folder), one->d_name, &entry, AT_SYMLINK_NOFOLLOW))
            fprintf(to, "%c %llu %s\n", S_ISDIR(entry.st_mode) ? 'd' : 'f',
                    (unsigned long long)entry.st_ino, one->d_name);
    }
    closedir(folder);
    REAL(rename);
    if (fclose(to) || real_rename(unfinished, path))
        fail("a folder of the platter");
}

static int synced(int fd, int (*sync)(int))
{
    char lies[PATH_MAX + 8];
    struct stat is;
    if (!inside(fd) || fstat(fd, &is))
        return sync(fd);
    snprintf(lies, sizeof lies, "%s/lies", platter);
    if (!access(lies, F_OK))
        return 0;
    pthread_mutex_lock(&syncing);
    int result = sync(fd), error = errno;
    if (!result && S_ISDIR(is.st_mode))
        folder_to_platter(fd, &is);
    else if (!result && S_ISREG(is.st_mode))
        file_to_platter(fd, &is);
    pthread_mutex_unlock(&syncing);
    errno = error;
    return result;
}

PUBLIC int fsync(int fd)
{
    REAL(fsync);
    return synced(fd, real_fsync);
}

PUBLIC int fdatasync(int fd)
{
    REAL(fdatasync);
    return synced(fd, real_fdatasync);
}

/* ---------------------------------------------------------- names */

/* A name is about to go: its file keeps another one, for the platter. */
static void keep(int at, const char *name)
{
    int error = errno;
    struct stat is;
    int fd = data_length ? openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd >= 0) {
        char path[PATH_MAX];
        if (inside(fd) && !fstat(fd, &is) && S_ISREG(is.st_mode)) {
            on_platter(path, "kept", is.st_ino);
            if (linkat(at, name, AT_FDCWD, path, 0) && errno != EEXIST && errno != ENOENT)
                fail("keeping a file whose name goes");
        }
        close(fd);
    }
    errno = error;
}

PUBLIC int unlink(const char *name)
{
    REAL(unlink);
    keep(AT_FDCWD, name);
    return real_unlink(name);
}

PUBLIC int unlinkat(int at, const char *name, int flags)
{
    REAL(unlinkat);
    if (!(flags & AT_REMOVEDIR))
        keep(at, name);
    return real_unlinkat(at, name, flags);
}

PUBLIC int remove(const char *name)
{
    REAL(remove);
    keep(AT_FDCWD, name);
    return real_remove(name);
}

PUBLIC int rename(const char *from, const char *to)
{
    REAL(rename);
    keep(AT_FDCWD, to);
    return real_rename(from, to);
}

PUBLIC int renameat(int from_at, const char *from, int to_at, const char *to)
{
    REAL(renameat);
    keep(to_at, to);
    return real_renameat(from_at, from, to_at, to);
}

PUBLIC int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    REAL(renameat2);
    keep(to_at, to);
    return real_renameat2(from_at, from, to_at, to, flags);
}

/* ---------------------------------------------------------- opening */

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

#define OPEN(name) \
    PUBLIC int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        MODE(flags) \
        int fd = real_##name(path, flags, mode); \
        opened(fd, flags & O_TRUNC); \
        return fd; \
    }

#define OPENAT(name) \
    PUBLIC int name(int at, const char *path, int flags, ...) \
    { \
        REAL(name); \
        MODE(flags) \
        int fd = real_##name(at, path, flags, mode); \
        opened(fd, flags & O_TRUNC); \
        return fd; \
    }

#define CREAT(name) \
    PUBLIC int name(const char *path, mode_t mode) \
    { \
        REAL(name); \
        int fd = real_##name(path, mode); \
        opened(fd, 1); \
        return fd; \
    }

#define FOPEN(name) \
    PUBLIC FILE *name(const char *path, const char *mode) \
    { \
        REAL(name); \
        FILE *stream = real_##name(path, mode); \
        if (stream) \
            opened(fileno(stream), *mode == 'w'); \
        return stream; \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
CREAT(creat)
CREAT(creat64)
FOPEN(fopen)
FOPEN(fopen64)

/* ---------------------------------------------------------- writing */

PUBLIC ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(write);
    ssize_t done = real_write(fd, bytes, count);
    wrote(fd, -1, done, done <= 0);
    return done;
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    ssize_t done = real_writev(fd, parts, count);
    wrote(fd, -1, done, done <= 0);
    return done;
}

#define PWRITE(name, off) \
    PUBLIC ssize_t name(int fd, const void *bytes, size_t count, off at) \
    { \
        REAL(name); \
        ssize_t done = real_##name(fd, bytes, count, at); \
        wrote(fd, at, done, done <= 0); \
        return done; \
    }

#define PWRITEV(name, off) \
    PUBLIC ssize_t name(int fd, const struct iovec *parts, int count, off at) \
    { \
        REAL(name); \
        ssize_t done = real_##name(fd, parts, count, at); \
        wrote(fd, at, done, done <= 0); \
        return done; \
    }

#define FTRUNCATE(name, off) \
    PUBLIC int name(int fd, off length) \
    { \
        REAL(name); \
        int result = real_##name(fd, length); \
        wrote(fd, 0, -1, result); \
        return result; \
    }

#define FALLOCATE(name, off) \
    PUBLIC int name(int fd, int mode, off at, off length) \
    { \
        REAL(name); \
        int result = real_##name(fd, mode, at, length); \
        wrote(fd, 0, -1, result); \
        return result; \
    }

#define POSIX_FALLOCATE(name, off) \
    PUBLIC int name(int fd, off at, off length) \
    { \
        REAL(name); \
        int result = real_##name(fd, at, length); \
        wrote(fd, 0, -1, result); \
        return result; \
    }

#define SENDFILE(name, off) \
    PUBLIC ssize_t name(int to, int from, off *at, size_t count) \
    { \
        REAL(name); \
        ssize_t done = real_##name(to, from, at, count); \
        wrote(to, 0, -1, done <= 0); \
        return done; \
    }

#define MMAP(name, off) \
    PUBLIC void *name(void *where, size_t length, int access, int flags, int fd, off at) \
    { \
        if (fd >= 0 && (flags & MAP_SHARED) && (access & PROT_WRITE) && inside(fd)) \
            fail("a mapping that can be written: what is written there is not seen"); \
        /* Allocators call this before anything can be looked up. */ \
        return (void *)syscall(SYS_mmap, where, length, access, flags, fd, at); \
    }

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

PUBLIC ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count,
                               unsigned flags)
{
    REAL(copy_file_range);
    ssize_t done = real_copy_file_range(from, from_at, to, to_at, count, flags);
    wrote(to, 0, -1, done <= 0);
    return done;
}
