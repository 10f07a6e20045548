/* Holds back or fails what a process writes and syncs below one directory, at the command of files in another.
 *
 * Preloaded (LD_PRELOAD) into the process under test, so it needs no privileges and works on every file system.
 *   DISK_SHIM_DATA     absolute path; only files below it are touched
 *   DISK_SHIM_CONTROL  the directory of the commands, each an empty file:
 *     hold   fsync and fdatasync wait until it is gone; each that begins to wait creates the file `held`
 *     fail   fsync and fdatasync answer EIO and sync nothing; each creates the file `failed`
 *     full   writes answer ENOSPC and write nothing; each creates the file `filled`
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void control_path(char *path, size_t size, const char *name) {
    const char *dir = getenv("DISK_SHIM_CONTROL");
    snprintf(path, size, "%s/%s", dir ? dir : "/nonexistent", name);
}

static int commanded(const char *name) {
    char path[4096];
    control_path(path, sizeof path, name);
    int saved = errno;
    int is = access(path, F_OK) == 0;
    errno = saved;
    return is;
}

static void report(const char *name) {
    char path[4096];
    control_path(path, sizeof path, name);
    int saved = errno;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    errno = saved;
}

static int concerns(int fd) {
    const char *data = getenv("DISK_SHIM_DATA");
    char link[64], path[4096];
    if (!data) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, data, strlen(data)) == 0;
}

static int sync_with(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (concerns(fd)) {
        int reported = 0;
        while (commanded("hold")) {
            if (!reported) report("held");
            reported = 1;
            struct timespec pause = {0, 1000000};
            nanosleep(&pause, NULL);
        }
        if (commanded("fail")) {
            report("failed");
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}

int fsync(int fd) { return sync_with(fd, "fsync"); }
int fdatasync(int fd) { return sync_with(fd, "fdatasync"); }

static int no_room(int fd) {
    if (!commanded("full") || !concerns(fd)) return 0;
    report("filled");
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return no_room(fd) ? -1 : real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) =
        (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    return no_room(fd) ? -1 : real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return no_room(fd) ? -1 : real(fd, bytes, count, at);
}
