/* A disk that fails, or a process that dies, at one chosen write. Preloaded (LD_PRELOAD) into a process.

   Calls that change files below a folder are counted. At the chosen one the call fails with an error of the
   system, or the process group is killed. It stands between the program and the C library, so Python, SQLite
   and libraries in Rust go through it alike. Linux. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long seen;
static long at = 0;          /* 0: count only */
static int number, stays;    /* the error, 0 kills; whether every later call fails, too */
static size_t length = 0;    /* of the folder's name; 0: nothing is counted */
static char folder[4096];

void faulty_disk(const char *name, long call, int error, int for_good) {
    strncpy(folder, name, sizeof folder - 1);
    at = call; number = error; stays = for_good;
    atomic_store(&seen, 0);
    length = strlen(folder);
}

long faulty_disk_seen(void) { return atomic_load(&seen); }

static int fails(const char *path) {
    if (!length || !path || strncmp(path, folder, length)) return 0;
    long now = atomic_fetch_add(&seen, 1) + 1;
    if (!at || now < at || (now > at && !stays)) return 0;
    if (!number) { kill(0, SIGKILL); pause(); }
    errno = number;
    return 1;
}

static int fails_fd(int fd) {
    char link[64], path[4096];
    if (!length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return fails(path);
}

static int fails_path(int dir, const char *name) {
    char path[8192];
    if (!length || !name) return 0;
    if (name[0] == '/') return fails(name);
    if (dir == AT_FDCWD) { if (!getcwd(path, 4096)) return 0; }
    else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, path, 4095);
        if (n < 0) return 0;
        path[n] = 0;
    }
    strcat(path, "/"); strncat(path, name, 4000);
    return fails(path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)
#define ON_FD(type, name, parameters, arguments) \
    type name parameters { REAL(name); if (fails_fd(fd)) return -1; return real arguments; }
#define ON_PATH(type, name, parameters, arguments) \
    type name parameters { REAL(name); if (fails_path(dir, path)) return -1; return real arguments; }
#define AT_HERE(type, name, parameters, arguments) \
    type name parameters { REAL(name); if (fails_path(AT_FDCWD, path)) return -1; return real arguments; }

ON_FD(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
ON_FD(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
ON_FD(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
ON_FD(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t n), (fd, n))
ON_FD(int, ftruncate64, (int fd, off64_t n), (fd, n))
ssize_t sendfile(int out, int in, off_t *o, size_t n) { REAL(sendfile); if (fails_fd(out)) return -1; return real(out, in, o, n); }
ssize_t copy_file_range(int in, off64_t *i, int out, off64_t *o, size_t n, unsigned f) {
    REAL(copy_file_range); if (fails_fd(out)) return -1; return real(in, i, out, o, n, f); }
AT_HERE(int, mkdir, (const char *path, mode_t m), (path, m))
AT_HERE(int, rename, (const char *path, const char *to), (path, to))
AT_HERE(int, unlink, (const char *path), (path))
AT_HERE(int, rmdir, (const char *path), (path))
ON_PATH(int, mkdirat, (int dir, const char *path, mode_t m), (dir, path, m))
ON_PATH(int, unlinkat, (int dir, const char *path, int f), (dir, path, f))
ON_PATH(int, renameat, (int dir, const char *path, int d, const char *to), (dir, path, d, to))

#define CHANGES (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC)
#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if ((flags & CHANGES) && fails_path(AT_FDCWD, path)) return -1; return real(path, flags, mode); }
#define OPENS_AT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if ((flags & CHANGES) && fails_path(dir, path)) return -1; return real(dir, path, flags, mode); }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
