/* Opening and closing the database. Reading it is in read.c, the writer in writer.c, what happens inside a transaction
 * in txn.c. A store owns its RocksDB handles; RocksDB's own threads compact. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/export.h"
#include "store/txn_priv.h"

/* What RocksDB may take, however many certificates there are. In memory: one block cache for all families, which holds
 * data, indexes and bloom filters alike, and all memtables together. On disk: the log that a start has to replay. */
enum {
    BLOCK_CACHE = 96 << 20,
    CACHE_PARTS_BITS = 3,
    MEMTABLES = 48 << 20,
    WAL_MAX = 24 << 20,
    MANIFEST_MAX = 16 << 20,
    OPEN_FILES = 512,
    METADATA_BLOCK = 16 << 10, /* of an index or filter; with RocksDB's 4 KiB there are more to find in the cache */
    TABLES_WAIT = 12,          /* as they were flushed, to be merged; RocksDB's own number is 4 */
    BACKGROUND_JOBS = 2,
    INFO_LOG_FATAL = 4, /* RocksDB's level; the C interface has no name for it */
    BLOOM_BITS = 10,
    READERS_LEAVE_S = 1,
    NICE = 5
};
static const double HASH_RATIO = 0.75, MEMTABLE_BLOOM = 0.02;

const char *const rl_cf_names[CF_COUNT] = {"default", "issuer", "cert",     "der",   "binding", "object", "revoked",
                                           "delta",   "cursor", "response", "audit", "meta",    "held",   "queue"};

rl_err rl_store_fail(rl_error *e, rl_err code, const char *what, char *rocks)
{
    rl_fail(e, code, "store", "%s: %s", what, rocks ? rocks : "unknown cause");
    rocksdb_free(rocks);
    return code;
}

/* ---- open ---- */
/* In fewer parts than RocksDB would make, since each must hold the largest filter and more. */
static rocksdb_cache_t *block_cache(void)
{
    rocksdb_lru_cache_options_t *o = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(o, BLOCK_CACHE);
    rocksdb_lru_cache_options_set_num_shard_bits(o, CACHE_PARTS_BITS);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(o);
    rocksdb_lru_cache_options_destroy(o);
    return cache;
}

/* What is looked up record by record, for each request or each object of a directory. */
static bool is_looked_up(rl_cf cf)
{
    return cf == CF_CERT || cf == CF_OBJECT || cf == CF_BINDING;
}

/* Indexes are cut into blocks of their own, of which only a top level stays with an open table: a look-up reads the few
 * octets it needs through the block cache, and neither memory nor the time to open grows with the number of
 * certificates. So are bloom filters, but for those of what is looked up all the time: to find a piece of them costs
 * more than all else that they do, and whole they take 10 bits for each record, a megabyte or less for each table. */
static void set_table(rocksdb_options_t *o, rl_cf cf, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_index_type(table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, !is_looked_up(cf));
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_metadata_block_size(table, METADATA_BLOCK);
    if (cf == CF_CERT) {
        /* Point look-ups: a hash index inside the data blocks. */
        rocksdb_block_based_options_set_data_block_index_type(
            table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
        rocksdb_block_based_options_set_data_block_hash_ratio(table, HASH_RATIO);
    }
    if (is_looked_up(cf)) {
        /* Small records: unpacking would cost more than reading. */
        rocksdb_options_set_compression(o, rocksdb_no_compression);
        /* Bloom filters on the memtable too: most of what is asked for is not there. */
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, MEMTABLE_BLOOM);
        rocksdb_options_set_memtable_whole_key_filtering(o, cf != CF_BINDING);
        /* A sync writes keys that lie anywhere, so whatever is merged is merged with nearly all of the next level: it
         * is done a third as often, and the bloom filters keep a look-up from the tables that wait for it. */
        rocksdb_options_set_level0_file_num_compaction_trigger(o, TABLES_WAIT);
    }
    if (cf == CF_BINDING) { /* by what comes before the certificate, and never by the whole key */
        rocksdb_options_set_prefix_extractor(o, rl_key_binding_extractor());
        rocksdb_block_based_options_set_whole_key_filtering(table, 0);
    }
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
}

/* A group writes the keys of a family in their order, so each is looked for from where the last one went, not from the
 * memtable's front. The C interface has the option by its name only. */
static rocksdb_options_t *insert_with_hint(rocksdb_options_t *o, rl_cf cf)
{
    const char *text = cf == CF_CERT ? "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.4"  /* issuer */
                                     : "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1"; /* source */
    rocksdb_options_t *hinted = rocksdb_options_create();
    char *error = NULL;
    rocksdb_get_options_from_string(o, text, hinted, &error);
    rocksdb_options_destroy(error ? hinted : o);
    rocksdb_free(error);
    return error ? o : hinted;
}

static rocksdb_options_t *cf_options(rl_cf cf, rocksdb_cache_t *cache, rocksdb_compactionfilter_t *filter)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    /* The options of the database, not of a family; it takes them from the first. */
    rocksdb_options_set_paranoid_checks(o, 1);
    /* An incomplete record at the end of the log is what kill -9 leaves of a write that was never acknowledged, and is
     * dropped. Any other damage is refused: the point-in-time mode would start without the acknowledged revocations
     * behind the damage and say nothing. */
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_max_total_wal_size(o, WAL_MAX);
    rocksdb_options_set_db_write_buffer_size(o, MEMTABLES);
    rocksdb_options_set_max_manifest_file_size(o, MANIFEST_MAX);
    rocksdb_options_set_max_background_jobs(o, BACKGROUND_JOBS);
    rocksdb_options_set_max_open_files(o, OPEN_FILES);
    /* RocksDB ends the process by an assertion when its own log cannot be written, so on a full disk: nothing is
     * written there. What goes wrong comes back from the calls as well. */
    rocksdb_options_set_info_log_level(o, INFO_LOG_FATAL);
    rocksdb_options_set_keep_log_file_num(o, 1);
    rocksdb_options_set_write_buffer_size(o, cf == CF_CERT || cf == CF_DER          ? 32 << 20
                                             : cf == CF_OBJECT || cf == CF_RESPONSE ? 16 << 20
                                                                                    : 8 << 20);
    set_table(o, cf, cache);
    if (cf == CF_RESPONSE)
        rocksdb_options_set_compaction_filter(o, filter);
    return is_looked_up(cf) ? insert_with_hint(o, cf) : o;
}

static rl_err open_db(rl_store *s, bool to_write, rl_error *e)
{
    const char *path = s->path;
    const rocksdb_options_t *const *options = (const rocksdb_options_t *const *)s->options;
    char *error = NULL;
    if (to_write)
        s->db =
            rocksdb_open_column_families(s->options[CF_DEFAULT], path, CF_COUNT, rl_cf_names, options, s->cf, &error);
    else
        s->db = rocksdb_open_for_read_only_column_families(s->options[CF_DEFAULT], path, CF_COUNT, rl_cf_names, options,
                                                           s->cf, 0, &error);
    if (!error)
        return RL_OK;
    rl_err code = RL_EIO;
    /* RocksDB's C interface tells the causes apart in the text only. */
    if (strstr(error, "While lock file") || strstr(error, "lock hold by current process"))
        code = rl_fail(e, RL_EBUSY, "store", "another process has the database %s open", path);
    else if (strstr(error, "Column families not opened"))
        code = rl_fail(e, RL_EUNSUPPORTED, "store", "the database %s was written by a newer program: use that", path);
    else if (strncmp(error, "Corruption", 10) == 0)
        code = rl_fail(e, RL_ECORRUPT, "store", "the database %s is damaged and must be restored from a copy: %s", path,
                       error);
    else
        rl_fail(e, RL_EIO, "store", "the database %s cannot be opened: %s", path, error);
    rocksdb_free(error);
    return code;
}

/* meta: "schema" → u64. A newer program may have written what this one would misread. */
static rl_err check_schema(rl_store *s, rl_error *e)
{
    char *error = NULL;
    size_t n = 0;
    char *value = rocksdb_get_cf(s->db, s->read, s->cf[CF_META], "schema", 6, &n, &error);
    if (error)
        return rl_store_fail(e, RL_EIO, "the schema version cannot be read", error);
    bool absent = value == NULL, whole = n == 8;
    uint64_t schema = value && whole ? rl_get_u64(value) : 0;
    rocksdb_free(value);
    if (absent) {
        rl_key current = rl_key_u64(RL_STORE_SCHEMA);
        rocksdb_put_cf(s->db, s->write, s->cf[CF_META], "schema", 6, (const char *)current.b, current.n, &error);
        return error ? rl_store_fail(e, RL_EIO, "the schema version cannot be written", error) : RL_OK;
    }
    if (schema == 0)
        return rl_fail(e, RL_ECORRUPT, "store", "the database's schema version is unreadable");
    if (schema > RL_STORE_SCHEMA)
        return rl_fail(e, RL_EUNSUPPORTED, "store",
                       "the database has schema %llu, this program knows up to %d: use a newer program",
                       (unsigned long long)schema, RL_STORE_SCHEMA);
    return RL_OK;
}

/* The number in the last eight octets of a family's last key, plus one; `first`, unless NULL: the one in its first
 * eight, 0 when there is no key. */
static rl_err next_sequence(rl_store *s, rl_cf cf, uint64_t *next, uint64_t *first, rl_error *e)
{
    char *error = NULL;
    size_t n;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[cf]);
    *next = 1;
    rocksdb_iter_seek_to_last(it);
    if (rocksdb_iter_valid(it)) {
        const char *key = rocksdb_iter_key(it, &n);
        *next = n >= 8 ? rl_get_u64(key + n - 8) + 1 : 0;
        if (first && n >= 8)
            *first = rl_get_u64(key);
    }
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    if (error)
        return rl_store_fail(e, RL_EIO, "the newest number cannot be read", error);
    return *next ? RL_OK : rl_fail(e, RL_ECORRUPT, "store", "the last key of %s is no number", rl_cf_names[cf]);
}

/* Where they cannot be read, there may be some of any: who asks for one meets the error. */
static void find_sources(rl_store *s)
{
    char *error = NULL;
    unsigned source = 0;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[CF_OBJECT]);
    while (source <= UINT8_MAX) {
        const char from = (char)source;
        size_t n;
        rocksdb_iter_seek(it, &from, 1);
        if (!rocksdb_iter_valid(it))
            break;
        source = *(const uint8_t *)rocksdb_iter_key(it, &n);
        s->has_objects[source++] = true;
    }
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    if (error)
        memset(s->has_objects, true, sizeof(s->has_objects));
    rocksdb_free(error);
}

static void close_db(rl_store *s)
{
    for (int i = 0; i < CF_COUNT; i++)
        if (s->cf[i])
            rocksdb_column_family_handle_destroy(s->cf[i]);
    memset(s->cf, 0, sizeof(s->cf));
    if (s->db)
        rocksdb_close(s->db);
    s->db = NULL;
}

/* Opened, understood, and the next numbers known; or closed. */
static rl_err open_whole(rl_store *s, rl_error *e)
{
    rl_err err = open_db(s, true, e);
    if (err == RL_OK)
        err = check_schema(s, e);
    if (err == RL_OK)
        err = next_sequence(s, CF_DELTA, &s->delta_next, NULL, e);
    if (err == RL_OK)
        err = next_sequence(s, CF_AUDIT, &s->audit_next, &s->audit_newest, e);
    if (err != RL_OK) {
        close_db(s);
        return err;
    }
    atomic_store(&s->last_delta, s->delta_next - 1);
    find_sources(s);
    return RL_OK;
}

rl_err rl_store_reopen(rl_store *s, rl_error *e)
{
    /* Not longer: a reader may be waiting for this thread. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += READERS_LEAVE_S;
    if (pthread_rwlock_timedwrlock(&s->inside, &until) != 0)
        return rl_fail(e, RL_EBUSY, "store", "the database is being read and cannot be opened anew");
    close_db(s);
    rl_err err = open_whole(s, e);
    pthread_rwlock_unlock(&s->inside);
    return err;
}

static void destroy(rl_store *s)
{
    close_db(s);
    for (int i = 0; i < CF_COUNT; i++)
        rocksdb_options_destroy(s->options[i]);
    rocksdb_compactionfilter_destroy(s->expired);
    rocksdb_cache_destroy(s->cache);
    rl_statuses_free(s->statuses);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_readoptions_destroy(s->scan);
    rocksdb_readoptions_destroy(s->prefix);
    rocksdb_writeoptions_destroy(s->write);
    pthread_rwlock_destroy(&s->inside);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->handed);
    pthread_mutex_destroy(&s->helper.lock);
    pthread_cond_destroy(&s->helper.wake);
    pthread_cond_destroy(&s->helper.idle);
    free(s->doubtful);
    free(s->groups);
    free(s->path);
    free(s);
}

static rl_store *create(const char *path)
{
    pthread_condattr_t monotonic;
    rl_store *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->path = strdup(path);
    s->statuses = rl_statuses_new();
    s->groups = calloc(2, sizeof(*s->groups));
    if (!s->path || !s->statuses || !s->groups) {
        rl_statuses_free(s->statuses);
        free(s->groups);
        free(s->path);
        free(s);
        return NULL;
    }
    s->cache = block_cache();
    s->expired = rl_response_filter();
    for (int i = 0; i < CF_COUNT; i++)
        s->options[i] = cf_options((rl_cf)i, s->cache, s->expired);
    s->read = rocksdb_readoptions_create();
    s->scan = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(s->scan, 1);
    s->prefix = rocksdb_readoptions_create();
    rocksdb_readoptions_set_prefix_same_as_start(s->prefix, 1);
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write, 1);
    s->tail = &s->queue;
    s->trim_at = UINT64_MAX;
    pthread_rwlock_init(&s->inside, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&s->handed, NULL);
    pthread_mutex_init(&s->helper.lock, NULL);
    pthread_cond_init(&s->helper.wake, NULL);
    pthread_cond_init(&s->helper.idle, NULL);
    return s;
}

/* The folder keeps everybody else out, so the modes that RocksDB gives its files do not matter. A new folder's name is
 * synced into its parent, or a power cut could take the whole database with it. */
static rl_err make_folder(const char *data_dir, const char *path, rl_error *e)
{
    if (mkdir(path, 0700) == 0) {
        int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool synced = fd >= 0 && fsync(fd) == 0;
        int cause = errno;
        if (fd >= 0)
            close(fd);
        return synced ? RL_OK : rl_fail(e, RL_EIO, "store", "%s cannot be synced: %s", data_dir, strerror(cause));
    }
    if (errno != EEXIST)
        return rl_fail(e, RL_EIO, "store", "%s cannot be made: %s", path, strerror(errno));
    struct stat st;
    if (stat(path, &st) != 0 || ((st.st_mode & 077) && chmod(path, 0700) != 0))
        return rl_fail(e, RL_EIO, "store", "%s cannot be closed to others: %s", path, strerror(errno));
    return RL_OK;
}

static void stop_helper(rl_store *s)
{
    pthread_mutex_lock(&s->helper.lock);
    s->helper.stop = true;
    pthread_cond_signal(&s->helper.wake);
    pthread_mutex_unlock(&s->helper.lock);
    pthread_join(s->helper.thread, NULL);
}

void rl_store_stand_back(void)
{
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE); /* of the thread alone, on Linux */
}

struct opening {
    rl_store *store;
    rl_err err;
    rl_error *e;
};

static void *open_whole_aside(void *arg)
{
    struct opening *o = arg;
    rl_store_stand_back();
    o->err = open_whole(o->store, o->e);
    return NULL;
}

/* RocksDB makes its threads when the first database is opened, as the thread that opens it is: so that is one of its
 * own. */
static rl_err open_aside(rl_store *s, rl_error *e)
{
    struct opening o = {.store = s, .e = e};
    pthread_t opener;
    if (pthread_create(&opener, NULL, open_whole_aside, &o) != 0)
        return rl_fail(e, RL_EIO, "store", "the opening thread cannot be started");
    pthread_join(opener, NULL);
    return o.err;
}

static void stop_committer(rl_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->running = false;
    pthread_cond_signal(&s->handed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->committer, NULL);
}

static rl_err start(rl_store *s, rl_error *e)
{
    RL_TRY(open_aside(s, e));
    if (pthread_create(&s->helper.thread, NULL, rl_store_helper, s) != 0)
        return rl_fail(e, RL_EIO, "store", "the reading thread cannot be started");
    s->running = true;
    if (pthread_create(&s->committer, NULL, rl_store_committer, s) != 0) {
        s->running = false;
        stop_helper(s);
        return rl_fail(e, RL_EIO, "store", "the committing thread cannot be started");
    }
    if (pthread_create(&s->writer, NULL, rl_store_writer, s) != 0) {
        stop_committer(s);
        stop_helper(s);
        return rl_fail(e, RL_EIO, "store", "the writer thread cannot be started");
    }
    return RL_OK;
}

rl_err rl_store_open(const char *data_dir, rl_store **out, rl_error *e)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/db", data_dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return rl_fail(e, RL_ERANGE, "store", "the path %s is too long", data_dir);
    RL_TRY(make_folder(data_dir, path, e));
    rl_store *s = create(path);
    if (!s)
        return rl_fail(e, RL_ENOMEM, "store", "out of memory");
    rl_err err = start(s, e);
    if (err == RL_OK)
        *out = s;
    else
        destroy(s);
    return err;
}

/* A whole one has its schema; the numbers are only for who writes. */
rl_err rl_store_open_copy(const char *path, rl_store **out, rl_error *e)
{
    rl_store *s = create(path);
    if (!s)
        return rl_fail(e, RL_ENOMEM, "store", "out of memory");
    rl_err err = open_db(s, false, e);
    if (err == RL_OK)
        err = check_schema(s, e);
    s->closing = true; /* there is no writer to submit to */
    if (err == RL_OK)
        *out = s;
    else
        destroy(s);
    return err;
}

void rl_store_close(rl_store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->running) {
        pthread_join(s->writer, NULL);
        stop_committer(s);
        stop_helper(s);
    }
    destroy(s);
}
