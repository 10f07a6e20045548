/* Loaded before the C library: lets syncs pass, holds them back, or fails them, as the file named by FSYNC_SHIM_CONTROL
 * says ("pass", "hold", "fail"). While one is held back, a file of the same name ending in .held exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char command(void) {
    const char *path = getenv("FSYNC_SHIM_CONTROL");
    char first = 'p';
    int file = path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        if (read(file, &first, 1) != 1) first = 'p';
        close(file);
    }
    return first;
}

static int gate(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    char held[4096];
    if (command() == 'h') {
        snprintf(held, sizeof held, "%s.held", getenv("FSYNC_SHIM_CONTROL"));
        int file = open(held, O_CREAT | O_WRONLY, 0600);
        if (file >= 0) close(file);
        while (command() == 'h') usleep(2000);
        unlink(held);
    }
    if (command() == 'f') {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fdatasync(int fd) { return gate(fd, "fdatasync"); }
int fsync(int fd) { return gate(fd, "fsync"); }
