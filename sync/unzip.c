/* The ZIP format (PKWARE APPNOTE.TXT, §4.3): its end has the place of the directory, that the place of each file. */
#include "sync/unzip.h"

#include <string.h>
#include <zlib.h>

enum { END_SIZE = 22, ENTRY_SIZE = 46, LOCAL_SIZE = 30, COMMENT_MAX = 65535 };
enum { FLAG_ENCRYPTED = 1, METHOD_STORED = 0, METHOD_DEFLATED = 8 };

static rl_err wrong(rl_error *e, const char *what)
{
    return rl_fail(e, RL_EBADMSG, "zip", "the archive %s", what);
}

static rl_err piece(rl_span all, size_t from, size_t n, rl_span *out)
{
    rl_span skipped;
    RL_TRY(rl_span_take(&all, from, &skipped));
    return rl_span_take(&all, n, out);
}

/* Little-endian, inside a piece that is long enough. */
static uint32_t number(rl_span s, size_t at, unsigned octets)
{
    uint32_t v = 0;
    while (octets-- > 0)
        v = v << 8 | s.p[at + octets];
    return v;
}

/* §4.3.16: behind it there is a comment at most. */
static rl_err find_end(rl_span archive, rl_span *end, rl_error *e)
{
    static const uint8_t mark[] = {'P', 'K', 5, 6};
    for (size_t back = END_SIZE; back <= archive.n && back <= END_SIZE + COMMENT_MAX; back++)
        if (piece(archive, archive.n - back, END_SIZE, end) == RL_OK && memcmp(end->p, mark, sizeof(mark)) == 0)
            return RL_OK;
    return wrong(e, "is none");
}

static bool ends_in(rl_span name, const char *suffix)
{
    rl_span s = rl_span_str(suffix), tail;
    return name.n >= s.n && piece(name, name.n - s.n, s.n, &tail) == RL_OK && rl_span_ieq(tail, s);
}

/* §4.3.12 */
static rl_err find_entry(rl_span archive, const char *suffix, rl_span *entry, rl_error *e)
{
    static const uint8_t mark[] = {'P', 'K', 1, 2};
    rl_span end, name;
    RL_TRY(find_end(archive, &end, e));
    size_t at = number(end, 16, 4);
    for (uint32_t left = number(end, 10, 2); left > 0; left--) {
        if (piece(archive, at, ENTRY_SIZE, entry) != RL_OK || memcmp(entry->p, mark, sizeof(mark)) != 0 ||
            piece(archive, at + ENTRY_SIZE, number(*entry, 28, 2), &name) != RL_OK)
            return wrong(e, "has a directory that is not whole");
        if (ends_in(name, suffix))
            return RL_OK;
        at += ENTRY_SIZE + number(*entry, 28, 2) + number(*entry, 30, 2) + number(*entry, 32, 2);
    }
    return rl_fail(e, RL_EBADMSG, "zip", "the archive has no file *%s", suffix);
}

/* §4.3.7 */
static rl_err find_content(rl_span archive, rl_span entry, rl_span *content, rl_error *e)
{
    static const uint8_t mark[] = {'P', 'K', 3, 4};
    const size_t at = number(entry, 42, 4);
    rl_span local;
    if (piece(archive, at, LOCAL_SIZE, &local) != RL_OK || memcmp(local.p, mark, sizeof(mark)) != 0 ||
        piece(archive, at + LOCAL_SIZE + number(local, 26, 2) + number(local, 28, 2), number(entry, 20, 4), content) !=
            RL_OK)
        return wrong(e, "is not whole");
    return RL_OK;
}

/* RFC 1951; `n` octets come out, or it is wrong. */
static rl_err inflate_all(rl_span content, size_t n, rl_buf *out, rl_error *e)
{
    uint8_t chunk[16 * 1024];
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)content.p, .avail_in = (uInt)content.n};
    size_t from = out->n;
    rl_err err = inflateInit2(&z, -MAX_WBITS) == Z_OK ? RL_OK : RL_ENOMEM;
    int rc = Z_OK;
    while (err == RL_OK && rc == Z_OK) {
        z.next_out = chunk;
        z.avail_out = sizeof(chunk);
        rc = inflate(&z, Z_NO_FLUSH);
        size_t made = sizeof(chunk) - z.avail_out;
        if ((rc != Z_OK && rc != Z_STREAM_END) || out->n - from + made > n)
            err = RL_EBADMSG;
        else
            err = rl_buf_append(out, chunk, made);
    }
    inflateEnd(&z);
    if (err == RL_ENOMEM)
        return rl_fail(e, RL_ENOMEM, "zip", "out of memory");
    return err == RL_OK && out->n - from == n ? RL_OK : wrong(e, "has a file that cannot be unpacked");
}

rl_err rl_unzip(rl_span archive, const char *suffix, size_t limit, rl_buf *out, rl_error *e)
{
    rl_span entry, content;
    size_t from = out->n;
    RL_TRY(find_entry(archive, suffix, &entry, e));
    uint32_t method = number(entry, 10, 2);
    size_t n = number(entry, 24, 4);
    if (number(entry, 8, 2) & FLAG_ENCRYPTED || (method != METHOD_STORED && method != METHOD_DEFLATED))
        return rl_fail(e, RL_EUNSUPPORTED, "zip", "the archive's file is encrypted, or packed by method %u", method);
    if (n > limit)
        return rl_fail(e, RL_ERANGE, "zip", "the archive's file has %zu octets, more than the %zu allowed", n, limit);
    RL_TRY(find_content(archive, entry, &content, e));
    if (method == METHOD_DEFLATED)
        RL_TRY(inflate_all(content, n, out, e));
    else if (content.n != n)
        return wrong(e, "has a file of another size than it says");
    else if (rl_buf_append(out, content.p, content.n) != RL_OK)
        return rl_fail(e, RL_ENOMEM, "zip", "out of memory");
    if (crc32_z(0, out->p + from, out->n - from) != number(entry, 16, 4))
        return wrong(e, "has a file that is not what was packed");
    return RL_OK;
}
