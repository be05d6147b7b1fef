/* Copies of the database to read from while the database itself is written: made by RocksDB as a checkpoint, opened for
 * reading only, deleted. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "store/export.h"
#include "store/store_priv.h"

/* The memtables are not flushed, so that a copy costs the database nothing: its log goes along. */
rl_err rl_store_copy(rl_store *s, const char *path, rl_error *e)
{
    char *error = NULL;
    if (rl_store_enter(s) != RL_OK)
        return rl_fail(e, RL_EIO, "store", "the database is closed after a failed write");
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(s->db, &error);
    if (!error)
        rocksdb_checkpoint_create(c, path, UINT64_MAX, &error);
    if (c)
        rocksdb_checkpoint_object_destroy(c);
    rl_store_leave(s);
    return error ? rl_store_fail(e, RL_EIO, "the database cannot be copied", error) : RL_OK;
}

rl_err rl_store_delete_copy(const char *path, rl_error *e)
{
    DIR *folder = opendir(path);
    bool gone = true;
    if (!folder)
        return errno == ENOENT ? RL_OK : rl_fail(e, RL_EIO, "store", "%s cannot be read: %s", path, strerror(errno));
    for (struct dirent *d; gone && (d = readdir(folder)) != NULL;)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            gone = unlinkat(dirfd(folder), d->d_name, 0) == 0;
    gone = gone && rmdir(path) == 0;
    int cause = errno;
    closedir(folder);
    return gone ? RL_OK : rl_fail(e, RL_EIO, "store", "%s cannot be deleted: %s", path, strerror(cause));
}
