/* `revline backup` and `revline restore`: the database and the files beside it, the private keys among them, from one
 * folder into another that is new or empty. A backup is a data folder itself, without what only a running server has.
 *
 * The database is copied from one that nobody writes: while serving, from the copy that `revline export` reads, too.
 * The other files are copied behind it: what a record names is there before the record, and is never taken away. Until
 * all is on the disk and the database has been opened, it lies aside in `part`; without a folder `db` none is there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli.h"
#include "base/json.h"
#include "base/log.h"
#include "store/export.h"

/* Lists of revocations that may have been made since the backup: their numbers must not come again (RFC 5280 §5.2.3).
 */
enum { CRL_NUMBERS_SKIPPED = 1000000000, OCTETS_AT_ONCE = 256 * 1024 };

typedef struct copying {
    const char *from, *to;
    char part[RL_EXPORT_PATH], part_db[RL_EXPORT_PATH], db[RL_EXPORT_PATH]; /* `to`/part, `to`/part/db, `to`/db */
    bool made;                                                              /* `to` was not there */
    size_t files;
    uint64_t octets;
} copying;

static rl_err fail(rl_error *e, const char *folder, const char *name, const char *what)
{
    return rl_fail(e, RL_EIO, "backup", "%s%s%s cannot be %s: %s", folder, name[0] ? "/" : "", name, what,
                   strerror(errno));
}

/* ---- files ---- */
static rl_err copy_octets(int in, int out, copying *c)
{
    static char chunk[OCTETS_AT_ONCE];
    ssize_t n;
    while ((n = read(in, chunk, sizeof(chunk))) > 0) {
        for (ssize_t at = 0, written; at < n; at += written)
            if ((written = write(out, chunk + at, (size_t)(n - at))) < 0)
                return RL_EIO;
        c->octets += (uint64_t)n;
    }
    c->files++;
    return n == 0 && fsync(out) == 0 ? RL_OK : RL_EIO;
}

static rl_err copy_file(int from, int to, const char *name, copying *c)
{
    int in = openat(from, name, O_RDONLY | O_CLOEXEC);
    int out = in < 0 ? -1 : openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    rl_err err = out < 0 ? RL_EIO : copy_octets(in, out, c);
    int cause = errno;
    if (out >= 0 && close(out) != 0 && err == RL_OK) {
        cause = errno;
        err = RL_EIO;
    }
    if (in >= 0)
        close(in);
    errno = cause;
    return err;
}

/* The next of a folder's entries. False: that was the last one, or the folder cannot be read, and errno says why. */
static bool next_entry(DIR *folder, struct dirent **d)
{
    do {
        errno = 0;
        *d = readdir(folder);
    } while (*d && (strcmp((*d)->d_name, ".") == 0 || strcmp((*d)->d_name, "..") == 0));
    return *d != NULL;
}

/* The regular files of a folder: sockets and folders are a running server's, or have their own turn. */
static rl_err copy_files(const char *from, const char *to, copying *c, rl_error *e)
{
    struct stat st;
    struct dirent *d;
    DIR *folder = opendir(from);
    if (!folder)
        return fail(e, from, "", "read");
    int target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rl_err err = target < 0 ? fail(e, to, "", "opened") : RL_OK;
    while (err == RL_OK && next_entry(folder, &d))
        if (fstatat(dirfd(folder), d->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
            copy_file(dirfd(folder), target, d->d_name, c) != RL_OK)
            err = fail(e, from, d->d_name, "copied");
    if (err == RL_OK && errno != 0)
        err = fail(e, from, "", "read");
    if (err == RL_OK && fsync(target) != 0)
        err = fail(e, to, "", "synced");
    if (target >= 0)
        close(target);
    closedir(folder);
    return err;
}

/* ---- the new folder ---- */
static rl_err find_empty(copying *c, rl_error *e)
{
    struct dirent *d;
    c->made = mkdir(c->to, 0700) == 0;
    if (!c->made && errno != EEXIST)
        return fail(e, c->to, "", "made");
    DIR *folder = opendir(c->to);
    if (!folder)
        return fail(e, c->to, "", "read");
    rl_err err = RL_OK;
    if (next_entry(folder, &d))
        err = rl_fail(e, RL_EEXISTS, "backup", "'%s' is not empty: a new folder, or an empty one, is needed", c->to);
    else if (errno != 0)
        err = fail(e, c->to, "", "read");
    closedir(folder);
    return err;
}

static rl_err make_parts(const copying *c, rl_error *e)
{
    if (chmod(c->to, 0700) != 0 || mkdir(c->part, 0700) != 0 || mkdir(c->part_db, 0700) != 0)
        return fail(e, c->to, "", "written");
    return RL_OK;
}

/* After a failure. Only what was found empty may come here. */
static void make_undone(const copying *c)
{
    struct dirent *d;
    rl_store_delete_copy(c->part_db, NULL);
    rl_store_delete_copy(c->db, NULL);
    rmdir(c->part);
    DIR *folder = opendir(c->to);
    while (folder && next_entry(folder, &d))
        unlinkat(dirfd(folder), d->d_name, 0);
    if (folder)
        closedir(folder);
    if (c->made)
        rmdir(c->to);
}

static rl_err put_in_place(copying *c, rl_error *e)
{
    if (rename(c->part_db, c->db) != 0)
        return fail(e, c->part_db, "", "put in its place");
    rmdir(c->part);
    int fd = open(c->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    rl_err err = synced ? RL_OK : fail(e, c->to, "", "synced");
    if (fd >= 0)
        close(fd);
    return err;
}

static rl_err set_paths(copying *c, const char *from, const char *to, rl_error *e)
{
    *c = (copying){.from = from, .to = to};
    int n = snprintf(c->part_db, sizeof(c->part_db), "%s/part/db", to);
    if (n < 0 || (size_t)n >= sizeof(c->part_db))
        return rl_fail(e, RL_ERANGE, "backup", "the path %s is too long", to);
    snprintf(c->part, sizeof(c->part), "%s/part", to);
    snprintf(c->db, sizeof(c->db), "%s/db", to);
    return RL_OK;
}

/* `db`: the database to copy; `settle` opens the new one. */
static rl_err copy_all(copying *c, const char *db, rl_err (*settle)(const copying *c, rl_error *e), rl_error *e)
{
    RL_TRY(find_empty(c, e));
    rl_err err = make_parts(c, e);
    if (err == RL_OK)
        err = copy_files(db, c->part_db, c, e);
    if (err == RL_OK)
        err = copy_files(c->from, c->to, c, e);
    if (err == RL_OK)
        err = settle(c, e);
    if (err == RL_OK)
        err = put_in_place(c, e);
    if (err != RL_OK)
        make_undone(c);
    return err;
}

static int finish(const cli_call *call, const copying *c, rl_err err, const rl_error *e)
{
    if (err != RL_OK)
        return cli_fail(call, e);
    if (!call->json) {
        printf("%s: %zu files, %llu octets\n", c->to, c->files, (unsigned long long)c->octets);
        return 0;
    }
    json_t *reply =
        json_pack("{s:s,s:I,s:I}", "folder", c->to, "files", (json_int_t)c->files, "octets", (json_int_t)c->octets);
    cli_print_json(reply);
    json_decref(reply);
    return 0;
}

/* ---- backup ---- */
static rl_err check_copy(const copying *c, rl_error *e)
{
    rl_store *store;
    RL_TRY(rl_store_open_copy(c->part_db, &store, e));
    rl_store_close(store);
    return RL_OK;
}

/* With no server running. */
static rl_err copy_unserved(const rl_settings *s, const char *copy, rl_error *e)
{
    rl_store *store;
    RL_TRY(rl_store_open(s->data_dir, &store, e));
    rl_err err = rl_store_copy(store, copy, e);
    rl_store_close(store);
    return err;
}

static rl_err backup(const rl_settings *s, copying *c, rl_error *e)
{
    rl_export_places at;
    char db[RL_EXPORT_PATH];
    struct stat st;
    RL_TRY(rl_export_paths(s, &at, e));
    snprintf(db, sizeof(db), "%s/db", s->data_dir);
    if (stat(db, &st) != 0)
        return rl_fail(e, RL_ENOTFOUND, "backup", "there is no database in '%s'", s->data_dir);
    RL_TRY(rl_export_prepare(s, e));
    int lock = rl_export_lock(&at);
    if (lock < 0)
        return rl_fail(e, RL_EBUSY, "backup", "an export or another backup of '%s' is running", s->data_dir);
    json_t *reply = NULL, *request = json_pack("{s:s}", "command", "export");
    rl_err err = rl_control_ask(s->data_dir, request, &reply, e);
    if (err == RL_ENOTFOUND && e->domain && strcmp(e->domain, "control") == 0)
        err = copy_unserved(s, at.copy, e);
    if (err == RL_OK)
        err = copy_all(c, at.copy, check_copy, e);
    rl_store_delete_copy(at.copy, NULL); /* else the next start does */
    json_decref(reply);
    json_decref(request);
    close(lock);
    return err;
}

int cli_backup(cli_call *call)
{
    rl_error e = {0};
    copying c;
    if (call->settings->log.level < RL_LOG_WARN)
        rl_log_configure(RL_LOG_WARN, call->settings->log.format);
    rl_err err = set_paths(&c, call->settings->data_dir, call->operands[0], &e);
    if (err == RL_OK)
        err = backup(call->settings, &c, &e);
    return finish(call, &c, err, &e);
}

/* ---- restore ---- */
static rl_err skip_numbers(rl_store_txn *t, void *arg, rl_error *e)
{
    const copying *c = arg;
    rl_issuer_record r;
    rl_err err = RL_OK;
    for (rl_issuer_id id = 1; err == RL_OK && (err = rl_txn_issuer(t, id, &r)) == RL_OK; id++) {
        r.crl_number += CRL_NUMBERS_SKIPPED;
        if (r.key_ref && r.key_ref[0])
            err = rl_txn_put_issuer(t, id, &r);
        rl_issuer_clear(&r);
    }
    if (err == RL_ENOTFOUND)
        err = rl_txn_audit(t, "admin", "restore", c->from);
    return err == RL_OK ? RL_OK : rl_fail(e, err, "restore", "an issuer cannot be stored: %s", rl_err_name(err));
}

static rl_err settle_restored(const copying *c, rl_error *e)
{
    rl_store *store;
    RL_TRY(rl_store_open(c->part, &store, e));
    rl_err err = rl_store_run(store, skip_numbers, (void *)c, e);
    rl_store_close(store);
    return err;
}

static rl_err restore(copying *c, rl_error *e)
{
    char db[RL_EXPORT_PATH], socket[RL_EXPORT_PATH];
    struct stat st;
    rl_store *store;
    int n = snprintf(socket, sizeof(socket), "%s/control.sock", c->from);
    if (n < 0 || (size_t)n >= sizeof(socket))
        return rl_fail(e, RL_ERANGE, "restore", "the path %s is too long", c->from);
    snprintf(db, sizeof(db), "%s/db", c->from);
    if (stat(db, &st) != 0)
        return rl_fail(e, RL_ENOTFOUND, "restore", "there is no backup in '%s'", c->from);
    if (lstat(socket, &st) == 0)
        return rl_fail(e, RL_EINVAL, "restore",
                       "'%s' is a server's data folder, and may be written: revline backup makes a copy of it",
                       c->from);
    RL_TRY(rl_store_open_copy(db, &store, e));
    rl_store_close(store);
    return copy_all(c, db, settle_restored, e);
}

int cli_restore(cli_call *call)
{
    rl_error e = {0};
    copying c;
    if (call->settings->log.level < RL_LOG_WARN)
        rl_log_configure(RL_LOG_WARN, call->settings->log.format);
    rl_err err = set_paths(&c, call->operands[0], call->settings->data_dir, &e);
    if (err == RL_OK)
        err = restore(&c, &e);
    return finish(call, &c, err, &e);
}
