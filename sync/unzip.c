/* By libzip, from memory; it compares each file with its checksum. */
#include "sync/unzip.h"

#include <string.h>
#include <strings.h>
#include <zip.h>

static rl_err wrong(rl_error *e, zip_error_t *why)
{
    rl_err err = zip_error_code_zip(why) == ZIP_ER_MEMORY ? RL_ENOMEM : RL_EBADMSG;
    return rl_fail(e, err, "zip", "the archive cannot be read: %s", zip_error_strerror(why));
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcasecmp(name + n - m, suffix) == 0;
}

static rl_err find(zip_t *archive, const char *suffix, zip_stat_t *found, rl_error *e)
{
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); i++) {
        if (zip_stat_index(archive, (zip_uint64_t)i, 0, found) != 0)
            return wrong(e, zip_get_error(archive));
        if (ends_in(found->name, suffix))
            return RL_OK;
    }
    return rl_fail(e, RL_EBADMSG, "zip", "the archive has no file *%s", suffix);
}

/* The size is what the archive says; no more than that comes out. */
static rl_err read_all(zip_t *archive, const zip_stat_t *found, rl_buf *out, rl_error *e)
{
    uint8_t chunk[16 * 1024];
    zip_uint64_t left = found->size;
    zip_int64_t got;
    zip_file_t *file = zip_fopen_index(archive, found->index, 0);
    if (!file)
        return wrong(e, zip_get_error(archive));
    rl_err err = RL_OK;
    while (err == RL_OK && (got = zip_fread(file, chunk, sizeof(chunk))) > 0) {
        err = (zip_uint64_t)got <= left ? rl_buf_append(out, chunk, (size_t)got) : RL_EBADMSG;
        left -= (zip_uint64_t)got;
    }
    if (err == RL_OK && got < 0)
        err = wrong(e, zip_file_get_error(file));
    else if (err != RL_OK || left > 0)
        err = rl_fail(e, err == RL_OK ? RL_EBADMSG : err, "zip", "the archive's file is not as long as it says");
    zip_fclose(file);
    return err;
}

static rl_err unpack(zip_t *archive, const char *suffix, size_t limit, rl_buf *out, rl_error *e)
{
    zip_stat_t found;
    RL_TRY(find(archive, suffix, &found, e));
    if (found.encryption_method != ZIP_EM_NONE || !zip_compression_method_supported(found.comp_method, 0))
        return rl_fail(e, RL_EUNSUPPORTED, "zip", "the archive's file is encrypted, or packed by method %d",
                       found.comp_method);
    if (found.size > limit)
        return rl_fail(e, RL_ERANGE, "zip", "the archive's file has %llu octets, more than the %zu allowed",
                       (unsigned long long)found.size, limit);
    return read_all(archive, &found, out, e);
}

rl_err rl_unzip(rl_span archive, const char *suffix, size_t limit, rl_buf *out, rl_error *e)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(archive.p, archive.n, 0, &why);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &why) : NULL;
    rl_err err = zip ? unpack(zip, suffix, limit, out, e) : wrong(e, &why);
    if (zip)
        zip_discard(zip);
    else
        zip_source_free(source);
    zip_error_fini(&why);
    return err;
}
