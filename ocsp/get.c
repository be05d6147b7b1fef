/* The GET path decoder. Decodes in place, since each step only shortens. */
#include "ocsp/get.h"

static rl_span skip_slashes(rl_span path)
{
    rl_span slash;
    while (path.n && path.p[0] == '/')
        (void)rl_span_take(&path, 1, &slash);
    return path;
}

/* One octet of the path, percent-decoded. */
static rl_err take_octet(rl_span *in, uint8_t *octet)
{
    rl_span c, digits;
    size_t n;
    RL_TRY(rl_span_take(in, 1, &c));
    *octet = c.p[0];
    if (*octet != '%')
        return RL_OK;
    RL_TRY(rl_span_take(in, 2, &digits));
    return rl_unhex(digits, octet, 1, &n);
}

rl_err ocsp_get_decode(rl_span path, uint8_t *memory, size_t cap, rl_span *der)
{
    size_t n = 0;
    if (path.n > cap)
        return RL_ERANGE;
    path = skip_slashes(path);
    while (path.n) {
        uint8_t c;
        RL_TRY(take_octet(&path, &c));
        memory[n++] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    RL_TRY(rl_base64_decode(rl_span_of(memory, n), false, memory, cap, &n));
    *der = rl_span_of(memory, n);
    return n ? RL_OK : RL_EBADMSG;
}
