/* Opening: who may read the folder, who holds it, which program wrote it, what a crash or a bad disk left of it. */
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <rocksdb/c.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fixture.h"

static void the_folder_is_closed_to_others(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/db", f->dir);
    fixture_open(f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    rl_store_close(f->store);
    f->store = NULL;
    assert_int_equal(chmod(path, 0755), 0); /* as an old copy may have left it */
    fixture_open(f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    rl_store *s = NULL;
    rl_error e = {0};
    (void)state;
    assert_int_equal(rl_store_open("/nonexistent/folder", &s, &e), RL_EIO);
    assert_string_equal(e.message, "/nonexistent/folder/db cannot be made: No such file or directory");
    assert_null(s);
}

/* The child is a process of its own image: RocksDB's threads do not survive a fork. */
static int hold_until_stdin_ends(const char *dir)
{
    rl_store *s;
    char c;
    if (rl_store_open(dir, &s, NULL) != RL_OK || write(1, "x", 1) != 1)
        return 1;
    while (read(0, &c, 1) > 0)
        ;
    rl_store_close(s);
    return 0;
}

static void a_database_that_another_process_holds_is_busy(void **state)
{
    struct fixture *f = *state;
    int to[2], from[2], status;
    char c, want[160];
    rl_error e = {0};
    assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("/proc/self/exe", "holder", f->dir, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    assert_int_equal(read(from[0], &c, 1), 1);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_EBUSY);
    snprintf(want, sizeof(want), "another process has the database %s/db open", f->dir);
    assert_string_equal(e.message, want);
    close(to[1]);
    close(from[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fixture_open(f); /* free again */
    rl_store *second = NULL;
    assert_int_equal(rl_store_open(f->dir, &second, &e), RL_EBUSY); /* also within one process */
}

static const char *const families[] = {"default", "issuer", "cert",     "der",   "binding", "object", "revoked",
                                       "delta",   "cursor", "response", "audit", "meta",    "held",   "queue"};
enum { FAMILIES = 14, META = 11 };

/* Writes meta's schema version, or adds a family, behind the store's back. */
static void meddle(const char *dir, const char *schema, size_t n, const char *family)
{
    char path[128], *error = NULL;
    rocksdb_column_family_handle_t *handles[FAMILIES];
    rocksdb_options_t *o = rocksdb_options_create();
    const rocksdb_options_t *all[FAMILIES];
    for (int i = 0; i < FAMILIES; i++)
        all[i] = o;
    snprintf(path, sizeof(path), "%s/db", dir);
    rocksdb_t *db = rocksdb_open_column_families(o, path, FAMILIES, families, all, handles, &error);
    assert_null(error);
    if (schema) {
        rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
        rocksdb_put_cf(db, w, handles[META], "schema", 6, schema, n, &error);
        rocksdb_writeoptions_destroy(w);
    }
    if (family)
        rocksdb_column_family_handle_destroy(rocksdb_create_column_family(db, o, family, &error));
    assert_null(error);
    for (int i = 0; i < FAMILIES; i++)
        rocksdb_column_family_handle_destroy(handles[i]);
    rocksdb_close(db);
    rocksdb_options_destroy(o);
}

static void a_newer_programs_database_is_refused(void **state)
{
    struct fixture *f = *state;
    rl_error e = {0};
    fixture_open(f);
    rl_store_close(f->store);
    f->store = NULL;
    meddle(f->dir, "\0\0\0\0\0\0\0\2", 8, NULL);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_EUNSUPPORTED);
    assert_string_equal(e.message, "the database has schema 2, this program knows up to 1: use a newer program");
    meddle(f->dir, "\0\0\0\0\0\0\0\0", 8, NULL);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_ECORRUPT);
    meddle(f->dir, "1", 1, NULL);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_ECORRUPT);
    meddle(f->dir, "\0\0\0\0\0\0\0\1", 8, NULL);
    fixture_open(f);
    rl_store_close(f->store);
    f->store = NULL;
    meddle(f->dir, NULL, 0, "from-the-future");
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_EUNSUPPORTED);
    assert_non_null(strstr(e.message, "was written by a newer program"));
}

/* The newest file of the database that matches. */
static void newest(const char *dir, const char *pattern, char path[256])
{
    char whole[128];
    glob_t g;
    snprintf(whole, sizeof(whole), "%s/db/%s", dir, pattern);
    assert_int_equal(glob(whole, 0, NULL, &g), 0);
    snprintf(path, 256, "%s", g.gl_pathv[g.gl_pathc - 1]);
    globfree(&g);
}

static void a_torn_end_of_the_log_loses_what_was_never_whole_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    char log[256];
    struct stat st;
    rl_cert_status status;
    fixture_open(f);
    for (uint64_t n = 1; n <= 3; n++)
        add_cert(f->store, n, NULL);
    rl_store_close(f->store);
    f->store = NULL;
    newest(f->dir, "*.log", log);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(truncate(log, st.st_size - 7), 0); /* as if killed in the middle of the third write */
    fixture_open(f);
    rl_cert_id id = cert_id(2);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_OK);
    id = cert_id(3);
    assert_int_equal(rl_store_cert_status(f->store, &id, &status), RL_ENOTFOUND);
    rl_store_figures figures;
    rl_store_figures_read(f->store, &figures);
    assert_int_equal(figures.last_delta, 2); /* the third delta's number is free again */
    add_cert(f->store, 3, NULL);
}

static void damage_inside_the_log_is_refused_rather_than_skipped(void **state)
{
    struct fixture *f = *state;
    char log[256];
    struct stat st;
    uint8_t octet;
    rl_error e = {0};
    fixture_open(f);
    for (uint64_t n = 1; n <= 20; n++)
        add_cert(f->store, n, NULL);
    rl_store_close(f->store);
    f->store = NULL;
    newest(f->dir, "*.log", log);
    assert_int_equal(stat(log, &st), 0);
    int fd = open(log, O_RDWR);
    assert_int_equal(pread(fd, &octet, 1, st.st_size / 2), 1);
    octet ^= 0x40;
    assert_int_equal(pwrite(fd, &octet, 1, st.st_size / 2), 1);
    close(fd);
    assert_int_equal(rl_store_open(f->dir, &f->store, &e), RL_ECORRUPT);
    assert_non_null(strstr(e.message, "is damaged and must be restored from a copy"));
    assert_null(f->store);
}

static char *read_whole(const char *path)
{
    static char text[256 * 1024];
    FILE *in = fopen(path, "r");
    size_t n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[n] = 0;
    return text;
}

static void assert_in_force(const char *text, const char *section, const char *option)
{
    const char *begin = strstr(text, section);
    assert_non_null(begin);
    const char *end = strstr(begin, "\n["), *found = strstr(begin, option);
    if (!found || (end && found > end))
        fail_msg("%s is not in force in %s", option, section);
}

/* RocksDB writes the options in force next to the data: none got lost between the calls that set them. */
static void the_options_are_those_that_were_asked_for(void **state)
{
    struct fixture *f = *state;
    char path[256];
    static const struct {
        const char *section, *option;
    } wanted[] = {
        {"[DBOptions]", "  paranoid_checks=true"},
        {"[DBOptions]", "  wal_recovery_mode=kTolerateCorruptedTailRecords"},
        {"[DBOptions]", "  max_total_wal_size=25165824"},
        {"[DBOptions]", "  db_write_buffer_size=50331648"},
        {"[DBOptions]", "  max_background_jobs=2"},
        {"[DBOptions]", "  max_open_files=512"},
        {"[CFOptions \"binding\"]", "  prefix_extractor=revline.binding"},
        {"[CFOptions \"binding\"]", "  memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1"},
        {"[TableOptions/BlockBasedTable \"binding\"]", "  partition_filters=false"},
        {"[TableOptions/BlockBasedTable \"binding\"]", "  whole_key_filtering=false"},
        {"[CFOptions \"cert\"]", "  memtable_whole_key_filtering=true"},
        {"[CFOptions \"cert\"]", "  compression=kNoCompression"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  data_block_index_type=kDataBlockBinaryAndHash"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  filter_policy=bloomfilter"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  index_type=kTwoLevelIndexSearch"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  partition_filters=false"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  whole_key_filtering=true"},
        {"[TableOptions/BlockBasedTable \"cert\"]", "  cache_index_and_filter_blocks=true"},
        {"[TableOptions/BlockBasedTable \"der\"]", "  partition_filters=true"},
    };
    fixture_open(f);
    newest(f->dir, "OPTIONS-*", path);
    const char *text = read_whole(path);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        assert_in_force(text, wanted[i].section, wanted[i].option);
}

static rl_err tell_priority(rl_store_txn *t, void *priority, rl_error *e)
{
    (void)t, (void)e;
    *(int *)priority = getpriority(PRIO_PROCESS, 0);
    return RL_OK;
}

static bool is_rocksdbs(const char *thread)
{
    char path[300], name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", thread);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    const bool told = fgets(name, sizeof(name), file) != NULL;
    fclose(file);
    return told && strncmp(name, "rocksdb:", 8) == 0;
}

static void bulk_work_stands_back(void **state)
{
    struct fixture *f = *state;
    int writers, rocksdb = 0;
    const int ours = getpriority(PRIO_PROCESS, 0);
    if (ours >= 19)
        skip(); /* there is no lower priority */
    fixture_open(f);
    assert_int_equal(rl_store_run(f->store, tell_priority, &writers, NULL), RL_OK);
    assert_true(writers > ours);
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    for (const struct dirent *thread; (thread = readdir(threads)) != NULL;)
        if (is_rocksdbs(thread->d_name)) {
            assert_true(getpriority(PRIO_PROCESS, (id_t)atoi(thread->d_name)) > ours);
            rocksdb++;
        }
    closedir(threads);
    assert_true(rocksdb > 0);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return hold_until_stdin_ends(argv[1]);
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_folder_is_closed_to_others),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
        WITH_FOLDER(a_database_that_another_process_holds_is_busy),
        WITH_FOLDER(a_newer_programs_database_is_refused),
        WITH_FOLDER(a_torn_end_of_the_log_loses_what_was_never_whole_and_nothing_else),
        WITH_FOLDER(damage_inside_the_log_is_refused_rather_than_skipped),
        WITH_FOLDER(the_options_are_those_that_were_asked_for),
        WITH_FOLDER(bulk_work_stands_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
