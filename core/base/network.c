/* See network.h. */
#include "base/network.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

rl_err rl_address_parse(rl_span text, rl_address *out)
{
    char room[RL_ADDRESS_TEXT];
    if (text.n == 0 || text.n >= sizeof room || memchr(text.p, 0, text.n))
        return RL_EINVAL;
    memcpy(room, text.p, text.n);
    room[text.n] = 0;
    if (inet_pton(AF_INET6, room, out->octets) == 1)
        return RL_OK;
    memcpy(out->octets, mapped, sizeof mapped);
    return inet_pton(AF_INET, room, out->octets + sizeof mapped) == 1 ? RL_OK : RL_EINVAL;
}

bool rl_address_is_v4(const rl_address *a)
{
    return memcmp(a->octets, mapped, sizeof mapped) == 0;
}

void rl_address_text(const rl_address *a, char out[RL_ADDRESS_TEXT])
{
    if (rl_address_is_v4(a))
        inet_ntop(AF_INET, a->octets + sizeof mapped, out, RL_ADDRESS_TEXT);
    else
        inet_ntop(AF_INET6, a->octets, out, RL_ADDRESS_TEXT);
}

/* One to three digits. */
static rl_err read_prefix(rl_span text, unsigned most, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || text.n > 3)
            return RL_EINVAL;
        *out = *out * 10 + (unsigned)(text.p[i] - '0');
    }
    return text.n > 0 && *out <= most ? RL_OK : RL_EINVAL;
}

static bool bit(const rl_address *a, unsigned i)
{
    return a->octets[i / 8] & (0x80u >> i % 8);
}

rl_err rl_network_parse(rl_span text, rl_network *out)
{
    const uint8_t *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    rl_span address = rl_span_of(text.p, slash ? (size_t)(slash - text.p) : text.n);
    unsigned most = address.n && memchr(address.p, ':', address.n) ? 128 : 32;
    unsigned prefix = most;
    RL_TRY(rl_address_parse(address, &out->address));
    if (slash)
        RL_TRY(read_prefix(rl_span_of(slash + 1, text.n - address.n - 1), most, &prefix));
    out->prefix = 128 - most + prefix;
    for (unsigned i = out->prefix; i < 128; i++)
        if (bit(&out->address, i))
            return RL_ERANGE;
    return RL_OK;
}

bool rl_network_has(const rl_network *n, const rl_address *a)
{
    for (unsigned i = 0; i < n->prefix; i++)
        if (bit(&n->address, i) != bit(a, i))
            return false;
    return true;
}

rl_span rl_host_of(const char *text)
{
    const char *host = strstr(text, "://");
    host = host ? host + 3 : text;
    const bool bracketed = host[0] == '[';
    host += bracketed;
    return rl_span_of((const uint8_t *)host, strcspn(host, bracketed ? "]" : ":/"));
}
