/* Loaded into the server with LD_PRELOAD: lets a chosen write or sync of its files fail, or every sync do nothing.
 *
 * RIG_PATH          only files whose path contains this count
 * RIG_FAIL_SYNC=K   the K-th fsync or fdatasync answers EIO, once; as on Linux, the next one succeeds
 * RIG_FAIL_WRITE=K  the K-th write answers EIO, once, after half of it
 * RIG_SYNC_NOTHING  every fsync and fdatasync succeeds and does nothing
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long syncs, writes;

static int counts(int fd) {
    const char *part = getenv("RIG_PATH");
    char link[64], path[4096];
    if (!part) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

static int is_turn(const char *variable, atomic_long *counter) {
    const char *turn = getenv(variable);
    return turn && atomic_fetch_add(counter, 1) + 1 == atol(turn);
}

static int sync_by(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (counts(fd)) {
        if (getenv("RIG_SYNC_NOTHING")) return 0;
        if (is_turn("RIG_FAIL_SYNC", &syncs)) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}

int fsync(int fd) { return sync_by("fsync", fd); }
int fdatasync(int fd) { return sync_by("fdatasync", fd); }

int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned int flags) {
    int (*real)(int, off64_t, off64_t, unsigned int) =
        (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
    if (counts(fd) && getenv("RIG_SYNC_NOTHING")) return 0;
    return real(fd, offset, bytes, flags);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (getenv("RIG_FAIL_WRITE") && counts(fd) && is_turn("RIG_FAIL_WRITE", &writes)) {
        if (real(fd, bytes, length / 2) < 0) return -1;
        errno = EIO;
        return -1;
    }
    return real(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (getenv("RIG_FAIL_WRITE") && counts(fd) && is_turn("RIG_FAIL_WRITE", &writes)) {
        if (real(fd, bytes, length / 2, offset) < 0) return -1;
        errno = EIO;
        return -1;
    }
    return real(fd, bytes, length, offset);
}
