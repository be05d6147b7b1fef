/* A disk that fails, preloaded (LD_PRELOAD) into the server by test_full_disk.py: a real one would need a file system
 * of its own, and root to mount it.
 *
 * FAILING_DISK names a folder. While the file FAILING_DISK-full exists there is no space for what is written below the
 * folder: a first write is cut in the middle, as the kernel does it, then all fail. While FAILING_DISK-unsynced exists,
 * what is written there can be read, but not made sure. All threads of the program. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_on(const char *fault)
{
    char path[4096];
    const char *disk = getenv("FAILING_DISK");
    return disk && snprintf(path, sizeof(path), "%s-%s", disk, fault) < (int)sizeof(path) && access(path, F_OK) == 0;
}

static bool is_below(const char *path)
{
    const char *disk = getenv("FAILING_DISK");
    return disk && strncmp(path, disk, strlen(disk)) == 0 && path[strlen(disk)] == '/';
}

static bool fails(const char *fault, int fd)
{
    char link[64], path[4096];
    if (!is_on(fault))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = 0;
    return is_below(path);
}

ssize_t write(int fd, const void *p, size_t n)
{
    static atomic_bool cut;
    if (fails("full", fd)) {
        if (n < 2 || atomic_exchange(&cut, true)) {
            errno = ENOSPC;
            return -1;
        }
        n /= 2;
    } else if (!is_on("full")) {
        atomic_store(&cut, false);
    }
    return syscall(SYS_write, fd, p, n);
}

int fallocate(int fd, int mode, off_t from, off_t n)
{
    if (fails("full", fd)) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, from, n);
}

int posix_fallocate(int fd, off_t from, off_t n)
{
    return fallocate(fd, 0, from, n) == 0 ? 0 : errno;
}

int statvfs(const char *path, struct statvfs *out)
{
    int (*real)(const char *, struct statvfs *) = (int (*)(const char *, struct statvfs *))dlsym(RTLD_NEXT, "statvfs");
    int result = real(path, out);
    if (result == 0 && is_on("full"))
        out->f_bfree = out->f_bavail = 0;
    return result;
}

int fdatasync(int fd)
{
    if (fails("unsynced", fd)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}
