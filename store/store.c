/* Opening and closing the database, and reading it from any thread. The writer is in writer.c, what happens
 * inside a transaction in txn.c. A store owns its RocksDB handles; RocksDB's own threads compact. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/store_priv.h"

/* What RocksDB may take, however many certificates there are. In memory: one block cache for all families, which holds
 * data, indexes and bloom filters alike, and all memtables together. On disk: the log that a start has to replay. */
enum {
    BLOCK_CACHE = 128 << 20,
    MEMTABLES = 64 << 20,
    WAL_MAX = 16 << 20,
    MANIFEST_MAX = 16 << 20,
    INFO_LOG_MAX = 1 << 20,
    OPEN_FILES = 512,
    BACKGROUND_JOBS = 2,
    BLOOM_BITS = 10
};
static const double HASH_RATIO = 0.75, MEMTABLE_BLOOM = 0.02;

const char *const rl_cf_names[CF_COUNT] = {"default", "issuer", "cert",   "der",      "binding", "object",
                                           "revoked", "delta",  "cursor", "response", "audit",   "meta"};

rl_err rl_store_fail(rl_error *e, rl_err code, const char *what, char *rocks)
{
    rl_fail(e, code, "store", "%s: %s", what, rocks ? rocks : "unknown cause");
    rocksdb_free(rocks);
    return code;
}

/* ---- open ---- */
/* Indexes and bloom filters are cut into blocks of their own, of which only a top level stays with an open table: a
 * look-up reads the few octets it needs through the block cache, and neither memory nor the time to open grows with
 * the number of certificates. */
static void set_table(rocksdb_options_t *o, rl_cf cf, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_index_type(table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    if (cf == CF_CERT) {
        /* Point look-ups: a hash index inside the data blocks, a bloom filter on the memtable too. Small records:
         * unpacking would cost more than reading. */
        rocksdb_block_based_options_set_data_block_index_type(
            table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
        rocksdb_block_based_options_set_data_block_hash_ratio(table, HASH_RATIO);
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, MEMTABLE_BLOOM);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
        rocksdb_options_set_compression(o, rocksdb_no_compression);
    }
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
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
    rocksdb_options_set_max_log_file_size(o, INFO_LOG_MAX);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_write_buffer_size(o, cf == CF_CERT || cf == CF_DER ? 32 << 20
                                             : cf == CF_RESPONSE           ? 16 << 20
                                                                           : 8 << 20);
    /* A start reads no more of the tables than it must. */
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    set_table(o, cf, cache);
    if (cf == CF_RESPONSE)
        rocksdb_options_set_compaction_filter(o, filter);
    return o;
}

static rl_err open_db(rl_store *s, const char *path, rl_error *e)
{
    char *error = NULL;
    s->db = rocksdb_open_column_families(s->options[CF_DEFAULT], path, CF_COUNT, rl_cf_names,
                                         (const rocksdb_options_t *const *)s->options, s->cf, &error);
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

/* The number in the last eight octets of a family's last key, plus one. */
static rl_err next_sequence(rl_store *s, rl_cf cf, uint64_t *next, rl_error *e)
{
    char *error = NULL;
    size_t n;
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[cf]);
    *next = 1;
    rocksdb_iter_seek_to_last(it);
    if (rocksdb_iter_valid(it)) {
        const char *key = rocksdb_iter_key(it, &n);
        *next = n >= 8 ? rl_get_u64(key + n - 8) + 1 : 0;
    }
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    if (error)
        return rl_store_fail(e, RL_EIO, "the newest number cannot be read", error);
    return *next ? RL_OK : rl_fail(e, RL_ECORRUPT, "store", "the last key of %s is no number", rl_cf_names[cf]);
}

static void destroy(rl_store *s)
{
    for (int i = 0; i < CF_COUNT; i++)
        if (s->cf[i])
            rocksdb_column_family_handle_destroy(s->cf[i]);
    if (s->db)
        rocksdb_close(s->db);
    for (int i = 0; i < CF_COUNT; i++)
        rocksdb_options_destroy(s->options[i]);
    rocksdb_compactionfilter_destroy(s->expired);
    rocksdb_cache_destroy(s->cache);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_readoptions_destroy(s->scan);
    rocksdb_writeoptions_destroy(s->write);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

static rl_store *create(void)
{
    rl_store *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->cache = rocksdb_cache_create_lru(BLOCK_CACHE);
    s->expired = rl_response_filter();
    for (int i = 0; i < CF_COUNT; i++)
        s->options[i] = cf_options((rl_cf)i, s->cache, s->expired);
    s->read = rocksdb_readoptions_create();
    s->scan = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(s->scan, 1);
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write, 1);
    s->tail = &s->queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
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

static rl_err start(rl_store *s, const char *path, rl_error *e)
{
    RL_TRY(open_db(s, path, e));
    RL_TRY(check_schema(s, e));
    RL_TRY(next_sequence(s, CF_DELTA, &s->delta_next, e));
    RL_TRY(next_sequence(s, CF_AUDIT, &s->audit_next, e));
    atomic_store(&s->last_delta, s->delta_next - 1);
    if (pthread_create(&s->writer, NULL, rl_store_writer, s) != 0)
        return rl_fail(e, RL_EIO, "store", "the writer thread cannot be started");
    s->running = true;
    return RL_OK;
}

rl_err rl_store_open(const char *data_dir, rl_store **out, rl_error *e)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/db", data_dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return rl_fail(e, RL_ERANGE, "store", "the path %s is too long", data_dir);
    RL_TRY(make_folder(data_dir, path, e));
    rl_store *s = create();
    if (!s)
        return rl_fail(e, RL_ENOMEM, "store", "out of memory");
    rl_err err = start(s, path, e);
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
    if (s->running)
        pthread_join(s->writer, NULL);
    destroy(s);
}

void rl_store_on_commit(rl_store *s, rl_store_listener fn, void *ctx)
{
    pthread_mutex_lock(&s->lock);
    s->listener = fn;
    s->listener_ctx = ctx;
    pthread_mutex_unlock(&s->lock);
}

/* ---- point reads ---- */
static rl_err get(rl_store *s, rl_cf cf, const rl_key *k, rocksdb_pinnableslice_t **value, rl_span *out)
{
    char *error = NULL;
    *value = rocksdb_get_pinned_cf(s->db, s->read, s->cf[cf], (const char *)k->b, k->n, &error);
    if (error) {
        RL_LOG_CLIENT(RL_LOG_ERROR, "store.read", "family", rl_cf_names[cf], "error", error);
        rocksdb_free(error);
        return RL_EIO;
    }
    if (!*value)
        return RL_ENOTFOUND;
    const char *p = rocksdb_pinnableslice_value(*value, &out->n);
    out->p = (const uint8_t *)p;
    return RL_OK;
}

#define READ_INTO(cf, key_ok, decode, out)                                                                             \
    do {                                                                                                               \
        rocksdb_pinnableslice_t *value_;                                                                               \
        rl_span text_;                                                                                                 \
        RL_TRY(key_ok);                                                                                                \
        RL_TRY(get(s, cf, &k, &value_, &text_));                                                                       \
        rl_err err_ = decode(text_, out);                                                                              \
        rocksdb_pinnableslice_destroy(value_);                                                                         \
        return err_;                                                                                                   \
    } while (0)

rl_err rl_store_cert(rl_store *s, const rl_cert_id *id, rl_cert_record *out)
{
    rl_key k;
    READ_INTO(CF_CERT, rl_key_cert(id, &k), rl_cert_decode, out);
}

rl_err rl_store_cert_status(rl_store *s, const rl_cert_id *id, rl_cert_status *out)
{
    rl_key k;
    READ_INTO(CF_CERT, rl_key_cert(id, &k), rl_cert_decode_status, out);
}

static rl_err append(rl_span in, rl_buf *out)
{
    return rl_buf_append(out, in.p, in.n);
}

rl_err rl_store_der(rl_store *s, const rl_cert_id *id, rl_buf *out)
{
    rl_key k;
    READ_INTO(CF_DER, rl_key_cert(id, &k), append, out);
}

rl_err rl_store_issuer(rl_store *s, rl_issuer_id id, rl_issuer_record *out)
{
    rl_key k = rl_key_u32(id);
    READ_INTO(CF_ISSUER, RL_OK, rl_issuer_decode, out);
}

rl_err rl_store_issuer_crl(rl_store *s, rl_issuer_id id, rl_issuer_crl *out)
{
    rl_key k = rl_key_u32(id);
    READ_INTO(CF_ISSUER, RL_OK, rl_issuer_decode_crl, out);
}

rl_err rl_store_object(rl_store *s, rl_source src, const char *id, rl_object_record *out)
{
    rl_key k;
    READ_INTO(CF_OBJECT, rl_key_object(src, id, &k), rl_object_decode, out);
}

rl_err rl_store_cursor(rl_store *s, const char *source, rl_cursor_record *out)
{
    rl_key k;
    READ_INTO(CF_CURSOR, rl_key_cursor(source, &k), rl_cursor_decode, out);
}

/* ---- iteration ---- */
struct scan {
    rl_store *s;
    rocksdb_iterator_t *it;
};

static void scan_begin(struct scan *c, rl_store *s, rl_cf cf, const void *from, size_t n)
{
    c->s = s;
    c->it = rocksdb_create_iterator_cf(s->db, s->scan, s->cf[cf]);
    if (n)
        rocksdb_iter_seek(c->it, from, n);
    else
        rocksdb_iter_seek_to_first(c->it);
}

static bool scan_get(struct scan *c, rl_span *key, rl_span *value)
{
    if (!rocksdb_iter_valid(c->it))
        return false;
    key->p = (const uint8_t *)rocksdb_iter_key(c->it, &key->n);
    value->p = (const uint8_t *)rocksdb_iter_value(c->it, &value->n);
    return true;
}

static rl_err scan_end(struct scan *c)
{
    char *error = NULL;
    rocksdb_iter_get_error(c->it, &error);
    rocksdb_iter_destroy(c->it);
    if (!error)
        return RL_OK;
    log_error("store.scan", "error", error);
    rocksdb_free(error);
    return RL_EIO;
}

rl_err rl_store_binding_first(rl_store *s, rl_source src, const char *id, rl_cert_id *out)
{
    rl_key k;
    struct scan c;
    rl_span key, value;
    RL_TRY(rl_key_binding_prefix(src, id, &k));
    scan_begin(&c, s, CF_BINDING, k.b, k.n);
    rl_err err = RL_ENOTFOUND;
    if (scan_get(&c, &key, &value) && key.n > k.n && memcmp(key.p, k.b, k.n) == 0)
        err = rl_key_to_cert(key.p, key.n, k.n, out);
    rl_err end = scan_end(&c);
    return end != RL_OK ? end : err;
}

rl_err rl_store_each_cert(rl_store *s, const rl_cert_id *after,
                          bool (*fn)(const rl_cert_id *id, const rl_cert_record *r, void *ctx), void *ctx)
{
    rl_key k = {0};
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    if (after)
        RL_TRY(rl_key_cert(after, &k));
    scan_begin(&c, s, CF_CERT, k.b, k.n);
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_cert_id id;
        rl_cert_record r;
        bool is_after = after && key.n == k.n && memcmp(key.p, k.b, k.n) == 0;
        if (!is_after && (err = rl_key_to_cert(key.p, key.n, 0, &id)) == RL_OK &&
            (err = rl_cert_decode(value, &r)) == RL_OK) {
            more = fn(&id, &r, ctx);
            rl_cert_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_issuer(rl_store *s, bool (*fn)(rl_issuer_id id, const rl_issuer_record *r, void *ctx), void *ctx)
{
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    scan_begin(&c, s, CF_ISSUER, NULL, 0);
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_issuer_record r;
        err = key.n == 4 ? rl_issuer_decode(value, &r) : RL_ECORRUPT;
        if (err == RL_OK) {
            more = fn(rl_get_u32(key.p), &r, ctx);
            rl_issuer_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_revoked(rl_store *s, rl_issuer_id issuer,
                             bool (*fn)(const rl_cert_id *id, int64_t revoked_at, rl_reason reason, void *ctx),
                             void *ctx)
{
    rl_key k = rl_key_u32(issuer);
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    scan_begin(&c, s, CF_REVOKED, k.b, k.n);
    while (more && err == RL_OK && scan_get(&c, &key, &value) && key.n > 4 && memcmp(key.p, k.b, 4) == 0) {
        rl_cert_id id;
        rl_revoked_record r;
        err = rl_key_to_cert(key.p, key.n, 0, &id);
        if (err == RL_OK && (err = rl_revoked_decode(value, &r)) == RL_OK)
            more = fn(&id, r.revoked_at, r.reason, ctx);
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

rl_err rl_store_each_delta(rl_store *s, uint64_t from, bool (*fn)(uint64_t seq, const rl_delta_record *r, void *ctx),
                           void *ctx)
{
    rl_key k = rl_key_u64(from);
    struct scan c;
    rl_span key, value;
    rl_err err = RL_OK;
    bool more = true;
    scan_begin(&c, s, CF_DELTA, k.b, k.n);
    while (more && err == RL_OK && scan_get(&c, &key, &value)) {
        rl_delta_record r;
        err = key.n == 8 ? rl_delta_decode(value, &r) : RL_ECORRUPT;
        if (err == RL_OK) {
            more = fn(rl_get_u64(key.p), &r, ctx);
            rl_delta_clear(&r);
        }
        rocksdb_iter_next(c.it);
    }
    rl_err end = scan_end(&c);
    return err != RL_OK ? err : end;
}

/* ---- figures ---- */
void rl_store_figures_read(rl_store *s, rl_store_figures *out)
{
    uint64_t keys = 0;
    if (rocksdb_property_int_cf(s->db, s->cf[CF_CERT], "rocksdb.estimate-num-keys", &keys) != 0)
        keys = 0;
    *out = (rl_store_figures){.last_delta = atomic_load(&s->last_delta),
                              .certs_estimate = keys,
                              .groups = atomic_load(&s->groups),
                              .commits = atomic_load(&s->commits)};
}

rl_err rl_store_check(rl_store *s, rl_error *e)
{
    rl_key k = {.n = 6, .b = "schema"};
    rocksdb_pinnableslice_t *value;
    rl_span text;
    if (atomic_load(&s->failed))
        return rl_fail(e, RL_EIO, "store", "the last write to the database failed");
    rl_err err = get(s, CF_META, &k, &value, &text);
    if (err != RL_OK)
        return rl_fail(e, err, "store", "the database cannot be read: %s", rl_err_name(err));
    rocksdb_pinnableslice_destroy(value);
    return RL_OK;
}
